"""A node facade that answers with fixed records and remembers what it was asked; for API and CLI tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.api import errors
from gateway.api import models as m
from gateway.errors import Refused
from gateway.swap.errors import PAY_UNBOUNDED

CHANNEL_ID, HASH, PEER = "ab" * 20, "cd" * 32, "02" + "ef" * 32


def channel(state: str = "opened") -> m.Channel:
    return m.Channel(
        id=CHANNEL_ID, peer=PEER, state=state, opener="local", total_lovelace=100_000_000,
        local_lovelace=60_000_000, remote_lovelace=40_000_000,
    )  # fmt: skip


class RecordingNode:
    """Implements gateway.api.facade.Node."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.locked = False
        self.payment_states = ["pending", "pending", "paid"]
        self.unbounded = False  # the node knows no price of its own
        self.broken = False
        self.difference = 0

    def _note(self, name: str, value: Any = None) -> None:
        if self.locked and name != "unlock":
            raise Refused(errors.LOCKED())
        if self.broken:
            raise RuntimeError("canary-secret in a bug")
        self.calls.append((name, value))

    async def status(self) -> m.Status:
        self._note("status")
        return m.Status(
            version="0", network="regtest", state="running", node_id=PEER,
            cardano=m.ChainStatus(ok=True, height=5), bitcoin=m.BitcoinStatus(configured=False),
        )  # fmt: skip

    async def unlock(self, password: str) -> None:
        self._note("unlock", password)
        self.locked = False

    async def stop(self) -> None:
        self._note("stop")

    async def logs(self, lines: int) -> list[str]:
        self._note("logs", lines)
        return ["one", "two"][-lines:]

    async def wallet_address(self) -> m.Address:
        self._note("wallet_address")
        return m.Address(address="addr_test1xyz")

    async def wallet_balance(self) -> m.WalletBalance:
        self._note("wallet_balance")
        return m.WalletBalance(lovelace=1_500_000, reserved_lovelace=500_000, utxos=2)

    async def wallet_utxos(self) -> list[m.WalletUtxo]:
        self._note("wallet_utxos")
        return [m.WalletUtxo(ref="aa#0", lovelace=1_000_000), m.WalletUtxo(ref="bb#1", lovelace=500_000)]

    async def wallet_send(self, request: m.Send) -> m.Transaction:
        self._note("wallet_send", request)
        return m.Transaction(tx_id=HASH, fee_lovelace=170_000)

    async def connect_peer(self, request: m.ConnectPeer) -> m.Peer:
        self._note("connect_peer", request)
        return m.Peer(node_id=request.node_id, address=f"{request.host}:{request.port}", connected=True)

    async def providers(self) -> m.Providers:
        self._note("providers")
        row = m.Provider(name="ours", kind="ogmios", url="ws://h:1", state="ok", height=5)
        return m.Providers(quorum=1, providers=[row])

    async def peers(self) -> list[m.Peer]:
        self._note("peers")
        return [m.Peer(node_id=PEER, address="h:1", connected=False)]

    async def open_channel(self, request: m.OpenChannel) -> m.Channel:
        self._note("open_channel", request)
        return channel("opening")

    async def add_funds(self, channel_id: str, request: m.AddFunds) -> m.Channel:
        self._note("add_funds", (channel_id, request))
        return channel()

    async def channels(self) -> list[m.Channel]:
        self._note("channels")
        return [channel()]

    async def channel(self, channel_id: str) -> m.Channel:
        self._note("channel", channel_id)
        return channel()

    async def close_channel(self, channel_id: str, request: m.CloseChannel) -> m.Channel:
        self._note("close_channel", (channel_id, request))
        return channel("closing")

    async def decode_invoice(self, request: m.DecodeInvoice) -> m.DecodedInvoice:
        self._note("decode_invoice", request)
        return m.DecodedInvoice(
            network="regtest", payment_hash=HASH, amount_msat=1000, payee=PEER, expires_at_ms=1,
            min_final_cltv_blocks=80, expired=True,
        )  # fmt: skip

    async def receive(self, request: m.Receive) -> m.Receipt:
        self._note("receive", request)
        return m.Receipt(payment_hash=HASH, state="AwaitingInvoice", status="waiting")

    async def receipt(self, payment_hash: str) -> m.Receipt:
        self._note("receipt", payment_hash)
        return self._receipt()

    async def receipts(self) -> list[m.Receipt]:
        self._note("receipts")
        return [self._receipt()]

    @staticmethod
    def _receipt() -> m.Receipt:
        return m.Receipt(payment_hash=HASH, state="InvoiceReady", status="waiting", invoice="lnbcrt1x")

    def _payment(self, status: Any) -> m.Payment:
        preimage = HASH if status == "paid" else ""
        return m.Payment(payment_hash=HASH, state=str(status), status=status, preimage=preimage)

    async def payment_price(self, request: m.AskPrice) -> m.Price:
        self._note("payment_price", request)
        return m.Price(
            payment_hash=HASH, channel=CHANNEL_ID, amount_msat=1000, lovelace=777, valid_until_ms=1
        )

    async def pay(self, request: m.Pay) -> m.Payment:
        self._note("pay", request)
        if self.unbounded and request.most_lovelace is None:
            raise Refused(PAY_UNBOUNDED(field="most_lovelace"))
        return self._payment(self.payment_states.pop(0))

    async def payment(self, payment_hash: str) -> m.Payment:
        self._note("payment", payment_hash)
        return self._payment(
            self.payment_states.pop(0) if len(self.payment_states) > 1 else self.payment_states[0]
        )

    async def payments(self) -> list[m.Payment]:
        self._note("payments")
        return [self._payment("paid")]

    async def price_status(self) -> m.PriceStatus:
        self._note("price_status")
        return m.PriceStatus(
            source="exchanges", ok=True, price="0.000007120000", rate_lovelace=140_449_438_202,
            rate_msat=100_000_000_000, age_ms=2_300, spread_ppm=1_200, volatility_daily_ppm=41_000,
            sources=[
                m.PriceSource(name="kraken", ok=True, price="0.000007120000", age_ms=2_300),
                m.PriceSource(name="okx", ok=False, code="price.source.stale", got="31000 ms old"),
            ],
        )  # fmt: skip

    async def quote(self, request: m.QuoteRequest) -> m.QuoteAnswer:
        self._note("quote", request)
        return m.QuoteAnswer(
            id=HASH, direction="cl_to_btc", payment_hash=HASH, amount_msat=1, lovelace=2, base_fee_lovelace=0,
            proportional_fee_lovelace=0, routing_budget_msat=0, rate_lovelace=2, rate_msat=1,
            cheque_timeout_ms=9, valid_until_ms=8, eps="1/1000000",
        )  # fmt: skip

    async def pause_swaps(self, request: m.Pause) -> None:
        self._note("pause_swaps", request.reason)

    async def resume_swaps(self) -> None:
        self._note("resume_swaps")

    async def estimate(self, request: m.EstimateRequest) -> m.QuoteAnswer:
        self._note("estimate", request)
        return m.QuoteAnswer(
            firm=False, id="", direction="btc_to_cl", payment_hash="", amount_msat=1, lovelace=2,
            base_fee_lovelace=0, proportional_fee_lovelace=0, option_fee_lovelace=41, routing_budget_msat=0,
            rate_lovelace=2, rate_msat=1, cheque_timeout_ms=0, valid_until_ms=0, eps="1/1000000",
        )  # fmt: skip

    def _swap(self) -> m.Swap:
        return m.Swap(
            id=HASH, attempt=1, direction="cl_to_btc", state="Done", payment_hash=HASH, amount_msat=1,
            lovelace=2, peer=PEER, channel=CHANNEL_ID,
        )  # fmt: skip

    async def swaps(self) -> list[m.Swap]:
        self._note("swaps")
        return [self._swap()]

    async def swap(self, swap_id: str) -> m.Swap:
        self._note("swap", swap_id)
        return self._swap()

    async def swap_why(self, swap_id: str) -> m.Why:
        self._note("swap_why", swap_id)
        return m.Why(
            id=swap_id, state="OutgoingInFlight", waits_for="LND's final word", since_ms=5, risk="1.0e-06",
            worst_case="the payment is lost", can_do=["never pay again"],
        )  # fmt: skip

    async def swap_incident(self, swap_id: str) -> dict[str, Any]:
        self._note("swap_incident", swap_id)
        return {"incident": 1, "swap": swap_id}

    async def ledger(self) -> m.Ledger:
        self._note("ledger")
        accounts = [m.LedgerAccount(account="channels", unit="lovelace", amount=1_500_000)]
        return m.Ledger(
            accounts=accounts,
            difference_lovelace=self.difference,
            difference_msat=0,
            detail="it differs" * bool(self.difference),
        )

    async def ledger_rows(self, after: int, since_ms: int, until_ms: int, limit: int) -> list[m.LedgerRow]:
        self._note("ledger_rows", after)
        row = m.LedgerRow(
            id=after + 1, entry="l1tx/ab", account="wallet", unit="lovelace", amount=-5, memo="Close", at_ms=7
        )
        return [row] if after < 3 else []

    async def ledger_profit(self, by_swap: bool) -> list[m.Profit]:
        self._note("ledger_profit", by_swap)
        return [m.Profit(key=HASH if by_swap else "2026-01-01", lovelace=1_000, msat=-1_001)]

    async def ledger_accept(self, request: m.AcceptDifference) -> m.Ledger:
        self._note("ledger_accept", request.reason)
        return m.Ledger(accounts=[], difference_lovelace=0)

    async def cancel_swap(self, swap_id: str) -> m.Swap:
        self._note("cancel_swap", swap_id)
        return self._swap()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            await asyncio.sleep(0)
            yield {"kind": "swap", "id": HASH, "event": f"event{number}"}
