"""A node of every bad kind: the server says so, nothing expires or fails, and it catches up.

The node is a real litecoind; what stands between spoils its answers. Each fault begins with an
invoice that is about to be due and is paid while the fault lasts.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.nodes.between import Between, DroppedError, Fault
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import make_xpub
from tests.served import Served, wait_until_chain_is_read

pytestmark = pytest.mark.node

DUE_AFTER_S = 3.0
# A fault is told within a look or two; a slow machine may take longer.
TOLD_LIMIT_S = 15.0


@pytest.fixture(scope="module")
def between(litecoind: Litecoind) -> Iterator[Between]:
    between = Between(litecoind)
    yield between
    between.close()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, between: Between, litecoind: Litecoind
) -> Iterator[Served]:
    settings = {
        "CHAINS__LITECOIN__RPC": between.url,
        "CHAINS__LITECOIN__NETWORK": "regtest",
        "CHAINS__LITECOIN__CONFIRMATIONS": "1",
        "RATES__FIXED__LTC_USD": "80",
    }
    served = Served(tmp_path_factory.mktemp("served"), settings)
    served.start()
    served.run("wallet", "add", "LTC", "--xpub", make_xpub(served.folder.as_posix()))
    wait_until_chain_is_read(served, litecoind.rpc("getblockcount"))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def key(served: Served) -> str:
    return served.last_line("key", "create", "--scope", "automate")


# --- the faults --------------------------------------------------------------------------------


def away(_method: str, _params: list[Any], _true: dict[str, Any]) -> dict[str, Any]:
    raise DroppedError


def warming_up(_method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
    return {"result": None, "error": {"code": -28, "message": "Loading block index..."}} | {
        "id": true["id"]
    }


def syncing(method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
    if method == "getblockchaininfo":
        true["result"] |= {"initialblockdownload": True}
    return true


def on_another_chain(method: str, params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
    if method == "getblockhash" and params == [0]:
        true["result"] = "ab" * 32
    return true


def lying_of_amounts(method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
    if method in ("getblock", "getrawtransaction") and true["error"] is None:
        transactions = true["result"]["tx"] if method == "getblock" else [true["result"]]
        for transaction in transactions:
            for output in transaction["vout"]:
                output["value"] = -1
    return true


def talking_nonsense(_method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"blocks": "many", "bestblockhash": ["?"]}, "error": None, "id": true["id"]}


class Behind:
    """A node that shows the chain as it was two blocks ago: less far than we are."""

    def __init__(self, node: Litecoind) -> None:
        self.height = node.rpc("getblockcount") - 2
        self.hash = node.rpc("getblockhash", self.height)
        self.header = node.rpc("getblockheader", self.hash)

    def __call__(self, method: str, params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
        if method == "getblockchaininfo":
            true["result"] |= {
                "blocks": self.height,
                "headers": self.height,
                "bestblockhash": self.hash,
            }
        elif method == "getblockhash" and params[0] > self.height:
            error = {"code": -8, "message": "Block height out of range"}
            return {"result": None, "error": error, "id": true["id"]}
        elif method == "getrawmempool":
            true["result"] = []
        return true


# --- what is seen ------------------------------------------------------------------------------


def _order(served: Served, key: str) -> dict[str, Any]:
    """Make an invoice that is due in a moment, and open its page once."""
    due_at = datetime.now(UTC) + timedelta(seconds=DUE_AFTER_S)
    body = {"amount": 25, "fiat_currency": "USD", "due_at": due_at.isoformat()}
    with served.client(key) as client:
        answer = client.post("/api/invoice", json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["invoice"]
    page = httpx2.get(made["pay_url"], trust_env=False).text
    found = re.search(r'href="litecoin:([a-z0-9]+)\?amount=([0-9.]+)"', page)
    assert found, page
    return made | {"address": found[1], "amount": Decimal(found[2]), "due_at": due_at}


def _wait_until_told(served: Served, words: str) -> None:
    deadline = time.monotonic() + TOLD_LIMIT_S
    text = ""
    while time.monotonic() < deadline:
        ready = httpx2.get(f"{served.url}/readyz", trust_env=False)
        text = ready.text
        if ready.status_code == 503 and words in text:
            return
        time.sleep(0.1)
    pytest.fail(f"{words!r} was not told: {text}")


def _read(served: Served, key: str, invoice_id: int) -> dict[str, Any]:
    with served.client(key) as client:
        invoice: dict[str, Any] = client.get(f"/api/invoice/{invoice_id}").json()["invoice"]
    return invoice


def _live_through(
    served: Served, key: str, node: Litecoind, between: Between, fault: Fault, words: str
) -> None:
    """See that a fault is told everywhere, and that the payment made during it is found after."""
    made = _order(served, key)
    # What such a node has of the chain is read as ever: here nothing is mined before it is well.
    is_mined_after = isinstance(fault, Behind) or fault is syncing
    if fault is on_another_chain:
        # A node comes up on another chain after it was away; nobody swaps one under an open line.
        with between.playing(away):
            _wait_until_told(served, "cannot be reached")
    with between.playing(fault):
        if fault is lying_of_amounts:
            node.mine(1)
        _wait_until_told(served, words)
        node.send(made["address"], made["amount"])
        if not is_mined_after:
            node.mine(1)
        doctor = served.run("doctor", check=False)
        assert (doctor.returncode, words in doctor.stdout) == (1, True), doctor.stdout
        page = httpx2.get(made["pay_url"], trust_env=False)
        assert "We cannot see the Litecoin network right now" in page.text
        left_s = (made["due_at"] - datetime.now(UTC)).total_seconds()
        time.sleep(max(left_s, 0) + 1.5)
        assert _read(served, key, made["id"])["status"] == "Unpaid", "nobody knows whether it was"
        assert httpx2.get(f"{served.url}/healthz", trust_env=False).status_code == 200
    if is_mined_after:
        node.mine(1)
    served.wait_for_status(key, made["id"], "Paid", TOLD_LIMIT_S)
    assert _read(served, key, made["id"])["exceptions"] == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (away, "cannot be reached"),
        (warming_up, "Loading block index"),
        (syncing, "still syncing"),
        (on_another_chain, "another"),
        (lying_of_amounts, "an amount is not one of this coin"),
        (talking_nonsense, "answer is wrong"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_node_that_is(
    served: Served, key: str, litecoind: Litecoind, between: Between, fault: Fault, words: str
) -> None:
    _live_through(served, key, litecoind, between, fault, words)


def test_a_node_that_is_behind(
    served: Served, key: str, litecoind: Litecoind, between: Between
) -> None:
    _live_through(served, key, litecoind, between, Behind(litecoind), "is behind")


def test_a_node_that_is_slow(
    served: Served, key: str, litecoind: Litecoind, between: Between
) -> None:
    def slow(_method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return true

    made = _order(served, key)
    with between.playing(slow):
        litecoind.send(made["address"], made["amount"])
        litecoind.mine(1)
        began = time.monotonic()
        assert httpx2.get(f"{served.url}/healthz", trust_env=False).status_code == 200
        assert time.monotonic() - began < 1, "a slow node slows nobody but the watcher"
        served.wait_for_status(key, made["id"], "Paid", TOLD_LIMIT_S)


def test_a_node_that_forgot_its_mempool(
    served: Served, key: str, litecoind: Litecoind, between: Between
) -> None:
    def forgetful(method: str, _params: list[Any], true: dict[str, Any]) -> dict[str, Any]:
        if method == "getrawmempool":
            true["result"] = []
        elif method == "uptime":
            true["result"] = 3
        return true

    made = _order(served, key)
    litecoind.send(made["address"], made["amount"])
    served.wait_for_status(key, made["id"], "Confirming", TOLD_LIMIT_S)
    with between.playing(forgetful):
        time.sleep(DUE_AFTER_S + 1.5)
        assert _read(served, key, made["id"])["status"] == "Confirming", "unknown is not gone"
        litecoind.mine(1)
        served.wait_for_status(key, made["id"], "Paid", TOLD_LIMIT_S)
