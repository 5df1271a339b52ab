"""R2. Coin selection, change, collateral, exact units and fee: a plan to a transaction that stands.

Wallet outputs are taken largest first, plain ada before others; never one that is reserved or carries a
reference script. Rounds repeat until fee and units hold for the very bytes that are returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.cl.data.types import OutputRef
from gateway.cl.l1.body import (
    MINT,
    SPEND,
    Assets,
    Draft,
    Out,
    Redeemer,
    encode,
    key_witness_bytes,
    output_bytes,
)
from gateway.cl.l1.errors import NO_FUNDS, TOO_BIG
from gateway.cl.l1.protocol import Figures
from gateway.cl.l1.validity import Window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import Evaluator, ExUnits, Utxo
from gateway.errors import Refused

MAX_ROUNDS = 12
MAX_WALLET_INPUTS = 60
MAX_FOREIGN_ASSETS = 10  # an output with more could be dust sent to make our change too large


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything but the wallet's part. `redeemer` None: no script runs."""

    outputs: tuple[Out, ...]
    script_inputs: tuple[Utxo, ...]
    must_spend: tuple[OutputRef, ...]
    mint: Assets
    redeemer: bytes | None
    spend_redeemer: bytes
    policy: bytes
    bolt: bytes
    signers: tuple[bytes, ...]
    window: Window
    script_utxo: Utxo | None
    script: bytes


@dataclass(frozen=True, slots=True)
class Balanced:
    draft: Draft
    tx_cbor: bytes
    tx_id: bytes


def _add(total: dict[bytes, int], assets: Assets, sign: int = 1) -> dict[bytes, int]:
    summed = dict(total)
    for unit, quantity in assets:
        summed[unit] = summed.get(unit, 0) + sign * quantity
    return {u: q for u, q in summed.items() if q}


def _order(ref: OutputRef) -> tuple[bytes, int]:
    return ref.tx_id, ref.index


def spendable(view: ChainView, plan: Plan) -> list[Utxo]:
    """Wallet outputs that this build may take, in the order of preference."""
    barred = set(view.reserved)
    if plan.script_utxo is not None:
        barred.add(plan.script_utxo.ref)
    free = [
        u
        for u in view.wallet
        if u.ref not in barred and u.script_ref_cbor is None and len(u.assets) <= MAX_FOREIGN_ASSETS
    ]
    foreign = {u.ref: sum(unit != plan.bolt for unit, _ in u.assets) for u in free}
    return sorted(free, key=lambda u: (foreign[u.ref], -u.lovelace.value, _order(u.ref)))


def balance(view: ChainView, plan: Plan, evaluator: Evaluator, figures: Figures) -> Balanced:
    """Raises `Refused`: cl.l1.no_funds, cl.l1.too_big, cl.l1.script_failed."""
    candidates = spendable(view, plan)
    chosen = _seeds(plan, candidates)
    rest = [u for u in candidates if u not in chosen]
    while True:
        try:
            return _Rounds(view, plan, chosen, evaluator, figures).run()
        except _Short as short:
            if not rest or len(chosen) >= MAX_WALLET_INPUTS:
                have = sum(u.lovelace.value for u in chosen)
                raise Refused(
                    NO_FUNDS(
                        field="wallet", got=f"{have} lovelace free", allowed=f"{short.missing} lovelace more"
                    )
                ) from None
            chosen = [*chosen, rest.pop(0)]


def _seeds(plan: Plan, candidates: Sequence[Utxo]) -> list[Utxo]:
    found = [u for u in candidates if u.ref in plan.must_spend]
    if len(found) != len(plan.must_spend):
        missing = set(plan.must_spend) - {u.ref for u in found}
        raise Refused(
            NO_FUNDS(field="seed", got=", ".join(map(str, missing)), allowed="a free wallet output")
        )
    return found


class _Short(Exception):
    """These inputs do not suffice; another one may."""

    def __init__(self, missing: int) -> None:
        super().__init__(missing)
        self.missing = missing


class _Rounds:
    """One choice of wallet inputs, driven to its fixed point."""

    def __init__(
        self, view: ChainView, plan: Plan, chosen: Sequence[Utxo], evaluator: Evaluator, figures: Figures
    ) -> None:
        self.view = view
        self.plan = plan
        self.wallet = tuple(chosen)
        self.evaluator = evaluator
        self.figures = figures
        spent = [*plan.script_inputs, *chosen]  # In.3: a wallet pays
        self.inputs = tuple(sorted((u.ref for u in spent), key=_order))
        self.resolved = [*spent, *([plan.script_utxo] if plan.script_utxo and plan.redeemer else [])]
        self.mint = self._mint()

    def _mint(self) -> Assets:
        """The spend script wants its policy at work; with no thread token it is one bolt, burnt if we hold one."""
        # Spend.1
        if self.plan.mint or self.plan.redeemer is None:
            return self.plan.mint
        held = any(unit == self.plan.bolt for u in self.wallet for unit, _ in u.assets)
        return ((self.plan.bolt, -1 if held else 1),)

    def run(self) -> Balanced:
        if not self.wallet:
            raise _Short(self.figures.fee_constant)
        units = dict.fromkeys(self._pointers(), ExUnits(0, 0))
        fee = self.figures.fee_constant
        for _ in range(MAX_ROUNDS):
            draft = self._draft(fee, units)
            tx, tx_id = encode(draft, self.figures.cost_model_v3)
            measured = self._measure(tx, units)
            final = draft if measured == units else replace(draft, redeemers=self._redeemers(measured))
            size = len(tx) if final is draft else len(encode(final, self.figures.cost_model_v3)[0])
            wanted = self._fee(final, self._signed_size(size))
            if final is draft and wanted <= fee:
                self._check_limits(draft, self._signed_size(size))
                return Balanced(draft, tx, tx_id)
            # Never back down within a run: a fee that shrinks its own size would not settle.
            fee = max(wanted, fee) if measured == units else wanted
            units = measured
        raise Refused(TOO_BIG(field="fee", got=fee, detail="fee and units do not settle"))

    def _pointers(self) -> list[str]:
        if self.plan.redeemer is None:
            return []
        refs = {u.ref for u in self.plan.script_inputs}
        return [f"{SPEND}:{i}" for i, ref in enumerate(self.inputs) if ref in refs] + [f"{MINT}:0"]

    def _redeemers(self, units: dict[str, ExUnits]) -> tuple[Redeemer, ...]:
        found = []
        for pointer in self._pointers():
            tag, _, index = pointer.partition(":")
            data = self.plan.spend_redeemer if tag == SPEND else self.plan.redeemer
            found.append(Redeemer(tag, int(index), data or b"", units[pointer]))
        return tuple(found)

    def _measure(self, tx: bytes, units: dict[str, ExUnits]) -> dict[str, ExUnits]:
        if not units:
            return {}
        found = self.evaluator.evaluate(tx, self.resolved, self.view.params)
        return {pointer: found[pointer] for pointer in units}

    def _draft(self, fee: int, units: dict[str, ExUnits]) -> Draft:
        plan = self.plan
        scripted = plan.redeemer is not None
        held = plan.script_utxo
        draft = Draft(
            inputs=self.inputs,
            outputs=(*plan.outputs, self._change(fee)),
            fee=fee,
            lb_slot=plan.window.lb_slot.value,
            ub_slot=plan.window.ub_slot.value,
            mint=self.mint,
            signers=plan.signers,
            references=(held.ref,) if held is not None and scripted else (),
            redeemers=self._redeemers(units),
            script=plan.script if scripted and held is None else None,
        )
        return self._with_collateral(draft) if scripted else draft

    def _change(self, fee: int) -> Out:
        plan = self.plan
        lovelace = -fee - sum(o.lovelace for o in plan.outputs)
        assets: dict[bytes, int] = _add({}, self.mint)
        for utxo in (*self.wallet, *plan.script_inputs):
            lovelace += utxo.lovelace.value
            assets = _add(assets, utxo.assets)
        for out in plan.outputs:
            assets = _add(assets, out.assets, -1)
        change = Out(self.view.wallet_address, max(lovelace, 0), tuple(sorted(assets.items())))
        least = self.figures.min_utxo(len(output_bytes(change)))
        if lovelace < least:
            raise _Short(least - lovelace)
        return change

    def _with_collateral(self, draft: Draft) -> Draft:
        """From our own inputs, the rest of it returned: a failed script costs the percentage, no more."""
        need = self.figures.collateral(draft.fee)
        taken: list[Utxo] = []
        for utxo in sorted(self.wallet, key=lambda u: (len(u.assets), -u.lovelace.value, _order(u.ref))):
            if len(taken) == self.figures.max_collateral_inputs:
                break
            taken.append(utxo)
            lovelace = sum(u.lovelace.value for u in taken)
            assets: dict[bytes, int] = {}
            for u in taken:
                assets = _add(assets, u.assets)
            back = Out(self.view.wallet_address, max(lovelace - need, 0), tuple(sorted(assets.items())))
            if lovelace - need >= self.figures.min_utxo(len(output_bytes(back))):
                refs = tuple(sorted((u.ref for u in taken), key=_order))
                return replace(
                    draft, collateral=refs, collateral_return=back, total_collateral=lovelace - back.lovelace
                )
        raise _Short(need)

    def _signed_size(self, unsigned: int) -> int:
        """With one witness for each channel key and the wallet's; the change output's size is already in."""
        return unsigned + key_witness_bytes(len(self.plan.signers) + 1)

    def _ref_bytes(self, draft: Draft) -> int:
        """Each distinct output with a script counts once (Conway), however many inputs use it."""
        return len(self.plan.script) if draft.references else 0

    def _fee(self, draft: Draft, size: int) -> int:
        mem = sum(r.units.mem for r in draft.redeemers)
        steps = sum(r.units.steps for r in draft.redeemers)
        least = self.figures.fee(size, ExUnits(mem, steps), self._ref_bytes(draft))
        return least + self.view.fee_bonus.value

    def _check_limits(self, draft: Draft, size: int) -> None:
        f = self.figures
        mem = sum(r.units.mem for r in draft.redeemers)
        steps = sum(r.units.steps for r in draft.redeemers)
        rows = (
            ("bytes", size, f.max_tx_size),
            ("mem", mem, f.max_mem),
            ("steps", steps, f.max_steps),
            ("reference script bytes", self._ref_bytes(draft), f.max_ref_size),
        )
        for field, got, allowed in rows:
            if got > allowed:
                raise Refused(TOO_BIG(field=field, got=got, allowed=f"<= {allowed}"))
