"""Codes of the gateway's limits: their own tests provoke each under a crowd."""

from tests.support.provoke import proved_by

_LIMITS = "tests/unit/swap/test_threat_x_limits.py::"
proved_by(
    _LIMITS + "test_two_hundred_quotes_at_once_pass_no_limit",
    "swap.limit.peer_open", "swap.limit.open", "swap.limit.peer_day", "swap.limit.day", "swap.quotes.too_many",
)  # fmt: skip
proved_by(_LIMITS + "test_a_peer_that_is_not_welcome_gets_no_quote", "swap.peer.refused")
