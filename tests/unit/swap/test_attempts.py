"""One hash, one live swap: refused until it is Released, and then a new row under the same swap id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.bolt import bolt11
from gateway.btc import ports as b
from gateway.errors import Refused, Rejection
from gateway.hashlock import Preimage
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.engine import IN, OUT
from gateway.swap.quote import Quote
from gateway.swap.runner import Key
from gateway.units import Lovelace, Ms, Msat, PosixMs
from tests.support.bolt11_drafts import made, simple_draft
from tests.support.swap_engine import CHANNEL, NOW, PEER, Gateway, HandLegs, HandLnd, gateway

SECRET = Preimage(b"\x0a" * 32)
LOCK = SECRET.hashlock
TEXT = made(simple_draft(amount=Msat(10_000_000), created=PosixMs(NOW.value), hashlock=LOCK))
FAILED = b.PaymentFailed("no_route", "LND: FAILED (no_route), no attempt in flight")
FIRST, SECOND = Key(OUT, LOCK, 1), Key(OUT, LOCK, 2)


async def code_of(waiting: Any) -> str:
    try:
        found = await waiting
    except Refused as error:
        return error.rejection.code
    assert isinstance(found, Rejection), found
    return found.code


async def pay(node: Gateway, index: int) -> None:
    quote = await node.engine.quote_out(PEER, CHANNEL, TEXT)
    assert isinstance(quote, Quote), quote
    cheque = i.ChequeLocked(PEER, CHANNEL, index, quote.cardano, quote.cheque_timeout + Ms(5_000))
    await node.engine.notify(LOCK, cheque)
    await asyncio.wait_for(node.dispatcher.drain(), 10)


ANSWERS: list[tuple[b.PaymentResult, type, list[i.Input]]] = [
    (b.PaymentUnknown("stream lost"), s.OutgoingIntended, []),
    (b.PaymentUnknown("in flight", known=True), s.OutgoingInFlight, []),
    (b.PaymentSettled(SECRET, Msat(0)), s.IncomingClaiming, []),
    (b.PaymentSettled(SECRET, Msat(0)), s.Done, [i.IncomingChequeSettled(CHANNEL, 3, "squash 3")]),
    (FAILED, s.IncomingReleasing, []),
]


@pytest.mark.threat("X6")
@pytest.mark.threat("X16")
@pytest.mark.kind("SM")
@pytest.mark.parametrize(("answer", "reached", "then"), ANSWERS)
async def test_a_hash_is_refused_in_every_state_but_released(
    tmp_path: Path, answer: b.PaymentResult, reached: type, then: list[i.Input]
) -> None:
    lnd, legs = HandLnd(answer=answer, record=answer), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        await pay(node, 3)
        for given in then:
            await node.engine.notify(LOCK, given)
        assert isinstance(await node.engine.runner.state_of(FIRST), reached)
        assert await code_of(node.engine.quote_out(PEER, CHANNEL, TEXT)) == "swap.hash.in_use"
        assert await code_of(node.engine.quote_in(PEER, CHANNEL, LOCK, Lovelace(5))) == "swap.hash.in_use"
    async with gateway(tmp_path, lnd, legs) as node:  # also in a process that remembers nothing
        assert await code_of(node.engine.quote_out(PEER, CHANNEL, TEXT)) == "swap.hash.in_use"
    assert len(lnd.paid) == 1


@pytest.mark.threat("X6")
@pytest.mark.kind("SM")
async def test_after_released_a_new_attempt_is_a_new_row_under_the_same_swap_id(tmp_path: Path) -> None:
    lnd, legs = HandLnd(answer=FAILED, record=FAILED), HandLegs()
    async with gateway(tmp_path, lnd, legs) as node:
        await pay(node, 3)
        await node.engine.notify(
            LOCK, i.IncomingChequeReleased(CHANNEL, 3, "our cancel of cheque 3 is signed")
        )
        released = await node.engine.runner.state_of(FIRST)
        assert isinstance(released, s.Released)
        assert FAILED.proof in released.proof  # both legs' proofs
        assert "cancel of cheque 3" in released.proof
        lnd.answer = b.PaymentSettled(SECRET, Msat(0))
        await pay(node, 4)
        await node.engine.notify(LOCK, i.IncomingChequeSettled(CHANNEL, 4, "squash 4"))
        assert isinstance(await node.engine.runner.state_of(SECOND), s.Done)
        assert await node.engine.runner.state_of(FIRST) == released
        async with node.store.read() as tx:
            rows = await tx.swaps.of_hash(LOCK)
        assert [(row.swap_id, row.attempt, row.live) for row in rows] == [
            (LOCK.hex(), 1, False), (LOCK.hex(), 2, False),
        ]  # fmt: skip
        assert (legs.fulfilled, [index for index, _ in legs.cancelled]) == ([4], [3])
        assert await code_of(node.engine.quote_out(PEER, CHANNEL, TEXT)) == "swap.hash.in_use"


@pytest.mark.threat("X16")
@pytest.mark.kind("SM")
async def test_invoices_of_our_own_lnd_and_of_an_open_receipt_are_refused(tmp_path: Path) -> None:
    lnd, legs = HandLnd(), HandLegs()
    read = bolt11.decode(TEXT)
    assert not isinstance(read, Rejection)
    async with gateway(tmp_path, lnd, legs) as node:
        assert isinstance(await node.engine.quote_in(PEER, CHANNEL, LOCK, Lovelace(5)), Quote)
        assert isinstance(await node.engine.runner.state_of(Key(IN, LOCK, 1)), s.Quoted)
        assert await code_of(node.engine.quote_out(PEER, CHANNEL, TEXT)) == "swap.hash.in_use"
    lnd.node = read.payee
    directory = tmp_path / "own"
    directory.mkdir()
    async with gateway(directory, lnd, legs) as node:
        assert await code_of(node.engine.quote_out(PEER, CHANNEL, TEXT)) == "swap.invoice.own_node"
    assert lnd.paid == []
