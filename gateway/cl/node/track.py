"""R2. What the chain's record of one channel means: its output, the lists behind its hashes, secrets, the end.

A datum keeps a list of entries as a hash (decision 11); the list itself stands in redeemers. Each fold is
checked against the hash in the datum that followed, so a wrong guess is never believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.cl.chain.txcbor import read
from gateway.cl.chain.view import ChannelCreated, ChannelSpent, Located
from gateway.cl.channel.state import Output
from gateway.cl.data import books
from gateway.cl.data import types as t
from gateway.cl.data.codec import commit, decode_steps, shown_preimages
from gateway.cl.l1.parse import ChannelOutput, parse_output
from gateway.errors import Refused
from gateway.hashlock import Preimage
from gateway.units import PosixMs

_NEVER = PosixMs(-1)
Entries = tuple[t.Entry, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """`since` is the height of the block that made `output` or the end; `secrets` all that may be a preimage."""

    output: Output | None = None
    since: int = 0
    secrets: tuple[Preimage, ...] = ()
    ended_by: bytes | None = None  # the transaction that burnt the token
    paid_held: tuple[int, ...] = ()


def fold(located: Iterable[Located], our_key: t.VerificationKey, policy: bytes) -> Story:
    """`located`: everything of one channel that the chain showed, in chain order."""
    story = Story()
    spent: ChannelSpent | None = None
    for one in located:
        match one.observation:
            case ChannelSpent() as spending:
                spent = spending
                story = _burnt(story, spending, our_key, one.height)
            case ChannelCreated(_, utxo):
                parsed = parse_output(utxo, policy)
                if isinstance(parsed, ChannelOutput):
                    story = _made(story, parsed, spent, our_key, one.height)
                elif spent is not None and spent.tx_id == utxo.ref.tx_id:
                    # the token lives on in a form that we do not read: no end, and so no proof of anything
                    story = replace(story, ended_by=None)
            case _:
                pass
    return story


def _steps(spending: ChannelSpent) -> tuple[t.Step, ...]:
    """The step of this channel: a transaction has one for each input at the script, in the inputs' order. Where other
    scripts' inputs stand between them it is one of a few, and what follows tells which; a step that cannot be read
    is left out, since strangers may write what they like for their own channels."""
    if spending.redeemer is None:
        return ()
    steps = _read(spending.redeemer)
    place = _place(spending.tx_cbor, spending.ref)
    if place is not None:
        rank, count = place
        others = max(0, count - len(steps))
        steps = steps[max(0, rank - others) : rank + 1]
    return tuple(step for step in steps if step is not None)


@lru_cache(maxsize=64)
def _read(redeemer: bytes) -> tuple[t.Step | None, ...]:
    try:
        return decode_steps(redeemer)
    except Refused:
        return ()


@lru_cache(maxsize=64)
def _place(tx_cbor: bytes, ref: t.OutputRef) -> tuple[int, int] | None:
    """Which of the scripts' inputs it is, and how many they are; None: the transaction does not tell."""
    try:
        return read(tx_cbor).script_place(ref)
    except Refused:
        return None


_shown = lru_cache(maxsize=64)(shown_preimages)


def _burnt(story: Story, spending: ChannelSpent, our_key: t.VerificationKey, height: int) -> Story:
    """As if it ended; a continuing output in the same transaction puts that right."""
    steps = _steps(spending)
    shown = () if spending.redeemer is None else _shown(spending.redeemer)
    secrets = dict.fromkeys([*story.secrets, *shown])
    old = story.output
    paid = story.paid_held
    if old is not None:
        for step in steps:
            ended = _ended(old, step, our_key)
            if ended is not None:
                paid = tuple(dict.fromkeys([*paid, *ended]))
                break
    return replace(story, secrets=tuple(secrets), ended_by=spending.tx_id, paid_held=paid, since=height)


def _made(
    story: Story, parsed: ChannelOutput, spent: ChannelSpent | None, our_key: t.VerificationKey, height: int
) -> Story:
    lists: tuple[Entries, Entries] = ((), ())
    shown: Entries = ()
    if spent is not None and spent.tx_id == parsed.ref.tx_id and story.output is not None:
        lists, shown = _lists(story.output, spent, parsed.datum)
    ours = _ours(parsed.datum, our_key, lists)
    paid_before = story.output.paid_held if story.output is not None else ()
    paid = [e.index for e in ours if e.paid]
    paid += [e.index for e in shown if e.paid and _is_responder(parsed.datum, our_key)]
    output = Output(
        parsed.ref,
        parsed.utxo.lovelace,
        parsed.datum,
        lists[0],
        lists[1],
        tuple(dict.fromkeys([*paid_before, *paid])),
        parsed.stake is not None,
    )
    return replace(story, output=output, since=height, ended_by=None, paid_held=output.paid_held)


def _is_responder(datum: t.Datum, our_key: t.VerificationKey) -> bool:
    return isinstance(datum.stage, t.Resolved) and datum.keys[0] == our_key


def _ours(datum: t.Datum, our_key: t.VerificationKey, lists: tuple[Entries, Entries]) -> Entries:
    """The list of cheques that we received."""
    return lists[0] if datum.keys[0] == our_key else lists[1]


def _presented(receipt: t.Receipt) -> Entries:
    return tuple(
        t.Entry(c.signed.cheque.index, c.signed.cheque.amount, c.signed.cheque.timeout, c.signed.cheque.lock,
                c.secret is not None)
        for c in receipt.cheques
    )  # fmt: skip


def _unlocked(entries: Entries, unlocks: tuple[t.Unlock, ...]) -> Entries:
    opened = {u.position for u in unlocks}
    return tuple(replace(e, paid=True) if n in opened else e for n, e in enumerate(entries))


def _lists(old: Output, spent: ChannelSpent, datum: t.Datum) -> tuple[tuple[Entries, Entries], Entries]:
    """The lists behind the new datum's commitments, and what a responder presented (its opened ones leave)."""
    for step in _steps(spent):
        for lists, shown in _candidates(old, step):
            if _fits(datum.stage, lists):
                return lists, shown
    return ((), ()), ()


def _fits(stage: t.Stage, lists: tuple[Entries, Entries]) -> bool:
    match stage:
        case t.Opened():
            return lists == ((), ())
        case t.Closed(entries=entries):
            return commit(lists[0]) == entries and not lists[1]
        case t.Resolved(_, resolver, other):
            return commit(lists[0]) == resolver and commit(lists[1]) == other


def _candidates(old: Output, step: t.Step) -> list[tuple[tuple[Entries, Entries], Entries]]:
    """What the lists may have become: which locked entries had expired depends on the transaction's lb, so
    every prefix by timeout is tried; the datum's hash says which it was."""
    first, second = old.first, old.second
    match step:
        case t.Add():
            return [(((), ()), ())]
        case t.Close(_, receipt):
            return [((_presented(receipt), ()), ())]
        case t.Respond(receipt):
            shown = _presented(receipt)
            locked = tuple(e for e in shown if not e.paid)
            squashes = [t.Squash()]
            if isinstance(old.datum.stage, t.Closed):
                squashes.append(old.datum.stage.closer_squash)
            if receipt.snapshot is not None:
                closer, responder = old.datum.keys
                squashes.append(receipt.snapshot.snapshot.received_by(closer, responder))
            return [((locked, kept), shown) for kept in _sifted(first, squashes)]
        case t.Elapse(_, unlocks) | t.FreeInClosed(_, unlocks):
            return [((_unlocked(first, unlocks), ()), ())]
        case t.FreeInResolved(by_resolver, _, unlocks):
            own, other = (first, second) if by_resolver else (second, first)
            opened = _unlocked(own, unlocks)
            kept_lists = _sifted(other, [t.Squash()])
            return [(((opened, kept) if by_resolver else (kept, opened)), ()) for kept in kept_lists]
        case _:
            return []


def _sifted(entries: Entries, squashes: list[t.Squash]) -> list[Entries]:
    bounds = [_NEVER, *sorted({e.timeout for e in entries}, key=lambda m: m.value)]
    found = [books.sift_entries(entries, squash, bound) for squash in squashes for bound in bounds]
    return list(dict.fromkeys(found))


def _ended(old: Output, step: t.Step, our_key: t.VerificationKey) -> tuple[int, ...] | None:
    """Cheques of ours that an ending step paid; None when this step cannot be the one."""
    first_is_us = old.datum.keys[0] == our_key
    match step:
        case t.EndResolved(own, unlocks):
            owner_is_first = old.datum.min_ada_owner == 0
            listed = old.first if owner_is_first else old.second
            by_us = owner_is_first == first_is_us
        case t.ElapseEnd(own, unlocks):
            listed, by_us = old.first, first_is_us
        case t.RespondEnd(receipt):
            return () if first_is_us else tuple(e.index for e in _presented(receipt) if e.paid)
        case _:
            return None
    if own is not None and own != listed:
        return None
    return tuple(e.index for e in _unlocked(listed, unlocks) if e.paid) if by_us else ()
