"""A shop that uses the product as shops do: the command line, HTTP, and a receiver of webhooks.

One server serves all tests of a file. Each test makes orders of its own, asks only for what
concerns them, and says at its end what the shop must have been told of each; when the file ends it
is checked that nothing more was told, nothing twice, and all of it signed.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
from embit import bip32
from embit.networks import NETWORKS
from standardwebhooks import Webhook

from tests.channels.receivers import Receiver
from tests.nodes.litecoind import Node
from tests.served import Served, wait_until_chain_is_read

# How long a change may take to show on a busy machine; how fast it is, test_acceptance.py says.
LIMIT_S = 30.0
POLL_S = 0.1
# The server looks at the chain and at its outbox once a second: by then it would have told.
SETTLE_S = 2.5
# Litecoin's regtest, as the library that makes addresses describes networks.
REGTEST = NETWORKS["regtest"] | {"bech32": "rltc", "p2sh": b"\x3a"}


@dataclass(frozen=True)
class Coin:
    """A coin that shops take, and how many USD one costs."""

    method: str
    chain: str
    price: str

    def settings(self, node: Node) -> dict[str, str]:
        """Return the settings of a server that reads this node."""
        chain = f"CHAINS__{self.chain.upper()}"
        return {
            f"{chain}__RPC": node.url,
            f"{chain}__NETWORK": "regtest",
            f"{chain}__CONFIRMATIONS": "2",
            f"RATES__FIXED__{self.method}_USD": self.price,
        }


LTC = Coin("LTC", "litecoin", "80")
BTC = Coin("BTC", "bitcoin", "80000")


def make_xpub(seed: str) -> str:
    """Return the account key of a wallet that nobody has."""
    root = bip32.HDKey.from_seed(hashlib.sha512(seed.encode()).digest())
    account = root.derive("m/84h/1h/0h").to_public()
    text: str = account.to_base58(version=NETWORKS["regtest"]["zpub"])
    return text


def verify(receiver: Receiver, secret: str) -> None:
    """Check both signatures of everything that was received."""
    for headers, body in receiver.requests:
        mac = hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()
        assert hmac.compare_digest(headers["signature"], mac)
        Webhook(base64.b64decode(secret.removeprefix("whsec_"))).verify(body, headers)


@dataclass(frozen=True)
class Page:
    """A pay page as its payer reads it; `address` and `amount` are those of the payment link."""

    state: str
    text: str
    address: str | None
    amount: Decimal | None

    @property
    def asked(self) -> tuple[str, Decimal]:
        """The address and the amount of a page that asks for money."""
        assert self.address is not None, self.text
        assert self.amount is not None, self.text
        return self.address, self.amount


def open_page(pay_url: str) -> Page:
    """Open a pay page: the first visit makes the price."""
    answer = httpx2.get(pay_url, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    html = answer.text
    state = re.search(r'data-state="(\w+)"', html)
    assert state, html
    link = re.search(r'href="[a-z]+:(\w+)\?amount=([0-9.]+)"', html)
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", html[html.index("<main") :])).split())
    address, amount = (link[1], Decimal(link[2])) if link else (None, None)
    return Page(state[1], text, address, amount)


@dataclass(frozen=True)
class Order:
    """An invoice that the shop made."""

    shop: "Shop" = field(repr=False)
    id: int
    pay_url: str = field(repr=False)

    def page(self) -> Page:
        """Return what its payer reads now."""
        return open_page(self.pay_url)

    def ask_for_a_price(self) -> None:
        """Press the button of the page that gives a fresh price."""
        token = self.pay_url.partition("share_token=")[2]
        url = f"{self.pay_url.partition('?')[0]}/price"
        answer = httpx2.post(url, data={"share_token": token}, trust_env=False)
        assert answer.status_code == 303, answer.text

    def pay(self, *, is_replaceable: bool = False) -> str:
        """Pay what the page asks for and return the txid."""
        address, amount = self.page().asked
        return self.shop.node.send(address, amount, is_replaceable=is_replaceable)

    def read(self) -> dict[str, Any]:
        """Return the invoice as the API tells it."""
        invoice: dict[str, Any] = self.shop.get(f"/api/invoice/{self.id}")["invoice"]
        return invoice

    def stands(self) -> tuple[str, ...]:
        """Return the status and all exceptions."""
        invoice = self.read()
        return (invoice["status"], *invoice["exceptions"])

    def payments(self) -> list[dict[str, Any]]:
        """Return the payments that are credited to it."""
        found: list[dict[str, Any]] = self.shop.get(f"/api/invoice/{self.id}/payments")["payments"]
        return found

    def wait(self, *wanted: str) -> None:
        """Return when the status and all exceptions are these."""
        seen: tuple[str, ...] = ()
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            seen = self.stands()
            if seen == wanted:
                return
            time.sleep(POLL_S)
        raise AssertionError(f"{seen}, not {wanted}\n{self.shop.served.last_words()}")

    def wait_for_payment(self, txid: str) -> dict[str, Any]:
        """Return a payment by its transaction when it has been credited."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            for payment in self.payments():
                if payment["txid"] == txid:
                    return payment
            time.sleep(POLL_S)
        raise AssertionError(
            f"{txid} is not among {self.payments()}\n{self.shop.served.last_words()}"
        )

    def stays(self, *wanted: str) -> None:
        """Return after a few looks at the chain, if nothing has changed by them."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            assert self.stands() == wanted
            time.sleep(POLL_S)

    def told(self, *wanted: tuple[str, str]) -> list[str]:
        """Check that these are the events, as (event, status), and return their payment ids.

        That no others follow is checked when the shop closes.
        """
        deadline = time.monotonic() + LIMIT_S
        while len(self.shop.events(self.id)) < len(wanted) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        events = self.shop.events(self.id)
        assert [(each["event"], each["status"]) for each in events] == list(wanted)
        self.shop.expected[self.id] = list(wanted)
        return [each["payment_id"] for each in events]


class Shop:
    """A merchant of one server, with an extended public key and a webhook that hears everything."""

    def __init__(self, served: Served, node: Node, receiver: Receiver, coin: Coin = LTC) -> None:
        self.served = served
        self.coin = coin
        self.node = node
        self.receiver = receiver
        self.expected: dict[int, list[tuple[str, str]]] = {}
        self.xpub = make_xpub(served.folder.as_posix())
        self.first_addresses = self.add_wallet("--xpub", self.xpub)
        self.key = served.last_line("key", "create", "--scope", "automate")
        self.secret = served.last_line("channel", "add", "webhook", receiver.url, "--events", "all")
        self.client = served.client(self.key)

    def add_wallet(self, *wallet: str) -> list[str]:
        """Receive on a wallet, and return the addresses that are shown to compare."""
        added = self.served.run("wallet", "add", self.coin.method, *wallet).stdout
        return re.findall(r"^[a-z]+1[a-z0-9]+$", added, re.MULTILINE)

    def order(self, amount: str = "25.00", **fields: str) -> Order:
        """Make an invoice, in USD."""
        body = {"amount": amount, "fiat_currency": "USD", **fields}
        answer = self.client.post("/api/invoice", json=body)
        assert answer.status_code == 200, answer.text
        made = answer.json()["invoice"]
        return Order(self, made["id"], made["pay_url"])

    def get(self, path: str) -> dict[str, Any]:
        """Return an answer of the API."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def events(self, invoice_id: int | str) -> list[dict[str, Any]]:
        """Return what was told of an invoice, "" for the inbox, in the order in which it came."""
        bodies = [json.loads(request.body) for request in self.receiver.requests]
        return [body for body in bodies if body["invoice_id"] == str(invoice_id)]

    def wait_for_inbox(self, count: int) -> None:
        """Return when the shop has been told of so many transfers in its inbox."""
        deadline = time.monotonic() + LIMIT_S
        while len(self.events("")) < count:
            assert time.monotonic() < deadline, self.served.last_words()
            time.sleep(POLL_S)

    def derive(self, index: int) -> str:
        """Return a receive address of the shop's wallet as the node derives it."""
        xpub = bip32.HDKey.from_string(self.xpub).to_base58(version=NETWORKS["regtest"]["xpub"])
        descriptor = self.node.rpc("getdescriptorinfo", f"wpkh({xpub}/0/*)")["descriptor"]
        return str(self.node.rpc("deriveaddresses", descriptor, [index, index])[0])

    def catch_up(self) -> None:
        """Return when the server has read the chain to its tip."""
        height = self.node.rpc("getblockcount")
        wait_until_chain_is_read(self.served, height, LIMIT_S, self.coin.chain)

    def close(self) -> None:
        """Check that nothing was told but what the tests know of."""
        self.client.close()
        time.sleep(SETTLE_S)
        for invoice_id, wanted in self.expected.items():
            events = self.events(invoice_id)
            assert [(each["event"], each["status"]) for each in events] == wanted
        ids = [request.headers["webhook-id"] for request in self.receiver.requests]
        assert len(ids) == len(set(ids)), "an event came twice"
        verify(self.receiver, self.secret)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver beside tests that are no coroutines."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="receiver")
    thread.start()
    receiver = Receiver()
    try:
        asyncio.run_coroutine_threadsafe(receiver.__aenter__(), loop).result()
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(receiver.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def open_shop(node: Node, folder: Path) -> Iterator[Shop]:
    """Serve a shop from an empty folder."""
    served = Served(folder, LTC.settings(node))
    with receiving() as receiver:
        try:
            served.start()
            shop = Shop(served, node, receiver)
            shop.catch_up()
            yield shop
            shop.close()
        finally:
            served.stop()
