"""`counterfoil serve` as a process: how it starts, refuses, stops, and what survives its death."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from tests.cli.program import COUNTERFOIL
from tests.test_app import KEY, OTHER_KEY

LIMIT_S = 60
INVOICE = {"amount": "5.00", "fiat_currency": "EUR"}


class Server:
    """A folder to serve from, and the process that serves it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COUNTERFOIL_PORT": "0",
            "COUNTERFOIL_CHAINS__SIMULATOR__BLOCK_INTERVAL_S": "0.2",
            **environment,
        }
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def start(self, *arguments: str) -> None:
        """Start it and return when it answers."""
        with self.log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [COUNTERFOIL, "serve", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, self.log.read_text(encoding="utf-8")
        self.url = said.removeprefix("Serving on ").strip()

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code; what it printed beside its address is nothing."""
        process, self.process = self.process, None
        if process is None:
            return 0
        with process:
            process.send_signal(number)
            assert process.stdout is not None
            assert process.stdout.read() == ""
            return process.wait(LIMIT_S)

    @property
    def log(self) -> Path:
        """What it logs, of all its lives."""
        return self.folder / "serve.log"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def command(self, *arguments: str) -> list[str]:
        """Run another command beside it and return the lines that it prints."""
        done = subprocess.run(
            [COUNTERFOIL, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def refused(self, *arguments: str, **environment: str) -> str:
        """Return the sentence with which a start is refused."""
        done = subprocess.run(
            [COUNTERFOIL, "serve", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == 1, done.stdout
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("Error: ").removesuffix("\n")

    def key(self) -> str:
        return self.command("key", "create", "--scope", "automate", "--test")[-1]

    def client(self, key: str) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.url, headers={"Authorization": key}, trust_env=False, timeout=30
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as started:
        yield started


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- a life ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_life(server: Server, number: int) -> None:
    key = server.key()
    with server.client(key) as client:
        made = client.post("/api/invoice", json=INVOICE).json()["invoice"]
        assert made["pay_url"].startswith(server.url)
        assert client.get(made["pay_url"]).status_code == 200
        server.command("pay", str(made["id"]))
        wait_until(
            lambda: client.get(f"/api/invoice/{made['id']}").json()["invoice"]["status"] == "Paid"
        )
    assert server.stop(number) == 0
    # When keys were used is written at the end.
    assert "never" not in server.command("key", "list")[1]
    written = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in written
    assert {line["level"] for line in server.lines()} == {"info"}
    assert "/pay-invoice" in written
    assert key not in written
    assert made["share_token"] not in written


def test_it_starts_again_on_what_it_left(server: Server) -> None:
    key = server.key()
    with server.client(key) as client:
        made = client.post("/api/invoice", json=INVOICE).json()["invoice"]
    server.stop(signal.SIGTERM)
    server.start()
    with server.client(key) as client:
        assert client.get(f"/api/invoice/{made['id']}").status_code == 200


# --- what is refused ---------------------------------------------------------------------------


def test_a_second_one_is_refused(server: Server) -> None:
    assert server.refused().startswith("Another `counterfoil serve` is running on this data folder")
    server.stop(signal.SIGKILL)
    # The lock of a process ends with it.
    server.start()


def test_what_stops_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    refused = server.refused
    assert refused(COUNTERFOIL_PROT="1") == (
        "COUNTERFOIL_PROT is not a setting. Did you mean COUNTERFOIL_PORT?"
    )
    assert refused("--port", "65536") == "--port must be a whole number from 0 to 65535."
    assert refused("--role", "web").startswith("--role must be all on SQLite")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = refused("--port", str(taken.getsockname()[1]))
    assert "Address already in use" in message
    assert refused(COUNTERFOIL_DATABASE="postgresql://me:hunter2@127.0.0.1:1/x").startswith(
        "PostgreSQL at 127.0.0.1:1/x cannot be reached: "
    )


def test_another_secret_key_is_refused(tmp_path: Path) -> None:
    with Server(tmp_path, COUNTERFOIL_SECRET_KEY=KEY) as server:
        server.stop(signal.SIGTERM)
        message = server.refused(COUNTERFOIL_SECRET_KEY=OTHER_KEY)
        assert message.startswith("The secret key does not open this database.")
        server.start()


def test_postgresql_without_our_schema_is_refused(tmp_path: Path, empty_postgres_url: str) -> None:
    server = Server(tmp_path, COUNTERFOIL_DATABASE=empty_postgres_url, COUNTERFOIL_SECRET_KEY=KEY)
    assert "Run `counterfoil migrate`" in server.refused()
    server.command("migrate")
    with server:
        assert server.stop(signal.SIGTERM) == 0


# --- death -------------------------------------------------------------------------------------


async def make_invoices(
    server: Server, key: str, answered: list[dict[str, Any]], enough: asyncio.Event
) -> list[int]:
    """Ask for invoices until the server is gone; return the statuses of what was not one."""
    others: list[int] = []
    async with httpx2.AsyncClient(
        base_url=server.url, headers={"Authorization": key}, trust_env=False, timeout=30
    ) as client:

        async def ask() -> None:
            while True:
                try:
                    answer = await client.post("/api/invoice", json=INVOICE)
                except httpx2.HTTPError:
                    return
                if answer.status_code == 200:
                    answered.append(answer.json()["invoice"])
                else:
                    others.append(answer.status_code)
                if len(answered) >= 150:
                    enough.set()

        await asyncio.gather(*(ask() for _ in range(16)))
    return others


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_answered_is_there_after_its_death(server: Server, number: int) -> None:
    key = await asyncio.to_thread(server.key)
    answered: list[dict[str, Any]] = []
    enough = asyncio.Event()
    asking = asyncio.create_task(make_invoices(server, key, answered, enough))
    await asyncio.wait_for(enough.wait(), LIMIT_S)
    code = await asyncio.to_thread(server.stop, number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    assert await asking == []
    await asyncio.to_thread(server.start)
    with server.client(key) as client:
        for each in answered:
            found = client.get(f"/api/invoice/{each['id']}").json()["invoice"]
            assert found["share_token"] == each["share_token"]
        # It watches at once, though its old lease has not run out.
        wait_until(lambda: client.get("/readyz").status_code == 200)
        client.post("/api/invoice", json=INVOICE).raise_for_status()


# --- several processes -------------------------------------------------------------------------


def test_roles_share_a_postgresql(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "worker").mkdir()
    environment = {"COUNTERFOIL_DATABASE": postgres_url, "COUNTERFOIL_SECRET_KEY": KEY}
    web = Server(tmp_path / "web", COUNTERFOIL_ROLE="web", **environment)
    worker = Server(tmp_path / "worker", COUNTERFOIL_ROLE="worker", **environment)
    with web, worker:
        assert worker.url == "Working, without the web."
        with web.client(web.key()) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            invoice_id = client.post("/api/invoice", json=INVOICE).json()["invoice"]["id"]
            worker.command("pay", str(invoice_id))
            path = f"/api/invoice/{invoice_id}"
            wait_until(lambda: client.get(path).json()["invoice"]["status"] == "Paid")
        assert worker.stop(signal.SIGTERM) == 0
        assert web.stop(signal.SIGTERM) == 0
