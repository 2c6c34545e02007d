"""Payments and time: at the moment of expiry, after it, after a month, and while no node answers.

A server's clock cannot be turned over HTTP. Where a test needs old invoices, it makes their rows
old in the database; that is said there, and the time of everything else stays true.
"""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx2
import pytest
from embit.bip32 import HDKey
from embit.script import p2wpkh

from tests.nodes.shop import LIMIT_S, REGTEST, Order, Shop
from tests.served import wait_until_chain_is_read

pytestmark = pytest.mark.node

MONTH_MS = 30 * 86_400_000
DETECTED = ("payment_detected", "Confirming")
CONFIRMED = ("payment_confirmed", "Paid")
EXPIRED = ("invoice_expired", "Expired")
PAID_LATE = ("invoice_paid_late", "Paid")


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def sleep_until(due_at: str, more_s: float = 0.0) -> None:
    left = datetime.fromisoformat(due_at) - datetime.now(UTC)
    time.sleep(max(left.total_seconds() + more_s, 0))


# --- the moment of expiry ----------------------------------------------------------------------


@pytest.mark.long
def test_what_was_sent_before_the_due_date_never_expires(shop: Shop) -> None:
    """However shortly before: the server sees it only when the due date has passed."""
    due_at = in_seconds(6)
    orders = [shop.order("10.00", due_at=due_at) for _ in range(4)]
    asked = [order.page().asked for order in orders]
    txids = []
    for (address, amount), before_s in zip(asked, (0.8, 0.5, 0.3, 0.15), strict=True):
        sleep_until(due_at, -before_s)
        txids.append(shop.node.send(address, amount))
    assert datetime.now(UTC) < datetime.fromisoformat(due_at), "the machine was too slow"
    sleep_until(due_at)
    for order in orders:
        order.wait("Confirming")
    orders[0].stays("Confirming")
    shop.node.mine(2)
    for order, txid in zip(orders, txids, strict=True):
        order.wait("Paid")
        assert [each["txid"] for each in order.payments()] == [txid]
        order.told(DETECTED, CONFIRMED)


def test_what_comes_right_after_the_end_is_credited_in_full(shop: Shop) -> None:
    """Within two minutes it is not even late: somebody pressed "send" in time."""
    due_at = in_seconds(3)
    order = shop.order(due_at=due_at)
    address, amount = order.page().asked
    order.wait("Expired")
    assert datetime.now(UTC) > datetime.fromisoformat(due_at)
    page = order.page()
    assert "This invoice is closed" in page.text
    assert "what arrives is still credited" in page.text
    assert page.amount is None
    shop.node.send(address, amount)
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    order.told(EXPIRED, DETECTED, CONFIRMED)


def test_a_part_that_came_in_time_keeps_an_invoice_from_expiring(shop: Shop) -> None:
    due_at = in_seconds(5)
    order = shop.order("25.00", due_at=due_at)
    address, _ = order.page().asked
    shop.node.send(address, Decimal("0.2"))
    order.wait("Unpaid", "underpaid")
    sleep_until(due_at)
    order.told(("invoice_underpaid", "Unpaid"))
    order.stays("Unpaid", "underpaid")
    page = order.page()
    assert "The time to pay is over" in page.text
    assert "We received 16.00 USD ; 9.00 USD is missing" in page.text
    shop.node.mine(2)


# --- a month later -----------------------------------------------------------------------------


AGEING = (
    "UPDATE invoice SET created_at = created_at - :month, due_at = due_at - :month WHERE id = :id",
    """UPDATE quote SET created_at = created_at - :month, rate_at = rate_at - :month,
    lock_until = lock_until - :month WHERE invoice_id = :id""",
    """UPDATE amount_hold
    SET watched_from_ms = (SELECT watched_ms FROM chain WHERE name = 'litecoin') - :month
    WHERE quote_id IN (SELECT id FROM quote WHERE invoice_id = :id)""",
)


def opened(shop: Shop) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(shop.served.folder / "counterfoil.db", timeout=30))


def wait_until_freed(shop: Shop) -> None:
    """Return when no amount is held any more."""
    deadline = time.monotonic() + LIMIT_S
    with opened(shop) as database:
        while database.execute("SELECT count(*) FROM amount_hold").fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def wait_until_watched(shop: Shop, moment: datetime) -> None:
    """Return when the chain has been watched past a moment: what comes then came after it."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        chains = httpx2.get(f"{shop.served.url}/readyz", trust_env=False).json()["chains"]
        (watched_at,) = (each["watched_at"] for each in chains if each["name"] == "litecoin")
        if watched_at is not None and datetime.fromisoformat(watched_at) > moment:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def age(shop: Shop, order: Order) -> None:
    """Make an order a month old, with what it asked for, and its chain watched all the while.

    The rows are changed as that month would have changed them.
    """
    with opened(shop) as database, database:
        for change in AGEING:
            database.execute(change, {"month": MONTH_MS, "id": order.id})


def test_an_address_of_a_month_ago_still_belongs_to_its_invoice(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    age(shop, order)
    assert order.page().state == "ended"
    shop.node.send(address, amount)
    order.wait("Confirming")
    assert "Your payment arrived after the price or the invoice had ended" in order.page().text
    shop.node.mine(2)
    order.wait("Paid", "paid_late")
    [payment] = order.payments()
    assert payment["fiat_value"] == "25.00"
    order.told(DETECTED, CONFIRMED, PAID_LATE)


def test_an_expired_invoice_of_a_month_ago_is_paid_late(shop: Shop) -> None:
    due_at = in_seconds(3)
    order = shop.order("25.00", due_at=due_at)
    address, amount = order.page().asked
    order.wait("Expired")
    age(shop, order)
    shop.node.send(address, amount)
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid", "paid_late")
    order.told(EXPIRED, DETECTED, CONFIRMED, PAID_LATE)


def test_a_shared_address_of_a_month_ago_leads_to_the_inbox(shop: Shop) -> None:
    """Its amount was free for somebody else long ago, so it tells nobody who paid."""
    owner = HDKey.from_seed(b"the owner of the shared address.").derive([0])
    shared = str(p2wpkh(owner).address(REGTEST))
    order = shop.order("25.00", wallet_address=shared, coin_symbol="LTC")
    address, amount = order.page().asked
    age(shop, order)
    # A start sweeps at once, which a running server does once a minute.
    shop.served.stop()
    shop.served.start()
    wait_until_freed(shop)
    wait_until_watched(shop, datetime.now(UTC))
    told = len(shop.events(""))
    shop.node.send(address, amount)
    shop.node.mine(2)
    shop.wait_for_inbox(told + 1)
    assert shop.events("")[-1]["reason"] == "no_exact_amount"
    assert order.stands() == ("Unpaid",)
    assert order.payments() == []


# --- a node that is away -----------------------------------------------------------------------


def readiness(shop: Shop) -> tuple[int, str | None]:
    """Return the status of /readyz and what it says of the chain."""
    answer = httpx2.get(f"{shop.served.url}/readyz", trust_env=False)
    [trouble] = [c["trouble"] for c in answer.json()["chains"] if c["name"] == "litecoin"]
    return answer.status_code, trouble


def wait_until_it_is_told(shop: Shop) -> str:
    """Return what /readyz says of the chain once something is wrong with it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        status, trouble = readiness(shop)
        if status == 503 and trouble is not None:
            return trouble
        time.sleep(0.1)
    raise AssertionError("the server does not notice")


@pytest.mark.long
def test_nothing_expires_while_the_node_is_away(shop: Shop) -> None:
    node, port = shop.node, shop.node.port
    due_at = in_seconds(12)
    unpaid = shop.order("10.00", due_at=due_at)
    unpaid.page()
    paid_meanwhile = shop.order("20.00", due_at=due_at)
    address, amount = paid_meanwhile.page().asked
    confirming = shop.order("30.00")
    confirming.pay()
    confirming.wait("Confirming")

    # The network goes on where the server cannot see it: the same node, at another port.
    node.stop()
    try:
        assert wait_until_it_is_told(shop).startswith("The node at 127.0.0.1:")
        node.start()
        node.rpc("loadwallet", "test")
        node.send(address, amount)
        node.mine(1)
        sleep_until(due_at, 1)
        for order, status in ((unpaid, "Unpaid"), (paid_meanwhile, "Unpaid")):
            order.stays(status)
        assert confirming.stands() == ("Confirming",)
        page = unpaid.page()
        assert "We cannot see the Litecoin network right now" in page.text
        assert "We are still looking whether a payment came in time" in page.text
        assert shop.order("1.00").read()["status"] == "Unpaid", "orders are taken all the while"
        node.mine(1)
    finally:
        node.stop()
        node.start(port)
        node.rpc("loadwallet", "test")

    paid_meanwhile.wait("Paid")
    confirming.wait("Paid")
    unpaid.wait("Expired")
    assert readiness(shop) == (200, None)
    paid_meanwhile.told(DETECTED, CONFIRMED)
    confirming.told(DETECTED, CONFIRMED)
    unpaid.told(EXPIRED)


def test_what_is_sent_while_the_server_is_down_came_when_the_node_had_it(shop: Shop) -> None:
    order = shop.order()
    address, amount = order.page().asked
    shop.served.stop()
    try:
        sent_at = datetime.now(UTC)
        shop.node.send(address, amount)
        time.sleep(5)
    finally:
        shop.served.start()
    order.wait("Confirming")
    (payment,) = order.payments()
    late = datetime.fromisoformat(payment["first_seen_at"]) - sent_at
    # A node tells whole seconds, and what was sent after the last look came after it.
    assert timedelta(seconds=-1) < late < timedelta(seconds=3)


def test_a_node_that_has_forgotten_its_mempool_fails_nothing(shop: Shop) -> None:
    node, port = shop.node, shop.node.port
    order = shop.order()
    txid = order.pay()
    order.wait("Confirming")
    node.stop()
    try:
        (node.folder / "regtest" / "mempool.dat").unlink()
    finally:
        node.start(port)
    # The wallet that would send it again is away as well, and blocks come without it.
    assert node.rpc("getrawmempool") == []
    miner = str(p2wpkh(HDKey.from_seed(b"some miner or other, it matters not")).address(REGTEST))
    node.rpc("generatetoaddress", 2, miner)
    wait_until_chain_is_read(shop.served, node.rpc("getblockcount"), LIMIT_S)
    order.stays("Confirming")
    assert [each["state"] for each in order.payments()] == ["seen"]

    # It comes back, and sends it again.
    node.rpc("loadwallet", "test")
    assert txid in node.rpc("getrawmempool")
    node.mine(2)
    order.wait("Paid")
    order.told(DETECTED, CONFIRMED)
