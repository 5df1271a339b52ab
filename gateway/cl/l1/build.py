"""R2. Intents to an unsigned transaction, as a pure function of a frozen view.

The facade for the node's shell:

    window = choose_window(view.params, view.tip, view.now, profile, use_before=…, not_before=…)
    built = build(view, intents, window, evaluator, verify)     # BuiltTx | Rejection
    signed = await signer.sign_transaction(built.required_keys, built.tx_cbor)
    view = view.reserve(built.spent)                            # before the next build

Theory: (1) steps are sorted as the ledger sorts their inputs, opened channels' outputs come first (cids
n … 1), then continuing ones in input order, then payments, the change last; (2) each step goes through
`books.apply_step`, so that a wrong one is refused with its clause before any script runs; (3) coin selection, fee
and exact units are iterated until the transaction declares precisely what the evaluator measures.
Collateral is always made of the transaction's own inputs: nothing more needs to be reserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.cl.data.books import Applied, Situation, Verify, apply_step, open_refusal
from gateway.cl.data.codec import (
    BOLT_TOKEN,
    SPEND_REDEEMER,
    channel_id,
    encode_datum,
    encode_redeemer,
    key_hash,
    thread_token_name,
)
from gateway.cl.data.types import ChannelId, MintRedeemer, OutputRef, VerificationKey
from gateway.cl.l1.address import MAINNET_MAGIC, read_address, script_address
from gateway.cl.l1.balance import Plan, balance
from gateway.cl.l1.body import Out, output_bytes, script_of
from gateway.cl.l1.errors import BAD_INTENT
from gateway.cl.l1.intents import (
    BuiltTx,
    ChannelAfter,
    EndTogether,
    Intent,
    OpenChannel,
    Pay,
    PublishScript,
    StepChannel,
)
from gateway.cl.l1.protocol import Figures, read_figures
from gateway.cl.l1.validity import Window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import Evaluator, Utxo
from gateway.errors import Refused, Rejection
from gateway.units import Lovelace


def channel_ids(seed: OutputRef, count: int) -> tuple[ChannelId, ...]:
    """Of `count` channels opened together, in the order of their outputs: index bytes count … 1."""
    return tuple(channel_id(seed, n) for n in range(count, 0, -1))


def build(
    view: ChainView, intents: Sequence[Intent], window: Window, evaluator: Evaluator, verify: Verify
) -> BuiltTx | Rejection:
    """`Rejection`: cl.l1.* or, for a step that the validator would refuse, cl.data.step_refused with its clause.
    `verify(key, message, signature)` is signer.verify's strict check."""
    try:
        return _build(view, intents, window, evaluator, verify)
    except Refused as e:
        return e.rejection


@dataclass(frozen=True, slots=True)
class _Parts:
    outputs: tuple[Out, ...]
    after: tuple[tuple[ChannelAfter, int | None], ...]  # with the place of its output


def _bad(field: str, got: object, allowed: object) -> Refused:
    return Refused(BAD_INTENT(field=field, got=got, allowed=allowed))


def _build(
    view: ChainView, intents: Sequence[Intent], window: Window, evaluator: Evaluator, verify: Verify
) -> BuiltTx:
    if not intents:
        raise _bad("intents", "none", "at least one")
    figures = read_figures(view.params)
    opens = [i for i in intents if isinstance(i, OpenChannel)]
    steps = sorted(
        (i for i in intents if isinstance(i, (StepChannel, EndTogether))),
        key=lambda i: (i.channel.ref.tx_id, i.channel.ref.index),
    )
    if len({s.channel.ref for s in steps}) != len(steps):
        raise _bad("channel", "twice", "one step a channel in a transaction")
    parts = _outputs(view, intents, opens, steps, window, figures, verify)
    policy = view.blueprint.hash
    # Mint.2-4, Out.3: thread tokens alone, one for each channel that begins or ends
    mint = {policy + thread_token_name(o.terms.cid): 1 for o in opens}
    mint |= {policy + thread_token_name(a.cid): -1 for a, place in parts.after if place is None}
    seed = opens[0].seed if opens else None
    # Mint.5: one step for each channel input, in the ledger's order
    redeemer = encode_redeemer(MintRedeemer(seed, tuple(s.step for s in steps)))
    keys = tuple(sorted({s.signer for s in steps}))
    partners = [s.partner for s in steps if isinstance(s, EndTogether)]
    plan = Plan(
        outputs=parts.outputs,
        script_inputs=tuple(s.channel.utxo for s in steps),
        must_spend=() if seed is None else (seed,),  # Mint.1
        mint=tuple(sorted(mint.items())),
        redeemer=redeemer if opens or steps else None,
        spend_redeemer=SPEND_REDEEMER,
        policy=policy,
        bolt=policy + BOLT_TOKEN,
        signers=tuple(sorted({key_hash(k) for k in (*keys, *partners)})),
        window=window,
        script_utxo=_reference(view),
        script=view.blueprint.script,
    )
    return _finish(view, plan, parts, keys, evaluator, figures, window)


def _finish(
    view: ChainView,
    plan: Plan,
    parts: _Parts,
    keys: tuple[VerificationKey, ...],
    evaluator: Evaluator,
    figures: Figures,
    window: Window,
) -> BuiltTx:
    done = balance(view, plan, evaluator, figures)
    draft = done.draft
    produced = tuple(
        Utxo(
            OutputRef(done.tx_id, place),
            out.address,
            Lovelace(out.lovelace),
            out.assets,
            out.datum,
            None,
            None if out.script is None else _script_ref(out.script),
        )
        for place, out in enumerate(draft.outputs)
    )
    after = tuple(a if place is None else replace(a, ref=produced[place].ref) for a, place in parts.after)
    return BuiltTx(
        tx_cbor=done.tx_cbor,
        tx_id=done.tx_id,
        fee=Lovelace(draft.fee),
        window=window,
        spent=draft.inputs,
        produced=produced,
        channels=after,
        required_keys=keys,
        script_utxo=next((u for u in produced if u.script_ref_cbor is not None), None),
        mem=sum(r.units.mem for r in draft.redeemers),
        steps=sum(r.units.steps for r in draft.redeemers),
        draft=draft,
    )


def _script_ref(script: bytes) -> bytes:
    size = len(script)
    head = bytes((0x58, size)) if size < 256 else b"\x59" + size.to_bytes(2, "big")
    return b"\x82\x03" + head + script


def _reference(view: ChainView) -> Utxo | None:
    """The reference script's output, if it truly holds our validator and no build may spend it."""
    held = view.script_utxo
    if held is None or held.script_ref_cbor is None:
        return None
    if script_of(held.script_ref_cbor) != (3, view.blueprint.script):
        raise _bad("script_utxo", str(held.ref), f"an output that holds script {view.blueprint.hash.hex()}")
    return held


def _outputs(
    view: ChainView,
    intents: Sequence[Intent],
    opens: Sequence[OpenChannel],
    steps: Sequence[StepChannel | EndTogether],
    window: Window,
    figures: Figures,
    verify: Verify,
) -> _Parts:
    outputs: list[Out] = []
    after: list[tuple[ChannelAfter, int | None]] = []
    _check_opens(view, opens)
    for o in opens:
        out, left = _opened(view, o, figures)
        after.append((left, len(outputs)))
        outputs.append(out)
    for s in steps:
        stepped, left = _stepped(view, s, window, figures, verify)
        after.append((left, None if stepped is None else len(outputs)))
        if stepped is not None:
            outputs.append(stepped)
    for i in intents:
        if isinstance(i, Pay):
            outputs.append(_payment(view, i, figures))
        elif isinstance(i, EndTogether) and i.payout > Lovelace(0):
            outputs.append(_with_least(_to_key(view, i.address, i.payout), figures))
        elif isinstance(i, PublishScript):
            outputs.append(_with_least(Out(view.wallet_address, 0, script=view.blueprint.script), figures))
    return _Parts(tuple(outputs), tuple(after))


def _check_opens(view: ChainView, opens: Sequence[OpenChannel]) -> None:
    if not opens:
        return
    if len({o.seed for o in opens}) != 1 or len(opens) > 255:
        raise _bad("seed", f"{len(opens)} opens", "one seed, 1..255 channels")
    wanted = channel_ids(opens[0].seed, len(opens))
    for place, (o, cid) in enumerate(zip(opens, wanted, strict=True)):
        if o.terms.cid != cid:
            raise _bad(f"opens[{place}].cid", o.terms.cid.hex(), cid.hex())


def _opened(view: ChainView, o: OpenChannel, figures: Figures) -> tuple[Out, ChannelAfter]:
    policy = view.blueprint.hash
    datum = o.terms.datum(policy)
    refusal = open_refusal(datum, policy, o.terms.lovelace)
    if refusal is not None:
        raise Refused(refusal)
    address = script_address(policy, view.params.network_magic)
    # Open.1-4: ada and the one token that follows from the seed, no script
    token = policy + thread_token_name(o.terms.cid)
    out = Out(str(address), o.terms.lovelace.value, ((token, 1),), encode_datum(datum))
    _enough(out, figures, "min_ada")
    return out, ChannelAfter(o.terms.cid, None, datum, o.terms.lovelace, None)


def _stepped(
    view: ChainView, s: StepChannel | EndTogether, window: Window, figures: Figures, verify: Verify
) -> tuple[Out | None, ChannelAfter]:
    c = s.channel
    if isinstance(s, EndTogether):
        at = Situation(c.cid, c.total, (s.signer, s.partner), verify, window.lb, window.ub)
    else:
        at = Situation(c.cid, c.total, (s.signer,), verify, window.lb, window.ub, c.total + s.add)
    result = apply_step(c.datum, s.step, at)
    if isinstance(result, Rejection):
        raise Refused(result)
    if not isinstance(result, Applied):
        return None, ChannelAfter(c.cid, None, None, Lovelace(0), c.stake)
    lovelace = result.least + result.datum.min_ada
    # Out.1-8: the same address, the same token alone, the datum as the rules give it, min-ada untouched
    plain = Out(c.utxo.address, lovelace.value, c.utxo.assets, encode_datum(result.datum))
    # The price of a byte may have risen since open: more than demanded is always allowed (decision 7).
    out = _with_least(plain, figures)
    return out, ChannelAfter(c.cid, None, result.datum, Lovelace(out.lovelace), c.stake)


def _payment(view: ChainView, pay: Pay, figures: Figures) -> Out:
    out = _to_key(view, pay.address, pay.lovelace)
    if pay.lovelace <= Lovelace(0):
        raise _bad("lovelace", pay.lovelace.value, "> 0")
    _enough(out, figures, "lovelace")
    return out


def _to_key(view: ChainView, text: str, lovelace: Lovelace) -> Out:
    address = read_address(text)
    mainnet = view.params.network_magic == MAINNET_MAGIC
    if address.mainnet != mainnet:
        raise _bad("address", text, "an address of this network")
    if address.is_script:  # without a datum the script could never let it go
        raise _bad("address", text, "the address of a key, not of a script")
    return Out(text, lovelace.value)


def _with_least(out: Out, figures: Figures) -> Out:
    """`out` with at least the ledger's least lovelace; that amount itself has a size."""
    while (least := figures.min_utxo(len(output_bytes(out)))) > out.lovelace:
        out = replace(out, lovelace=least)
    return out


def _enough(out: Out, figures: Figures, field: str) -> None:
    least = figures.min_utxo(len(output_bytes(out)))
    if out.lovelace < least:
        raise _bad(field, out.lovelace, f"at least {least} lovelace in this output")
