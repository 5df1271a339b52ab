"""R1. A price, its sources and the rules for them; all exact (integers and fractions, never floats).

A price is bitcoin per ada as a `Fraction`. Swaps take it as a `Rate` of lovelace for one whole bitcoin in msat,
so that eleven digits and more of it survive and it fits 64 bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from gateway.errors import Refused, Rejection
from gateway.prices.errors import NUMBER
from gateway.units import Ms, PosixMs, Rate

PPM = 1_000_000
MSAT_PER_BITCOIN = 100_000_000_000
_LOVELACE_PER_ADA = 1_000_000
_PLAIN = re.compile(r"[0-9]{1,15}(\.[0-9]{1,18})?", re.ASCII)
# Bitcoin for an ada. Outside it is no price, and the rate made of it would lose digits or not fit 64 bits.
_LEAST, _MOST = Fraction(1, 10**11), Fraction(100)


def parse_decimal(value: object, where: str) -> Fraction:
    """The exact value of a plain positive decimal; fails with price.source.number naming `where`.

    Takes text and whole numbers only: JSON numbers must reach here as their own text. No exponent is read, since
    `1e999999999` is twelve bytes and a number of gigabytes.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not _PLAIN.fullmatch(text):
        raise Refused(NUMBER(field=where, got=str(value)[:60], allowed="a plain decimal such as 0.0000071"))
    found = Fraction(text)
    if found <= 0:
        raise Refused(NUMBER(field=where, got=text[:60], allowed="> 0"))
    return found


def check_price(price: Fraction, where: str) -> Fraction:
    """`price` when an ada could cost that in bitcoin; fails with price.source.number."""
    if not _LEAST <= price <= _MOST:
        got = f"{price.numerator}/{price.denominator}"[:60]
        raise Refused(NUMBER(field=where, got=got, allowed=f"{_LEAST} to {_MOST} bitcoin for an ada"))
    return price


def rate_of(price: Fraction) -> Rate:
    """Lovelace for one bitcoin, to the nearest lovelace."""
    return Rate(round(_LOVELACE_PER_ADA / price), MSAT_PER_BITCOIN)


def price_of(rate: Rate) -> Fraction:
    """Bitcoin for one ada."""
    return Fraction(_LOVELACE_PER_ADA * rate.msat, rate.lovelace * MSAT_PER_BITCOIN)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source said. `at`: its own time when it gives one, else when it was asked."""

    source: str
    price: Fraction
    at: PosixMs
    print: bytes = b""  # changes with anything in the answer; the same for too long: the source is stuck


@dataclass(frozen=True, slots=True)
class Gates:
    """What a set of readings must pass to be a price."""

    least_sources: int
    most_age: Ms
    most_spread_ppm: int
    most_future: Ms = Ms(5_000)
    most_repeats: Ms = Ms(600_000)  # a source whose answer stays the same for longer is stuck
    most_jump_ppm: int = 0  # from the last good price; 0: any
    jump_memory: Ms = Ms(3_600_000)  # an older price says nothing about a jump


@dataclass(frozen=True, slots=True)
class Verdict:
    """One source at one moment: used, or the reason why not."""

    source: str
    reading: Reading | None
    why_not: Rejection | None


@dataclass(frozen=True, slots=True)
class Price:
    """A price that passed the gates. `spread_ppm`: between the lowest and highest reading that was used."""

    price: Fraction
    at: PosixMs  # of its oldest reading
    sources: tuple[str, ...]
    spread_ppm: int


@dataclass(frozen=True, slots=True)
class Volatility:
    """A day's standard deviation, as a part of the price. `measured`: from enough history, else the default."""

    daily_ppm: int
    measured: bool
    samples: int
    covered: Ms


@dataclass(frozen=True, slots=True)
class Market:
    """What a quote needs of the market."""

    rate: Rate
    volatility_ppm: int  # a day's standard deviation
    at: PosixMs
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the price history: whole lovelace for one bitcoin."""

    at: PosixMs
    lovelace_per_bitcoin: int


class Source(Protocol):
    """One place that knows the price. `read` raises `Refused` with a price.source.* code."""

    @property
    def name(self) -> str: ...

    async def read(self) -> Reading: ...

    async def close(self) -> None: ...


class History(Protocol):
    """Where the samples are kept, bounded by the keeper."""

    async def recent(self, since: PosixMs) -> tuple[Sample, ...]:
        """Oldest first."""
        ...

    async def keep(self, sample: Sample, oldest: PosixMs) -> None:
        """Adds `sample` and forgets everything before `oldest`."""
        ...
