"""A stand-in for a container engine: the few calls of its API that the network needs, on a unix socket, recorded."""

from __future__ import annotations

import json
import socketserver
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class FakeEngine:
    """`calls`: (method, path, query, body) in order. `broken`: containers (by label's value) that end at once."""

    def __init__(self, socket: Path, *, images: set[str], broken: frozenset[str] = frozenset()) -> None:
        self.images, self.broken = set(images), broken
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = f"unix://{socket}"
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """A unix socket has no client address to log."""

            def _any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parsed = urllib.parse.urlsplit(self.path)
                path = urllib.parse.unquote(parsed.path.split("/", 2)[2])  # without the version
                query = dict(urllib.parse.parse_qsl(parsed.query))
                body = json.loads(raw) if raw else None
                engine.calls.append((self.command, path, query, body))
                status, answer = engine.answer(self.command, path.split("/"), query, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(0 if status == 204 else len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _any

        self._server = socketserver.ThreadingUnixStreamServer(str(socket), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, label: str) -> dict[str, Any]:
        return next(c for c in self.containers.values() if label in c["Config"]["Labels"].values())

    def order(self, method: str, end: str) -> list[str]:
        """Names of the containers that calls with this ending were about."""
        asked = [path.split("/")[1] for m, path, _, _ in self.calls if m == method and path.endswith(end)]
        return [self.containers[name]["Name"].removeprefix("/") for name in asked]

    def answer(self, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        match (method, *path):
            case ("GET", "networks"):
                return 200, list(self.networks.values())
            case ("POST", "networks", "create"):
                made = {"Id": f"net{len(self.networks)}", "Name": body["Name"], "Labels": body["Labels"]}
                self.networks[made["Id"]] = made
                return 201, made
            case ("GET", "networks", name):
                return 200, self.networks[name]
            case ("DELETE", "networks", name):
                del self.networks[name]
                return 204, None
            case ("POST", "images", "create"):
                self.images.add(f"{query['fromImage']}:{query['tag']}")
                return 200, {"status": "Pull complete"}
            case ("GET", "images", *name, "json"):
                image = "/".join(name)
                return (200, {"Id": image}) if image in self.images else (404, {"message": "No such image"})
            case _:
                return self._containers(method, path, query, body)

    def _containers(self, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        match (method, *path):
            case ("GET", "containers", "json"):
                wanted = json.loads(query.get("filters", "{}")).get("label", [])
                return 200, [c for c in self.containers.values() if all(_labelled(c, w) for w in wanted)]
            case ("POST", "containers", "create"):
                name = f"id{len(self.containers)}"
                state = {"Status": "created", "Running": False}
                one = {
                    "Id": name,
                    "Name": f"/{query['name']}",
                    "Config": body,
                    "State": state,
                    "Image": body["Image"],
                }
                self.containers[name] = one
                return 201, {"Id": name, "Warnings": []}
            case ("POST", "containers", name, "start"):
                one = self.containers[name]
                ended = bool(self.broken.intersection(one["Config"]["Labels"].values()))
                one["State"] = {"Status": "exited" if ended else "running", "Running": not ended}
                return 204, None
            case ("GET", "containers", name, "json"):
                return 200, self.containers[name]
            case ("GET", "containers", _, "logs"):
                text = b"no genesis file\n"
                return 200, b"\1\0\0\0" + len(text).to_bytes(4, "big") + text
            case ("DELETE", "containers", name):
                del self.containers[name]
                return 204, None
        raise AssertionError(f"the engine was asked {method} {'/'.join(path)}")


def _labelled(container: dict[str, Any], wanted: str) -> bool:
    key, _, value = wanted.partition("=")
    labels = container["Config"]["Labels"]
    return key in labels and (not value or labels[key] == value)
