"""`python -m regtest.cardano`: the development chain as its own process.

Prints one JSON line (its state, with the URLs) when ready; ends on SIGTERM, SIGINT or /control/stop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from regtest.cardano.devnet import Devnet, DevnetOptions, Judge


def parse_arguments(arguments: list[str] | None = None) -> tuple[DevnetOptions, bool]:
    parser = argparse.ArgumentParser(prog="python -m regtest.cardano", description=__doc__)
    parser.add_argument("--ogmios-port", type=int, default=0)
    parser.add_argument("--kupo-port", type=int, default=0)
    parser.add_argument("--blockfrost-port", type=int, default=0)
    parser.add_argument("--koios-port", type=int, default=0)
    parser.add_argument("--utxorpc-port", type=int, help="serve UTxO RPC (0: on a free port)")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--network-magic", type=int, default=42)
    parser.add_argument("--start-ms", type=int, help="system start; default: now")
    parser.add_argument("--real-time", action="store_true", help="time passes by itself")
    parser.add_argument("--block-interval-ms", type=int, help="with --real-time: blocks by themselves")
    parser.add_argument("--block-on-submit", action="store_true")
    parser.add_argument("--journal", type=Path, help="keeps the chain over a restart")
    parser.add_argument("--judge", action="store_true", help="every transaction is judged by npm scalus too")
    given = parser.parse_args(arguments)
    options = DevnetOptions(
        network_magic=given.network_magic,
        start_ms=given.start_ms,
        real_time=given.real_time,
        block_interval_ms=given.block_interval_ms,
        block_on_submit=given.block_on_submit,
        ogmios_port=given.ogmios_port,
        kupo_port=given.kupo_port,
        blockfrost_port=given.blockfrost_port,
        koios_port=given.koios_port,
        utxorpc_port=given.utxorpc_port,
        control_port=given.control_port,
        journal=given.journal,
    )
    return options, given.judge


def _judge() -> Judge:
    from regtest.judge.scalus import ScalusJudge

    return ScalusJudge()


async def main(options: DevnetOptions, judged: bool) -> None:
    devnet = Devnet(options, _judge() if judged else None)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, devnet.stopped.set)
    await devnet.start()
    sys.stdout.write(json.dumps(devnet.state()) + "\n")
    sys.stdout.flush()
    await devnet.stopped.wait()
    await devnet.stop()


if __name__ == "__main__":
    asyncio.run(main(*parse_arguments()))
