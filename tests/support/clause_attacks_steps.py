"""Clauses of the mint, the outputs and the steps, each with the transaction that it alone decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.cl.data import books, codec
from gateway.cl.data import types as t
from gateway.units import Lovelace, Ms
from tests.support import phase2
from tests.support.channel_world import (
    PERIOD,
    THIRD,
    UB,
    WALLET,
    Channel,
    Move,
    channel,
    entry,
    healthy,
    locked,
    opened,
    signed_snapshot,
    unlocked,
)
from tests.support.clause_table import (
    FOREIGN,
    ZERO,
    M,
    by,
    closed,
    edit,
    expected,
    forced,
    honest,
    never_checked,
    open_one,
    refused,
    resolved,
    respond_with,
    squash,
    stage_of,
    token_of,
)

# --- mint and inputs -----------------------------------------------------------------------------


@refused("Mint.1")
def _(script: bytes) -> phase2.Tx:
    tx = open_one(script)
    tx.inputs[0] = phase2.Spend((b"\x01" * 32, 0), tx.inputs[0].output)
    return tx


def ends(c: Channel) -> Move:
    return Move(c, t.EndResolved(), [c.key0])


def two_ends(script: bytes) -> tuple[phase2.Tx, Channel, Channel]:
    a, b = channel(resolved(), name="A"), channel(resolved(), name="B")
    return healthy([ends(a), ends(b)], script), a, b


@refused("Mint.2")
def _(script: bytes) -> phase2.Tx:
    """A bolt burns in the place of the second thread token, which walks out."""
    tx, a, b = two_ends(script)
    own, name = token_of(tx, a)
    tx.mint[own] = {codec.BOLT_TOKEN: -1, name: -1}
    tx.inputs[0].output.tokens = {own: {codec.BOLT_TOKEN: 1}}
    tx.outputs[-1].tokens = {own: {codec.thread_token_name(b.cid): 1}}
    return tx


@refused("Mint.3")
def _(script: bytes) -> phase2.Tx:
    """Five forged tokens count as the burn that never happens."""
    c = channel(resolved())
    tx = healthy([ends(c)], script)
    own, name = token_of(tx, c)
    forged = codec.BOLT_TOKEN + b"\x01" * 20
    tx.mint[own] = {forged: 5}
    tx.outputs[-1].tokens = {own: {name: 1, forged: 5}}
    return tx


@refused("Mint.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(resolved())
    tx = healthy([ends(c)], script)
    own, name = token_of(tx, c)
    tx.mint[own] = {codec.BOLT_TOKEN: 1}
    tx.outputs[-1].tokens = {own: {name: 1, codec.BOLT_TOKEN: 1}}
    return tx


@refused("Mint.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    tx = healthy([Move(c, t.Add(True), [c.key0], add=5)], script)
    step = codec.step_data(t.Add(True))
    tx.mint_redeemers[phase2.script_hash(script)] = ((), (step, step))
    return tx


def foreign_token(tx: phase2.Tx, at: int, out: int) -> phase2.Tx:
    own = phase2.script_hash(tx.script)
    for output in (tx.inputs[at].output, tx.outputs[out]):
        output.tokens[FOREIGN] = output.tokens.pop(own)
    return tx


@refused("In.1")
def _(script: bytes) -> phase2.Tx:
    """A copy of a channel under a token of the attacker's own policy."""
    c = channel(opened())
    return foreign_token(healthy([Move(c, t.Add(True), [c.key0], add=5)], script), 1, 0)


@refused("In.2")
def _(script: bytes) -> phase2.Tx:
    """A bolt, free for all to mint, poses as a thread token."""
    c = channel(opened())
    tx = healthy([Move(c, t.Add(True), [c.key0], add=5)], script)
    own = phase2.script_hash(script)
    for output in (tx.inputs[1].output, tx.outputs[0]):
        output.tokens[own] = {codec.BOLT_TOKEN: 1}
    return tx


@honest("In.3")
def _(script: bytes) -> phase2.Tx:
    """F1: an ordinary wallet pays the fee."""
    c = channel(opened())
    return healthy([Move(c, t.Add(True), [c.key0], add=5)], script)


# --- the continuing output -----------------------------------------------------------------------


def plain_add(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return healthy([Move(c, t.Add(True), [c.key0], add=5 * M)], script)


@refused("Out.1")
def _(script: bytes) -> phase2.Tx:
    tx = plain_add(script)
    tx.outputs[0].tokens[FOREIGN] = {b"junk": 1}
    tx.inputs[0].output.tokens[FOREIGN] = {b"junk": 1}
    return tx


@refused("Out.2")
def _(script: bytes) -> phase2.Tx:
    """The real thread token walks out; another policy's of the same name stays."""
    tx = plain_add(script)
    names = tx.outputs[0].tokens.pop(phase2.script_hash(script))
    tx.outputs[0].tokens[FOREIGN] = dict(names)
    tx.inputs[0].output.tokens[FOREIGN] = dict(names)
    tx.outputs[-1].tokens[phase2.script_hash(script)] = dict(names)
    return tx


@refused("Out.3")
def _(script: bytes) -> phase2.Tx:
    """F3: a bolt stays in the thread token's place."""
    tx = plain_add(script)
    own = phase2.script_hash(script)
    tx.outputs[-1].tokens[own] = tx.outputs[0].tokens[own]
    tx.outputs[0].tokens[own] = {codec.BOLT_TOKEN: 1}
    return tx


@refused("Out.4")
def _(script: bytes) -> phase2.Tx:
    tx = plain_add(script)
    tx.outputs[0].script = script
    return tx


@refused("Out.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed())
    tx = healthy([Move(c, t.Elapse(), [c.key0])], script)
    tx.outputs[0].lovelace -= 1
    return tx


@refused("Out.6")
def _(script: bytes) -> phase2.Tx:
    return edit(plain_add(script), 3, 0, value=0)


@refused("Out.7")
def _(script: bytes) -> phase2.Tx:
    """F2: the closer raises min-ada in the datum; nothing was added."""
    c = channel(opened())
    tx = healthy([Move(c, t.Close(True), [c.key0])], script)
    return edit(tx, 4, value=90 * M)


@refused("Out.8")
def _(script: bytes) -> phase2.Tx:
    tx = plain_add(script)
    tx.outputs[0].address = b"\x10" + phase2.script_hash(script) + b"\x09" * 28
    return tx


@refused("Spend.1")
def _(script: bytes) -> phase2.Tx:
    tx = plain_add(script)
    tx.mint = {}
    tx.outputs = [phase2.Output(WALLET, 900 * M)]
    return tx


# --- add -----------------------------------------------------------------------------------------


@refused("Add.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return healthy([by(Move(c, t.Add(True), add=5), [c.key1])], script)


@refused("Add.2")
def _(script: bytes) -> phase2.Tx:
    """Add takes instead of adding."""
    c = channel(opened())
    move = Move(c, t.Add(True), [c.key0], add=-60 * M)
    return healthy([forced(move, c.datum)], script)


@refused("Add.3")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return healthy([forced(Move(c, t.Add(False), [c.key1], add=5 * M), c.datum)], script)


@refused("Add.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    move = Move(c, t.Add(True), [c.key0], add=5 * M)
    return healthy([forced(move, stage_of(c, opened(35 * M)))], script)


@refused("Add.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    shown = signed_snapshot(THIRD, c.cid, c.snapshot(squash(9 * M, 1), ZERO))
    move = Move(c, t.Add(True, shown), [c.key0], add=5)
    move.after = never_checked(move)
    return healthy([move], script)


# --- close ---------------------------------------------------------------------------------------


def close_result(script: bytes, by_opener: bool, change: Callable[[t.Datum], t.Datum]) -> phase2.Tx:
    c = channel(opened())
    move = Move(c, t.Close(by_opener), [c.key0 if by_opener else c.key1])
    after = expected(move)
    move.after = replace(after, datum=change(after.datum))
    return healthy([move], script)


def with_deposit(datum: t.Datum, deposit: int) -> t.Datum:
    assert isinstance(datum.stage, t.Closed)
    return replace(datum, stage=replace(datum.stage, closer_deposit=Lovelace(deposit)))


refused("Close.1")(lambda s: close_result(s, False, lambda d: replace(d, min_ada_owner=0)))
refused("Close.6")(lambda s: close_result(s, True, lambda d: with_deposit(d, 100 * M)))
refused("Close.7")(lambda s: close_result(s, False, lambda d: with_deposit(d, 100 * M)))


@refused("Close.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    return healthy([by(Move(c, t.Close(True)), [c.key1])], script)


@refused("Close.3")
def _(script: bytes) -> phase2.Tx:
    def sooner(datum: t.Datum) -> t.Datum:
        assert isinstance(datum.stage, t.Closed)
        return replace(datum, stage=replace(datum.stage, elapse_after=UB + PERIOD - Ms(1)))

    return close_result(script, True, sooner)


@refused("Close.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    tx = healthy([Move(c, t.Close(True), [c.key0])], script)
    tx.outputs[0].lovelace -= 1
    return tx


@refused("Close.5")
def _(script: bytes) -> phase2.Tx:
    c = channel(opened())
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(30 * M, 9), ZERO))  # signed by itself
    move = Move(c, t.Close(True, t.Receipt(shown)), [c.key0])
    move.after = never_checked(move)
    return healthy([move], script)


# --- respond -------------------------------------------------------------------------------------


@refused("Respond.1")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed())
    return healthy([by(Move(c, t.Respond()), [c.key0])], script)


@refused("Respond.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed())
    shown = signed_snapshot(c.key1, c.cid, c.snapshot(ZERO, squash(50 * M, 5)))
    move = Move(c, t.Respond(t.Receipt(shown), use_responder_squash=True), [c.key1])
    move.after = never_checked(move)
    return healthy([move], script)


OVER = 140 * M  # the closer's books hold more than the total of 100 ada (F7)


@honest("Respond.3")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(OVER))
    return healthy([Move(c, t.Respond(), [c.key1])], script)


@refused("Respond.4")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed())
    move = Move(c, t.Respond(), [c.key1])
    after = expected(move)
    move.after = replace(after, datum=replace(after.datum, min_ada_owner=0))
    return healthy([move], script)


@honest("Respond.5")
def _(script: bytes) -> phase2.Tx:
    """Over-issued cheques: pending on both sides exceeds the total (F7)."""
    c = channel(closed(60 * M, entries=(entry(1, 70 * M),)))
    return healthy([Move(c, t.Respond(), [c.key1])], script)


def respond_amount(
    script: bytes, stage: t.Closed, step: t.Respond, other: int, own: tuple[t.Entry, ...] = ()
) -> phase2.Tx:
    c = channel(stage)
    after = t.Resolved(Lovelace(other), codec.commit(own), stage.entries)
    least = other + after.resolver_entries.pending.value + after.other_entries.pending.value
    return healthy([forced(Move(c, step, [c.key1]), respond_with(c, after), least)], script)


@refused("Respond.6")
def _(script: bytes) -> phase2.Tx:
    """A cheque that the responder presents does not count."""
    c = channel(closed())
    step = t.Respond(t.Receipt(None, (unlocked(c.key0, c.cid, 1, 10 * M),)))
    return respond_amount(script, closed(), step, 60 * M)


@refused("Respond.7")
def _(script: bytes) -> phase2.Tx:
    """What the closer opened before the answer is left out of its amount."""
    return respond_amount(script, closed(entries=(entry(1, 9 * M, paid=True),)), t.Respond(), 60 * M)


@refused("Respond.8")
def _(script: bytes) -> phase2.Tx:
    return respond_amount(script, closed(closer=squash(9 * M, 3)), t.Respond(), 60 * M)


@refused("Respond.9")
def _(script: bytes) -> phase2.Tx:
    """The closer is paid twice: by its newer squash and by the cheque that it covers."""
    listed = (entry(1, 10 * M),)
    c = channel(closed(entries=listed))
    shown = signed_snapshot(c.key0, c.cid, c.snapshot(squash(10 * M, 1), ZERO))
    step = t.Respond(t.Receipt(shown), use_closer_squash=True)
    after = respond_with(c, resolved(70 * M, (), listed))
    return healthy([forced(Move(c, step, [c.key1]), after, 80 * M)], script)


# --- respond-end ---------------------------------------------------------------------------------


def respond_ends(script: bytes, stage: t.Closed, step: t.RespondEnd, owner: int = 1) -> phase2.Tx:
    c = channel(stage, owner=owner)
    move = Move(c, step, [c.key1])
    move.after = books.Ended()
    return healthy([move], script)


refused("RespondEnd.1")(lambda s: respond_ends(s, closed(0), t.RespondEnd(), owner=0))
refused("RespondEnd.3")(lambda s: respond_ends(s, closed(0, entries=(entry(1, M),)), t.RespondEnd()))
refused("RespondEnd.4")(lambda s: respond_ends(s, closed(1), t.RespondEnd()))


@refused("RespondEnd.2")
def _(script: bytes) -> phase2.Tx:
    c = channel(closed(0), owner=1)
    step = t.RespondEnd(t.Receipt(None, (locked(c.key0, c.cid, 1, M),)))
    return respond_ends(script, closed(0), step)
