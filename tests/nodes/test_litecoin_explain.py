"""What a merchant and a payer are told of payments on a real litecoind, case by case."""

import time
from decimal import Decimal

import httpx2
import pytest

from tests.nodes.shop import POLL_S, Order, Shop

pytestmark = pytest.mark.node

FRACTION = 8


def explain(order: Order, txid: str | None = None) -> tuple[list[str], list[str]]:
    """Return what is found, and what to do, as the API says it."""
    query = "" if txid is None else f"?txid={txid}"
    said = order.shop.get(f"/api/invoice/{order.id}/explain{query}")
    return said["findings"], said["advice"]


def test_the_command_says_what_the_api_says(shop: Shop) -> None:
    order = shop.order()
    order.page()
    said = shop.served.run("explain", str(order.id), "--txid", "ab" * 32).stdout.splitlines()
    found, todo = explain(order, "ab" * 32)
    # But for the moment up to which all was seen.
    lines = [*found, "What to do:", *(f"- {each}" for each in todo)]
    assert len(said) == len(lines)
    differing = [each for each, line in zip(said, lines, strict=True) if each != line]
    assert all(each.startswith("The node of litecoin (bip122:") for each in differing)


def payment_sentence(found: list[str], txid: str) -> str:
    """Return the sentence about a payment."""
    return next(each for each in found if f"in transaction {txid} (first seen at " in each)


def test_from_nothing_to_paid(shop: Shop) -> None:
    order = shop.order()
    found, todo = explain(order)
    assert "No price was made for it yet, so no amount of a coin was asked for." in found
    assert todo == [f"Send the payer to {order.pay_url}: opening it makes a price to pay."]
    address, amount = order.page().asked
    found, todo = explain(order)
    assert "25.00 USD is missing." in found
    assert todo[0].startswith(f"The payer sends {amount} LTC to {address} by ")
    txid = shop.node.send(address, amount)
    order.wait("Confirming")
    found, todo = explain(order, txid)
    assert payment_sentence(found, txid).endswith(" was seen and waits for its first block.")
    assert f"Transaction {txid} is unconfirmed, says the node of litecoin." in found
    assert todo == ["Wait: enough has come, and is being confirmed."]
    shop.node.mine(1)
    shop.catch_up()
    height = shop.node.rpc("getblockcount")
    found, _ = explain(order)
    sentence = f" is in block {height} with 1 of 2 confirmations."
    assert payment_sentence(found, txid).endswith(sentence)
    shop.node.mine(1)
    order.wait("Paid")
    found, todo = explain(order, txid.upper())
    assert payment_sentence(found, txid).endswith(f" is in block {height} and final.")
    place = f"Transaction {txid} is in block {height} with 2 confirmations, says the node of "
    assert f"{place}litecoin." in found
    ours = f"It pays {amount} LTC to {address}, an address of this invoice, and is credited to "
    assert f"{ours}this invoice." in found
    assert todo == ["It is paid: there is nothing to do."]


def test_what_an_exchange_took_off_is_missing_to_the_litoshi(shop: Shop) -> None:
    order = shop.order()
    address, amount = order.page().asked
    shop.node.send(address, amount - Decimal("0.00100001"))
    shop.node.mine(2)
    order.wait("Unpaid", "underpaid")
    found, todo = explain(order)
    # 0.00100001 LTC at 80 USD is 0.0800008 USD, and so a ninth cent is asked for.
    assert "0.09 USD is missing." in found
    assert any(each.startswith("That is 0.001125 LTC, valid until ") for each in found)
    assert todo[0].startswith(f"The payer sends 0.001125 LTC to {address} by ")


def test_a_replaced_payment(shop: Shop) -> None:
    order = shop.order()
    txid = order.pay(is_replaceable=True)
    order.wait("Confirming")
    rival = shop.node.rival(txid, shop.node.new_address(), Decimal("0.1"))
    shop.node.mine_only(rival)
    order.wait("Unpaid")
    found, _ = explain(order, txid)
    gone = " was replaced or dropped by the network and does not count."
    assert payment_sentence(found, txid).endswith(gone)
    assert f"The node of litecoin does not know transaction {txid}." in found
    assert "25.00 USD is missing." in found


def test_money_that_went_elsewhere(shop: Shop) -> None:
    order, other = shop.order(), shop.order()
    order.page()
    theirs = other.pay()
    wrong = shop.node.new_address()
    txid = shop.node.send(wrong, Decimal("0.5"))
    other.wait("Confirming")
    found, _ = explain(order, txid)
    assert f"It pays 0.5 LTC to {wrong}." in found
    assert "It pays no address of the merchant." in found
    found, _ = explain(order, theirs)
    assert any(each.endswith(f"and is credited to invoice {other.id}.") for each in found)
    found, todo = explain(order, "ab" * 32)
    assert f"The node of litecoin does not know transaction {'ab' * 32}." in found
    assert todo[0].startswith("Compare the transaction id with the payer's wallet")
    shop.node.mine(2)
    other.wait("Paid")


def claim(order: Order, txid: str) -> str:
    """Name a transaction on the pay page, and return what the page says."""
    base, _, token = order.pay_url.partition("?share_token=")
    answer = httpx2.post(
        f"{base}/claim",
        data={"share_token": token, "txid": txid},
        follow_redirects=True,
        trust_env=False,
    )
    assert answer.status_code == 200
    return answer.text.partition('id="claimed">')[2].partition("</p>")[0]


def test_a_payer_who_names_a_transaction(shop: Shop) -> None:
    order, other = shop.order(), shop.order()
    theirs = other.pay()
    address, amount = order.page().asked
    assert "does not pay the address of this invoice" in claim(order, theirs)
    assert "does not show us this transaction" in claim(order, "ab" * 32)
    txid = shop.node.send(address, amount / FRACTION)
    # Seen by the watcher already, or by the claim first: either way it is theirs.
    said = claim(order, txid)
    assert "it counts for this invoice" in said or "it pays this invoice" in said
    deadline = time.monotonic() + 30
    while "it counts for this invoice" not in claim(order, txid):
        assert time.monotonic() < deadline
        time.sleep(POLL_S * 10)
    shop.node.mine(2)
    other.wait("Paid")
    order.wait("Unpaid", "underpaid")
