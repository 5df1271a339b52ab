"""R4. An end that both partners sign: what it asks of the wallet, the signer and the line.

The proposer builds and holds its inputs back; the other rebuilds the body from the terms and signs first; then the
proposer rebuilds it too, checks both signatures in its signer, stores the transaction and sends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from gateway.cl.channel import effects as f
from gateway.cl.channel import inputs as i
from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.cl.data.blueprint import Blueprint
from gateway.cl.data.ending import EndEvidence, EndTerms
from gateway.cl.data.types import ChannelId, OutputRef, Signature
from gateway.cl.l1.ending import end_transaction, terms_of
from gateway.cl.l1.errors import BAD_INTENT, END_BODY
from gateway.cl.l1.intents import EndTogether
from gateway.cl.l1.parse import ChannelOutput
from gateway.cl.node.wallet import OwnTransactions, OwnTx, Wallet
from gateway.cl.ports import ChainReader, Clock, Signer
from gateway.errors import Fault, Refused
from gateway.units import Lovelace

log = structlog.get_logger("gateway.ending")


def held_outputs(states: Iterable[s.State]) -> frozenset[OutputRef]:
    """Outputs of the wallet that openings and ends under way will spend."""
    found: set[OutputRef] = set()
    for state in states:
        match state:
            case s.Proposing(proposal):
                found.add(proposal.seed)
            case s.Funding(agreement) if agreement.local_is_opener:
                found.add(agreement.seed)
            case s.EndProposed(terms=terms) | s.EndHeld(terms=terms):
                found.update(terms.inputs)
            case _:
                pass
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Ender:
    """The chain's part. `on_chain` shows the channel's output as it is now."""

    wallet: Wallet
    own: OwnTransactions
    reader: ChainReader
    signer: Signer
    clock: Clock
    blueprint: Blueprint
    on_chain: Callable[[ChannelId], ChannelOutput | None]

    def _output(self, state: s.Ending | s.Agreed) -> ChannelOutput:
        output = self.on_chain(state.agreement.channel)
        if output is None or output.ref != state.output.ref:
            got = "gone" if output is None else str(output.ref)
            raise Refused(BAD_INTENT(field="channel", got=got, allowed=str(state.output.ref)))
        return output

    async def build(self, state: s.Ending, address: str, payout: Lovelace) -> EndTerms:
        """Terms of a transaction that the ledger would take now. Raises cl.l1.*, cl.chain.*."""
        agreement = state.agreement
        async with self.wallet.building:
            output = self._output(state)
            if self.own.on_the_way(self.clock.now(), spends=output.ref) is not None:
                raise Refused(BAD_INTENT(field="channel", got="a step is under way", allowed="none"))
            view = await self.wallet.frozen()
            plain = replace(view, wallet=tuple(u for u in view.wallet if not u.assets))
            end = EndTogether(output, agreement.local_key, agreement.remote_key, address, payout)
            terms = terms_of(await self.wallet.construct(plain, (end,)), end)
            end_transaction(terms, output, self.blueprint, view.params)
            self.wallet.hold(terms.inputs)
            return terms

    async def approve(self, state: s.EndSigned) -> Signature:
        """Raises cl.l1.end_body, cl.signer.*: then the partner hears that we refuse."""
        output, agreement = self._output(state), state.agreement
        if state.terms.payout > Lovelace(0) and state.terms.address != self.wallet.address:
            raise Refused(END_BODY(field="address", got=state.terms.address, allowed=self.wallet.address))
        params = await self.reader.params()
        tx = end_transaction(state.terms, output, self.blueprint, params)
        evidence = EndEvidence(output.ref, output.utxo.lovelace, output.datum, state.books.theirs)
        return await self.signer.approve_end(agreement.local_key, agreement.channel, tx, evidence)

    async def publish(self, state: s.EndHeld) -> None:
        """Idempotent; stored before it leaves. Raises cl.l1.*, cl.signer.*, and the ledger's refusal."""
        terms, agreement = state.terms, state.agreement
        async with self.wallet.building:
            if self.own.on_the_way(self.clock.now(), spends=terms.output) is not None:
                return
            output = self._output(state)
            params = await self.reader.params()
            tx = end_transaction(terms, output, self.blueprint, params)
            inputs = await self.reader.utxos_by_ref(terms.inputs)
            spent = sum((utxo.lovelace for utxo in inputs), Lovelace(0))
            evidence = EndEvidence(
                output.ref, output.utxo.lovelace, output.datum, state.books.theirs, terms.inputs, spent
            )
            signed = await self.signer.complete_end(
                agreement.local_key, agreement.channel, tx, evidence, state.signature
            )
            purpose = f"MutualEnd {agreement.channel.hex()}"
            spends = (terms.output, *terms.inputs)
            await self.wallet.submit(
                OwnTx(terms.tx_id, purpose, agreement.channel, signed, spends, terms.until), terms.fee
            )


class EndChain(Protocol):
    """What an end asks of the chain service."""

    @property
    def payout_address(self) -> str: ...
    async def build_end(self, state: s.Ending, address: str, payout: Lovelace) -> EndTerms: ...
    async def approve_end(self, state: s.EndSigned) -> Signature: ...
    async def publish_end(self, state: s.EndHeld) -> None: ...


async def perform_end(
    effect: f.EndEffect,
    state: s.State | None,
    chain: EndChain,
    send: Callable[[m.ChannelMessage], Awaitable[None]],
    feed: Callable[[i.Input], Awaitable[Any]],
) -> None:
    """An effect of a state that is past is nothing to do. Our surroundings' trouble is raised, to be tried again;
    everything else ends the common end at once, and the channel closes alone."""
    try:
        match effect, state:
            case f.TellPayout(), s.Ending():
                await send(m.EndPayout(chain.payout_address))
            case f.BuildEnd(address, payout), s.Ending():
                await feed(i.EndBuilt(await chain.build_end(state, address, payout)))
            case f.SignEnd(), s.EndSigned():
                await send(m.EndSignature(await chain.approve_end(state)))
            case f.PublishEnd(), s.EndHeld():
                await chain.publish_end(state)
            case _:
                pass
    except Refused as refused:
        why = refused.rejection
        log.warning("end.refused", effect=type(effect).__name__, code=why.code, why=str(why)[:300])
        if why.spec.fault is Fault.ENVIRONMENT:
            raise
        if isinstance(effect, f.SignEnd):
            await send(m.RefuseEnd(why.code, str(why)))
        await feed(i.EndFailed(why.code, str(why)))
