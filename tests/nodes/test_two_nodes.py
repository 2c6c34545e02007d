"""Two real nodes of one chain: only what both say is recorded, and a fork of one is told."""

import re
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from tests.nodes.conftest import node_program
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import make_xpub
from tests.served import Served, wait_until_chain_is_read

pytestmark = [pytest.mark.node, pytest.mark.long]

LIMIT_S = 10.0


def feed(node: Litecoind, other: Litecoind) -> None:
    """Give a node all the blocks of another one: the two are not connected by themselves."""
    for height in range(1, other.rpc("getblockcount") + 1):
        block_hash = other.rpc("getblockhash", height)
        node.rpc("submitblock", other.rpc("getblock", block_hash, 0))


@pytest.fixture
def second(litecoind: Litecoind, tmp_path: Path) -> Iterator[Litecoind]:
    """A second node without coin of its own, on the same chain as the first one."""
    folder = tmp_path / "second"
    folder.mkdir()
    node = Litecoind(node_program("litecoind"), folder, has_coin=False)
    feed(node, litecoind)
    yield node
    node.stop()


@pytest.fixture
def served(tmp_path: Path, litecoind: Litecoind, second: Litecoind) -> Iterator[Served]:
    settings = {
        "CHAINS__LITECOIN__RPC": litecoind.url,
        "CHAINS__LITECOIN__SECOND_RPC": second.url,
        "CHAINS__LITECOIN__NETWORK": "regtest",
        "CHAINS__LITECOIN__CONFIRMATIONS": "1",
        "RATES__FIXED__LTC_USD": "80",
    }
    served = Served(tmp_path, settings)
    served.start()
    yield served
    served.stop()


def _wait_until_told(served: Served, words: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    text = ""
    while words not in text and time.monotonic() < deadline:
        text = httpx2.get(f"{served.url}/readyz", trust_env=False).text
        time.sleep(0.1)
    assert words in text


def test_what_one_node_alone_says_is_not_believed(
    served: Served, litecoind: Litecoind, second: Litecoind
) -> None:
    served.run("wallet", "add", "LTC", "--xpub", make_xpub(served.folder.as_posix()))
    key = served.last_line("key", "create", "--scope", "automate")
    wait_until_chain_is_read(served, litecoind.rpc("getblockcount"))
    with served.client(key) as client:
        body = {"amount": 25, "fiat_currency": "USD"}
        made = client.post("/api/invoice", json=body).json()["invoice"]
    page = httpx2.get(made["pay_url"], trust_env=False).text
    found = re.search(r'href="litecoin:([a-z0-9]+)\?amount=([0-9.]+)"', page)
    assert found, page

    txid = litecoind.send(found[1], Decimal(found[2]))
    time.sleep(3)
    served.wait_for_status(key, made["id"], "Unpaid", 0.5)
    second.rpc("sendrawtransaction", litecoind.rpc("getrawtransaction", txid))
    served.wait_for_status(key, made["id"], "Confirming", LIMIT_S)

    litecoind.mine(1)
    time.sleep(3)
    served.wait_for_status(key, made["id"], "Confirming", 0.5)
    feed(second, litecoind)
    served.wait_for_status(key, made["id"], "Paid", LIMIT_S)

    # Each goes on by itself, and nobody knows which of the two will win.
    litecoind.mine(1)
    elsewhere = litecoind.new_address()
    second.rpc("generatetoaddress", 1, elsewhere)
    _wait_until_told(served, "The two nodes of litecoin differ on block")
    served.wait_for_status(key, made["id"], "Paid", 0.5)
    assert "differ on block" in served.run("doctor", check=False).stdout
    litecoind.mine(1)
    feed(second, litecoind)
    wait_until_chain_is_read(served, litecoind.rpc("getblockcount"))
