"""Claim checks, importable from here too."""

from .messaging.claim_check import ClaimCheck, Incoming, Outgoing

__all__ = ["ClaimCheck", "Incoming", "Outgoing"]
