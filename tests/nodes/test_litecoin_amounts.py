"""What comes in one way or another: amounts that add up, that fall short, and that are too much."""

from decimal import Decimal

import pytest
from embit.transaction import Transaction, TransactionOutput

from tests.nodes.litecoind import RIVAL_FEE, Node
from tests.nodes.shop import Shop

pytestmark = pytest.mark.node

ATOMIC = 10**8
PAID = (("payment_detected", "Confirming"), ("payment_confirmed", "Paid"))


def send_twice(node: Node, address: str, first: Decimal, second: Decimal) -> str:
    """Pay one address by two outputs of one transaction, which no wallet offers."""
    coin = max(node.rpc("listunspent"), key=lambda each: each["amount"])
    left = coin["amount"] - first - second - RIVAL_FEE
    spent = [{"txid": coin["txid"], "vout": coin["vout"]}]
    once = node.rpc("createrawtransaction", spent, {address: first, node.new_address(): left})
    transaction = Transaction.parse(bytes.fromhex(once))
    script = next(out.script_pubkey for out in transaction.vout if out.value == first * ATOMIC)
    transaction.vout.append(TransactionOutput(int(second * ATOMIC), script))
    signed = node.rpc("signrawtransactionwithwallet", transaction.serialize().hex())
    return str(node.rpc("sendrawtransaction", signed["hex"]))


def test_one_transaction_pays_two_invoices(shop: Shop) -> None:
    tea, cake = shop.order("25.00"), shop.order("12.50")
    prices = dict([tea.page().asked, cake.page().asked])
    assert sorted(prices.values()) == [Decimal("0.15625"), Decimal("0.3125")]
    txid = shop.node.rpc("sendmany", "", prices)
    tea.wait("Confirming")
    cake.wait("Confirming")
    shop.node.mine(2)
    tea.wait("Paid")
    cake.wait("Paid")

    [for_tea], [for_cake] = tea.payments(), cake.payments()
    assert (for_tea["txid"], for_tea["fiat_value"]) == (txid, "25.00")
    assert (for_cake["txid"], for_cake["fiat_value"]) == (txid, "12.50")
    assert for_tea["index"] != for_cake["index"]
    assert for_tea["id"] != for_cake["id"]
    assert tea.told(*PAID) == [str(for_tea["id"])] * 2
    assert cake.told(*PAID) == [str(for_cake["id"])] * 2


def test_two_outputs_of_one_transaction_add_up(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    assert amount == Decimal("0.3125")
    txid = send_twice(shop.node, address, Decimal("0.3"), Decimal("0.0125"))
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")

    payments = order.payments()
    assert {(each["txid"], each["state"]) for each in payments} == {(txid, "final")}
    assert {(each["amount"], each["fiat_value"]) for each in payments} == {
        ("0.3", "24.00"),
        ("0.0125", "1.00"),
    }
    order.told(*PAID)


def test_an_underpayment_is_completed_by_the_rest(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    first = shop.node.send(address, Decimal("0.2"))
    order.wait("Unpaid", "underpaid")

    # At once the page asks for the rest, and for nothing but the rest.
    page = order.page()
    assert page.state == "partial"
    assert "A part is still due" in page.text
    assert "We received 16.00 USD . 9.00 USD is still due" in page.text
    assert page.asked == (address, amount - Decimal("0.2")) == (address, Decimal("0.1125"))

    # What is short is told when the money that is there is final.
    shop.node.mine(2)
    order.told(("invoice_underpaid", "Unpaid"))
    assert order.page().asked == page.asked

    second = order.pay()
    order.wait("Confirming")
    assert order.page().amount is None, "nothing more is asked for"
    shop.node.mine(2)
    order.wait("Paid")
    assert "Paid. Thank you." in order.page().text
    values = {each["txid"]: each["fiat_value"] for each in order.payments()}
    assert values == {first: "16.00", second: "9.00"}
    ids = order.told(("invoice_underpaid", "Unpaid"), *PAID)
    by_txid = {each["txid"]: str(each["id"]) for each in order.payments()}
    assert ids == [by_txid[first], by_txid[second], by_txid[second]]


def test_the_sum_of_odd_parts_is_no_cent_short(shop: Shop) -> None:
    order = shop.order("81.37")
    address, _ = order.page().asked
    for part in ("0.33333333", "0.12345678"):
        order.wait_for_payment(shop.node.send(address, Decimal(part)))
        order.wait("Unpaid", "underpaid")
    order.pay()
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    order.told(*PAID)


def test_an_overpayment_is_told(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    shop.node.send(address, amount + Decimal("0.125"))
    # Nothing is too much before it is final.
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid", "overpaid")
    page = order.page()
    assert page.state == "paid"
    assert "You sent 10.00 USD too much" in page.text
    [payment] = order.payments()
    assert payment["fiat_value"] == "35.00"
    ids = order.told(*PAID, ("invoice_overpaid", "Paid"))
    assert ids == [str(payment["id"])] * 3


def test_a_second_payment_of_the_whole_is_too_much(shop: Shop) -> None:
    order = shop.order("25.00")
    address, amount = order.page().asked
    shop.node.send(address, amount)
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    again = shop.node.send(address, amount)
    shop.node.mine(2)
    order.wait("Paid", "overpaid")
    assert "You sent 25.00 USD too much" in order.page().text
    [first, second] = order.payments()
    assert second["txid"] == again
    ids = order.told(*PAID, ("invoice_overpaid", "Paid"))
    assert ids == [str(first["id"]), str(first["id"]), str(second["id"])]
