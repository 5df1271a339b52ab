"""R4. The process: the API from the first moment, the node once its keys are open, a drain at the end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
import uvicorn

from gateway.api import token
from gateway.api.server import create_api
from gateway.app import logs
from gateway.app.init import TOKEN
from gateway.app.node import GatewayNode
from gateway.config import Settings
from gateway.errors import Action, Fault, Refused, define

log = structlog.get_logger("gateway.process")

API_PORT = define(
    "api.port", Fault.LOCAL, Action.STOP,
    "the API's port cannot be used", "Choose another api_port, or stop what listens there.", 500,
)  # fmt: skip


def run_node(
    directory: Path, settings: Settings, password: str | None, *, accept_old_copy: bool = False
) -> int:
    """Runs until SIGTERM, SIGINT or `gateway stop`; returns the exit status."""
    logs.configure(directory / "logs" / "gateway.log", settings.log_level, settings.log_bytes)
    try:
        return asyncio.run(_main(directory, settings, password, accept_old_copy))
    except Refused as refused:
        log.error("node.refused", code=refused.rejection.code, why=str(refused.rejection))
        print(str(refused.rejection), file=sys.stderr)
        return 1


async def _main(
    directory: Path, settings: Settings, password: str | None, accept_old_copy: bool = False
) -> int:
    stop = asyncio.Event()
    node = GatewayNode(directory, settings, stop, accept_old_copy=accept_old_copy)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    secret = token.load_or_create(directory / TOKEN)
    config = uvicorn.Config(
        create_api(node, secret), host="127.0.0.1", port=settings.api_port, log_config=None, access_log=False,
        ws_max_size=1 << 16, timeout_graceful_shutdown=3,
    )  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(_serve(server))
    try:
        await _started(server, serving, settings.api_port)
        if password is not None:
            await node.unlock(password)
        await _first(stop.wait(), serving)
    finally:
        await node.drain()
        server.should_exit = True
        with suppress(SystemExit):
            await serving
    log.info("node.stopped")
    return 0


class _Server(uvicorn.Server):
    """Signals are the node's: it drains first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(server: uvicorn.Server) -> None:
    try:
        await server.serve()
    except SystemExit as error:  # uvicorn's way to say that it cannot listen
        raise Refused(API_PORT(field="api_port", got=server.config.port)) from error


async def _started(server: uvicorn.Server, serving: asyncio.Task[None], port: int) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            raise Refused(API_PORT(field="api_port", got=port))
        await asyncio.sleep(0.01)


async def _first(waiting: Awaitable[object], serving: asyncio.Task[None]) -> None:
    task = asyncio.ensure_future(waiting)
    await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
