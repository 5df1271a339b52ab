"""`python -m regtest.demo --bln embedded|lnd`: runs the job, writes build/demo.json; exit 1 if anything is off."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import __version__
from gateway.cl.data.blueprint import load_blueprint
from regtest.demo import steps
from regtest.demo.audit import audit
from regtest.demo.report import Report
from regtest.demo.steps import Proof, Stage

STEPS: tuple[tuple[str, str, Callable[[Stage], Awaitable[Proof]]], ...] = (
    ("networks", "Cardano and Bitcoin Lightning networks come up", steps.networks),
    ("nodes", "a user's node and the gateway start", steps.nodes),
    ("channel_open", "a Cardano Lightning channel is funded and opened", steps.channel_open),
    ("pay_bitcoin", "a Bitcoin Lightning invoice is paid from the channel", steps.pay_bitcoin),
    ("receive_bitcoin", "a Bitcoin Lightning payment is received into the channel", steps.receive_bitcoin),
    ("failed_payment_back", "a payment that cannot succeed comes back at once", steps.failed_payment_back),
    ("crash_resume", "the gateway is killed with -9 while a payment is held", steps.crash_resume),
    ("force_close", "the channel is closed by one side with a pending cheque", steps.force_close),
)


async def run(stage: Stage, report: Report) -> None:
    try:
        for name, title, work in STEPS:
            with report.step(name, title) as step:
                step.detail, step.evidence = await work(stage)
            if name == "networks":
                report.versions["bitcoin"] = str(stage.network["bitcoin"]["version"])
        with report.step("audit", "every balance on both networks is counted") as step:
            step.detail, step.evidence = await audit(stage, report.rows)
    finally:
        await stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m regtest.demo", description=__doc__)
    parser.add_argument("--bln", choices=("embedded", "lnd"), default="embedded")
    parser.add_argument("--lnd-version", default="", help="one of those that regtest.bitcoin.build knows")
    parser.add_argument("--record", type=Path, default=Path("build/demo.json"))
    parser.add_argument("--keep", action="store_true", help="leave the nodes' directories and logs")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    report = Report(options.bln)
    report.versions["gateway"] = __version__
    report.versions["validator"] = load_blueprint().hash.hex()
    stage = Stage(directory, options.bln, options.lnd_version)
    kept = options.keep
    try:
        asyncio.run(run(stage, report))
    except Exception:
        kept = True  # the step's line has said why; the logs say the rest
    if report.rows:
        report.table()
    report.write(options.record)
    if kept:
        print(f"logs and data: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
