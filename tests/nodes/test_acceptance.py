"""The whole path on a real Litecoin node, with the README's commands and HTTP alone.

An order is made and paid: Confirming within 3 s, Paid within 3 s of the block that makes it so,
each event once; then a reorg takes the payment away, which is told. On SQLite and PostgreSQL.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.channels.receivers import Receiver
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import LTC, make_xpub, open_page, verify
from tests.served import Served, wait_until_chain_is_read

pytestmark = pytest.mark.node

LIMIT_S = 3.0


@pytest.fixture
def served(storage: dict[str, str], tmp_path: Path, litecoind: Litecoind) -> Iterator[Served]:
    served = Served(tmp_path, LTC.settings(litecoind) | storage)
    if storage:
        served.run("migrate")
    served.start()
    yield served
    served.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def _order(served: Served, key: str, amount: str = "25.00") -> dict[str, Any]:
    """Make an invoice as a shop does."""
    with served.client(key) as client:
        answer = client.post("/api/invoice", json={"amount": amount, "fiat_currency": "USD"})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["invoice"]
    return made


async def _events(receiver: Receiver, count: int, limit_s: float = 10.0) -> list[dict[str, Any]]:
    """Return the bodies that have come, once there are so many."""
    for _ in range(round(limit_s / 0.05)):
        if len(receiver.requests) >= count:
            break
        await asyncio.sleep(0.05)
    return [json.loads(request.body) for request in receiver.requests]


async def test_the_whole_path(served: Served, litecoind: Litecoind, receiver: Receiver) -> None:
    run = asyncio.to_thread
    xpub = make_xpub(served.folder.as_posix())
    added = await run(served.run, "wallet", "add", "LTC", "--xpub", xpub)
    shown = re.findall(r"rltc1[a-z0-9]+", added.stdout)
    key = await run(served.last_line, "key", "create", "--scope", "automate")
    every = "payment_detected,payment_confirmed,payment_failed,payment_reversed"
    secret = await run(
        served.last_line, "channel", "add", "webhook", receiver.url, "--events", every
    )
    await run(wait_until_chain_is_read, served, litecoind.rpc("getblockcount"))

    made = await run(_order, served, key)
    address, amount = (await run(open_page, made["pay_url"])).asked
    assert address == shown[0], "the page shows the first address that the command showed"
    assert amount == Decimal("0.3125")

    txid = await run(litecoind.send, address, amount)
    confirming_s = await run(served.wait_for_status, key, made["id"], "Confirming", LIMIT_S)
    await run(litecoind.mine, 1)
    assert (await run(_status, served, key, made["id"])) == "Confirming"
    await run(litecoind.mine, 1)
    paid_s = await run(served.wait_for_status, key, made["id"], "Paid", LIMIT_S)
    print(f"Confirming after {confirming_s:.2f} s, Paid {paid_s:.2f} s after the block")
    assert "Paid" in (await run(httpx2.get, made["pay_url"], trust_env=False)).text

    told = await _events(receiver, 2)
    assert [event["event"] for event in told] == ["payment_detected", "payment_confirmed"]
    assert told[1]["payment"] == {
        "coin": "LTC",
        "network": "litecoin",
        "txid": txid,
        "amount": "0.3125",
        "confirmations": "2",
        "fiat_value": "25.00",
    }

    # A longer branch spends the same coins on something else.
    await run(_take_away, litecoind, txid)
    await run(served.wait_for_status, key, made["id"], "Unpaid", 10.0)
    told = await _events(receiver, 4)
    assert [event["event"] for event in told][2:] in (
        ["payment_reversed", "payment_failed"],
        ["payment_reversed", "payment_detected", "payment_failed"],
    )
    assert told[-1]["exception"] == "reversed"
    await asyncio.sleep(1.5)
    assert len(receiver.requests) == len(told), "each event comes once"
    verify(receiver, secret)


def _status(served: Served, key: str, invoice_id: int) -> str:
    with served.client(key) as client:
        status: str = client.get(f"/api/invoice/{invoice_id}").json()["invoice"]["status"]
    return status


def _take_away(litecoind: Litecoind, txid: str) -> None:
    """Reorganise the chain so that a transaction's coins are spent elsewhere in a longer branch."""
    block = litecoind.rpc("getrawtransaction", txid, 1)["blockhash"]
    rival = litecoind.rival(txid, litecoind.new_address(), Decimal("0.3125"))
    litecoind.replace_blocks(block, rival)


def _wait_until_told(served: Served) -> str:
    """Return what `/readyz` says once it says that something is wrong."""
    text = ""
    for _ in range(200):
        ready = httpx2.get(f"{served.url}/readyz", trust_env=False)
        text = ready.text
        if ready.status_code == 503:
            return text
        time.sleep(0.1)
    raise AssertionError(text)


async def test_a_node_that_is_away(served: Served, litecoind: Litecoind) -> None:
    run = asyncio.to_thread
    xpub = make_xpub(served.folder.as_posix())
    await run(served.run, "wallet", "add", "LTC", "--xpub", xpub)
    key = await run(served.last_line, "key", "create", "--scope", "automate")
    await run(wait_until_chain_is_read, served, litecoind.rpc("getblockcount"))
    made = await run(_order, served, key)
    address, amount = (await run(open_page, made["pay_url"])).asked
    await run(litecoind.send, address, amount)
    await run(served.wait_for_status, key, made["id"], "Confirming", LIMIT_S)
    port = litecoind.port
    await run(litecoind.stop)
    try:
        told = await run(_wait_until_told, served)
        assert "litecoin" in told
        assert (await run(_status, served, key, made["id"])) == "Confirming"
        await run(_order, served, key)
        page = await run(httpx2.get, made["pay_url"], trust_env=False)
        assert page.status_code == 200
    finally:
        await run(litecoind.start, port)
        await run(litecoind.rpc, "loadwallet", "test")
    await run(litecoind.mine, 2)
    await run(served.wait_for_status, key, made["id"], "Paid", 20.0)
