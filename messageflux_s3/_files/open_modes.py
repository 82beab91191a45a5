"""Types of the modes of ``open()``, by the kind of file that each returns."""

from __future__ import annotations

from typing import Literal, TypeAlias

BinaryReadMode: TypeAlias = Literal["rb", "br"]
BinaryWriteMode: TypeAlias = Literal["wb", "bw", "xb", "bx", "ab", "ba"]
TextReadMode: TypeAlias = Literal["r", "rt", "tr"]
TextWriteMode: TypeAlias = Literal["w", "wt", "tw", "x", "xt", "tx", "a", "at", "ta"]
