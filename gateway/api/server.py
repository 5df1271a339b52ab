"""R4. REST and WebSocket over a `Node`. Loopback only, bearer token, problem documents (RFC 9457)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from gateway import __version__
from gateway.api import errors
from gateway.api import models as m
from gateway.api.facade import Node
from gateway.errors import Refused, Rejection

MAX_BODY = 64 * 1024
LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "[::1]", "::1"}
log = structlog.get_logger("gateway.api")


def problem(rejection: Rejection) -> JSONResponse:
    """The problem document of a coded refusal."""
    spec = rejection.spec
    body = m.Problem(
        type=f"urn:cl-gateway:error:{spec.code}",
        title=spec.meaning,
        status=spec.http_status,
        code=spec.code,
        detail=rejection.detail,
        field=rejection.field,
        got=rejection.got,
        allowed=rejection.allowed,
        remedy=spec.remedy,
        retry_after_ms=rejection.retry_after_ms,
    )
    headers = {}
    if rejection.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-rejection.retry_after_ms // 1000))
    return JSONResponse(
        body.model_dump(),
        status_code=spec.http_status,
        media_type="application/problem+json",
        headers=headers,
    )


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header.split("]")[0] + "]"
    return header.rsplit(":", 1)[0] if ":" in header else header


def create_api(node: Node, token: str) -> FastAPI:
    """The API of one node. Every route but the WebSocket's needs the bearer token in a header."""
    problem_schema: dict[str, Any] = {
        "model": m.Problem,
        "description": "a coded refusal",
        "content": {"application/problem+json": {}},
    }
    app = FastAPI(
        title="CL gateway",
        version=__version__,
        summary="A gateway node between Bitcoin Lightning and Cardano Lightning",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": problem_schema, "5XX": problem_schema},
    )
    _guard(app, token)
    app.include_router(_node_routes(node))
    app.include_router(_channel_routes(node))
    app.include_router(_money_routes(node))
    app.include_router(_ledger_routes(node))
    _events_route(app, node, token)
    return app


def _authorised(header: str | None, token: str) -> bool:
    expected = f"Bearer {token}"
    return header is not None and secrets.compare_digest(header.encode(), expected.encode())


def _guard(app: FastAPI, token: str) -> None:
    @app.middleware("http")
    async def check(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        # A7: no DNS rebinding, no cross-origin form posts, no token no answer
        if _host_of(request.headers.get("host", "")) not in LOOPBACK_HOSTS or "origin" in request.headers:
            return problem(errors.FOREIGN_HOST(field="host", got=request.headers.get("host", "")))
        if not _authorised(request.headers.get("authorization"), token):
            return problem(errors.UNAUTHORISED(field="authorization"))
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY or "transfer-encoding" in request.headers:
            return problem(errors.TOO_LARGE(field="body", got=length[:20], allowed=f"<= {MAX_BODY} bytes"))
        try:
            return await call(request)
        except Refused as refused:
            return problem(refused.rejection)
        except Exception:
            log.exception("api.bug", path=request.url.path)
            return problem(errors.INTERNAL())

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return problem(error.rejection)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return problem(
            errors.BAD_REQUEST(field=where, got=_shown(where, first), detail=str(first["msg"])[:200])
        )

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        if error.status_code in (404, 405):
            return problem(errors.NOT_FOUND())
        return problem(errors.BAD_REQUEST(detail=str(error.detail)[:200]))


def _shown(where: str, error: Any) -> str:
    """The wrong value itself, for the one who typed it; never a password, never a whole body."""
    value = error.get("input")
    return str(value)[:80] if isinstance(value, (str, int)) and "password" not in where else ""


def _node_routes(node: Node) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["node"])

    @router.get("/status")
    async def status() -> m.Status:
        return await node.status()

    @router.post("/unlock", status_code=204)
    async def unlock(request: m.Unlock) -> None:
        await node.unlock(request.password)

    @router.post("/stop", status_code=202)
    async def stop() -> None:
        await node.stop()

    @router.get("/logs")
    async def logs(lines: int = Query(default=100, ge=1, le=10_000)) -> list[str]:
        return await node.logs(lines)

    @router.get("/wallet/address")
    async def address() -> m.Address:
        return await node.wallet_address()

    @router.get("/wallet/balance")
    async def balance() -> m.WalletBalance:
        return await node.wallet_balance()

    @router.get("/wallet/utxos")
    async def utxos() -> list[m.WalletUtxo]:
        return await node.wallet_utxos()

    @router.post("/wallet/send")
    async def send(request: m.Send) -> m.Transaction:
        return await node.wallet_send(request)

    @router.get("/providers")
    async def providers() -> m.Providers:
        return await node.providers()

    @router.get("/peers")
    async def peers() -> list[m.Peer]:
        return await node.peers()

    @router.post("/peers")
    async def connect(request: m.ConnectPeer) -> m.Peer:
        return await node.connect_peer(request)

    return router


def _channel_routes(node: Node) -> APIRouter:
    router = APIRouter(prefix="/v1/channels", tags=["channels"])

    @router.get("")
    async def channels() -> list[m.Channel]:
        return await node.channels()

    @router.post("", status_code=202)
    async def open_channel(request: m.OpenChannel) -> m.Channel:
        return await node.open_channel(request)

    @router.get("/{channel}")
    async def channel(channel: m.ChannelRef) -> m.Channel:
        return await node.channel(channel)

    @router.post("/{channel}/add", status_code=202)
    async def add(channel: m.ChannelRef, request: m.AddFunds) -> m.Channel:
        return await node.add_funds(channel, request)

    @router.post("/{channel}/close", status_code=202)
    async def close(channel: m.ChannelRef, request: m.CloseChannel) -> m.Channel:
        return await node.close_channel(channel, request)

    return router


def _money_routes(node: Node) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["money"])

    @router.post("/invoices", status_code=201)
    async def receive(request: m.Receive) -> m.Receipt:
        return await node.receive(request)

    @router.get("/invoices")
    async def receipts() -> list[m.Receipt]:
        return await node.receipts()

    @router.get("/invoices/{payment_hash}")
    async def receipt(payment_hash: m.Hex32) -> m.Receipt:
        return await node.receipt(payment_hash)

    @router.post("/invoices/decode")
    async def decode(request: m.DecodeInvoice) -> m.DecodedInvoice:
        return await node.decode_invoice(request)

    @router.post("/payments/price")
    async def payment_price(request: m.AskPrice) -> m.Price:
        return await node.payment_price(request)

    @router.post("/payments", status_code=202)
    async def pay(request: m.Pay) -> m.Payment:
        return await node.pay(request)

    @router.get("/payments")
    async def payments() -> list[m.Payment]:
        return await node.payments()

    @router.get("/payments/{payment_hash}")
    async def payment(payment_hash: m.Hex32) -> m.Payment:
        return await node.payment(payment_hash)

    @router.get("/price")
    async def price_status() -> m.PriceStatus:
        return await node.price_status()

    @router.post("/swaps/quote")
    async def quote(request: m.QuoteRequest) -> m.QuoteAnswer:
        return await node.quote(request)

    @router.post("/swaps/pause", status_code=204)
    async def pause(request: m.Pause) -> None:
        await node.pause_swaps(request)

    @router.post("/swaps/resume", status_code=204)
    async def resume() -> None:
        await node.resume_swaps()

    @router.post("/swaps/estimate")
    async def estimate(request: m.EstimateRequest) -> m.QuoteAnswer:
        return await node.estimate(request)

    @router.get("/swaps")
    async def swaps() -> list[m.Swap]:
        return await node.swaps()

    @router.get("/swaps/{swap_id}")
    async def swap(swap_id: m.Hex32) -> m.Swap:
        return await node.swap(swap_id)

    @router.get("/swaps/{swap_id}/why")
    async def why(swap_id: m.Hex32) -> m.Why:
        return await node.swap_why(swap_id)

    @router.get("/swaps/{swap_id}/incident")
    async def incident(swap_id: m.Hex32) -> dict[str, Any]:
        return await node.swap_incident(swap_id)

    @router.post("/swaps/{swap_id}/cancel")
    async def cancel(swap_id: m.Hex32) -> m.Swap:
        return await node.cancel_swap(swap_id)

    return router


def _ledger_routes(node: Node) -> APIRouter:
    router = APIRouter(prefix="/v1/ledger", tags=["ledger"])

    @router.get("")
    async def ledger() -> m.Ledger:
        return await node.ledger()

    @router.get("/rows")
    async def rows(
        after: int = Query(default=0, ge=0),
        since_ms: int = Query(default=0, ge=0),
        until_ms: int = Query(default=2**53, ge=0),
        limit: int = Query(default=1000, ge=1, le=10_000),
    ) -> list[m.LedgerRow]:
        return await node.ledger_rows(after, since_ms, until_ms, limit)

    @router.get("/profit")
    async def profit(by_swap: bool = False) -> list[m.Profit]:
        return await node.ledger_profit(by_swap)

    @router.post("/accept")
    async def accept(request: m.AcceptDifference) -> m.Ledger:
        return await node.ledger_accept(request)

    return router


def _events_route(app: FastAPI, node: Node, token: str) -> None:
    @app.websocket("/v1/events")
    async def events(socket: WebSocket) -> None:
        allowed = _host_of(socket.headers.get("host", "")) in LOOPBACK_HOSTS
        if not allowed or not _authorised(socket.headers.get("authorization"), token):
            await socket.close(code=4401)
            return
        await socket.accept()
        try:
            async for event in node.events():
                await socket.send_json(event)
        except WebSocketDisconnect:
            return
