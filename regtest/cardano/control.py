"""The control API (HTTP on loopback): time, blocks, rollbacks, faults, faucet, state.

POST bodies and answers are JSON; a bad request gets 400 and {"hint"}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regtest.cardano.web import Request, Response

if TYPE_CHECKING:
    from regtest.cardano.devnet import Devnet


class Control:
    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet

    async def handle(self, request: Request) -> Response:
        name = request.path.removeprefix("/control").strip("/")
        if request.method == "GET" and name in ("state", "time", "fault"):
            return Response(200, self._devnet.state())
        if request.method != "POST":
            return Response(405 if name == "state" else 404, {"hint": "see docs/judges.md for the API"})
        if name == "settle" and self._devnet.judge is not None:
            await self._devnet.judge.settled()
        done = self._post(name, request.json())
        if done is None:
            return Response(404, {"hint": f"unknown control «{name[:40]}»"})
        return Response(200, {**self._devnet.state(), **done})

    def _post(self, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        devnet = self._devnet
        match name:
            case "time":
                devnet.advance(_natural(body, "advance_ms"), _natural(body, "blocks", 1))
                return {}
            case "mine":
                blocks = devnet.mine(_natural(body, "blocks", 1))
                return {"blocks": [block.hash.hex() for block in blocks]}
            case "rollback":
                undone = devnet.rollback(_natural(body, "depth"), bool(body.get("drop", False)))
                return {
                    "returned": [tx.id.hex() for tx in undone.returned],
                    "lost": [tx.id.hex() for tx in undone.lost],
                }
            case "fault":
                if body.pop("clear", False):
                    devnet.clear_faults()
                devnet.set_faults(**body)
                return {}
            case "disconnect":
                devnet.disconnect()
                return {}
            case "faucet":
                targets = (
                    body["targets"] if "targets" in body else {body["address"]: _natural(body, "lovelace")}
                )
                tx = devnet.faucet(dict(targets), bool(body.get("mine", True)))
                return {"tx_id": tx.id.hex()}
            case "forget":
                devnet.forget([bytes.fromhex(item) for item in body["tx_ids"]])
                return {}
            case "settle":
                return {}
            case "stop":
                devnet.stopped.set()
                return {}
        return None


def _natural(body: dict[str, Any], name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{name}: a natural number is expected, not {value!r}")
    return value
