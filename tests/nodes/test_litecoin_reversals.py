"""Payments that do not stay: replaced, spent elsewhere, and taken out of the chain by a reorg."""

from decimal import Decimal

import pytest

from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import Order, Shop

pytestmark = pytest.mark.node

DEEP = 6
DETECTED = ("payment_detected", "Confirming")
CONFIRMED = ("payment_confirmed", "Paid")
FAILED = ("payment_failed", "Unpaid")


def states(order: Order) -> dict[str, str]:
    """Return what became of each payment, by transaction."""
    return {each["txid"]: each["state"] for each in order.payments()}


# --- before a block ----------------------------------------------------------------------------


def test_a_bumped_fee_changes_nothing_for_the_shop(shop: Shop) -> None:
    order = shop.order()
    first = order.pay(is_replaceable=True)
    order.wait("Confirming")
    second = shop.node.rpc("bumpfee", first)["txid"]
    order.wait_for_payment(second)
    assert order.stands() == ("Confirming",)
    assert states(order) == {first: "gone", second: "seen"}
    shop.node.mine(2)
    order.wait("Paid")
    assert states(order) == {first: "gone", second: "final"}
    # Whoever raises a fee is no later for it.
    assert len({each["first_seen_at"] for each in order.payments()}) == 1
    # The payment that was told of first is not the one that was confirmed.
    ids = {each["txid"]: str(each["id"]) for each in order.payments()}
    assert order.told(DETECTED, CONFIRMED) == [ids[first], ids[second]]


def test_replaced_by_one_that_pays_less(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    first = shop.node.send(address, amount, is_replaceable=True)
    order.wait("Confirming")
    second = shop.node.rpc("sendrawtransaction", shop.node.rival(first, address, Decimal("0.2")))
    order.wait("Unpaid", "underpaid")
    assert states(order) == {first: "gone", second: "seen"}
    page = order.page()
    assert page.state == "partial"
    assert "An earlier payment was replaced or dropped" in page.text
    assert "9.00 USD is still due" in page.text

    # Whoever has replaced a payment is asked for the rest when they want to pay it.
    order.ask_for_a_price()
    assert order.page().asked == (address, Decimal("0.1125"))
    third = order.pay()
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    assert states(order) == {first: "gone", second: "final", third: "final"}
    ids = {each["txid"]: str(each["id"]) for each in order.payments()}
    told = order.told(DETECTED, FAILED, DETECTED, CONFIRMED)
    assert told == [ids[first], ids[first], ids[third], ids[third]]


def test_replaced_by_one_that_pays_somebody_else(shop: Shop) -> None:
    order = shop.order()
    first = order.pay(is_replaceable=True)
    order.wait("Confirming")
    elsewhere = shop.node.new_address()
    shop.node.rpc("sendrawtransaction", shop.node.rival(first, elsewhere, Decimal("0.3125")))
    order.wait("Unpaid")
    assert states(order) == {first: "gone"}
    page = order.page()
    assert "The payment did not go through" in page.text
    assert "look into your wallet before you pay again" in page.text

    # The payer asks for a price again, and means it this time.
    order.ask_for_a_price()
    second = order.pay()
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    assert states(order) == {first: "gone", second: "final"}
    order.told(DETECTED, FAILED, DETECTED, CONFIRMED)


def test_double_spent_in_a_block(shop: Shop) -> None:
    order = shop.order()
    txid = order.pay()
    order.wait("Confirming")
    # A miner takes what no mempool would: it spends the same coins and was never announced.
    shop.node.mine_only(shop.node.rival(txid, shop.node.new_address(), Decimal("0.3125")))
    order.wait("Unpaid")
    assert states(order) == {txid: "gone"}
    shop.node.mine(2)
    order.stays("Unpaid")
    ids = order.told(DETECTED, FAILED)
    assert ids == [str(order.payments()[0]["id"])] * 2


# --- after Paid --------------------------------------------------------------------------------


def paid_deeply(shop: Shop) -> tuple[Order, str, str]:
    """Return an order that is paid in a block with five more on top, the txid and that block."""
    shop.node.mine(1)
    order = shop.order()
    txid = order.pay()
    order.wait("Confirming")
    block, *_ = shop.node.mine(DEEP)
    order.wait("Paid")
    assert order.payments()[0]["state"] == "final"
    return order, txid, block


def test_a_deep_reorg_removes_a_payment_and_another_one_brings_it_back(
    shop: Shop, litecoind: Litecoind
) -> None:
    order, txid, block = paid_deeply(shop)
    rival = shop.node.rival(txid, shop.node.new_address(), Decimal("0.3125"))
    branch = shop.node.replace_blocks(block, rival)
    order.wait("Unpaid", "reversed")
    assert order.read()["paid_at"] is None
    assert states(order) == {txid: "gone"}
    assert "The network has taken back a payment that was confirmed" in order.page().text
    reversal = [("payment_reversed", "Unpaid"), FAILED]
    order.told(DETECTED, CONFIRMED, *reversal)

    # The first branch grows after all, beyond the second one.
    litecoind.invalidate(branch)
    litecoind.reconsider(block)
    shop.node.mine(3)
    order.wait("Paid")
    assert states(order) == {txid: "final"}
    assert "Paid. Thank you." in order.page().text
    ids = order.told(DETECTED, CONFIRMED, *reversal, CONFIRMED)
    assert ids == [str(order.payments()[0]["id"])] * 5


def test_a_deep_reorg_throws_a_payment_back_into_the_mempool(shop: Shop) -> None:
    order, txid, block = paid_deeply(shop)
    shop.node.replace_blocks(block)
    order.wait("Confirming", "reversed")
    assert states(order) == {txid: "seen"}
    page = order.page()
    assert "0 of 2 confirmations" in page.text
    assert "Do not pay again before you have asked it" in page.text
    order.stays("Confirming", "reversed")
    shop.node.mine(2)
    order.wait("Paid")
    reversal = [("payment_reversed", "Confirming"), DETECTED]
    ids = order.told(DETECTED, CONFIRMED, *reversal, CONFIRMED)
    assert ids == [str(order.payments()[0]["id"])] * 5


def test_a_deep_reorg_that_keeps_a_payment_is_told_to_nobody(
    shop: Shop, litecoind: Litecoind
) -> None:
    order, txid, block = paid_deeply(shop)
    litecoind.invalidate(block)
    shop.node.mine(DEEP + 1)
    shop.catch_up()
    order.stays("Paid")
    assert states(order) == {txid: "final"}
    order.told(DETECTED, CONFIRMED)
