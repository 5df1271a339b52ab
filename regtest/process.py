"""One regtest network as one process: the Cardano devnet, a Bitcoin Lightning backend, one clock for both.

The pacemaker lets ledger time follow real time and mines the Bitcoin blocks that the profile expects for
it; `time +X` moves both at once. Never one chain alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.errors import Rejection
from gateway.profile import REGTEST
from gateway.units import Ms
from regtest.supervisor import BAD_REQUEST, FILE, TOO_FAR, born


class Cardano(Protocol):
    """What the supervisor needs of the devnet."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    def tip(self) -> dict[str, int]: ...
    async def advance(self, span_ms: int) -> None: ...
    async def rollback(self, depth: int) -> None: ...
    async def faucet(self, address: str, lovelace: int) -> str: ...


class Bitcoin(Protocol):
    """What the supervisor needs of a Bitcoin Lightning backend. `most_blocks`: what one move may bring, None: any."""

    most_blocks: int | None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    async def height(self) -> int: ...
    def follow(self, now_ms: int) -> None:
        """The ledger's time: the clock by which invoices expire, where it can be set."""
        ...

    async def mine(self, blocks: int, span_ms: int) -> None:
        """Mines `blocks` whose header times spread over `span_ms`."""
        ...


class Mine(BaseModel):
    blocks: int = Field(ge=1, le=2016)


class Move(BaseModel):
    span_ms: int = Field(ge=1, le=400 * 86_400_000)


class Depth(BaseModel):
    depth: int = Field(ge=1, le=2160)


class Faucet(BaseModel):
    address: str = Field(min_length=10, max_length=200)
    lovelace: int = Field(ge=1_000_000, le=10**15)


class Network:
    """Both chains under one clock."""

    def __init__(self, cardano: Cardano, bitcoin: Bitcoin, bln: str) -> None:
        self.cardano, self.bitcoin, self.bln = cardano, bitcoin, bln
        self._moving = asyncio.Lock()
        self._owed_ms = 0  # ledger time whose Bitcoin blocks are not mined yet

    async def move(self, span_ms: int) -> None:
        """Ledger time by `span_ms`, and the Bitcoin blocks that it brings in the mean."""
        async with self._moving:
            await self.cardano.advance(span_ms)
            self.same_clock()
            await self._bitcoin_follows(span_ms)

    def same_clock(self) -> None:
        self.bitcoin.follow(self.cardano.tip()["time_ms"])

    def refusal(self, span_ms: int) -> Rejection | None:
        """Asked before anything moves: never one chain alone."""
        most = self.bitcoin.most_blocks
        if most is None or REGTEST.blocks_in(Ms(self._owed_ms + span_ms)) <= most:
            return None
        allowed = f"at most {most * REGTEST.bitcoin.block_ms}"
        return TOO_FAR(field="span_ms", got=span_ms, allowed=allowed)

    async def _bitcoin_follows(self, span_ms: int) -> None:
        self._owed_ms += span_ms
        blocks = REGTEST.blocks_in(Ms(self._owed_ms))
        if blocks:
            self._owed_ms -= blocks * REGTEST.bitcoin.block_ms
            await self.bitcoin.mine(blocks, blocks * REGTEST.bitcoin.block_ms)

    async def mine(self, blocks: int) -> None:
        """Bitcoin blocks by hand; ledger time moves by what they take in the mean."""
        async with self._moving:
            await self.cardano.advance(blocks * REGTEST.bitcoin.block_ms)
            self.same_clock()
            await self.bitcoin.mine(blocks, blocks * REGTEST.bitcoin.block_ms)

    async def pace(self) -> None:
        """Real time passes for both chains."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(REGTEST.cardano.slot_ms / 1000)
            now = loop.time()
            span = int((now - last) * 1000) // REGTEST.cardano.slot_ms * REGTEST.cardano.slot_ms
            if span:
                last += span / 1000
                await self.move(span)

    async def status(self) -> dict[str, Any]:
        return {"cardano": self.cardano.tip(), "bitcoin": {"height": await self.bitcoin.height()}}


def control_api(network: Network) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _refusal(BAD_REQUEST(field=str(first["loc"][-1]), got=first.get("input"), detail=first["msg"]))

    @app.exception_handler(ValueError)
    async def impossible(request: Request, error: ValueError) -> JSONResponse:
        return _refusal(BAD_REQUEST(field=request.url.path.strip("/"), detail=str(error)[:300]))

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return await network.status()

    @app.post("/mine")
    async def mine(request: Mine) -> dict[str, Any]:
        await network.mine(request.blocks)
        return await network.status()

    @app.post("/time")
    async def move(request: Move) -> Any:
        refusal = network.refusal(request.span_ms)
        if refusal is not None:
            return _refusal(refusal)
        await network.move(request.span_ms)
        return await network.status()

    @app.post("/rollback")
    async def rollback(request: Depth) -> dict[str, Any]:
        await network.cardano.rollback(request.depth)
        return await network.status()

    @app.post("/faucet")
    async def faucet(request: Faucet) -> dict[str, Any]:
        return {"tx_id": await network.cardano.faucet(request.address, request.lovelace)}

    return app


def _refusal(why: Rejection) -> JSONResponse:
    named = {"field": why.field, "got": why.got, "allowed": why.allowed, "detail": why.detail}
    return JSONResponse({"code": why.code, **named}, why.spec.http_status)


class _Server(uvicorn.Server):
    """Signals are the supervisor's: both chains stop before the process ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(directory: Path, network: Network) -> None:
    """Runs until SIGTERM or SIGINT; regtest.json appears once everything answers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await network.cardano.start()
    try:
        await network.bitcoin.start()
        network.same_clock()
        server = _Server(uvicorn.Config(control_api(network), host="127.0.0.1", port=0, log_level="warning"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        pace = asyncio.create_task(network.pace())
        _announce(directory, network, f"http://127.0.0.1:{port}")
        done, _ = await asyncio.wait(
            {pace, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        (directory / FILE).unlink(missing_ok=True)
        server.should_exit = True
        await serving
        if pace in done:
            pace.result()  # a pacemaker that died takes the network down loudly, never silently
        pace.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pace
    finally:
        await network.bitcoin.stop()
        await network.cardano.stop()


def _announce(directory: Path, network: Network, control: str) -> None:
    content = {
        "pid": os.getpid(),
        "born": born(os.getpid()),
        "bln": network.bln,
        "control": control,
        "faucet": {
            "url": f"{control}/faucet",
            "method": "POST",
            "body": {"address": "addr_test1…", "lovelace": 100_000_000},
        },
        "profile": REGTEST.name,
        "cardano": network.cardano.describe(),
        "bitcoin": network.bitcoin.describe(),
    }
    partial = directory / (FILE + ".part")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    partial.replace(directory / FILE)


def main() -> None:
    from regtest.backends import bitcoin_backend, cardano_backend

    parser = argparse.ArgumentParser(prog="python -m regtest.process", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--bln", choices=("embedded", "lnd"), default="embedded")
    parser.add_argument("--lnd-version", default="")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    network = Network(
        cardano_backend(options.directory / "cardano"),
        bitcoin_backend(options.directory / "bitcoin", options.bln, options.lnd_version),
        options.bln,
    )
    asyncio.run(serve(options.directory, network))


if __name__ == "__main__":
    main()
