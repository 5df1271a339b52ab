"""What people see while the demo runs, and the record that machines read."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from regtest.demo.audit import Row


@dataclass(slots=True)
class Step:
    name: str
    ok: bool = False
    seconds: float = 0.0
    detail: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


class Report:
    """A line a step, with a spinner where there is a terminal."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.steps: list[Step] = []
        self.rows: list[Row] = []
        self.versions: dict[str, str] = {"python": sys.version.split()[0]}
        self._began = time.monotonic()
        console = Console()
        # a log file has no width of its own: amounts must not be cut there
        self._console = console if console.is_terminal else Console(width=118)

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        step = Step(name)
        self.steps.append(step)
        began = time.monotonic()
        try:
            with self._console.status(f"[bold]{title}[/bold] …"):
                yield step
            step.ok = True
        except Exception as error:
            step.detail = f"{type(error).__name__}: {error}"
            raise
        finally:
            step.seconds = round(time.monotonic() - began, 2)
            mark = "[green]ok[/green]  " if step.ok else "[red]FAIL[/red]"
            self._console.print(f"{mark} {step.seconds:6.1f} s  {title}", highlight=False)
            if step.detail:
                self._console.print(
                    f"              {step.detail}", highlight=False, markup=False, soft_wrap=True
                )

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 2)

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(s.ok for s in self.steps) and all(r.ok for r in self.rows)

    def table(self) -> None:
        table = Table(title="Balances at the end")
        for name, justify in (("who", "left"), ("where", "left"), ("unit", "left")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for name in ("expected", "actual", "off by"):
            table.add_column(name, justify="right")
        for row in self.rows:
            off = row.actual - row.expected
            style = "" if row.ok else "red"
            table.add_row(
                row.who, row.where, row.unit, f"{row.expected:,}", f"{row.actual:,}", f"{off:+,}" if off else "0",
                style=style,
            )  # fmt: skip
        self._console.print(table)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "backend": self.backend,
            "versions": self.versions,
            "seconds": self.seconds,
            "steps": [asdict(step) for step in self.steps],
            "balances": [asdict(row) for row in self.rows],
            "ok": self.ok,
        }
        path.write_text(json.dumps(record, indent=2) + "\n")
        verdict = "[green]everything as computed[/green]" if self.ok else "[red]not as computed[/red]"
        self._console.print(f"\n{verdict} in {self.seconds:.1f} s; record in {path}", highlight=False)
