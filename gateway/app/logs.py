"""R4. One JSON line an event, in a rotating file and on standard error; what looks like a secret is cut out."""

from __future__ import annotations

import logging
import logging.handlers
from collections import deque
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

_SECRET = ("preimage", "secret", "password", "words", "mnemonic", "macaroon", "token", "seed_phrase")


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A4: a field named like a secret never reaches a log, whatever it holds."""
    for key in event:
        if any(part in key.lower() for part in _SECRET):
            event[key] = "[cut]"
    return event


def configure(path: Path, level: str, most_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(path, maxBytes=most_bytes, backupCount=3)
    handlers: list[logging.Handler] = [file, logging.StreamHandler()]
    number = logging.getLevelName(level.upper())
    logging.basicConfig(level=number, format="%(message)s", handlers=handlers, force=True)
    for noisy in (
        "httpx",
        "httpcore",
        "websockets",
        "apscheduler",
        "uvicorn.access",
        "PyCardano",
        "alembic",
        "aiosqlite",
    ):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
    logging.getLogger("PyCardano").setLevel(logging.CRITICAL)  # it dumps whole builders, keys' uses included
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of the file; empty when there is none."""
    try:
        with path.open(errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except OSError:
        return []
