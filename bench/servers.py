"""The servers under measurement, all of them on one disk, and what they use."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import load, naive
from counterfoil.db.vault import make_key
from tests.nodes.litecoind import free_port
from tests.postgres_server import PostgresServer
from tests.served import Served

BODY = b'{"amount": 25.00, "fiat_currency": "USD"}'
RATES = {"RATES__FIXED__LTC_USD": "80"}
# A server whose figures are to be those of a durable one.
POSTGRES = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
START_LIMIT_S = 30.0
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Disk:
    """Where the databases are, and what is preloaded into those who write there."""

    name: str
    parent: Path | None
    environment: Mapping[str, str]


def model_disk(stack: ExitStack) -> Disk | None:
    """Return a RAM disk whose fsync takes 1 ms; None where there is no RAM disk or no compiler."""
    memory, compiler = Path("/dev/shm"), shutil.which("cc")  # noqa: S108  # a RAM disk, not a secret
    if compiler is None or not memory.is_dir():
        return None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="counterfoil-shim-")))
    # PostgreSQL runs as somebody else, and must be able to read it.
    folder.chmod(0o755)
    shim = folder / "fsync_1ms.so"
    source = HERE / "fsync_1ms.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", shim, source], check=True)
    return Disk("model", memory, {"LD_PRELOAD": str(shim)})


REAL_DISK = Disk("real", None, {})


class Target:
    """A server and the request that it is loaded with."""

    def __init__(self, port: int, pids: list[int], request: bytes) -> None:
        self.port = port
        self.pids = pids
        self.request = request

    def cpu_s(self) -> float:
        """Return the processor time that its processes have used, all their threads together."""
        return sum(cpu_s(pid) for root in self.pids for pid in tree(root))


class Servers:
    """The floor, the naive stack and ours, on SQLite and on PostgreSQL."""

    def __init__(self, disk: Disk, stack: ExitStack) -> None:
        self._disk = disk
        self._stack = stack
        folder = tempfile.TemporaryDirectory(prefix="counterfoil-bench-", dir=disk.parent)
        self.folder = Path(stack.enter_context(folder))
        self.postgres = PostgresServer(disk.parent, POSTGRES, disk.environment)
        self.postgres.start()
        stack.callback(self.postgres.stop)
        self.targets: dict[str, Target] = {"floor": self._floor()}
        for name in ("sqlite", "pg"):
            served, pid = self.start(name, is_postgres=name == "pg")
            key = served.last_line("key", "create", "--scope", "automate")
            own = [pid] if name == "sqlite" else [pid, self.postgres.pid]
            self.targets[name] = Target(served.port, own, load.post("/api/invoice", key, BODY))
            get = load.get("/api/invoice/1", key)
            self.targets["get" if name == "sqlite" else "pg_get"] = Target(served.port, own, get)
        self.pid = self.targets["sqlite"].pids[0]
        for name in ("sqlite", "pg"):
            self.targets[f"{name}_naive"] = self._naive(is_postgres=name == "pg")

    def start(self, name: str, *, is_postgres: bool = False) -> tuple[Served, int]:
        """Start another server of ours on a database of its own."""
        folder = self.folder / name
        folder.mkdir()
        settings = dict(RATES)
        if is_postgres:
            database = asyncio.run(self.postgres.create())
            settings |= {"DATABASE": self.postgres.url(database), "SECRET_KEY": make_key()}
        served = Served(folder, settings)
        if is_postgres:
            served.run("migrate")
        # The commands need not wait for a disk; the server must.
        served.environment.update(self._disk.environment)
        pid = served.start().pid
        for name_of_shim in self._disk.environment:
            served.environment.pop(name_of_shim)
        self._stack.callback(served.stop)
        return served, pid

    def _floor(self) -> Target:
        port = free_port()
        pid = self._run("bench.floor", str(port))
        return Target(port, [pid], load.post("/api/invoice", "", BODY))

    def _naive(self, *, is_postgres: bool) -> Target:
        url = f"sqlite+aiosqlite:///{self.folder}/naive.db"
        pids = []
        if is_postgres:
            url = self.postgres.url(asyncio.run(self.postgres.create()))
            url = url.replace("postgresql://", "postgresql+asyncpg://", 1)
            pids = [self.postgres.pid]
        port = free_port()
        pid = self._run("bench.naive", str(port), url)
        return Target(port, [pid, *pids], load.post("/api/invoice", naive.KEY, BODY))

    def _run(self, module: str, *arguments: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env={**os.environ, **self._disk.environment}
        )

        def end() -> None:
            process.terminate()
            process.wait()

        self._stack.callback(end)
        _wait_until_listening(process, int(arguments[0]))
        return process.pid


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} did not start")


def tree(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, to the nanosecond."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def pss_mb(pid: int) -> float:
    """Return the memory of a process, what it shares with others counted in part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return round(int(found[1]) / 1024, 1)
