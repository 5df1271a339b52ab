"""Codes of the prices: one for each way in which a source can fail, and why there is no price at all."""

from gateway.errors import Action, Fault, define

_E, _I, _R = Fault.ENVIRONMENT, Action.IGNORE, Action.RETRY
_OTHERS = "Nothing while enough other sources agree; gateway price status shows them."

# One source: it is left out of the median and named.
UNREACHABLE = define(
    "price.source.unreachable", _E, _I, "a price source cannot be reached or answers with an error", _OTHERS, 503
)  # fmt: skip
TIMEOUT = define("price.source.timeout", _E, _I, "a price source did not answer in time", _OTHERS, 504)
REDIRECT = define(
    "price.source.redirect", _E, _I,
    "a price source sends to another address, which is never followed",
    "Correct the source's address if it has moved; nothing while enough other sources agree.", 502,
)  # fmt: skip
TOO_LARGE = define(
    "price.source.too_large", _E, _I, "a price source's answer is larger than any ticker", _OTHERS, 502
)
MALFORMED = define("price.source.malformed", _E, _I, "a price source's answer cannot be read", _OTHERS, 502)
NUMBER = define(
    "price.source.number", _E, _I,
    "a price is no plain positive decimal (zero, negative, NaN, an exponent, or too many digits)", _OTHERS, 502,
)  # fmt: skip
WRONG_PAIR = define(
    "price.source.wrong_pair", _E, _I, "a price source answers for another pair than was asked for", _OTHERS, 502
)  # fmt: skip
BOOK = define(
    "price.source.book", _E, _I, "the bid lies above the ask, or both lie too far apart to be a market",
    _OTHERS, 502,
)  # fmt: skip
STALE = define(
    "price.source.stale", _E, _I, "a price is too old, or its source repeats one answer for too long", _OTHERS, 503
)  # fmt: skip
FUTURE = define(
    "price.source.future", _E, _I, "a price is dated in the future",
    "Check this machine's clock; nothing while enough other sources agree.", 503,
)  # fmt: skip
OUTLIER = define(
    "price.source.outlier", _E, _I, "a price lies too far from the median of all sources", _OTHERS, 503
)
SILENT = define("price.source.silent", _E, _I, "a price source was not asked yet", "Wait some seconds.", 503)

# No price: quotes are refused, open swaps go on.
TOO_FEW = define(
    "price.too_few", _E, _R, "too few price sources can be used: no new quotes, open swaps go on",
    "Wait; or look at gateway price status for what each source suffers from.", 503,
)  # fmt: skip
SPREAD = define(
    "price.spread", _E, _R, "the price sources disagree by too much: no new quotes, open swaps go on",
    "Wait until the markets agree again; prices.most_spread_ppm is the limit.", 503,
)  # fmt: skip
JUMP = define(
    "price.jump", _E, _R,
    "the price has moved further since the last good one than it may: no new quotes, open swaps go on",
    "Check the source. A price that stays is taken once the last good one is an hour old; prices.most_jump_ppm "
    "is the limit.", 503,
)  # fmt: skip
