"""Re-export of the claim check classes."""

from .messaging.claim_check import ClaimCheck, Incoming, Outgoing

__all__ = ["ClaimCheck", "Incoming", "Outgoing"]
