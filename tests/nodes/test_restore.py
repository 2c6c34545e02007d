"""The drill: a server is lost, and restored elsewhere from a backup that was made while it worked.

Real processes, a real node, both databases. Between the backup and the loss invoices are made and
paid. Afterwards known ones are credited, lost ones are not, and nothing is given out twice.
"""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from counterfoil.db.vault import make_key
from tests.channels.receivers import Receiver
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import make_xpub, open_page
from tests.nodes.test_acceptance import _order
from tests.postgres_server import PostgresServer
from tests.served import Served, wait_until_chain_is_read

# Two servers are started one after the other, and the machine may be busy.
pytestmark = [pytest.mark.node, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def _settings(litecoind: Litecoind) -> dict[str, str]:
    return {
        "CHAINS__LITECOIN__RPC": litecoind.url,
        "CHAINS__LITECOIN__NETWORK": "regtest",
        "CHAINS__LITECOIN__CONFIRMATIONS": "2",
        "RATES__FIXED__LTC_USD": "80",
    }


@pytest.fixture(params=["sqlite", "postgres"])
async def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    litecoind: Litecoind,
    postgres_server: PostgresServer,
) -> AsyncIterator[tuple[Served, Served]]:
    """The server that will be lost, and the empty one that takes its place."""
    made = []
    key = make_key()
    for name in ("lost", "restored"):
        (tmp_path / name).mkdir()
        settings = _settings(litecoind)
        if request.param == "postgres":
            settings["DATABASE"] = postgres_server.url(await postgres_server.create())
            settings["SECRET_KEY"] = key
        made.append(Served(tmp_path / name, settings))
    lost, restored = made
    yield lost, restored
    for each in made:
        await asyncio.to_thread(each.stop)


async def test_the_drill(
    pair: tuple[Served, Served], litecoind: Litecoind, receiver: Receiver, tmp_path: Path
) -> None:
    lost, restored = pair
    key = await asyncio.to_thread(_set_up, lost, litecoind, receiver.url)
    before = await asyncio.to_thread(_until_the_loss, lost, litecoind, key, tmp_path / "backup")
    for _ in range(100):
        if len(receiver.requests) >= 4:
            break
        await asyncio.sleep(0.1)
    told = [json.loads(request.body) for request in receiver.requests]
    await asyncio.to_thread(_restore, lost, restored, tmp_path / "backup")
    receiver.requests.clear()
    await asyncio.to_thread(_after_the_restore, restored, litecoind, key, before)
    told_again: list[dict[str, Any]] = []
    for _ in range(100):
        told_again = [json.loads(request.body) for request in receiver.requests]
        if sum(each["event"] == "payment_confirmed" for each in told_again) >= 2:
            break
        await asyncio.sleep(0.1)
    numbered = [each for each in told_again if int(each["seq"]) > 1_000_000_000]
    confirmed = [each["invoice_id"] for each in numbered if each["event"] == "payment_confirmed"]
    assert str(before["known"]["id"]) in confirmed
    assert {each["id"] for each in numbered} & {each["id"] for each in told} == set()
    seqs = sorted(int(each["seq"]) for each in numbered)
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def _set_up(lost: Served, litecoind: Litecoind, url: str) -> str:
    """Start the server with a wallet and a channel, and return a key."""
    if "COUNTERFOIL_DATABASE" in lost.environment:
        lost.run("migrate")
    lost.start()
    lost.run("wallet", "add", "LTC", "--xpub", make_xpub(lost.folder.as_posix()))
    lost.run("channel", "add", "webhook", url)
    wait_until_chain_is_read(lost, litecoind.rpc("getblockcount"))
    return lost.last_line("key", "create", "--scope", "automate")


def _until_the_loss(lost: Served, litecoind: Litecoind, key: str, backup: Path) -> dict[str, Any]:
    """Work, back up while orders come in, go on working, and die."""
    paid, known = _order(lost, key), _order(lost, key)
    address, amount = open_page(known["pay_url"]).asked
    litecoind.send(*open_page(paid["pay_url"]).asked)
    litecoind.mine(2)
    lost.wait_for_status(key, paid["id"], "Paid", 10)
    stopped, orders = threading.Event(), []

    def shop() -> None:
        while not stopped.is_set():
            orders.append(_order(lost, key))

    ordering = threading.Thread(target=shop)
    ordering.start()
    try:
        said = lost.run("backup", str(backup)).stdout
    finally:
        stopped.set()
        ordering.join()
    assert "The secret key is not in it" in said
    made = _order(lost, key)
    unknown = (made, *open_page(made["pay_url"]).asked)
    litecoind.send(*unknown[1:])
    litecoind.mine(2)
    lost.wait_for_status(key, made["id"], "Paid", 10)
    for process in lost.processes:
        process.kill()
        process.wait()
    litecoind.send(address, amount)
    litecoind.mine(2)
    return {"paid": paid, "known": known, "unknown": unknown, "orders": [*orders, made]}


def _restore(lost: Served, restored: Served, backup: Path) -> None:
    """Put the backup back where nothing is but the secret key."""
    key_file = lost.folder / "secret.key"
    if key_file.exists():
        missing = restored.run("backup", "restore", str(backup), check=False)
        assert "The secret key that this database was made with is missing" in missing.stderr
        shutil.copy(key_file, restored.folder)
    shutil.rmtree(lost.folder)
    said = restored.run("backup", "restore", str(backup)).stdout
    assert "LTC of Default: the addresses 2 to" in said
    again = restored.run("backup", "restore", str(backup), check=False)
    assert "There is data here already" in again.stderr


def _after_the_restore(
    restored: Served, litecoind: Litecoind, key: str, before: dict[str, Any]
) -> None:
    """See that what is known is there and what was paid is credited, and nothing comes twice."""
    restored.start()
    wait_until_chain_is_read(restored, litecoind.rpc("getblockcount"))
    restored.wait_for_status(key, before["paid"]["id"], "Paid", 5)
    restored.wait_for_status(key, before["known"]["id"], "Paid", 10)
    lost_invoice, lost_address, _ = before["unknown"]
    with restored.client(key) as client:
        assert client.get(f"/api/invoice/{lost_invoice['id']}").status_code == 404
    fresh = _order(restored, key)
    known = [before["paid"], before["known"], *before["orders"]]
    assert fresh["id"] > 1_000_000_000
    assert fresh["share_token"] not in {each["share_token"] for each in known}
    address, amount = open_page(fresh["pay_url"]).asked
    assert address != lost_address
    litecoind.send(address, amount)
    litecoind.mine(2)
    restored.wait_for_status(key, fresh["id"], "Paid", 10)
