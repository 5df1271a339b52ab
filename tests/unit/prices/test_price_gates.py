"""X11: many readings to one price: stale, future, repeating, lying sources; the jump of an oracle."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Rejection
from gateway.prices import errors
from gateway.prices.combine import apart_ppm, combine, judge, median
from gateway.prices.model import Gates, Price, Reading
from gateway.units import Ms, PosixMs

pytestmark = pytest.mark.threat("X11")

NOW = PosixMs(1_796_000_000_000)
FAIR = Fraction("0.00000712")
GATES = Gates(least_sources=3, most_age=Ms(30_000), most_spread_ppm=10_000, most_jump_ppm=200_000)


def reading(name: str, factor: Fraction = Fraction(1), age: int = 0) -> Reading:
    return Reading(name, FAIR * factor, PosixMs(NOW.value - age), b"1")


def price(
    *found: Reading, gates: Gates = GATES, last: Price | None = None, since: int = 0
) -> Price | Rejection:
    known: dict[str, Reading | Rejection] = {one.source: one for one in found}
    unchanged = {one.source: PosixMs(NOW.value - since) for one in found}
    return combine(judge(known, unchanged, NOW, gates), gates, last, NOW)


def code(answer: Price | Rejection) -> str:
    return answer.code if isinstance(answer, Rejection) else "priced"


def fair(*names: str) -> list[Reading]:
    return [reading(name, 1 + Fraction(n, 10**4)) for n, name in enumerate(names)]


def test_the_median_of_three_that_agree() -> None:
    found = price(*fair("a", "b", "c"))
    assert isinstance(found, Price)
    assert (found.price, found.sources, found.at) == (FAIR * Fraction(10001, 10000), ("a", "b", "c"), NOW)
    assert found.spread_ppm == 200


@pytest.mark.parametrize("factor", [Fraction(10), Fraction(1, 10), Fraction(98, 100), Fraction(102, 100)])
def test_a_spike_is_ignored_and_named(factor: Fraction) -> None:
    known: dict[str, Reading | Rejection] = {one.source: one for one in fair("a", "b", "c")}
    known["liar"] = reading("liar", factor)
    verdicts = judge(known, {}, NOW, GATES)
    assert [v.why_not.spec for v in verdicts if v.why_not] == [errors.OUTLIER]
    found = combine(verdicts, GATES, None, NOW)
    assert isinstance(found, Price)
    assert "liar" not in found.sources
    assert apart_ppm(found.price, FAIR, FAIR) <= 10_000


@given(
    st.integers(3, 6),
    st.lists(st.fractions(Fraction(1, 10**5), 10**5), max_size=2),
    st.lists(st.integers(-30, 30), min_size=6, max_size=6),
)
def test_a_minority_of_liars_never_moves_the_price_out_of_the_honest_ones(
    honest: int, lies: list[Fraction], noise: list[int]
) -> None:
    lies = lies[: (honest - 1) // 2]
    told = [reading(f"h{n}", 1 + Fraction(noise[n], 10**4)) for n in range(honest)]
    found = price(*told, *(reading(f"l{n}", lie) for n, lie in enumerate(lies)))
    prices = [one.price for one in told]
    if isinstance(found, Price):
        assert min(prices) <= found.price <= max(prices)


@given(st.lists(st.fractions(Fraction(1, 100), 100), min_size=1, max_size=8))
def test_a_price_comes_only_from_sources_that_agree(factors: list[Fraction]) -> None:
    found = price(*(reading(f"s{n}", factor) for n, factor in enumerate(factors)))
    if isinstance(found, Price):
        used = [FAIR * factors[int(name[1:])] for name in found.sources]
        assert len(used) >= 3
        assert (max(used) - min(used)) * 10**6 <= 10_000 * found.price
        assert median(used) == found.price


@pytest.mark.parametrize(
    ("changed", "why", "verdict"),
    [
        (reading("c", age=30_001), errors.STALE, "price.too_few"),
        (reading("c", age=30_000), None, "priced"),
        (reading("c", age=-5_001), errors.FUTURE, "price.too_few"),
        (reading("c", age=-5_000), None, "priced"),
        (reading("c", Fraction(10)), errors.OUTLIER, "price.too_few"),
    ],
)
def test_with_three_sources_all_three_must_do(changed: Reading, why: object, verdict: str) -> None:
    known: dict[str, Reading | Rejection] = {one.source: one for one in (*fair("a", "b"), changed)}
    verdicts = judge(known, {}, NOW, GATES)
    assert [v.why_not.spec for v in verdicts if v.why_not] == ([] if why is None else [why])
    answer = combine(verdicts, GATES, None, NOW)
    assert code(answer) == verdict
    if isinstance(answer, Rejection):
        assert "c: price.source." in answer.detail


def test_a_source_that_only_repeats_itself_is_stale() -> None:
    assert code(price(*fair("a", "b", "c"), since=600_000)) == "priced"
    assert code(price(*fair("a", "b", "c"), since=600_001)) == "price.too_few"


def test_sources_that_disagree_stop_the_quotes() -> None:
    apart = [reading("a", Fraction(994, 1000)), reading("b"), reading("c", Fraction(1006, 1000))]
    answer = price(*apart)
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.detail) == ("price.spread", "a, c")


def test_two_camps_are_no_market() -> None:
    camps = [*fair("a", "b", "c"), *(reading(name, Fraction(3)) for name in "xyz")]
    assert code(price(*camps)) == "price.too_few"


def test_nobody_answered() -> None:
    assert code(price()) == "price.too_few"


ALONE = Gates(least_sources=1, most_age=Ms(30_000), most_spread_ppm=10_000, most_jump_ppm=200_000)


@pytest.mark.parametrize(
    ("factor", "age", "verdict"),
    [
        (Fraction(10), 1_000, "price.jump"),
        (Fraction(1, 10), 3_600_000, "price.jump"),
        (Fraction(10), 3_600_001, "priced"),
        (Fraction(12, 10), 1_000, "priced"),
    ],
)
def test_a_lone_oracle_may_not_jump_within_an_hour(factor: Fraction, age: int, verdict: str) -> None:
    last = Price(FAIR, PosixMs(NOW.value - age), ("oracle",), 0)
    assert code(price(reading("oracle", factor), gates=ALONE, last=last)) == verdict
