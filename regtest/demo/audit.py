"""Every balance on both networks against the demo's own arithmetic, to the lovelace and the millisatoshi."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from regtest.demo import ledger, terms
from regtest.demo.cast import Failed, eventually
from regtest.demo.steps import BLN_NODES, Proof, Stage


@dataclass(frozen=True, slots=True)
class Row:
    """`expected` from terms, the fees in the chain's own blocks and the balances before; `actual` from Kupo
    and from each Lightning node's own RPC."""

    who: str
    where: str
    unit: str
    expected: int
    actual: int

    @property
    def ok(self) -> bool:
        return self.expected == self.actual


async def _cardano(stage: Stage) -> list[Row]:
    chain = await ledger.transactions(stage.ogmios)
    crossed = terms.crossed()
    rows = []
    for node, gained in ((stage.user, -crossed), (stage.gateway, crossed)):
        fees = sum(ledger.fees_of(chain, node.address).values())
        actual = await ledger.lovelace_at(stage.kupo, node.address)
        rows.append(Row(node.name, "Cardano wallet", "lovelace", terms.FAUCET + gained - fees, actual))
    return rows


async def _bitcoin(stage: Stage) -> list[Row]:
    moves = terms.bitcoin_moves()
    gained = {"gateway": moves.gateway, "hub": moves.hub, "alice": moves.alice}
    rows = []
    for name in BLN_NODES:
        actual = await stage.lnd[name].channel_balance()
        rows.append(
            Row(f"{name} (LN)", "Lightning channels", "msat", stage.start_msat[name] + gained[name], actual)
        )
    return rows


async def balances(stage: Stage) -> list[Row]:
    return [*await _cardano(stage), *await _bitcoin(stage)]


async def audit(stage: Stage, found: list[Row]) -> Proof:
    """Fills `found`. A node's last transactions and HTLC removals may take a moment to be seen."""

    async def settled() -> bool:
        found[:] = await balances(stage)
        return all(row.ok for row in found)

    try:
        await eventually("all balances as computed", settled, 30, every_s=0.5)
    except Failed as failed:
        wrong = "; ".join(f"{r.who}: {r.actual - r.expected:+} {r.unit}" for r in found if not r.ok)
        raise Failed(f"balances differ from what was computed: {wrong}") from failed
    return f"{len(found)} balances as computed, to the lovelace and msat", {
        "balances": [asdict(row) for row in found]
    }
