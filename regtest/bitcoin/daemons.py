"""btcd and LND as child processes on free ports of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
from lndgrpc.compiled import walletunlocker_pb2, walletunlocker_pb2_grpc

from gateway.btc import stubs

PASSWORD = b"regtest password"  # of throw-away wallets
TETHER = Path(__file__).with_name("tether.py")


class DaemonFailed(Exception):
    """A daemon ended or did not come up; the text has the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Connections of an earlier run that are still fading do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Daemon:
    """One process with a log file; it ends when the process that started it dies (tether.py)."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        directory.mkdir(parents=True, exist_ok=True)
        self._process: asyncio.subprocess.Process | None = None

    async def launch(self, program: Path, *options: str) -> None:
        with (self.directory / "stdout.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(TETHER), str(os.getpid()), str(program), *options,
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def check(self) -> None:
        if not self.running:
            text = (self.directory / "stdout.log").read_text(errors="replace")[-800:]
            raise DaemonFailed(f"{self.name} has ended: {text}")

    async def stop(self, number: int = signal.SIGTERM) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)


class Btcd(Daemon):
    """Mines on request to `mining_address`; speaks JSON-RPC over TLS."""

    USER, SECRET = "regtest", "regtest"

    def __init__(
        self, program: Path, directory: Path, mining_address: str, ports: tuple[int, int] | None = None
    ) -> None:
        super().__init__("btcd", directory)
        self._program, self._address = program, mining_address
        self.rpc_port, self.p2p_port = ports or (free_port(), free_port())
        self.cert = directory / "rpc.cert"
        self._http: httpx.AsyncClient | None = None

    async def start(self) -> None:
        await self.launch(
            self._program, "--regtest", f"--datadir={self.directory}/data", f"--logdir={self.directory}/logs",
            "--configfile=/dev/null", f"--rpclisten=127.0.0.1:{self.rpc_port}", f"--listen=127.0.0.1:{self.p2p_port}",
            f"--rpcuser={self.USER}", f"--rpcpass={self.SECRET}", f"--rpccert={self.cert}",
            f"--rpckey={self.directory}/rpc.key", "--txindex", "--nodnsseed", f"--miningaddr={self._address}",
        )  # fmt: skip
        for _ in range(300):
            self.check()
            with contextlib.suppress(httpx.TransportError, OSError, ssl.SSLError):
                if self._http is None:
                    self._http = httpx.AsyncClient(
                        verify=ssl.create_default_context(cafile=str(self.cert)),
                        auth=(self.USER, self.SECRET), timeout=60, trust_env=False,
                    )  # fmt: skip
                await self.call("getblockcount")
                return
            await asyncio.sleep(0.1)
        raise DaemonFailed("btcd does not answer")

    async def call(self, method: str, *params: Any) -> Any:
        assert self._http is not None
        body = {"jsonrpc": "1.0", "id": 1, "method": method, "params": list(params)}
        answer = (await self._http.post(f"https://127.0.0.1:{self.rpc_port}", json=body)).json()
        if answer.get("error"):
            raise DaemonFailed(f"btcd {method}: {answer['error']}")
        return answer["result"]

    async def call_each(self, method: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The same method for each row of parameters, in order, in one JSON-RPC batch."""
        assert self._http is not None
        if not rows:
            return []
        body = [{"jsonrpc": "2.0", "id": n, "method": method, "params": list(r)} for n, r in enumerate(rows)]
        answers = (await self._http.post(f"https://127.0.0.1:{self.rpc_port}", json=body)).json()
        for answer in answers:
            if answer.get("error"):
                raise DaemonFailed(f"btcd {method}: {answer['error']}")
        return [answer["result"] for answer in sorted(answers, key=lambda a: int(a["id"]))]

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        await super().stop(number)


class LndNode(Daemon):
    """One LND on a btcd. With `password` its wallet is encrypted: locked after each start until `unlock`."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        btcd: Btcd,
        *,
        password: bool = False,
        extra: tuple[str, ...] = (),
        ports: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(directory.name, directory)
        self._program, self._btcd, self._password, self.extra = program, btcd, password, extra
        self.rpc_port, self.p2p_port = ports or (free_port(), free_port())
        self.pubkey = self.version = ""
        self.tls_cert = directory / "tls.cert"
        self.macaroon = directory / "data" / "chain" / "bitcoin" / "regtest" / "admin.macaroon"
        self._channel: grpc.aio.Channel | None = None

    async def start(self, *, unlock: bool = True) -> None:
        await self.launch_lnd()
        if self._password:
            await self._until(self._wallet_state, "NON_EXISTING", "LOCKED")
            if not self.macaroon.exists():
                await self._create_wallet()
            elif unlock:
                await self.unlock()
            else:
                return
        await self._until(self._wallet_state, "SERVER_ACTIVE", "RPC_ACTIVE")
        info = await self.info()
        self.pubkey, self.version = info.identity_pubkey, info.version

    async def launch_lnd(self) -> None:
        btcd = self._btcd
        wallet = () if self._password else ("--noseedbackup",)
        await self.launch(
            self._program, f"--lnddir={self.directory}", "--bitcoin.regtest", "--bitcoin.node=btcd",
            f"--btcd.rpchost=127.0.0.1:{btcd.rpc_port}", f"--btcd.rpcuser={btcd.USER}",
            f"--btcd.rpcpass={btcd.SECRET}", f"--btcd.rpccert={btcd.cert}",
            f"--rpclisten=127.0.0.1:{self.rpc_port}", "--norest",
            f"--listen=127.0.0.1:{self.p2p_port}", "--bitcoin.defaultchanconfs=1", f"--alias={self.name}",
            "--nobootstrap", "--trickledelay=100", *wallet, *self.extra,
        )  # fmt: skip

    # -- gRPC -----------------------------------------------------------------------------------

    @property
    def channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            credentials = grpc.ssl_channel_credentials(self.tls_cert.read_bytes())
            options = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 500))
            self._channel = grpc.aio.secure_channel(f"127.0.0.1:{self.rpc_port}", credentials, options)
        return self._channel

    async def rpc(self, method: str, request: Any, within_s: float = 30) -> Any:
        """A Lightning call with the admin macaroon."""
        stub = stubs.lightning_pb2_grpc.LightningStub(self.channel)
        metadata = (("macaroon", self.macaroon.read_bytes().hex()),)
        return await getattr(stub, method)(request, metadata=metadata, timeout=within_s, wait_for_ready=True)

    async def info(self) -> Any:
        return await self.rpc("GetInfo", stubs.lightning_pb2.GetInfoRequest())

    async def _wallet_state(self) -> str:
        # a file that is still being written would stay in the channel: gRPC reads no certificate as "any known"
        if not self.tls_cert.exists() or b"END CERTIFICATE" not in self.tls_cert.read_bytes():
            return ""
        stub = stubs.stateservice_pb2_grpc.StateStub(self.channel)
        answer = await stub.GetState(stubs.stateservice_pb2.GetStateRequest(), timeout=5)
        return str(stubs.stateservice_pb2.WalletState.Name(answer.state))

    async def _create_wallet(self) -> None:
        stub = walletunlocker_pb2_grpc.WalletUnlockerStub(self.channel)
        seed = await stub.GenSeed(walletunlocker_pb2.GenSeedRequest(), timeout=30)
        request = walletunlocker_pb2.InitWalletRequest(
            wallet_password=PASSWORD, cipher_seed_mnemonic=seed.cipher_seed_mnemonic
        )
        await stub.InitWallet(request, timeout=60)

    async def unlock(self) -> None:
        stub = walletunlocker_pb2_grpc.WalletUnlockerStub(self.channel)
        await stub.UnlockWallet(walletunlocker_pb2.UnlockWalletRequest(wallet_password=PASSWORD), timeout=60)
        await self._until(self._wallet_state, "SERVER_ACTIVE", "RPC_ACTIVE")

    async def unlock_if_locked(self) -> None:
        if self._password and await self._wallet_state() == "LOCKED":
            await self.unlock()

    async def _until(self, ask: Any, *wanted: str) -> None:
        found = ""
        for _ in range(600):
            self.check()
            with contextlib.suppress(grpc.aio.AioRpcError):
                found = await ask()
                if found in wanted:
                    return
            await asyncio.sleep(0.1)
        raise DaemonFailed(
            f"{self.name}: waited a minute for {' or '.join(wanted)}, it is {found or 'silent'}"
        )

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        await super().stop(number)

    def describe(self) -> dict[str, Any]:
        return {
            "pubkey": self.pubkey,
            "host": "127.0.0.1",
            "port": self.rpc_port,
            "tls_cert": str(self.tls_cert),
            "macaroon": str(self.macaroon),
            "p2p": f"127.0.0.1:{self.p2p_port}",
        }
