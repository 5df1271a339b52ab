"""R2. The ending transaction that two partners sign together: its terms, and its body from the terms (decision 9).

The proposer builds it like any other and takes the terms out; both then make the bytes from the terms alone, so
nothing that was not agreed can stand in what is signed: no other input, output, certificate, withdrawal or mint.
"""

from __future__ import annotations

from gateway.cl.data.blueprint import Blueprint
from gateway.cl.data.codec import SPEND_REDEEMER, encode_redeemer, key_hash, thread_token_name
from gateway.cl.data.ending import EndTerms
from gateway.cl.data.types import MintRedeemer, MutualEnd, OutputRef
from gateway.cl.l1.address import read_address
from gateway.cl.l1.body import MINT, SPEND, Draft, Out, Redeemer, encode
from gateway.cl.l1.errors import END_BODY
from gateway.cl.l1.intents import BuiltTx, EndTogether
from gateway.cl.l1.parse import ChannelOutput
from gateway.cl.l1.protocol import read_figures
from gateway.cl.l1.timeline import slot_at
from gateway.cl.ports import ChainParams, ExUnits
from gateway.errors import Refused
from gateway.units import Lovelace

MOST_INPUTS = 16


def _order(ref: OutputRef) -> tuple[bytes, int]:
    return ref.tx_id, ref.index


def terms_of(built: BuiltTx, end: EndTogether) -> EndTerms:
    """What the partner must be told of `built`, which holds the one intent `end`."""
    draft, own = built.draft, end.channel.ref
    units = {r.tag: r.units for r in draft.redeemers}
    payout = Lovelace(draft.outputs[0].lovelace if len(draft.outputs) > 1 else 0)
    change, back = draft.outputs[-1], draft.collateral_return
    assert back is not None
    assert draft.total_collateral is not None
    return EndTerms(
        output=own,
        address=end.address,
        payout=payout,
        inputs=tuple(ref for ref in draft.inputs if ref != own),
        change_address=change.address,
        change=Lovelace(change.lovelace),
        fee=built.fee,
        first_slot=built.window.lb_slot,
        end_slot=built.window.ub_slot,
        until=built.window.ub,
        collateral=draft.collateral,
        collateral_return=Lovelace(back.lovelace),
        total_collateral=Lovelace(draft.total_collateral),
        references=draft.references,
        spend_mem=units[SPEND].mem,
        spend_steps=units[SPEND].steps,
        mint_mem=units[MINT].mem,
        mint_steps=units[MINT].steps,
        tx_id=built.tx_id,
    )


def end_transaction(
    terms: EndTerms, channel: ChannelOutput, blueprint: Blueprint, params: ChainParams
) -> bytes:
    """The unsigned transaction of `terms` on this output. Raises `Refused` (cl.l1.end_body, cl.l1.bad_intent) when it
    is not the one whose id was agreed: then another body would be signed than either had in mind."""
    if terms.output != channel.ref:
        raise Refused(END_BODY(field="output", got=str(terms.output), allowed=str(channel.ref)))
    if channel.ref in terms.inputs or len(terms.inputs) > MOST_INPUTS:
        allowed = f"at most {MOST_INPUTS}, not the channel's"
        raise Refused(END_BODY(field="inputs", got=len(terms.inputs), allowed=allowed))
    if slot_at(params.eras, terms.until) != terms.end_slot:
        raise Refused(
            END_BODY(field="end_slot", got=terms.end_slot, allowed=slot_at(params.eras, terms.until))
        )
    for text in (terms.address, terms.change_address):
        read_address(text)
    tx, tx_id = encode(_draft(terms, channel, blueprint), read_figures(params).cost_model_v3)
    if tx_id != terms.tx_id:
        raise Refused(END_BODY(field="tx_id", got=terms.tx_id.hex(), allowed=tx_id.hex()))
    return tx


def _draft(terms: EndTerms, channel: ChannelOutput, blueprint: Blueprint) -> Draft:
    inputs = tuple(sorted((channel.ref, *terms.inputs), key=_order))
    payout = (Out(terms.address, terms.payout.value),) if terms.payout > Lovelace(0) else ()
    spend, mint = ExUnits(terms.spend_mem, terms.spend_steps), ExUnits(terms.mint_mem, terms.mint_steps)
    redeemer = encode_redeemer(MintRedeemer(None, (MutualEnd(),)))
    return Draft(
        inputs=inputs,
        outputs=(*payout, Out(terms.change_address, terms.change.value)),
        fee=terms.fee.value,
        lb_slot=terms.first_slot.value,
        ub_slot=terms.end_slot.value,
        mint=((blueprint.hash + thread_token_name(channel.cid), -1),),
        signers=tuple(sorted(key_hash(key) for key in channel.datum.keys)),
        references=terms.references,
        collateral=terms.collateral,
        collateral_return=Out(terms.change_address, terms.collateral_return.value),
        total_collateral=terms.total_collateral.value,
        redeemers=(
            Redeemer(SPEND, inputs.index(channel.ref), SPEND_REDEEMER, spend),
            Redeemer(MINT, 0, redeemer, mint),
        ),
        script=None if terms.references else blueprint.script,
    )
