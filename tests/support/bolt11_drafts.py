"""Hypothesis strategies for invoices, and raw invoices that break one rule at a time."""

from collections.abc import Sequence

from hypothesis import strategies as st

from gateway.bolt import bech32, bolt11, bolt11_encode, crypto
from gateway.bolt.invoice import (
    Description,
    DescriptionHash,
    Draft,
    Fallback,
    Hop,
    Network,
    ShortChannelId,
    TaggedField,
)
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs

KEY = bytes(range(1, 33))
NODE = crypto.public_key(KEY)
_POINTS = tuple(crypto.public_key(bytes([i]) * 32) for i in range(1, 9))


def sign(digest: bytes) -> bytes:
    return crypto.sign_recoverable(KEY, digest)


def hops() -> st.SearchStrategy[Hop]:
    return st.builds(
        Hop,
        st.sampled_from(_POINTS),
        st.builds(ShortChannelId, st.integers(0, 2**64 - 1)),
        st.builds(Msat, st.integers(0, 2**32 - 1)),
        st.integers(0, 2**32 - 1),
        st.builds(BlockDelta, st.integers(0, 2**16 - 1)),
    )


def fallbacks() -> st.SearchStrategy[Fallback]:
    def of(version: int, low: int, high: int) -> st.SearchStrategy[Fallback]:
        return st.builds(Fallback, st.just(version), st.binary(min_size=low, max_size=high))

    return st.one_of(
        of(17, 20, 20), of(18, 20, 20), of(0, 20, 20), of(0, 32, 32), of(1, 32, 32), of(16, 2, 40)
    )


def features() -> st.SearchStrategy[frozenset[int]]:
    """One bit at most of each pair."""
    pairs = st.sets(st.integers(0, 150), max_size=6)
    return pairs.flatmap(
        lambda found: st.tuples(*(st.sampled_from((2 * p, 2 * p + 1)) for p in sorted(found))).map(frozenset)
    )


def drafts() -> st.SearchStrategy[Draft]:
    return st.builds(
        Draft,
        network=st.sampled_from(Network),
        amount=st.one_of(st.none(), st.builds(Msat, st.integers(1, 2_100_000_000_000_000_000))),
        created=st.builds(lambda s: PosixMs(s * 1000), st.integers(0, 2**35 - 1)),
        hashlock=st.builds(Hashlock, st.binary(min_size=32, max_size=32)),
        payment_secret=st.binary(min_size=32, max_size=32),
        description=st.one_of(
            st.builds(Description, st.text(max_size=100)),
            st.builds(DescriptionHash, st.binary(min_size=32, max_size=32)),
        ),
        expiry=st.builds(lambda s: Ms(s * 1000), st.integers(1, bolt11.MAX_EXPIRY_S)),
        min_final_cltv=st.builds(BlockDelta, st.integers(1, 2**32 - 1)),
        features=features(),
        hints=st.lists(st.lists(hops(), min_size=1, max_size=3).map(tuple), max_size=2).map(tuple),
        fallbacks=st.lists(fallbacks(), max_size=2).map(tuple),
        metadata=st.one_of(st.none(), st.binary(max_size=60)),
        name_payee=st.booleans(),
        extra=st.lists(
            st.builds(
                TaggedField,
                st.sampled_from(
                    (0, 2, 4, 7, 8, 10, 11, 12, 14, 15, 17, 18, 20, 21, 22, 25, 26, 28, 29, 30, 31)
                ),
                st.lists(st.integers(0, 31), max_size=8).map(tuple),
            ),
            max_size=2,
        ).map(tuple),
    )


def simple_draft(**changes: object) -> Draft:
    given: dict[str, object] = {
        "network": Network.REGTEST,
        "amount": Msat(21_000),
        "created": PosixMs(1_700_000_000_000),
        "hashlock": Hashlock(b"\x02" * 32),
        "payment_secret": b"\x03" * 32,
        "description": Description("coffee"),
    }
    return Draft(**(given | changes))  # type: ignore[arg-type]


def made(draft: Draft) -> str:
    text = bolt11_encode.encode(draft, NODE, sign)
    assert not isinstance(text, Rejection), text
    return text


def raw_field(kind: int, data: bytes | Sequence[int]) -> list[int]:
    words = bech32.to_words(data) if isinstance(data, bytes) else tuple(data)
    return [kind, len(words) >> 5, len(words) & 31, *words]


def raw_invoice(*fields: Sequence[int], prefix: str = "lnbc", high_s: bool = False) -> str:
    """Signed with KEY over exactly these words, whether they make sense or not."""
    words = [*bech32.from_int(1_700_000_000, 7), *(w for one in fields for w in one)]
    signature = sign(bolt11.message_hash(prefix, words))
    if high_s:
        s = crypto.CURVE_ORDER - int.from_bytes(signature[32:64], "big")
        signature = signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])
    return bech32.encode(prefix, [*words, *bech32.to_words(signature)])
