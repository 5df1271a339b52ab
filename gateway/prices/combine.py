"""R1. Many readings to one price: age, repetition, outliers, spread, jump. Pure; the same input gives the same price.

A reading counts when it is young, not from the future, not the repeated answer of a stuck source, and near the
median; at least `least_sources` of them, more than half of those that could be read, must then agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from gateway.errors import Rejection
from gateway.prices import errors
from gateway.prices.model import PPM, Gates, Price, Reading, Verdict
from gateway.units import PosixMs


def median(values: Iterable[Fraction]) -> Fraction:
    """Of at least one value; of an even number the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def apart_ppm(one: Fraction, other: Fraction, base: Fraction) -> int:
    """The distance as a part of `base`, rounded up."""
    gap = abs(one - other) * PPM
    return -(-gap.numerator * base.denominator // (gap.denominator * base.numerator))


def _too_old(reading: Reading, now: PosixMs, unchanged_since: PosixMs, gates: Gates) -> Rejection | None:
    if reading.at > now + gates.most_future:
        return errors.FUTURE(
            field=reading.source, got=reading.at.value, allowed=f"<= {(now + gates.most_future).value}"
        )
    if now > reading.at + gates.most_age:
        age = (now - reading.at).value
        return errors.STALE(
            field=reading.source, got=f"{age} ms old", allowed=f"<= {gates.most_age.value} ms"
        )
    if reading.print and now > unchanged_since + gates.most_repeats:
        return errors.STALE(
            field=reading.source, got=f"the same answer since {unchanged_since.value}",
            allowed=f"a change within {gates.most_repeats.value} ms",
        )  # fmt: skip
    return None


def judge(
    known: Mapping[str, Reading | Rejection],
    unchanged_since: Mapping[str, PosixMs],
    now: PosixMs,
    gates: Gates,
) -> tuple[Verdict, ...]:
    """Each source, in the order of `known`: used, or why not."""
    verdicts = []
    for source, found in known.items():
        if isinstance(found, Rejection):
            verdicts.append(Verdict(source, None, found))
        else:
            since = unchanged_since.get(source, found.at)
            verdicts.append(Verdict(source, found, _too_old(found, now, since, gates)))
    fresh = [v.reading.price for v in verdicts if v.reading is not None and v.why_not is None]
    if not fresh:
        return tuple(verdicts)
    middle = median(fresh)
    return tuple(_near(verdict, middle, gates) for verdict in verdicts)


def _near(verdict: Verdict, middle: Fraction, gates: Gates) -> Verdict:
    if verdict.reading is None or verdict.why_not is not None:
        return verdict
    away = apart_ppm(verdict.reading.price, middle, middle)
    if away <= gates.most_spread_ppm:
        return verdict
    why = errors.OUTLIER(
        field=verdict.source, got=f"{away} ppm from the median", allowed=f"<= {gates.most_spread_ppm}"
    )
    return replace(verdict, why_not=why)


def combine(
    verdicts: tuple[Verdict, ...], gates: Gates, last: Price | None, now: PosixMs
) -> Price | Rejection:
    """The price, or price.too_few, price.spread, price.jump; `last` is the newest good price."""
    used = [v.reading for v in verdicts if v.reading is not None and v.why_not is None]
    outliers = sum(v.why_not is not None and v.why_not.spec is errors.OUTLIER for v in verdicts)
    if len(used) < gates.least_sources or len(used) <= outliers:
        reasons = "; ".join(f"{v.source}: {v.why_not.code}" for v in verdicts if v.why_not is not None)
        return errors.TOO_FEW(
            field="sources", got=len(used), allowed=f">= {max(gates.least_sources, outliers + 1)}",
            detail=reasons[:600],
        )  # fmt: skip
    prices = [reading.price for reading in used]
    middle, low, high = median(prices), min(prices), max(prices)
    spread = apart_ppm(high, low, middle)
    if spread > gates.most_spread_ppm:
        ends = {reading.source for reading in used if reading.price in (low, high)}
        return errors.SPREAD(
            field="spread_ppm",
            got=spread,
            allowed=f"<= {gates.most_spread_ppm}",
            detail=", ".join(sorted(ends)),
        )
    if gates.most_jump_ppm and last is not None and now <= last.at + gates.jump_memory:
        jump = apart_ppm(middle, last.price, last.price)
        if jump > gates.most_jump_ppm:
            return errors.JUMP(
                field="jump_ppm", got=jump, allowed=f"<= {gates.most_jump_ppm}",
                detail=", ".join(reading.source for reading in used),
            )  # fmt: skip
    oldest = min((reading.at for reading in used), key=lambda at: at.value)
    return Price(middle, oldest, tuple(reading.source for reading in used), spread)
