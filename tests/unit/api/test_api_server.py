"""The API's door: token, host, body size, problem documents; every route reaches the node once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gateway.api import token as api_token
from gateway.api.server import create_api
from gateway.errors import Refused
from tests.support.api_node import CHANNEL_ID, HASH, PEER, RecordingNode

TOKEN = "t" * 64
AUTH = {"authorization": f"Bearer {TOKEN}"}

ROUTES = [
    ("GET", "/v1/status", None, 200), ("POST", "/v1/unlock", {"password": "p"}, 204),
    ("POST", "/v1/stop", None, 202), ("GET", "/v1/logs?lines=1", None, 200),
    ("GET", "/v1/wallet/address", None, 200), ("GET", "/v1/wallet/balance", None, 200),
    ("GET", "/v1/wallet/utxos", None, 200),
    ("POST", "/v1/wallet/send", {"address": "addr_test1xyz", "lovelace": 5}, 200),
    ("GET", "/v1/providers", None, 200),
    ("GET", "/v1/peers", None, 200), ("POST", "/v1/peers", {"node_id": PEER, "host": "h", "port": 1}, 200),
    ("GET", "/v1/channels", None, 200), ("POST", "/v1/channels", {"peer": PEER, "lovelace": 5}, 202),
    ("GET", f"/v1/channels/{CHANNEL_ID}", None, 200),
    ("POST", f"/v1/channels/{CHANNEL_ID}/add", {"lovelace": 5}, 202),
    ("POST", f"/v1/channels/{CHANNEL_ID}/close", {"force": True}, 202),
    ("POST", "/v1/invoices", {"lovelace": 5}, 201), ("GET", "/v1/invoices", None, 200),
    ("POST", "/v1/invoices/decode", {"invoice": "lnbcrt1x"}, 200),
    ("POST", "/v1/payments", {"invoice": "lnbcrt1x"}, 202), ("GET", "/v1/payments", None, 200),
    ("POST", "/v1/payments/price", {"invoice": "lnbcrt1x"}, 200),
    ("GET", f"/v1/payments/{HASH}", None, 200), ("GET", f"/v1/invoices/{HASH}", None, 200),
    ("GET", "/v1/price", None, 200), ("POST", "/v1/swaps/estimate", {"lovelace": 5}, 200),
    ("POST", "/v1/swaps/pause", {"reason": "moving house"}, 204), ("POST", "/v1/swaps/resume", None, 204),
    ("POST", "/v1/swaps/quote", {"invoice": "lnbcrt1x"}, 200),
    ("GET", "/v1/swaps", None, 200), ("GET", f"/v1/swaps/{HASH}", None, 200),
    ("POST", f"/v1/swaps/{HASH}/cancel", None, 200), ("GET", f"/v1/swaps/{HASH}/why", None, 200),
    ("GET", f"/v1/swaps/{HASH}/incident", None, 200), ("GET", "/v1/ledger", None, 200),
    ("GET", "/v1/ledger/rows?after=1&limit=5", None, 200), ("GET", "/v1/ledger/profit?by_swap=true", None, 200),
    ("POST", "/v1/ledger/accept", {"reason": "paid the plumber"}, 200),
]  # fmt: skip


@pytest.fixture
def node() -> RecordingNode:
    return RecordingNode()


@pytest.fixture
def http(node: RecordingNode) -> Iterator[TestClient]:
    with TestClient(create_api(node, TOKEN), base_url="http://127.0.0.1:9912") as client:
        yield client


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
def test_each_route_reaches_the_node_once_and_only_with_the_token(
    http: TestClient, node: RecordingNode, method: str, path: str, body: object, status: int
) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
        refused = http.request(method, path, json=body, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["code"] == "api.unauthorised"
    assert node.calls == []
    assert http.request(method, path, json=body, headers=AUTH).status_code == status
    assert len(node.calls) == 1


def test_every_route_is_in_the_table(http: TestClient) -> None:
    spec = http.get("/openapi.json", headers=AUTH).json()
    served = {(m.upper(), p) for p, ops in spec["paths"].items() for m in ops}
    asked = set()
    for method, path, _, _ in ROUTES:
        plain = path.split("?")[0].replace(CHANNEL_ID, "{channel}")
        name = "{swap_id}" if "/swaps/" in plain else "{payment_hash}"
        asked.add((method, plain.replace(HASH, name)))
    assert served == asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"peer": "zz", "lovelace": 5}, "peer"),
        ({"peer": PEER}, "lovelace"),
        ({"peer": PEER, "lovelace": 0}, "lovelace"),
        ({"peer": PEER, "lovelace": 5, "lovelaces": 1}, "lovelaces"),
        ({"peer": PEER, "lovelace": 10**30}, "lovelace"),
    ],
)
def test_a_bad_field_is_named(http: TestClient, body: object, field: str) -> None:
    answer = http.post("/v1/channels", json=body, headers=AUTH)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "api.bad_request"
    assert answer.json()["field"] == field


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_pages_of_other_origins_get_nothing(
    http: TestClient, node: RecordingNode, headers: dict[str, str]
) -> None:
    answer = http.get("/v1/status", headers={**AUTH, **headers})
    assert answer.status_code == 403
    assert answer.json()["code"] == "api.foreign_host"
    assert node.calls == []


def test_a_large_body_is_refused_before_it_is_read(http: TestClient) -> None:
    answer = http.post("/v1/payments", content=b"x" * 70_000, headers=AUTH)
    assert answer.status_code == 413
    assert answer.json()["code"] == "api.too_large"


def test_an_unknown_path_and_a_bug_have_codes_and_leak_nothing(http: TestClient, node: RecordingNode) -> None:
    assert http.get("/v1/nothing", headers=AUTH).json()["code"] == "api.not_found"
    node.broken = True
    answer = http.get("/v1/status", headers=AUTH)
    assert answer.status_code == 500
    assert answer.json()["code"] == "api.internal"
    assert "canary" not in answer.text


def test_a_locked_node_says_what_to_do(http: TestClient, node: RecordingNode) -> None:
    node.locked = True
    answer = http.get("/v1/status", headers=AUTH)
    assert answer.status_code == 423
    assert "unlock" in answer.json()["remedy"]


def test_events_need_the_token_too(http: TestClient) -> None:
    with http.websocket_connect("/v1/events", headers={**AUTH, "host": "127.0.0.1:9912"}) as socket:
        assert [socket.receive_json()["event"] for _ in range(3)] == ["event0", "event1", "event2"]
    with pytest.raises(WebSocketDisconnect), http.websocket_connect("/v1/events") as socket:
        socket.receive_json()


def test_the_token_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = api_token.load_or_create(path)
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert api_token.load_or_create(path) == token
    path.chmod(0o644)
    with pytest.raises(Refused) as caught:
        api_token.read(path)
    assert caught.value.rejection.code == "api.token.mode"
