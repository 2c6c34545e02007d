"""Real processes that die under load: `kill -9` of a server, and of PostgreSQL under one.

Customers order and pay with the simulator's coin all the while. Whatever they were answered holds.
"""

import asyncio
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from counterfoil.db.vault import make_key
from tests.channels.receivers import Receiver
from tests.nodes.shop import receiving
from tests.postgres_server import PostgresServer
from tests.served import Served

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROUNDS = 4
CUSTOMERS = 6
LIMIT_S = 90.0
SETTINGS = {"CHAINS__SIMULATOR__BLOCK_INTERVAL_S": "0.2"}
# What the log of a channel shows at once is not less than what they can buy.
LOG_LINES = 1_000
ORDERS_MAX = 400


@dataclass
class Customers:
    """Those who order and pay, and what they were answered."""

    url: str
    key: str
    # Invoices by their ids with their share tokens, and those of which a payment was acknowledged.
    bought: dict[int, str] = field(default_factory=dict)
    paid: set[int] = field(default_factory=set)
    refusals: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Let them come until the block is left, and be answered what they have asked."""
        with ThreadPoolExecutor(CUSTOMERS) as pool:
            coming = [pool.submit(self._come, number) for number in range(CUSTOMERS)]
            try:
                yield
            finally:
                self._is_over.set()
            for each in coming:
                each.result()

    def _come(self, customer: int) -> None:
        visit = 0
        with httpx2.Client(
            base_url=self.url, headers={"Authorization": self.key}, trust_env=False, timeout=10
        ) as client:
            while not self._is_over.is_set() and len(self.bought) < ORDERS_MAX:
                visit += 1
                made = self._order(client, f"{customer}-{visit}")
                self.bought[made["id"]] = made["share_token"]
                # Paid once only: who is not answered may have paid or not.
                with suppress(httpx2.TransportError):
                    path = f"/api/invoice/{made['id']}/simulate"
                    if client.post(path, json={"outcome": "exact"}).status_code == 200:
                        self.paid.add(made["id"])
                self._is_over.wait(0.05)

    def _order(self, client: httpx2.Client, name: str) -> dict[str, Any]:
        """Ask until it is acknowledged; the key makes that one order."""
        body = {"amount": "5.00", "fiat_currency": "USD", "order_id": name}
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            with suppress(httpx2.TransportError):
                answer = client.post("/api/invoice", json=body, headers={"Idempotency-Key": name})
                if answer.status_code == 200:
                    made: dict[str, Any] = answer.json()["invoice"]
                    return made
                assert answer.status_code == 503, answer.text
            self.refusals += 1
            time.sleep(0.1)
        raise AssertionError("the server did not come back")


def until(holds: Callable[[], bool], served: Served) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, served.last_words()
        time.sleep(0.2)


def run_day(served: Served, rounds: int, die: Callable[[], None]) -> None:
    """Let customers come while something dies several times, and check what they were answered."""
    chance = random.Random(rounds)
    served.start()
    key = served.last_line("key", "create", "--scope", "automate", "--test")
    with receiving() as receiver:
        served.run("channel", "add", "webhook", receiver.url, "--events", "all")
        customers = Customers(served.url, key)
        with customers.coming():
            for _ in range(rounds):
                time.sleep(0.5 + chance.random())
                die()
            until(lambda: is_ready(served), served)
        with served.client(key) as client:
            check_invoices(client, customers, served)
        check_events(receiver, customers, served)
    print(
        f"{rounds} deaths, {len(customers.bought)} invoices and {len(customers.paid)} payments "
        f"acknowledged, {customers.refusals} requests tried again"
    )


def is_ready(served: Served) -> bool:
    return httpx2.get(f"{served.url}/readyz", trust_env=False).status_code == 200


def check_invoices(client: httpx2.Client, customers: Customers, served: Served) -> None:
    """Each acknowledged invoice is there, and each acknowledged payment pays."""
    for invoice_id, token in customers.bought.items():
        found = client.get(f"/api/invoice/{invoice_id}").json()["invoice"]
        assert found["share_token"] == token

    def is_paid(invoice_id: int) -> bool:
        invoice = client.get(f"/api/invoice/{invoice_id}").json()["invoice"]
        return bool(invoice["status"] == "Paid" and invoice["exceptions"] == [])

    assert customers.paid
    until(lambda: all(map(is_paid, customers.paid)), served)


def check_events(receiver: Receiver, customers: Customers, served: Served) -> None:
    """Each event was heard, what was heard stands in the log, and nothing came out of order."""

    def heard() -> dict[str, dict[str, Any]]:
        return {h["webhook-id"]: json.loads(body) for h, body in list(receiver.requests)}

    def log() -> dict[str, str]:
        lines = served.run("channel", "log", "1", "--limit", str(LOG_LINES)).stdout.splitlines()[1:]
        return {line.split()[0]: line for line in lines}

    until(lambda: all(" delivered " in line for line in log().values()), served)
    events = heard()
    assert events.keys() == log().keys()
    # The same event is the same bytes, however often it came.
    assert len({body for _, body in receiver.requests}) == len(events)
    seqs = [int(event["seq"]) for event in events.values()]
    assert sorted(seqs) == list(range(1, len(seqs) + 1))
    told = defaultdict(list)
    for event in events.values():  # in the order in which each was heard first
        told[event["invoice_id"]].append((int(event["seq"]), event["event"]))
    assert all(each == sorted(each) for each in told.values())
    confirmed = {int(i) for i, each in told.items() if "payment_confirmed" in dict(each).values()}
    assert confirmed >= customers.paid


def test_a_server_on_sqlite_is_killed(tmp_path: Path) -> None:
    served = Served(tmp_path, SETTINGS)

    def die() -> None:
        served.kill()
        served.start()

    try:
        run_day(served, ROUNDS, die)
    finally:
        served.kill()


@pytest.fixture
def durable() -> Iterator[PostgresServer]:
    """A server of the test's own, which writes as one does that may crash."""
    settings = {"fsync": "on", "full_page_writes": "on", "log_min_messages": "panic"}
    server = PostgresServer(settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def on_postgres(durable: PostgresServer, tmp_path: Path) -> Iterator[Served]:
    url = durable.url(asyncio.run(durable.create()))
    served = Served(tmp_path, SETTINGS | {"DATABASE": url, "SECRET_KEY": make_key()})
    served.run("migrate")
    yield served
    served.kill()


def test_a_server_on_postgresql_is_killed(on_postgres: Served) -> None:
    def die() -> None:
        on_postgres.kill()
        on_postgres.start()

    run_day(on_postgres, ROUNDS, die)


def test_postgresql_stops_at_once_under_a_server(
    on_postgres: Served, durable: PostgresServer
) -> None:
    """The server's process lives on, and goes on when the database is there again."""

    def die() -> None:
        durable.stop_at_once()
        time.sleep(1)
        durable.serve()

    run_day(on_postgres, ROUNDS, die)
    (process,) = on_postgres.processes
    assert process.poll() is None
