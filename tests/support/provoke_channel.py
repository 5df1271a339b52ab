"""Provocations of a channel's rules: two ends in memory, the real machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.cl.channel import events as e
from gateway.cl.channel import evolve
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.decide import decide
from gateway.cl.data import types as t
from gateway.cl.data.codec import EMPTY_COMMITMENT, cheque_message
from gateway.profile import REGTEST
from gateway.units import Lovelace, Ms, PosixMs
from tests.support.channel_pair import (
    CID,
    FUNDS,
    KEYS,
    LIFE,
    MIN_ADA,
    PERIOD,
    SEED,
    START,
    Pair,
    lock,
    opened,
    preimage,
    sign,
)
from tests.support.provoke import provokes, refused


def add(n: int, index: int, amount: int = 100, timeout: PosixMs = START + LIFE, key: int = 0) -> i.PeerSaid:
    cheque = t.Cheque(index, timeout, lock(n), Lovelace(amount))
    return i.PeerSaid(m.AddCheque(cheque, sign(KEYS[key], cheque_message(CID, cheque))))


def closed(closer: int) -> s.Output:
    keys = (KEYS[closer], KEYS[1 - closer])
    stage = t.Closed(FUNDS[closer], t.Squash(), t.Squash(), START + PERIOD, EMPTY_COMMITMENT)
    return replace(opened(7), datum=t.Datum(b"\x09" * 28, keys, stage, MIN_ADA, closer))


def agreement() -> s.Agreement:
    return s.Agreement(
        CID, SEED, b"\x02" * 33, False, KEYS[1], KEYS[0],
        FUNDS[0] + FUNDS[1], FUNDS[1], PERIOD, MIN_ADA,
    )  # fmt: skip


@provokes("cl.cheque.index")
def index_jumps(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 2))


@provokes("cl.cheque.conflict")
def one_index_two_locks(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(add(0, 1))
    return end.feed(add(1, 1))


@provokes("cl.cheque.signature")
def signed_by_another_key(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 1, key=1))


@provokes("cl.cheque.amount")
def more_than_the_issuer_has(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 1, amount=FUNDS[0].value + 1))


@provokes("cl.cheque.amount")
def nothing_at_all(_: Path) -> Any:
    end = Pair.open().ends[0]
    return end.feed(i.OfferCheque(b"r" * 32, lock(0), Lovelace(FUNDS[0].value + 1), START + LIFE))


@provokes("cl.cheque.nothing")
def a_cheque_over_nothing(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 1, amount=0))


@provokes("cl.cheque.slots")
def one_cheque_too_many(_: Path) -> Any:
    end = Pair.open().ends[1]
    for n in range(20):
        end.feed(add(n, n + 1, amount=1))
    return end.feed(add(20, 21, amount=1))


@provokes("cl.cheque.timeout_too_soon")
def expires_too_soon(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 1, timeout=START + REGTEST.min_cheque_life - Ms(1)))


@provokes("cl.cheque.timeout_too_far")
def expires_too_late(_: Path) -> Any:
    return Pair.open().ends[1].feed(add(0, 1, timeout=START + REGTEST.max_cheque_life + Ms(1)))


@provokes("cl.cheque.unknown")
def no_such_cheque(_: Path) -> Any:
    return Pair.open().ends[1].feed(i.FulfilHeld(1, preimage(0)))


@provokes("cl.cheque.preimage")
def a_preimage_of_another_lock(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(add(0, 1))
    return end.feed(i.FulfilHeld(1, preimage(1)))


@provokes("cl.cheque.preimage")
def the_peer_sends_a_wrong_preimage(_: Path) -> Any:
    pair = Pair.open()
    pair.ends[0].offer(0)
    return pair.ends[0].feed(i.PeerSaid(m.Fulfil(1, preimage(1))))


@provokes("cl.cheque.answered")
def fulfilled_then_cancelled(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(add(0, 1))
    end.feed(i.FulfilHeld(1, preimage(0)))
    return end.feed(i.CancelHeld(1, "cl.test"))


def squashed(squash: t.Squash, key: int = 0) -> i.PeerSaid:
    from gateway.cl.data.codec import snapshot_message

    snapshot = t.Snapshot.of({KEYS[1]: squash, KEYS[0]: t.Squash()})
    return i.PeerSaid(
        m.Squashed(t.SignedSnapshot(snapshot, sign(KEYS[key], snapshot_message(CID, snapshot))))
    )


def fulfilled(cheques: int = 1) -> Any:
    """The receiver's end, holding the first cheque's preimage and no squash."""
    pair = Pair.open()
    for n in range(cheques):
        pair.ends[0].offer(n)
    pair.settle()
    pair.ends[1].feed(i.FulfilHeld(1, preimage(0)))
    return pair.ends[1]


@provokes("cl.snapshot.signature")
def a_snapshot_of_another_key(_: Path) -> Any:
    return fulfilled().feed(squashed(t.Squash(Lovelace(100), 1), key=1))


@provokes("cl.snapshot.form")
def covers_what_was_never_issued(_: Path) -> Any:
    return fulfilled().feed(squashed(t.Squash(Lovelace(100), 9)))


@provokes("cl.snapshot.amount")
def one_lovelace_too_little(_: Path) -> Any:
    return fulfilled().feed(squashed(t.Squash(Lovelace(99), 1)))


@provokes("cl.snapshot.drops")
def covers_an_open_cheque_at_nothing(_: Path) -> Any:
    return fulfilled(2).feed(squashed(t.Squash(Lovelace(100), 2)))


@provokes("cl.snapshot.older")
def leaves_out_what_the_last_one_held(_: Path) -> Any:
    end = fulfilled(2)
    end.feed(i.FulfilHeld(2, preimage(1)))
    end.feed(squashed(t.Squash(Lovelace(100), 1)))  # covers 1
    return end.feed(squashed(t.Squash(Lovelace(100), 2, (1,))))  # covers 2 and no longer 1


@provokes("cl.channel.state")
def a_cheque_before_there_is_a_channel(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.state = None
    return end.feed(i.OfferCheque(b"r" * 32, lock(0), Lovelace(1), START + LIFE))


@provokes("cl.channel.frozen")
def a_cheque_while_the_channel_closes(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(i.OutputSeen(closed(0), 0))
    return end.feed(i.OfferCheque(b"r" * 32, lock(0), Lovelace(1), START + LIFE))


@provokes("cl.channel.message")
def a_cheque_of_the_peers_while_the_channel_closes(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(i.OutputSeen(closed(0), 0))
    return end.feed(add(0, 1))


@provokes("cl.channel.stale")
def the_peer_knows_more_than_we(_: Path) -> Any:
    return Pair.open().ends[0].feed(i.PeerSaid(m.Reestablish(7, 0, None)))


@provokes("cl.channel.unheard")
async def a_cheque_before_the_peer_has_spoken(_: Path) -> Any:
    from gateway.cl.node.freshness import Freshness
    from gateway.outcome import Continue

    end = Pair.open().ends[0]
    wanted = decide(end.state, i.OfferCheque(b"ref", lock(0), Lovelace(100), START + LIFE), end.context())
    assert isinstance(wanted, Continue)
    signer: Any = None  # not asked
    return refused(lambda: Freshness(signer).judge_offer(CID, end.state, wanted))


@provokes("cl.open.mismatch")
def another_output_than_agreed(_: Path) -> Any:
    wrong = replace(opened(), lovelace=opened().lovelace - Lovelace(1))
    context = Pair.open().ends[1].context()
    return decide(s.Funding(agreement()), i.OutputSeen(wrong, REGTEST.staged_depth), context)


@provokes("cl.channel.illegal_edge")
def an_event_that_does_not_fit(_: Path) -> Any:
    try:
        evolve.evolve(None, e.OpenAbandoned("x", "y"))
    except evolve.IllegalEdge as error:
        return error.rejection
    return None


@provokes("cl.cheque.expired")
def an_open_cheque_past_its_timeout(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(add(0, 1))
    end.now = START + LIFE + Ms(60_000)
    return end.feed(i.Tick())


@provokes("cl.cheque.cancelled")
def the_peer_covers_a_cheque_of_ours_at_nothing(_: Path) -> Any:
    pair = Pair.open()
    pair.ends[0].offer(0)
    pair.settle()
    snapshot = t.Snapshot.of({KEYS[1]: t.Squash(Lovelace(0), 1), KEYS[0]: t.Squash()})
    return pair.ends[0].feed(i.PeerSaid(m.Squashed(pair.ends[1].signed(snapshot))))


@provokes("cl.cheque.late_preimage")
def a_preimage_after_the_proof(_: Path) -> Any:
    pair = Pair.open()
    a = pair.ends[0]
    a.offer(0)
    a.now = START + LIFE + Ms(60_000)
    a.feed(i.Tick())
    return a.feed(i.PeerSaid(m.Fulfil(1, preimage(0))))


@provokes("cl.channel.close_by")
def no_squash_by_the_margin(_: Path) -> Any:
    end = fulfilled()
    end.now = START + LIFE
    return end.feed(i.Tick())


@provokes("cl.channel.closing")
def the_peer_returns_while_the_channel_closes(_: Path) -> Any:
    end = Pair.open().ends[1]
    end.feed(i.OutputSeen(closed(0), 0))
    return end.feed(i.PeerBack())


@provokes("cl.open.never_funded")
def the_opener_never_pays(_: Path) -> Any:
    end = Pair.open().ends[1]
    waiting = s.Funding(replace(agreement(), local_is_opener=False), end.context().now)
    late = replace(end.context(), settled=waiting.since + REGTEST.funding_life)
    return decide(waiting, i.Tick(), late)


@provokes("cl.open.cancelled")
def the_owner_takes_the_question_back(_: Path) -> Any:
    proposal = s.Proposal(CID, SEED, b"\x02" * 33, KEYS[0], FUNDS[0] + FUNDS[1], FUNDS[1], PERIOD, MIN_ADA)
    context = Pair.open().ends[0].context()
    return decide(s.Proposing(proposal), i.CloseAsked(True, "test"), context)


def _drained() -> tuple[Pair, s.Output]:
    """Both have nothing pending and talk of an end; end 0 asked."""
    pair = Pair.open()
    pair.ends[0].feed(i.CloseAsked(False, "the end"))
    pair.settle()
    for end in pair.ends:
        end.feed(i.Tick())
    state = pair.ends[1].state
    assert isinstance(state, s.Ending)
    return pair, state.output


@provokes("cl.channel.end_terms")
def an_end_that_pays_too_little(_: Path) -> Any:
    pair, output = _drained()
    terms = pair.ends[0].terms(output.ref, "address", Lovelace(FUNDS[1].value - 1))
    return pair.ends[1].feed(i.PeerSaid(m.ProposeEnd(terms)))


@provokes("cl.channel.end_signature")
def a_signature_of_something_else(_: Path) -> Any:
    pair, output = _drained()
    asker = pair.ends[0]
    asker.feed(i.EndBuilt(asker.terms(output.ref, "address", FUNDS[1])))
    return asker.feed(i.PeerSaid(m.EndSignature(sign(KEYS[1], b"something else"))))
