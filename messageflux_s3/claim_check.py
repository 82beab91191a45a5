"""Re-export of the claim check classes."""

from .messaging.async_claim_check import AsyncClaimCheck
from .messaging.claim_check import ClaimCheck, Incoming, Outgoing

__all__ = ["AsyncClaimCheck", "ClaimCheck", "Incoming", "Outgoing"]
