"""R5. The CLI's only way in: the node's API, found through its data directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gateway.api import token as api_token
from gateway.config import load
from gateway.errors import Action, Fault, Refused, define

UNREACHABLE = define(
    "cli.unreachable",
    Fault.LOCAL,
    Action.REFUSE,
    "the node does not answer",
    "Start it with gateway run, or name its directory with --dir.",
    503,
)
BAD_ANSWER = define(
    "cli.bad_answer",
    Fault.LOCAL,
    Action.REFUSE,
    "the node's answer cannot be read",
    "Use the same version for the CLI and the node.",
    502,
)


@dataclass(frozen=True, slots=True)
class ApiProblem(Exception):
    """A problem document of the node."""

    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code", "api.unknown"))


class Client:
    """Calls one node. Raises ApiProblem for its refusals and Refused when it is not there."""

    def __init__(self, directory: Path, timeout_s: float = 60.0) -> None:
        settings = load(directory)
        self._base = f"http://127.0.0.1:{settings.api_port}"
        try:
            self._token = api_token.read(directory / "api.token")
        except FileNotFoundError as error:
            raise Refused(UNREACHABLE(detail=f"{directory} holds no api.token")) from error
        self._timeout = timeout_s

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = httpx.request(
                method,
                f"{self._base}/v1{path}",
                json=body,
                headers=self._headers(),
                timeout=self._timeout,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise Refused(UNREACHABLE(detail=f"{self._base}: {error}")) from error
        if answer.status_code == 204:
            return None
        try:
            content = answer.json() if answer.content else None
        except ValueError as error:
            raise Refused(BAD_ANSWER(got=answer.status_code)) from error
        if answer.status_code >= 400:
            if not isinstance(content, dict):
                raise Refused(BAD_ANSWER(got=answer.status_code))
            raise ApiProblem(content)
        return content

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.call("POST", path, body if body is not None else {})

    def events(self) -> Iterator[dict[str, Any]]:
        """The node's event stream, until the caller stops or the node leaves."""
        place = self._base.replace("http", "ws") + "/v1/events"
        try:
            with connect(place, additional_headers=self._headers(), proxy=None) as socket:
                for message in socket:
                    yield json.loads(message)
        except ConnectionClosed:
            return
        except OSError as error:
            raise Refused(UNREACHABLE(detail=str(error))) from error
