"""The catalogue of calls to the public interface. Importing it fills the catalogue from ``checked`` and ``compared``."""

from .catalogue import CATALOGUE, TESTED_ELSEWHERE, VALUES, Call
from .checked import CheckedCall, checked_calls
from .compared import ComparedCall, ComparedPlace, compared_calls
from .members import INTERNAL, TWINS, member_names, owner_of, public_classes, public_members, sub_resources, subclasses
from .place import Place

__all__ = [
    "CATALOGUE", "INTERNAL", "TESTED_ELSEWHERE", "TWINS", "VALUES", "Call", "CheckedCall", "ComparedCall", "ComparedPlace", "Place",
    "checked_calls", "compared_calls", "member_names", "owner_of", "public_classes", "public_members", "sub_resources", "subclasses",
]  # fmt: skip
