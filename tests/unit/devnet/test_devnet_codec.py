"""The devnet's readers are total: any bytes give a value or a CborError, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regtest.cardano.cbor import CborError, array, mapping, octets, parse, uint
from regtest.cardano.chain import Chain
from regtest.cardano.clock import LedgerClock
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.failure import Failure
from regtest.cardano.genesis import faucet_address, faucet_transaction, genesis_utxo
from regtest.cardano.journal import Journal, Opened
from regtest.cardano.kupo import pattern_test
from regtest.cardano.ledger import min_fee, ref_script_fee
from regtest.cardano.params import Params
from regtest.cardano.transaction import Tx, decode_tx
from tests.support.devnet_drafts import Draft, key, key_address, make_output

SLOTS = SlotTime(1_700_000_000_000)


def new_chain() -> Chain:
    return Chain(Params(), SLOTS, genesis_utxo())


def faucet_raw(chain: Chain, lovelace: int = 5_000_000) -> bytes:
    own = faucet_address()
    source = max(
        (item for item in chain.pool_utxo.items() if item[1].address == own), key=lambda item: item[0]
    )
    return faucet_transaction(chain.params, 0, source, [make_output(key_address(key("alice")), lovelace)])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(CborError):
        assert parse(data).raw == data


@settings(max_examples=60)
@given(st.data())
def test_any_change_of_a_transaction_is_answered(data: st.DataObject) -> None:
    chain = new_chain()
    raw = bytearray(faucet_raw(chain))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(chain.submit(bytes(raw)), Tx | Failure)


def test_nested_too_deeply() -> None:
    for data in (b"\x81" * 50_000 + b"\x00", b"\x9f" * 50_000, b"\xc2" * 50_000):
        with pytest.raises(CborError, match="deeply"):
            parse(data)


def test_encoders_read_back() -> None:
    for number in (0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1, -1, -25, -(2**64)):
        assert parse(uint(number)).integer() == number
    node = parse(mapping([(uint(1), array([octets(b"x" * 300)]))]))
    assert node.by_uint()[1].items()[0].octets() == b"x" * 300


def test_reference_script_tiers() -> None:
    """Figures of the Conway formula: 15 lovelace a byte, 1.2 times more for each further 25,600 bytes."""
    params = Params()
    assert ref_script_fee(0, params) == 0
    assert ref_script_fee(25_600, params) == 384_000
    assert ref_script_fee(25_601, params) == 384_018
    assert ref_script_fee(51_200, params) == 384_000 + 460_800
    # Eight full tiers: 384,000 (1.2^8 - 1) / 0.2 = 6,335,648.56…, rounded down.
    assert ref_script_fee(204_800, params) == 6_335_648


def test_faucet_pays_its_minimum() -> None:
    chain = new_chain()
    tx = decode_tx(faucet_raw(chain))
    required = min_fee(tx, Params(), chain.utxo)
    assert tx.fee >= required
    assert chain.submit(tx.raw) == tx


@pytest.mark.parametrize(
    "pattern", ["", "xyz", "1@ff", "a@b", "ff.zz", "a/b", "addr_test1x", "*@", "00" * 28 + ".0"]
)
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        pattern_test(pattern)


def test_journal_gives_the_same_chain(tmp_path: Path) -> None:
    """Submissions, blocks, a rollback, a forgotten transaction; a last line cut off by a crash is left out."""
    path = tmp_path / "chain.jsonl"
    chain, clock = new_chain(), LedgerClock(SLOTS.system_start_ms, False)
    journal = Journal(path, clock, SLOTS)
    for lovelace in (5_000_000, 6_000_000, 7_000_000):
        tx = chain.submit(faucet_raw(chain, lovelace))
        assert isinstance(tx, Tx)
        journal.submit(tx)
        block, dropped = chain.forge(chain.tip.slot + 3)
        journal.block(block, dropped)
    chain.rollback(2)
    journal.rollback(chain.tip.height, False)
    assert len(chain.pool) == 2
    journal.forget(chain.forget([chain.pool[1].id]))
    clock.advance(9_000)
    journal.clock()
    journal.close()
    with path.open("a") as file:
        file.write('{"kind": "blo')
    opened = Opened.read(path)
    assert opened is not None
    again = new_chain()
    opened.replay(again)
    assert again.tip.hash == chain.tip.hash
    assert (again.utxo, again.pool, again.pool_utxo) == (chain.utxo, chain.pool, chain.pool_utxo)
    assert opened.now_ms(False) == clock.now_ms()
    assert (again.fork, opened.system_start_ms) == (1, SLOTS.system_start_ms)
    assert again.index.matches.keys() == chain.index.matches.keys()


def test_double_spend_across_a_rollback_is_lost() -> None:
    """A returns to the mempool first; B, which spends the same output there, is lost."""
    chain = new_chain()
    paid = chain.submit(faucet_raw(chain, 10_000_000))
    assert isinstance(paid, Tx)
    chain.forge(1)
    chain.forge(2)
    ref = next(iter(paid.produced()))

    def spend(lovelace: int) -> bytes:
        output = make_output(key_address(key("bob")), lovelace)
        return Draft([ref], [output], fee=10_000_000 - lovelace, signers=[key("alice")]).build()

    first = chain.submit(spend(9_700_000))
    assert isinstance(first, Tx)
    second = chain.submit(spend(9_600_000))
    assert isinstance(second, Failure)
    assert second.code == 3997
    chain.forge(3)
    undone = chain.rollback(1)
    assert (undone.returned, undone.lost) == ((first,), ())
    undone = chain.rollback(1, drop=True)
    assert chain.pool == [first]
    chain.forget([first.id])
    assert isinstance(chain.submit(spend(9_600_000)), Tx)
