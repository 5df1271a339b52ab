"""The judge port of the devnet, answered by the ledger emulator of npm scalus in a child process.

Submissions are queued and judged in order by one thread, so the devnet never waits. What the emulator
cannot follow (a rollback, dropped or expired transactions) is counted by its reason, and the emulator begins
again from the devnet's UTxO set. `close` waits for all verdicts.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import queue
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regtest.cardano.cbor import mapping
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.failure import Failure
from regtest.cardano.params import Params
from regtest.cardano.transaction import Output, Ref, Tx
from regtest.judge import install
from regtest.judge.known import explained

SCRIPT = Path(__file__).with_name("judge.mjs")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`ours` and `theirs` are None for a yes, else the reason of the refusal."""

    tx: str
    slot: int
    ours: str | None
    theirs: str | None
    known: str | None = None  # the line of docs/judges.md that explains it


@dataclass(slots=True)
class Report:
    judged: int = 0
    agreed_yes: int = 0
    agreed_no: int = 0
    not_judged: Counter[str] = field(default_factory=Counter)
    resyncs: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def unexplained(self) -> list[Disagreement]:
        return [item for item in self.disagreements if item.known is None]


class Emulator:
    """One child process, one request at a time. Fails with RuntimeError when it ends."""

    def __init__(self) -> None:
        node = shutil.which("node")
        if node is None or not install.installed():
            raise RuntimeError("the judge is not installed: run `make judge`")
        self._process = subprocess.Popen(
            [node, str(SCRIPT), str(install.home())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("the emulator has no pipes")
        pipe_in.write(json.dumps(request) + "\n")
        pipe_in.flush()
        line = pipe_out.readline()
        if not line:
            raise RuntimeError(f"the emulator ended with status {self._process.wait(5)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


_idle: list[Emulator] = []  # a start takes a second: one that is through serves the next devnet


def _borrow() -> Emulator:
    try:
        return _idle.pop()
    except IndexError:
        return Emulator()


def close_idle() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(close_idle)


def utxo_cbor(utxo: Mapping[Ref, Output]) -> str:
    return mapping((ref.cbor(), output.raw) for ref, output in sorted(utxo.items())).hex()


class ScalusJudge:
    def __init__(self) -> None:
        self._report = Report()
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="scalus judge", daemon=True)
        self._error: str | None = None
        self._zero_time = 0
        self._off: str | None = None
        self._utxo: dict[Ref, Output] = {}

    # -- the port ----------------------------------------------------------------------------

    def begin(self, utxo: Mapping[Ref, Output], time: SlotTime, params: Params) -> None:
        self._zero_time = time.system_start_ms
        if params != Params():
            self._off = "changed parameters: the emulator's are fixed"
        self._queue.put(("begin", dict(utxo)))
        self._thread.start()

    def submitted(self, raw: bytes, slot: int, outcome: Tx | Failure) -> None:
        if self._off is not None:
            self._report.not_judged[self._off] += 1
            return
        self._queue.put(("submit", raw.hex(), slot, outcome))

    def resync(self, reason: str, utxo: Mapping[Ref, Output]) -> None:
        self._report.resyncs[_kind(reason)] += 1
        if self._off is None:
            self._queue.put(("begin", dict(utxo)))

    def report(self) -> dict[str, Any]:
        shown = self._report
        return {
            "judged": shown.judged,
            "agreed_yes": shown.agreed_yes,
            "agreed_no": shown.agreed_no,
            "not_judged": dict(shown.not_judged),
            "resyncs": dict(shown.resyncs),
            "unexplained": [self._words(item) for item in shown.unexplained],
            "explained": Counter(item.known for item in shown.disagreements if item.known),
            "error": self._error,
        }

    async def settled(self) -> None:
        """Waits until all that was submitted so far is judged (at most a minute)."""
        done = threading.Event()
        self._queue.put(("settle", done))
        await asyncio.to_thread(done.wait, 60)

    async def close(self) -> None:
        self._queue.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 60)

    @property
    def findings(self) -> Report:
        return self._report

    def verdict(self) -> str | None:
        """After `close`: what a test must fail with, or None."""
        if self._error is not None:
            return f"the judge broke: {self._error}"
        if self._thread.is_alive():
            return "the judge did not end in a minute"
        if rows := self._report.unexplained:
            return "the judges disagree:\n" + "\n".join(self._words(item) for item in rows)
        return None

    # -- the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            emulator = _borrow()
        except (RuntimeError, OSError) as error:
            self._error = str(error)
            return
        try:
            while (item := self._queue.get()) is not None:
                if item[0] == "settle":
                    item[1].set()
                elif item[0] == "begin":
                    self._utxo = item[1]
                    self._begin(emulator)
                else:
                    self._judge(emulator, item[1], item[2], item[3])
            _idle.append(emulator)
        except (RuntimeError, OSError, ValueError) as error:
            self._error = str(error)
            emulator.close()

    def _begin(self, emulator: Emulator) -> None:
        utxo = utxo_cbor(self._utxo)
        answer = emulator.ask({"do": "begin", "utxo": utxo, "zero_time": self._zero_time, "slot": 0})
        if not answer["ok"]:
            raise RuntimeError(str(answer["error"]))

    def _judge(self, emulator: Emulator, tx: str, slot: int, outcome: Tx | Failure) -> None:
        answer = emulator.ask({"do": "submit", "tx": tx, "slot": slot})
        self._report.judged += 1
        theirs = None if answer["ok"] else str(answer["error"])
        ours = outcome.predicate if isinstance(outcome, Failure) else None
        if isinstance(outcome, Tx):  # our own account of the set, to begin again from
            for ref in outcome.spent():
                del self._utxo[ref]
            self._utxo.update(outcome.produced())
        if (ours is None) == (theirs is None):
            self._report.agreed_yes += ours is None
            self._report.agreed_no += ours is not None
            return
        known = explained(outcome) if isinstance(outcome, Failure) else None
        self._report.disagreements.append(Disagreement(tx, slot, ours, theirs, known))
        self._begin(emulator)

    @staticmethod
    def _words(item: Disagreement) -> str:
        ours, theirs = item.ours or "accepted", item.theirs or "accepted"
        return f"slot {item.slot}: devnet {ours}; scalus {theirs}; tx {item.tx}"


def _kind(reason: str) -> str:
    """Without numbers, so that equal reasons are counted together."""
    return " ".join(word for word in reason.split() if not word.isdigit())
