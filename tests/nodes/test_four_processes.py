"""Two processes that answer and two that watch and deliver, on one PostgreSQL, and a real node.

Customers order and pay all the while. Each process in turn is killed and started again, and the one
that watches the chain is frozen for longer than its lease, so that it wakes up when another one has
taken over. At the end nothing is lost, nothing is counted twice, and nothing is told out of order.
"""

import asyncio
import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from counterfoil.db.vault import make_key
from tests.channels.receivers import Receiver
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import LTC, make_xpub, open_page, receiving, verify
from tests.postgres_server import PostgresServer
from tests.served import Served, wait_until_chain_is_read

pytestmark = [pytest.mark.node, pytest.mark.long, pytest.mark.timeout(600)]

LIMIT_S = 120.0
CUSTOMERS = 4
ROUNDS = 3
# So many fit into one answer of `channel log`, with two events each.
ORDERS_MAX = 450


@dataclass(frozen=True)
class Bought:
    """An order that was acknowledged, and what its page asked for."""

    invoice_id: int
    share_token: str
    order_id: str
    address: str
    amount: Decimal


class Fleet:
    """The four processes."""

    def __init__(self, folder: Path, settings: dict[str, str], server: PostgresServer) -> None:
        self.database = settings["DATABASE"].rpartition("/")[2]
        self.server = server
        places = {name: folder / name for name in ("web-1", "web-2", "worker-1", "worker-2")}
        for place in places.values():
            place.mkdir()
        self.webs = [Served(places[name], settings) for name in ("web-1", "web-2")]
        self.workers = [Served(places[name], settings) for name in ("worker-1", "worker-2")]
        self.kills = 0
        self.freezes = 0

    def start(self) -> None:
        """Start all four at once."""
        for worker in self.workers:
            worker.start("worker")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda web: web.start("web"), self.webs))
        self.until_watched(0)

    def stop(self) -> None:
        """End all four as an operator would."""
        for served in (*self.webs, *self.workers):
            served.stop()

    def restart(self, served: Served, role: str) -> None:
        """Kill a process, leave it dead for a moment, and start it again."""
        served.kill()
        self.kills += 1
        time.sleep(0.5)
        served.start(role)

    def lease(self) -> tuple[int, int]:
        """Return the process that watches the chain, and the how-manieth watcher it is."""
        query = "SELECT holder, fence FROM lease WHERE name = 'watch:litecoin'"
        rows = asyncio.run(self.server.run(query, self.database))
        return (int(rows[0]["holder"].split(":")[1]), rows[0]["fence"]) if rows else (0, 0)

    def until_watched(self, fence: int) -> None:
        """Return when somebody watches the chain who came after a number."""
        deadline = time.monotonic() + LIMIT_S
        while self.lease()[1] <= fence:
            assert time.monotonic() < deadline, [each.last_words() for each in self.workers]
            time.sleep(0.2)

    def by_watching(self) -> tuple[Served, Served]:
        """Return the worker that watches the chain and the one that does not."""
        pid, _ = self.lease()
        first, second = self.workers
        return (first, second) if first.processes[0].pid == pid else (second, first)

    def kill_the_webs(self) -> None:
        """Kill the one process that answers, and when it is back the other one."""
        for web in self.webs:
            self.restart(web, "web")

    def kill_the_watcher(self) -> None:
        """Kill the process that watches; another one takes over when its lease has run out."""
        watching, _ = self.by_watching()
        _, fence = self.lease()
        self.restart(watching, "worker")
        self.until_watched(fence)

    def freeze_the_watcher(self) -> None:
        """Let the process that watches stand still until another one has taken over, and go on."""
        watching, _ = self.by_watching()
        _, fence = self.lease()
        (process,) = watching.processes
        process.send_signal(signal.SIGSTOP)
        try:
            self.until_watched(fence)
            time.sleep(1)
        finally:
            process.send_signal(signal.SIGCONT)
        self.freezes += 1


@dataclass
class Street:
    """The customers of one shop: they order and pay until they are told to stop."""

    fleet: Fleet
    node: Litecoind
    key: str
    bought: list[Bought] = field(default_factory=list)
    paid: dict[int, str] = field(default_factory=dict)
    retries: int = 0
    turns: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    is_empty: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let customers come and go until the block is left and all that was ordered is paid."""
        with ThreadPoolExecutor(CUSTOMERS + 1) as pool:
            customers = [pool.submit(self._come, number) for number in range(CUSTOMERS)]
            paying = pool.submit(self._pay_for_ever)
            try:
                yield
            finally:
                self.is_over.set()
                wait(customers)
                self.is_empty.set()
            for each in (*customers, paying):
                each.result()

    def _come(self, customer: int) -> None:
        chance = random.Random(customer)
        visit = 0
        while not self.is_over.is_set() and len(self.bought) < ORDERS_MAX - CUSTOMERS:
            order_id = f"customer-{customer}-visit-{visit}"
            visit += 1
            body = {"amount": f"{chance.randrange(500, 9_999) / 100:.2f}", "fiat_currency": "USD"}
            made = self._post(order_id, body | {"order_id": order_id})
            address, amount = self._look(made["share_token"])
            self.bought.append(Bought(made["id"], made["share_token"], order_id, address, amount))
            self.is_over.wait(0.4)

    def _post(self, order_id: str, body: dict[str, str]) -> dict[str, Any]:
        """Ask one server and the other until one acknowledges; the key makes that one order."""
        headers = {"Authorization": self.key, "Idempotency-Key": order_id}
        for web in self._webs():
            try:
                answer = httpx2.post(
                    f"{web}/api/invoice", json=body, headers=headers, trust_env=False, timeout=5
                )
            except httpx2.TransportError:
                continue
            if answer.status_code == 200:
                made: dict[str, Any] = answer.json()["invoice"]
                return made
            assert answer.status_code == 503, answer.text
        raise AssertionError("no server has acknowledged")

    def _look(self, share_token: str) -> tuple[str, Decimal]:
        for web in self._webs():
            try:
                page = open_page(f"{web}/pay-invoice?share_token={share_token}")
            except (httpx2.TransportError, AssertionError):
                continue
            if page.address is not None:
                return page.asked
        raise AssertionError("no page asks for money")

    def _webs(self) -> Iterator[str]:
        """Yield the servers in turn until one of them has answered or the time is over."""
        deadline = time.monotonic() + LIMIT_S
        number = random.randrange(2)
        while time.monotonic() < deadline:
            yield self.fleet.webs[number % 2].url
            self.retries += 1
            number += 1
            time.sleep(0.1)

    def _pay_for_ever(self) -> None:
        """Pay what was ordered, some of it in one transaction, and mine a block now and then."""
        while not self.is_empty.wait(0.5) or len(self.paid) < len(self.bought):
            self._pay_some()
            if self.turns % 3 == 0:
                self.node.mine(1)
            self.turns += 1

    def _pay_some(self) -> None:
        waiting = [each for each in list(self.bought) if each.invoice_id not in self.paid][:20]
        if waiting:
            txid = self.node.rpc("sendmany", "", {each.address: each.amount for each in waiting})
            self.paid.update({each.invoice_id: txid for each in waiting})


@pytest.fixture
def fleet(tmp_path: Path, litecoind: Litecoind, postgres_server: PostgresServer) -> Iterator[Fleet]:
    database = asyncio.run(postgres_server.create())
    settings = LTC.settings(litecoind) | {
        "DATABASE": postgres_server.url(database),
        "SECRET_KEY": make_key(),
    }
    made = Fleet(tmp_path, settings, postgres_server)
    made.webs[0].run("migrate")
    yield made
    made.stop()
    asyncio.run(postgres_server.drop(database))


def run_day(fleet: Fleet, node: Litecoind) -> None:
    """Let customers come while processes die, and check what has become of it all."""
    began = time.monotonic()
    front = fleet.webs[0]
    front.run("wallet", "add", "LTC", "--xpub", make_xpub(fleet.database))
    key = front.last_line("key", "create", "--scope", "automate")
    with receiving() as receiver:
        secret = front.last_line("channel", "add", "webhook", receiver.url, "--events", "all")
        fleet.start()
        wait_until_chain_is_read(front, node.rpc("getblockcount"), LIMIT_S)
        street = Street(fleet, node, key)
        with street.open():
            for _ in range(ROUNDS):
                _, other = fleet.by_watching()
                fleet.restart(other, "worker")
                # Those that answer die while nobody watches, one at a time.
                with ThreadPoolExecutor() as pool:
                    dying = pool.submit(fleet.kill_the_webs)
                    fleet.kill_the_watcher()
                    dying.result()
                fleet.freeze_the_watcher()
        node.mine(2)
        with front.client(key) as client:
            check_invoices(client, street)
        events = check_events(receiver, street)
        check_log(front, events)
        verify(receiver, secret)
    repeated = len(receiver.requests) - len(events)
    print(
        f"{len(street.bought)} invoices, {len(set(street.paid.values()))} transactions, "
        f"{fleet.kills} kills, {fleet.freezes} freezes, {street.retries} requests tried again, "
        f"{len(events)} events, {repeated} delivered again, {time.monotonic() - began:.0f} s"
    )


def check_invoices(client: httpx2.Client, street: Street) -> None:
    """Check that every acknowledged invoice is there once and was credited once, with its own."""
    deadline = time.monotonic() + LIMIT_S
    statuses: Counter[str] = Counter()
    listed: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        listed = list_invoices(client)
        statuses = Counter(each["status"] for each in listed)
        if statuses.keys() == {"Paid"}:
            break
        time.sleep(0.5)
    assert statuses == {"Paid": len(street.bought)}
    assert {each["id"]: each["share_token"] for each in listed} == {
        each.invoice_id: each.share_token for each in street.bought
    }
    assert len({each["order_id"] for each in listed}) == len(listed)
    assert all(each["exceptions"] == [] for each in listed)
    credited = set()
    for each in street.bought:
        answer = client.get(f"/api/invoice/{each.invoice_id}/payments").json()
        (payment,) = answer["payments"]
        assert (payment["txid"], payment["state"]) == (street.paid[each.invoice_id], "final")
        assert Decimal(payment["amount"]) == each.amount
        credited.add((payment["txid"], payment["index"]))
    assert len(credited) == len(street.bought)


def list_invoices(client: httpx2.Client) -> list[dict[str, Any]]:
    """Return all invoices of the shop."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = {"limit": "200"} | ({"after": after} if after else {})
        answer = client.get("/api/invoices", params=page).json()
        found += answer["invoices"]
        after = answer["next"]
        if after is None:
            return found


def check_events(receiver: Receiver, street: Street) -> dict[str, dict[str, Any]]:
    """Check what was told, once that is all; return the events by their ids."""
    wanted = {str(each.invoice_id) for each in street.bought}
    deadline = time.monotonic() + LIMIT_S
    heard: dict[str, bytes] = {}
    events: dict[str, dict[str, Any]] = {}
    confirmed: set[str] = set()
    seqs: list[int] = []
    while time.monotonic() < deadline:
        for headers, body in list(receiver.requests):
            # The same id is the same event, to the last byte.
            assert heard.setdefault(headers["webhook-id"], body) == body
        events = {event_id: json.loads(body) for event_id, body in heard.items()}
        confirmed = {e["invoice_id"] for e in events.values() if e["event"] == "payment_confirmed"}
        seqs = sorted(int(event["seq"]) for event in events.values())
        if confirmed == wanted and seqs == list(range(1, len(seqs) + 1)):
            break
        time.sleep(0.5)
    assert confirmed == wanted
    assert seqs == list(range(1, len(seqs) + 1)), "the log has no gaps and no doubles"

    by_invoice: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events.values():  # in the order in which each was heard first
        by_invoice[event["invoice_id"]].append(event)
    for told in by_invoice.values():
        assert [int(event["seq"]) for event in told] == sorted(int(event["seq"]) for event in told)
        kinds = [event["event"] for event in told]
        # While nobody watched, a payment may have grown deep unseen.
        assert kinds in (["payment_detected", "payment_confirmed"], ["payment_confirmed"])
    return events


def check_log(served: Served, events: dict[str, dict[str, Any]]) -> None:
    """Check that the shop has heard every event that was ever written, and that this is known.

    A delivery is recorded after it was heard; whoever died in between leaves it to be sent again.
    """
    deadline = time.monotonic() + LIMIT_S
    listed: list[str] = []
    while time.monotonic() < deadline:
        listed = served.run("channel", "log", "1", "--limit", "1000").stdout.splitlines()[1:]
        if all(" delivered " in line for line in listed):
            break
        time.sleep(0.5)
    assert {line.split()[0] for line in listed} == events.keys()
    assert all(" delivered " in line for line in listed)


def test_each_process_is_killed_and_one_is_frozen(fleet: Fleet, litecoind: Litecoind) -> None:
    run_day(fleet, litecoind)
