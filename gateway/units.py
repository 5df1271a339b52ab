"""R0. Units as small frozen types: a point in time is not a span, a lovelace is not an msat.

Spans (`Msat`, `Lovelace`, `Ms`, `BlockDelta`) add to their own kind and scale by ints;
points (`PosixMs`, `BlockHeight`, `Slot`) differ by a span and move by one. Bare ints live
only in JSON, SQL and protobuf, under a name with a unit suffix (_msat, _lovelace, _ms, …).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, overload


def _int(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"a unit takes a plain int, not {type(value).__name__}")
    return value


@dataclass(frozen=True, slots=True, eq=False)
class _Quantity:
    value: int

    def __post_init__(self) -> None:
        _int(self.value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __lt__(self, other: Self) -> bool:
        return self.value < other.value if type(other) is type(self) else NotImplemented

    def __le__(self, other: Self) -> bool:
        return self.value <= other.value if type(other) is type(self) else NotImplemented

    def __gt__(self, other: Self) -> bool:
        return self.value > other.value if type(other) is type(self) else NotImplemented

    def __ge__(self, other: Self) -> bool:
        return self.value >= other.value if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value})"


class _Span(_Quantity):
    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(self.value + other.value)

    def __sub__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(self.value - other.value)

    def __neg__(self) -> Self:
        return type(self)(-self.value)

    def __mul__(self, factor: int) -> Self:
        return type(self)(self.value * _int(factor))

    __rmul__ = __mul__

    def __bool__(self) -> bool:
        return self.value != 0


class Msat(_Span):
    """Thousandths of a satoshi."""

    __slots__ = ()


class Lovelace(_Span):
    """Millionths of an ada; books of a channel may go below zero (decision 7)."""

    __slots__ = ()


class Ms(_Span):
    """A span of milliseconds."""

    __slots__ = ()


class BlockDelta(_Span):
    """A number of Bitcoin blocks."""

    __slots__ = ()


class PosixMs(_Quantity):
    """A point in time: milliseconds since 1970-01-01 UTC."""

    __slots__ = ()

    def __add__(self, span: Ms) -> PosixMs:
        if type(span) is not Ms:
            return NotImplemented
        return PosixMs(self.value + span.value)

    @overload
    def __sub__(self, other: Ms) -> PosixMs: ...
    @overload
    def __sub__(self, other: PosixMs) -> Ms: ...
    def __sub__(self, other: Any) -> Any:
        if type(other) is Ms:
            return PosixMs(self.value - other.value)
        if type(other) is PosixMs:
            return Ms(self.value - other.value)
        return NotImplemented


class BlockHeight(_Quantity):
    """A height in the Bitcoin chain."""

    __slots__ = ()

    def __add__(self, span: BlockDelta) -> BlockHeight:
        if type(span) is not BlockDelta:
            return NotImplemented
        return BlockHeight(self.value + span.value)

    @overload
    def __sub__(self, other: BlockDelta) -> BlockHeight: ...
    @overload
    def __sub__(self, other: BlockHeight) -> BlockDelta: ...
    def __sub__(self, other: Any) -> Any:
        if type(other) is BlockDelta:
            return BlockHeight(self.value - other.value)
        if type(other) is BlockHeight:
            return BlockDelta(self.value - other.value)
        return NotImplemented


class Slot(_Quantity):
    """An absolute Cardano slot number."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """An integer ratio: `lovelace` per `msat`; never a float."""

    lovelace: int
    msat: int

    def __post_init__(self) -> None:
        if _int(self.lovelace) <= 0 or _int(self.msat) <= 0:
            raise ValueError("a rate is a ratio of two positive integers")

    def lovelace_up(self, amount: Msat) -> Lovelace:
        """What the gateway asks for `amount`: rounded up, in its favour."""
        return Lovelace(-(-amount.value * self.lovelace // self.msat))

    def lovelace_down(self, amount: Msat) -> Lovelace:
        """What the gateway gives for `amount`: rounded down, in its favour."""
        return Lovelace(amount.value * self.lovelace // self.msat)

    def msat_up(self, amount: Lovelace) -> Msat:
        """What the gateway asks for `amount`: rounded up, in its favour."""
        return Msat(-(-amount.value * self.msat // self.lovelace))

    def msat_down(self, amount: Lovelace) -> Msat:
        """What the gateway gives for `amount`: rounded down, in its favour."""
        return Msat(amount.value * self.msat // self.lovelace)
