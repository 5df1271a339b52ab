"""Codes of the prices: the room's own tests provoke each against simulated exchanges or the pure gates."""

from tests.support.provoke import proved_by

_SOURCES = "tests/unit/prices/test_price_sources.py::"
proved_by(
    _SOURCES + "test_a_hostile_answer_is_refused_in_time_and_names_its_source",
    "price.source.unreachable", "price.source.timeout", "price.source.redirect", "price.source.too_large",
    "price.source.malformed", "price.source.number", "price.source.wrong_pair", "price.source.book",
)  # fmt: skip
_GATES = "tests/unit/prices/test_price_gates.py::"
proved_by(
    _GATES + "test_with_three_sources_all_three_must_do",
    "price.source.stale", "price.source.future", "price.source.outlier", "price.too_few",
)  # fmt: skip
proved_by(_GATES + "test_sources_that_disagree_stop_the_quotes", "price.spread")
proved_by(_GATES + "test_a_lone_oracle_may_not_jump_within_an_hour", "price.jump")
proved_by("tests/unit/prices/test_price_feed.py::test_a_price_is_cached_and_ages", "price.source.silent")
