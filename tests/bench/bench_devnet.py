"""`make bench-devnet`: whole lives of channels on the embedded devnet; writes build/bench/devnet.json.

Each script transaction is built by our builders, signed, submitted and mined. Measured: script transactions a minute
over all of that and by the devnet alone; the share of each part; scalus's `Emulator.submitTx` on the same bytes in
the same order (its second pass counts, warm); a week of time travel with channels on the chain. A smaller second run
goes under cProfile. Ends with status 1 when scalus refuses what the devnet accepted, or an aim is missed.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regtest.cardano import Devnet, DevnetOptions, chain, ledger
from regtest.cardano.transaction import Output, Ref
from regtest.judge.scalus import Emulator, utxo_cbor
from tests.bench.chain_world import BLOCKS, BUILD, BUILD_EVALUATION, SIGN, SUBMIT, Submitted, World
from tests.bench.lives import AFTER_THE_PERIOD, ANSWERED, LEFT_ALONE, STEPS, Life
from tests.bench.stopwatch import Stopwatch
from tests.support import phase2

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "bench" / "devnet.json"
PAIRS = int(os.environ.get("GATEWAY_BENCH_PAIRS", "20"))  # of lives; each is 13 script transactions
PROFILED_PAIRS = 3
AIM_A_MINUTE = 1_000
AIM_WEEK_S = 1.0
WEEK_MS = 7 * 24 * 3_600_000
WEEK_BLOCKS = 1_000  # mined on the way: a follower sees the week pass
EVERY_BLOCK = 30_240  # one in 20 s, as on mainnet; shown beside the aim
DECODE, PHASE_1, PHASE_2 = "decode", "phase 1", "phase 2"
PARTS = (BUILD, BUILD_EVALUATION, SIGN, DECODE, PHASE_1, PHASE_2, SUBMIT, BLOCKS)
DEVNETS = (DECODE, PHASE_1, PHASE_2, SUBMIT, BLOCKS)
TOP = 12


@dataclass(frozen=True)
class Run:
    """`utxo`: the set before the first of `submitted`. `weeks`: seconds by the number of blocks mined on the way."""

    watch: Stopwatch
    submitted: list[Submitted]
    utxo: dict[Ref, Output]
    weeks: dict[int, float]


async def run(pairs: int, week_blocks: Sequence[int] = (1, WEEK_BLOCKS, EVERY_BLOCK)) -> Run:
    """Raises `Refusal` when a transaction is not accepted."""
    async with Devnet(DevnetOptions(start_ms=phase2.SLOT_ZERO_MS)) as devnet:
        world = World(devnet)
        world.publish()
        coins = world.coins(2 * pairs)
        utxo = dict(devnet.chain.pool_utxo)
        lives = [Life.new(world, number, coin) for number, coin in enumerate(coins)]
        answered, alone = lives[::2], lives[1::2]
        with ExitStack() as patched:
            patched.enter_context(world.watch.timing(DECODE, chain, "decode_tx"))
            patched.enter_context(world.watch.timing(PHASE_1, ledger, "check"))
            patched.enter_context(world.watch.timing(PHASE_2, chain, "evaluate"))
            for phases, group in ((ANSWERED, answered), (LEFT_ALONE, alone)):
                for phase in phases:
                    for life in group:
                        phase(life)
            world.mine()
            weeks = {blocks: _week(devnet, blocks) for blocks in week_blocks}
            for phase in AFTER_THE_PERIOD:
                for life in alone:
                    phase(life)
            world.mine()
        if devnet.chain.pool:
            raise RuntimeError(f"{len(devnet.chain.pool)} transactions were never mined")
        return Run(world.watch, world.submitted, utxo, weeks)


def _week(devnet: Devnet, blocks: int) -> float:
    begun = time.perf_counter()
    devnet.advance(WEEK_MS, blocks)
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Scalus:
    """Seconds inside `submitTx`: `cold` in a fresh process, `warm` in the pass after it. `refused`: reasons."""

    cold: float
    warm: float
    refused: list[str]


def by_scalus(one: Run) -> Scalus:
    emulator = Emulator()
    refused: list[str] = []
    passes = []
    try:
        for _ in range(2):
            start = {"utxo": utxo_cbor(one.utxo), "zero_time": phase2.SLOT_ZERO_MS, "slot": 0}
            begun = emulator.ask({"do": "begin", **start})
            if not begun["ok"]:
                raise RuntimeError(f"scalus cannot begin: {begun['error']}")
            answers = [
                emulator.ask({"do": "submit", "tx": s.raw.hex(), "slot": s.slot}) for s in one.submitted
            ]
            passes.append(sum(a["micros"] for a in answers if "micros" in a) / 1e6)
            refused += [
                f"{s.step}: {a['error']}" for s, a in zip(one.submitted, answers, strict=True) if not a["ok"]
            ]
    finally:
        emulator.close()
    return Scalus(passes[0], passes[1], refused)


def profiled(pairs: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The functions that take most time by themselves, and each package's share of the whole."""
    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(run(pairs, (1,)))
    profile.disable()
    rows = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    whole = sum(row[2] for row in rows.values())
    by_package: Counter[str] = Counter()
    for (file, _, _), row in rows.items():
        by_package[_package(file)] += row[2]
    top = sorted(rows.items(), key=lambda item: -item[1][2])[:TOP]
    shown = [
        {
            "function": _name(*key),
            "calls": row[1],
            "seconds": round(row[2], 3),
            "share": round(row[2] / whole, 3),
        }
        for key, row in top
    ]
    return shown, {name: round(spent / whole, 3) for name, spent in by_package.most_common(8)}


def _package(file: str) -> str:
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    try:
        return "/".join(Path(file).relative_to(ROOT).parts[:3])
    except ValueError:
        return "built-in functions" if file == "~" else "the standard library"


def _name(file: str, line: int, function: str) -> str:
    return function if file == "~" else f"{_package(file)} {Path(file).name}:{line} {function}"


def report() -> dict[str, Any]:
    one = asyncio.run(run(PAIRS))
    if len(one.submitted) != PAIRS * STEPS:
        raise RuntimeError(f"{len(one.submitted)} transactions instead of {PAIRS * STEPS}")
    scalus = by_scalus(one)
    top, packages = profiled(PROFILED_PAIRS)
    count = len(one.submitted)
    devnet_s = sum(one.watch.seconds.get(part, 0.0) for part in DEVNETS)
    submit_s = sum(s.seconds for s in one.submitted)
    rate = round(60 * count / one.watch.total)
    week = max(one.weeks[1], one.weeks[WEEK_BLOCKS])
    return {
        "transactions": count,
        "by_step": dict(Counter(s.step for s in one.submitted)),
        "seconds": round(one.watch.total, 3),
        "tx_a_minute": rate,
        "tx_a_minute_devnet_alone": round(60 * count / devnet_s),
        "shares": {part: round(one.watch.share(part), 4) for part in PARTS},
        "ms_a_tx": {part: round(1_000 * one.watch.seconds.get(part, 0.0) / count, 3) for part in PARTS},
        "submit_ms": round(1_000 * submit_s / count, 3),
        "scalus_ms": round(1_000 * scalus.warm / count, 3),
        "scalus_cold_ms": round(1_000 * scalus.cold / count, 3),
        "scalus_to_devnet": round(scalus.warm / submit_s, 2),
        "scalus_refused": scalus.refused,
        "week_s": {str(blocks): round(span, 5) for blocks, span in one.weeks.items()},  # by blocks
        "profile": top,
        "profile_by_package": packages,
        "aims": {"tx_a_minute": AIM_A_MINUTE, "week_s": AIM_WEEK_S},
        "met": {"tx_a_minute": rate >= AIM_A_MINUTE, "week_s": week < AIM_WEEK_S},
    }


def lines(shown: dict[str, Any]) -> list[str]:
    met = {name: "met" if ok else "MISSED" for name, ok in shown["met"].items()}
    steps = ", ".join(f"{count} {step}" for step, count in shown["by_step"].items())
    out = [
        f"{shown['transactions']} script transactions in {shown['seconds']} s ({steps})",
        "",
        f"{'built, signed, submitted, mined':34}{shown['tx_a_minute']:>8} a minute"
        f"   aim {AIM_A_MINUTE}: {met['tx_a_minute']}",
        f"{'by the devnet alone':34}{shown['tx_a_minute_devnet_alone']:>8} a minute",
        "",
        f"{'part':24}{'share':>8}{'ms a tx':>10}",
    ]
    out += [f"{part:24}{shown['shares'][part]:>8.1%}{shown['ms_a_tx'][part]:>10.2f}" for part in PARTS]
    out += [
        "",
        f"submit: devnet {shown['submit_ms']} ms, scalus {shown['scalus_ms']} ms (cold {shown['scalus_cold_ms']} ms)"
        f": scalus takes {shown['scalus_to_devnet']} times as long; it refused {len(shown['scalus_refused'])}",
        *(f"  refused by scalus: {word[:160]}" for word in shown["scalus_refused"][:5]),
    ]
    out += [f"a week in {blocks} blocks: {span} s" for blocks, span in shown["week_s"].items()]
    out += [
        f"  aim under {AIM_WEEK_S} s, up to {WEEK_BLOCKS} blocks: {met['week_s']}",
        "",
        "cProfile, time in the function itself:",
    ]
    out += [f"{row['share']:>7.1%} {row['calls']:>9} x {row['function']}" for row in shown["profile"]]
    out += [
        "by package: " + ", ".join(f"{name} {part:.1%}" for name, part in shown["profile_by_package"].items())
    ]
    if not shown["met"]["tx_a_minute"]:
        slowest = max(PARTS, key=lambda part: float(shown["shares"][part]))
        out.append(
            f"The aim is missed; most of the time goes into: {slowest} ({shown['shares'][slowest]:.0%})."
        )
    return out


def main() -> int:
    shown = report()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write("\n".join([*lines(shown), f"written to {OUTPUT.relative_to(ROOT)}"]) + "\n")
    return 1 if shown["scalus_refused"] or not all(shown["met"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
