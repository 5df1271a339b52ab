"""The steps of the demo, in order. Each returns what it proves: a line for people and evidence for machines."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.bolt import bolt11_encode, crypto
from gateway.bolt.invoice import Description, Draft, Network
from gateway.cl.data.blueprint import load_blueprint
from gateway.errors import Rejection
from gateway.hashlock import Preimage
from gateway.units import Msat, PosixMs
from regtest import supervisor
from regtest.bitcoin.client import LndClient
from regtest.demo import ledger, terms
from regtest.demo.cast import Failed, NodeProcess, eventually

BLN_NODES = ("gateway", "hub", "alice")


@dataclass(slots=True)
class Stage:
    """What the steps share."""

    directory: Path
    bln: str
    lnd_version: str
    network: dict[str, Any] = field(default_factory=dict)
    lnd: dict[str, LndClient] = field(default_factory=dict)
    start_msat: dict[str, int] = field(default_factory=dict)
    user: NodeProcess = field(init=False)
    gateway: NodeProcess = field(init=False)
    channel: str = ""

    def __post_init__(self) -> None:
        self.user = NodeProcess(self.directory / "user", "user")
        self.gateway = NodeProcess(self.directory / "gateway", "gateway")

    @property
    def ogmios(self) -> str:
        return str(self.network["cardano"]["ogmios_url"])

    @property
    def kupo(self) -> str:
        return str(self.network["cardano"]["kupo_url"])

    async def close(self) -> None:
        await asyncio.gather(self.user.stop(), self.gateway.stop())
        for client in self.lnd.values():
            await client.close()
        if self.network:
            await asyncio.to_thread(supervisor.down, self.directory / "net")


Proof = tuple[str, dict[str, Any]]


async def networks(stage: Stage) -> Proof:
    stage.network = await asyncio.to_thread(
        supervisor.up, stage.directory / "net", stage.bln, versions=stage.lnd_version
    )
    nodes = stage.network["bitcoin"]["nodes"]
    for name in BLN_NODES:
        stage.lnd[name] = LndClient(nodes[name])
        stage.start_msat[name] = await stage.lnd[name].channel_balance()
    evidence = {"bitcoin": stage.network["bitcoin"]["version"], "cardano": stage.network["cardano"]}
    return f"Cardano devnet, {len(BLN_NODES)} Lightning nodes ({evidence['bitcoin']})", evidence


async def nodes(stage: Stage) -> Proof:
    cardano = [f"cardano.ogmios_url={stage.ogmios}", f"cardano.kupo_url={stage.kupo}"]
    lnd = stage.network["bitcoin"]["nodes"]["gateway"]
    bitcoin = [
        "bitcoin.enabled=true",
        f"bitcoin.host={lnd['host']}",
        f"bitcoin.port={lnd['port']}",
        f"bitcoin.tls_cert={lnd['tls_cert']}",
        f"bitcoin.macaroon={lnd['macaroon']}",
        "swap.enabled=true",
        *terms.SETTINGS,
    ]
    await asyncio.gather(stage.user.init([*cardano, *terms.OWN_PRICE]), stage.gateway.init(cardano + bitcoin))
    await asyncio.gather(stage.user.start(), stage.gateway.start())
    net = stage.directory / "net"
    funded = {}
    for node in (stage.user, stage.gateway):
        answer = await asyncio.to_thread(supervisor.faucet, net, node.address, terms.FAUCET)
        funded[node.name] = answer["tx_id"]
    for node in (stage.user, stage.gateway):
        await eventually(f"the faucet's ada at the {node.name}", lambda node=node: _balance(node))
    await stage.user.post(
        "/peers", {"node_id": stage.gateway.node_id, "host": "127.0.0.1", "port": stage.gateway.port}
    )
    return "a user's node and the gateway run, funded and connected", {
        "user": stage.user.node_id,
        "gateway": stage.gateway.node_id,
        "faucet": funded,
    }


async def _balance(node: NodeProcess) -> int:
    return int((await node.get("/wallet/balance"))["lovelace"])


async def _channel(node: NodeProcess, channel: str) -> dict[str, Any]:
    found: dict[str, Any] = await node.get(f"/channels/{channel}")
    return found


async def channel_open(stage: Stage) -> Proof:
    asked = await stage.user.post("/channels", {"peer": stage.gateway.node_id, "lovelace": terms.CHANNEL})
    stage.channel = asked["id"]

    async def opened() -> bool:
        sides = [await node.get("/channels") for node in (stage.user, stage.gateway)]
        return all(any(c["id"] == stage.channel and c["state"] == "opened" for c in side) for side in sides)

    await eventually("the channel to open on both sides", opened, 60)
    await eventually(
        "the opening's change to be spendable", lambda: _spendable(stage.gateway, terms.GATEWAY_ADDS), 30
    )
    await stage.gateway.post(f"/channels/{stage.channel}/add", {"lovelace": terms.GATEWAY_ADDS})

    async def added() -> bool:
        theirs, ours = [await _channel(node, stage.channel) for node in (stage.user, stage.gateway)]
        return bool(theirs["remote_lovelace"] == terms.GATEWAY_ADDS == ours["local_lovelace"])

    await eventually("the gateway's own funds in the channel", added, 60)
    view = await _channel(stage.user, stage.channel)
    return (
        f"{_ada(terms.CHANNEL)} of the user and {_ada(terms.GATEWAY_ADDS)} of the gateway",
        {"channel": stage.channel, "transactions": view["transactions"]},
    )


async def _spendable(node: NodeProcess, lovelace: int) -> bool:
    rows = await node.get("/wallet/utxos")
    return bool(sum(row["lovelace"] for row in rows if not row["reserved"]) > lovelace)


async def pay_bitcoin(stage: Stage) -> Proof:
    invoice = await stage.lnd["alice"].add_invoice(terms.PAY_MSAT, "coffee")
    return await _paid(stage, await pay(stage, invoice), terms.PAY_MSAT)


async def pay(stage: Stage, invoice: str) -> str:
    return str((await stage.user.post("/payments", {"invoice": invoice}))["payment_hash"])


async def _paid(stage: Stage, payment_hash: str, msat: int) -> Proof:
    payment = await _ended(stage.user, payment_hash)
    if payment["status"] != "paid":
        raise Failed(f"the payment is {payment['state']}: {payment['detail']}")
    if hashlib.sha256(bytes.fromhex(payment["preimage"])).hexdigest() != payment_hash:
        raise Failed("the preimage does not fit the payment hash")
    record = await stage.lnd["gateway"].lookup_payment(bytes.fromhex(payment_hash))
    status = "unknown" if record is None else record.status
    return f"{msat // 1000} sat for {_ada(payment['lovelace'])}", {
        "payment_hash": payment_hash,
        "preimage": payment["preimage"],
        "lnd_payment": status,
        "lnd_invoice": await stage.lnd["alice"].lookup_invoice(bytes.fromhex(payment_hash)),
    }


async def _ended(node: NodeProcess, payment_hash: str, within_s: float = 60) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await node.get(f"/payments/{payment_hash}")
        return None if found["status"] == "pending" else found

    found: dict[str, Any] = await eventually(f"payment {payment_hash[:12]} to end", ended, within_s)
    return found


async def receive_bitcoin(stage: Stage) -> Proof:
    receipt = await stage.user.post("/invoices", {"lovelace": terms.RECEIVE})
    if not receipt["invoice"]:
        raise Failed(f"no invoice: {receipt['detail']}")
    result = await stage.lnd["alice"].pay(receipt["invoice"], fee_limit_msat=10_000)
    if not result.settled:
        raise Failed(f"alice's payment is {result.status} {result.reason}")

    async def received() -> bool:
        rows = await stage.user.get("/invoices")
        return any(r["payment_hash"] == receipt["payment_hash"] and r["status"] == "received" for r in rows)

    await eventually("the receipt to be the user's for good", received)
    payment_hash = bytes.fromhex(receipt["payment_hash"])
    return f"{receipt['amount_msat'] // 1000} sat became {_ada(terms.RECEIVE)}", {
        "payment_hash": receipt["payment_hash"],
        "preimage": result.preimage.hex(),
        "lnd_payment": result.status,
        "lnd_invoice": await stage.lnd["gateway"].lookup_invoice(payment_hash),
    }


async def failed_payment_back(stage: Stage) -> Proof:
    """An invoice of a node that nobody can reach."""
    before = (await _channel(stage.user, stage.channel))["local_lovelace"]
    invoice, payment_hash = _unreachable_invoice(terms.FAIL_MSAT)
    began = asyncio.get_running_loop().time()
    await pay(stage, invoice)
    payment = await _ended(stage.user, payment_hash)
    if payment["status"] != "failed":
        raise Failed(f"the payment is {payment['state']}")

    async def back() -> bool:
        return bool((await _channel(stage.user, stage.channel))["local_lovelace"] == before)

    await eventually("the funds to be back", back, 20)
    took = asyncio.get_running_loop().time() - began
    record = await stage.lnd["gateway"].lookup_payment(bytes.fromhex(payment_hash))
    return f"no route; {_ada(before)} spendable again after {took:.1f} s", {
        "payment_hash": payment_hash,
        "why": payment["detail"],
        "lnd_payment": "unknown" if record is None else f"{record.status} {record.reason}",
    }


def _unreachable_invoice(msat: int) -> tuple[str, str]:
    """Signed by a key that belongs to no node of the graph."""
    key = secrets.token_bytes(32)
    while not crypto.is_secret(key):
        key = secrets.token_bytes(32)
    hashlock = Preimage(secrets.token_bytes(32)).hashlock
    draft = Draft(
        network=Network.REGTEST,
        amount=Msat(msat),
        created=PosixMs(int(time.time()) * 1000),
        hashlock=hashlock,
        payment_secret=secrets.token_bytes(32),
        description=Description("nobody can be paid here"),
    )
    text = bolt11_encode.encode(
        draft, crypto.public_key(key), lambda digest: crypto.sign_recoverable(key, digest)
    )
    if isinstance(text, Rejection):
        raise Failed(str(text))
    return text, hashlock.hex()


async def hold(stage: Stage, msat: int) -> tuple[str, bytes]:
    """Alice's invoice that she will settle when we say so; returns it with its preimage."""
    preimage = secrets.token_bytes(32)
    text = await stage.lnd["alice"].add_hold_invoice(hashlib.sha256(preimage).digest(), msat, "held")
    return text, preimage


async def until_held(stage: Stage, payment_hash: str) -> None:
    async def held() -> bool:
        return await stage.lnd["alice"].lookup_invoice(bytes.fromhex(payment_hash)) == "ACCEPTED"

    await eventually("alice to hold the payment", held)


async def crash_resume(stage: Stage) -> Proof:
    invoice, preimage = await hold(stage, terms.CRASH_MSAT)
    payment_hash = await pay(stage, invoice)
    await until_held(stage, payment_hash)
    pid = await stage.gateway.kill()
    await stage.lnd["alice"].settle(preimage)
    await stage.gateway.start()
    _, evidence = await _paid(stage, payment_hash, terms.CRASH_MSAT)
    return f"process {pid} killed while alice held the payment; settled after the restart", {
        **evidence,
        "killed": pid,
    }


async def force_close(stage: Stage) -> Proof:
    invoice, preimage = await hold(stage, terms.PENDING_MSAT)
    payment_hash = await pay(stage, invoice)
    await until_held(stage, payment_hash)
    await stage.user.post(f"/channels/{stage.channel}/close", {"force": True})

    async def responded() -> bool:
        return bool((await _channel(stage.user, stage.channel))["stage"] == "Resolved")

    await eventually("the close and the gateway's respond on chain", responded, 60)
    await stage.lnd["alice"].settle(preimage)
    _, evidence = await _paid(stage, payment_hash, terms.PENDING_MSAT)

    async def ended() -> bool:
        views = [await _channel(node, stage.channel) for node in (stage.user, stage.gateway)]
        return all(view["state"] == "ended" for view in views)

    await eventually("both sides to see the channel's end", ended, 90)
    transactions = (await _channel(stage.user, stage.channel))["transactions"]

    async def burnt() -> bool:
        return await ledger.unspent_threads(stage.kupo, load_blueprint().hash.hex()) == 0

    await eventually("the index to see the thread token burnt", burnt, 10)
    return "closed with a pending cheque; claimed on chain with the preimage; thread token burnt", {
        **evidence,
        "transactions": transactions,
        "tokens_left": 0,
    }


def _ada(lovelace: int) -> str:
    return f"{lovelace // 1_000_000}.{lovelace % 1_000_000:06d} ada"
