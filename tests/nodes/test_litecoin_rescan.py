"""An outage after which the cursor had moved on without looking, repaired beside a real server."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from counterfoil.core.ports import Block
from counterfoil.db import loops
from counterfoil.db.engine import open_database
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import LTC, Shop, receiving
from tests.served import Served

pytestmark = pytest.mark.node


async def _skip_to_tip(database: str, node: Litecoind) -> None:
    """Move the cursor on to the node's tip, as if the blocks up to there had been empty."""
    height, tip = node.rpc("getblockcount"), node.rpc("getbestblockhash")
    store = open_database(database)
    await store.start()
    block = Block(height, tip, "", 0, ())
    await store.write(lambda connection: loops.add_header(connection, "litecoin", block))
    await store.close()


def test_what_an_outage_hid_is_found_and_credited_once(
    litecoind: Litecoind, tmp_path: Path, storage: dict[str, str]
) -> None:
    served = Served(tmp_path, {**LTC.settings(litecoind), **storage})
    if storage:
        served.run("migrate")
    with receiving() as receiver:
        try:
            served.start()
            shop = Shop(served, litecoind, receiver)
            shop.catch_up()
            paid, half, unpaid = shop.order(), shop.order(), shop.order()
            asked = [order.page().asked for order in (paid, half, unpaid)]
            served.stop()
            first = litecoind.rpc("getblockcount") + 1
            txid = litecoind.send(*asked[0])
            litecoind.mine(1)
            other = litecoind.send(asked[1][0], asked[1][1] / 2)
            litecoind.mine(2)
            database = storage.get("DATABASE", f"sqlite:///{tmp_path / 'counterfoil.db'}")
            asyncio.run(_skip_to_tip(database, litecoind))
            served.start()
            shop.catch_up()
            paid.stays("Unpaid")
            said = served.run("rescan", "LTC", "--from", str(first)).stdout.splitlines()
            price: Decimal = asked[0][1]
            found = [(price, txid, first, paid), (price / 2, other, first + 1, half)]
            lines = [
                f"{amount.normalize():f} LTC in transaction {name}, block {height}, is credited "
                f"to invoice {order.id}"
                for amount, name, height, order in found
            ]
            read = f"3 blocks of litecoin read again from {first} on"
            assert said == [*lines, f"{read}: 2 payments that were missed."]
            paid.wait("Paid")
            half.wait("Unpaid", "underpaid")
            again = served.run("rescan", "LTC", "--from", str(first)).stdout.splitlines()
            assert again == [f"{read}: nothing that was missed."]
            paid.stays("Paid")
            assert [payment["txid"] for payment in paid.payments()] == [txid]
            # Without a server the command reads the chain itself.
            served.stop()
            alone = served.run("rescan", "LTC", "--from", str(first)).stdout.splitlines()
            assert alone == again
            served.start()
            paid.told(("payment_confirmed", "Paid"))
            assert unpaid.stands() == ("Unpaid",)
            shop.close()
        finally:
            served.stop()
