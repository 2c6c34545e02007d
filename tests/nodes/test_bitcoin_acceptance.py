"""Bitcoin from order to webhook, with the README's commands and HTTP alone, on Core's consensus.

A shop is paid on P2WPKH (an extended key) and, after it has changed its wallet, on P2TR (a
descriptor). A reorg takes both payments away after Paid, and a further one brings them back.
"""

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from embit import bip32
from embit.networks import NETWORKS

from tests.nodes.bitcoin_kernel.node import KernelNode
from tests.nodes.shop import BTC, Order, Shop, receiving
from tests.served import Served

pytestmark = [pytest.mark.node, pytest.mark.long]

DETECTED = ("payment_detected", "Confirming")
CONFIRMED = ("payment_confirmed", "Paid")
REVERSED = ("payment_reversed", "Unpaid")
FAILED = ("payment_failed", "Unpaid")


def make_descriptor(seed: str) -> str:
    """Return the receive addresses of a taproot wallet that nobody has (BIP 86)."""
    root = bip32.HDKey.from_seed(hashlib.sha512(seed.encode()).digest())
    account = root.derive("m/86h/1h/0h").to_public()
    return f"tr({account.to_base58(version=NETWORKS['regtest']['xpub'])}/0/*)"


@pytest.fixture
def shop(storage: dict[str, str], tmp_path: Path, bitcoin_kernel: KernelNode) -> Iterator[Shop]:
    served = Served(tmp_path, BTC.settings(bitcoin_kernel) | storage)
    with receiving() as receiver:
        try:
            if storage:
                served.run("migrate")
            served.start()
            shop = Shop(served, bitcoin_kernel, receiver, BTC)
            shop.catch_up()
            yield shop
            shop.close()
        finally:
            served.stop()


def order_at(shop: Shop, address: str) -> Order:
    """Return an order whose page asks for money at an address."""
    order = shop.order("25.00")
    assert order.page().asked == (address, Decimal("0.0003125"))
    return order


def test_invoices_on_both_kinds_of_script_are_paid_and_reorged(
    shop: Shop, bitcoin_kernel: KernelNode
) -> None:
    node = bitcoin_kernel
    segwit = shop.first_addresses[0]
    assert segwit.startswith("bcrt1q")
    orders = [order_at(shop, segwit)]
    [wallet] = shop.get("/api/wallets")["wallets"]
    shop.served.run("wallet", "remove", str(wallet["id"]))
    taproot, *_ = shop.add_wallet("--descriptor", make_descriptor(str(shop.served.folder)))
    assert taproot.startswith("bcrt1p")
    orders.append(order_at(shop, taproot))

    txids = [node.send(address, Decimal("0.0003125")) for address in (segwit, taproot)]
    for order in orders:
        order.wait("Confirming")
    first, last = node.mine(2)
    for order, txid in zip(orders, txids, strict=True):
        order.wait("Paid")
        order.told(DETECTED, CONFIRMED)
        assert shop.events(order.id)[1]["payment"] == {
            "coin": "BTC",
            "network": "bitcoin",
            "txid": txid,
            "amount": "0.0003125",
            "confirmations": "2",
            "fiat_value": "25.00",
        }

    # A longer branch, in which the coin of both goes elsewhere.
    node.replace_blocks(
        first, *(node.rival(txid, node.new_address(), Decimal(1)) for txid in txids)
    )
    for order in orders:
        order.wait("Unpaid", "reversed")
        order.told(DETECTED, CONFIRMED, REVERSED, FAILED)

    # The first branch grows after all, beyond the second one.
    node.branch(last, 2)
    for order in orders:
        order.wait("Paid")
        ids = order.told(DETECTED, CONFIRMED, REVERSED, FAILED, CONFIRMED)
        assert ids == [str(order.payments()[0]["id"])] * 5
        assert [each["state"] for each in order.payments()] == ["final"]
