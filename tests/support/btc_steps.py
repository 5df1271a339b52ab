"""Steps that the contract tests share: paying through the adapter, holding, trouble on the way."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TypeVar

from gateway.bolt import bolt11
from gateway.btc import ports as p
from gateway.btc.lnd import Lnd
from gateway.errors import Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.units import BlockDelta, Msat
from tests.support.btc_lab import Lab

T = TypeVar("T")
AMOUNT = 20_000_000  # msat
CLTV = 40
MEMO = "a contract"


_salt = b""


def new_secrets() -> None:
    """Real networks serve many tests: no hash may come twice."""
    global _salt
    _salt = secrets.token_bytes(8)


def secret(name: str) -> Preimage:
    return Preimage(hashlib.sha256(_salt + name.encode()).digest())


def request(
    invoice: str, *, fee_limit: int = 1_000_000, cltv_limit: int = 500, timeout_s: int = 20
) -> p.PaymentRequest:
    read = bolt11.decode(invoice)
    assert not isinstance(read, Rejection)
    assert read.amount is not None
    return p.PaymentRequest(
        invoice=invoice,
        hashlock=read.hashlock,
        amount=read.amount,
        fee_limit=Msat(fee_limit),
        cltv_limit=BlockDelta(cltv_limit),
        timeout_s=timeout_s,
    )


def hashlock_of(invoice: str) -> Hashlock:
    return request(invoice).hashlock


def hold(preimage: Preimage, *, amount: int = AMOUNT, expiry_s: int = 600, cltv: int = CLTV) -> p.HoldInvoice:
    return p.HoldInvoice(preimage.hashlock, Msat(amount), MEMO, expiry_s, BlockDelta(cltv))


async def refused(lnd_call: object) -> str:
    """The code with which an adapter call is refused."""
    try:
        await lnd_call  # type: ignore[misc]
    except Refused as error:
        return error.rejection.code
    raise AssertionError("it was not refused")


async def answers(lab: Lab, lnd: Lnd) -> None:
    """Until the node answers our adapter (again)."""

    async def probe() -> bool:
        try:
            return (await lnd.info()).synced
        except Refused:
            return False

    await lab.until(probe, bool)


async def accepted(lab: Lab, lnd: Lnd, lock: Hashlock) -> p.InvoiceAccepted:
    state = await lab.until(lambda: lnd.lookup_invoice(lock), lambda s: isinstance(s, p.InvoiceAccepted))
    assert isinstance(state, p.InvoiceAccepted)
    return state


async def trouble(lab: Lab, lnd: Lnd, kind: str) -> None:
    """Ends with a node that answers again: "restart" kills it, "cut" drops every connection to it."""
    if kind == "restart":
        await lab.restart("gateway")
    else:
        assert kind == "cut"
        lab.cable.cut()
    await answers(lab, lnd)


async def collect(lnd: Lnd, lock: Hashlock, into: list[p.InvoiceState | str]) -> None:
    """What the stream tells, and the code with which it was lost, if it was."""
    try:
        async for state in lnd.watch_invoice(lock):
            into.append(state)
    except Refused as error:
        into.append(error.rejection.code)


async def final(lab: Lab, lnd: Lnd, lock: Hashlock) -> p.PaymentResult:
    """The record of a payment once it is not in doubt any more."""
    return await lab.until(lambda: lnd.track(lock), lambda r: not isinstance(r, p.PaymentUnknown))


async def outcome(lab: Lab, lnd: Lnd, wanted: p.PaymentRequest) -> p.PaymentResult:
    """What becomes of a payment that nobody holds: `pay` may leave it open when the machine is slow, LND's record
    does not."""
    result = await lnd.pay(wanted)
    return await final(lab, lnd, wanted.hashlock) if isinstance(result, p.PaymentUnknown) else result


async def within(task: asyncio.Task[T], lab: Lab) -> T:
    return await asyncio.wait_for(task, lab.times.patience_s)
