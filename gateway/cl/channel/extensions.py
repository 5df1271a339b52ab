"""R2. A cheque that lives longer, and a cheque that should be answered now: what a swap at risk may ask for.

Decision 12: the issuer signs one amount and one lock for an index; a later timeout is an extension, by the origin of
the payment alone, who has no incoming leg that could end before it. The channel does not know who is: it signs when
its owner says so (ExtendIssued), and passes the partner's question on.
"""

from __future__ import annotations

from gateway.cl.channel import cheques, errors
from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.channel.ledger import find_held, find_issued
from gateway.cl.data.types import Snapshot
from gateway.errors import Rejection
from gateway.outcome import Continue, Outcome, Reject, Wait
from gateway.units import PosixMs

Result = Outcome[e.Event, f.Effect]


def extend(state: cheques.Open, index: int, timeout: PosixMs, context: i.Context) -> Result:
    """Signs our cheque again with a later timeout. Refused once it is answered: what the partner gave back or opened
    needs no more time, and a frozen channel signs nothing."""
    one = find_issued(state.books, index)
    if one is None or not isinstance(one.status, s.Live):
        return Reject(errors.CHEQUE_UNKNOWN(field="index", got=index))
    if isinstance(state, s.Normal) and state.frozen:
        return Reject(errors.CHANNEL_FROZEN(detail=state.frozen))
    if timeout == one.cheque.timeout:
        return Continue((), (f.SendCheque(one.cheque),))
    refusal = _not_later(timeout, one.cheque.timeout) or cheques.timeout_refusal(timeout, context)
    if refusal is not None:
        return Reject(refusal)
    event = e.ChequeProlonged(index, timeout)
    longer = type(one.cheque)(index, timeout, one.cheque.lock, one.cheque.amount)
    return Continue((event,), (f.SendCheque(longer),))


def _not_later(timeout: PosixMs, old: PosixMs) -> Rejection | None:
    """Never a shorter life: the partner holds the signature over the longer one."""
    if timeout > old:
        return None
    return errors.CHEQUE_TIMEOUT_SOON(field="timeout_ms", got=timeout.value, allowed=f"> {old.value}")


def extension_asked(state: cheques.Open, index: int, timeout: PosixMs) -> Result:
    """The receiver of our cheque wants more time: its owner, if it is the payment's origin, may give it."""
    one = find_issued(state.books, index)
    if one is None or not isinstance(one.status, s.Live):
        return Wait("that cheque is answered")
    if timeout <= one.cheque.timeout:  # the extension was lost on the way
        return Continue((), (f.SendCheque(one.cheque),))
    return Continue((), (f.NoticeExtensionAsked(index, one.cheque.lock, timeout),))


def ask_extension(state: cheques.Open, index: int, timeout: PosixMs, context: i.Context) -> Result:
    """Asks the issuer of a cheque that we hold; never for longer than it could sign."""
    held = find_held(state.books, index)
    if held is None or not isinstance(held.status, s.Unanswered):
        return Reject(errors.CHEQUE_UNKNOWN(field="index", got=index))
    wanted = min(timeout, context.now + context.profile.max_cheque_life)
    if wanted <= held.cheque.timeout:
        return Wait("the cheque lives as long as that")
    return Continue((), (f.Send(m.AskExtension(index, wanted)),))


def ask_resolution(state: cheques.Open, index: int) -> Result:
    one = find_issued(state.books, index)
    if one is None or not isinstance(one.status, (s.Live, s.CancelSeen)):
        return Reject(errors.CHEQUE_UNKNOWN(field="index", got=index))
    return Continue((), (f.Send(m.AskResolution(index)),))


def resolution_asked(state: cheques.Open, index: int) -> Result:
    """The issuer waits for us: say again what we answered, or ask the cheque's owner again."""
    held = find_held(state.books, index)
    if held is None:
        return Wait("that cheque was settled long ago")
    cheque = held.cheque
    match held.status:
        case s.Unanswered():
            notice = f.NoticeLocked(index, cheque.lock, cheque.amount, cheque.timeout)
            return Continue((), (notice,))
        case s.Fulfilled(preimage, _):
            return Continue((), (f.Send(m.Fulfil(index, preimage)),))
        case s.Cancelled(code):
            return Continue((), (f.SendCancel(index, code, Snapshot()),))
        case s.Settled():
            return Wait("the issuer's own squash covers it")
