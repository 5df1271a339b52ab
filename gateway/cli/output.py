"""R5. How answers look: tables for people, JSON for machines, errors that say what to do next."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.client import ApiProblem
from gateway.errors import Refused

# Exit codes (docs/cli.md)
OK, REFUSED, USAGE, UNREACHABLE, FAILED, PENDING = 0, 1, 2, 3, 4, 5

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 160  # a pipe has no width: ids and hashes stay whole there
errors = Console(stderr=True, highlight=False)

P = ParamSpec("P")
R = TypeVar("R")


def emit(as_json: bool, value: Any, show: Callable[[Any], None]) -> None:
    """One answer: JSON on one line, or `show` for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n")
    else:
        show(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        console.print(f"no {title}")
        return
    out = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for number, column in enumerate(columns):
        # the first one names the thing for the next command: it is copied, so it is never broken
        out.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        out.add_row(*(str(cell) for cell in row))
    console.print(out)


def record(value: dict[str, Any], skip: Sequence[str] = ()) -> None:
    """One thing, a line a field; empty fields are left out."""
    for key, content in value.items():
        if key in skip or content in ("", None, [], {}):
            continue
        if isinstance(content, dict):
            content = fields(content)
        elif isinstance(content, list):
            rows = (fields(item) if isinstance(item, dict) else str(item) for item in content)
            content = "\n  ".join(["", *rows])
        console.print(f"[bold]{key}[/bold]: {escape(str(content))}", soft_wrap=True)


def fields(value: dict[str, Any]) -> str:
    """One line: key=value, empty ones left out."""
    return ", ".join(f"{k}={v}" for k, v in value.items() if v not in ("", None))


def ada(lovelace: int) -> str:
    sign = "-" if lovelace < 0 else ""
    return f"{sign}{abs(lovelace) // 1_000_000}.{abs(lovelace) % 1_000_000:06d}"


def sat(msat: int) -> str:
    sign = "-" if msat < 0 else ""
    return f"{sign}{abs(msat) // 1000}.{abs(msat) % 1000:03d}"


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turns refusals into one readable line (or JSON with --json) and the documented exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json", False))
        try:
            return command(*args, **kwargs)
        except ApiProblem as problem:
            _complain(as_json, problem.body)
            raise typer.Exit(REFUSED) from None
        except Refused as refused:
            r = refused.rejection
            body = {
                "code": r.code,
                "title": r.spec.meaning,
                "field": r.field,
                "got": r.got,
                "allowed": r.allowed,
                "detail": r.detail,
                "remedy": r.spec.remedy,
            }
            _complain(as_json, body)
            raise typer.Exit(UNREACHABLE if r.code == "cli.unreachable" else REFUSED) from None

    return run


def _complain(as_json: bool, body: dict[str, Any]) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"error": body}, separators=(",", ":"), sort_keys=True) + "\n")
        return
    errors.print(f"[red]{body.get('title', 'refused')}[/red] ({body.get('code')})", soft_wrap=True)
    if body.get("field"):
        got = f" = {body['got']}" if body.get("got") else ""
        allowed = f", allowed: {body['allowed']}" if body.get("allowed") else ""
        errors.print(f"  {body['field']}{got}{allowed}", markup=False, soft_wrap=True)
    if body.get("detail"):
        errors.print(f"  {body['detail']}", markup=False, soft_wrap=True)
    if body.get("remedy"):
        errors.print(f"  → {body['remedy']}", markup=False, soft_wrap=True)
