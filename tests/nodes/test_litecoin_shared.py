"""One address for many invoices: the `wallet_address` and `coin_symbol` of the contract's body."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import count

import httpx2
import pytest
from embit.bip32 import HDKey
from embit.script import Script, p2sh, p2wpkh

from tests.nodes.shop import REGTEST, Order, Shop

pytestmark = pytest.mark.node

# The two version bytes of P2SH on regtest and testnet; mainnet has 0x32 (M) and 0x05 (3).
BEFORE_ITS_OWN_VERSION_BYTE = REGTEST | {"p2sh": b"\xc4"}
PRICE = Decimal("0.3125")
# Further than a wallet is looked ahead for somebody else's address.
FAR_AHEAD = 25
PAID = (("payment_detected", "Confirming"), ("payment_confirmed", "Paid"))


def made_scripts() -> Iterator[Script]:
    """Yield scripts of the shop's owner, whose coins no payer can spend."""
    root = HDKey.from_seed(bytes(range(32)))
    for index in count():
        yield p2wpkh(root.derive([index]))


SCRIPTS = made_scripts()


def new_address() -> str:
    """Return an address of the shop's owner that nobody has seen."""
    return str(next(SCRIPTS).address(REGTEST))


def spellings(kind: str) -> tuple[str, str]:
    """Return a new address and how else it may be written."""
    script = next(SCRIPTS)
    if kind == "bech32":
        address = str(script.address(REGTEST))
        return address, address.upper()
    wrapped = p2sh(script)
    return wrapped.address(REGTEST), wrapped.address(BEFORE_ITS_OWN_VERSION_BYTE)


def order_at(shop: Shop, address: str) -> Order:
    return shop.order("25.00", wallet_address=address, coin_symbol="LTC")


def pay_and_confirm(shop: Shop, order: Order, others: list[Order]) -> None:
    """Pay what the page asks for, and see that it counts for this order alone."""
    before = [other.stands() for other in others]
    txid = order.pay()
    order.wait("Confirming")
    shop.node.mine(2)
    order.wait("Paid")
    assert [each["txid"] for each in order.payments()] == [txid]
    assert [other.stands() for other in others] == before
    order.told(*PAID)


def ask(client: httpx2.Client, address: str) -> httpx2.Response:
    """Ask for an invoice at an address and return the answer, whatever it is."""
    body = {"amount": 25, "fiat_currency": "USD", "wallet_address": address, "coin_symbol": "LTC"}
    return client.post("/api/invoice", json=body)


def refusal(client: httpx2.Client, address: str) -> str:
    """Return the sentence with which an address is refused."""
    answer = ask(client, address)
    assert answer.status_code == 409, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("address_in_use", "wallet_address")
    return str(error["message"])


def test_two_invoices_of_one_price_are_each_paid_by_their_own_amount(shop: Shop) -> None:
    address = new_address()
    first, second = order_at(shop, address), order_at(shop, address)
    assert first.read()["wallet_address"] == second.read()["wallet_address"] == address
    asked = [first.page().asked, second.page().asked]
    assert [where for where, _ in asked] == [address, address]
    amounts = {amount for _, amount in asked}
    assert len(amounts) == 2
    # A little more than the price, and at most a thousandth.
    assert all(PRICE < amount <= PRICE * Decimal("1.0011") for amount in amounts)
    assert first.page().asked == asked[0], "a page that is opened again asks for the same"

    pay_and_confirm(shop, second, [first])
    pay_and_confirm(shop, first, [second])


def test_an_amount_that_nobody_was_asked_for_goes_to_the_inbox(shop: Shop) -> None:
    address = new_address()
    order = order_at(shop, address)
    _, amount = order.page().asked
    told = len(shop.events(""))
    shop.node.send(address, PRICE)
    shop.node.send(address, amount + Decimal("0.00000001"))
    shop.node.mine(2)
    shop.wait_for_inbox(told + 2)
    assert order.stands() == ("Unpaid",)
    assert order.payments() == []
    assert [each["reason"] for each in shop.events("")[told:]] == ["no_exact_amount"] * 2
    pay_and_confirm(shop, order, [])


@pytest.mark.parametrize("kind", ["bech32", "p2sh"])
def test_two_spellings_are_one_address(shop: Shop, kind: str) -> None:
    address, other = spellings(kind)
    first, second = order_at(shop, address), order_at(shop, other)
    assert second.read()["wallet_address"] == address, "the API and the page show one spelling"
    (shown, amount), (also_shown, other_amount) = first.page().asked, second.page().asked
    assert shown == also_shown == address, "payers read one spelling"
    assert amount != other_amount

    # The amount alone tells whose it is, however the payer's wallet writes the address.
    txid = shop.node.send(other, amount)
    first.wait("Confirming")
    shop.node.mine(2)
    first.wait("Paid")
    assert [each["txid"] for each in first.payments()] == [txid]
    first.told(*PAID)
    pay_and_confirm(shop, second, [first])


def test_another_merchant_s_address_is_refused_and_nobody_is_named(shop: Shop) -> None:
    taken = [*spellings("bech32"), *spellings("p2sh")]
    for address in (taken[0], taken[2]):
        order_at(shop, address)
    shop.served.run("merchant", "create", "Other")
    key = shop.served.last_line("key", "create", "--scope", "automate", "--merchant", "Other")
    with shop.served.client(key) as other:
        for address in taken:
            assert refusal(other, address) == (
                "This wallet_address is already in use on this server; use another address."
            )
        assert ask(other, new_address()).status_code == 200
    # The first shop's own addresses are still its own.
    assert order_at(shop, taken[0]).page().asked[0] == taken[0]


def test_an_address_of_the_merchant_s_own_wallet_is_refused(shop: Shop) -> None:
    assert shop.first_addresses[:2] == [shop.derive(0), shop.derive(1)]
    shown = shop.order().page().asked[0]
    # One that was shown, in either spelling, and some that are yet to come.
    for address in (shown, shown.upper(), shop.derive(10), shop.derive(18)):
        refusal(shop.client, address)


def test_a_shared_address_is_never_handed_out_as_one_of_its_wallet(shop: Shop) -> None:
    """However far ahead of the wallet's next index it is: one invoice alone would claim it."""
    far = shop.derive(FAR_AHEAD)
    is_shared = ask(shop.client, far).status_code == 200
    shown = {shop.order().page().asked[0] for _ in range(FAR_AHEAD + 1)}
    assert len(shown) == FAR_AHEAD + 1
    assert shop.derive(FAR_AHEAD - 1) in shown
    assert (far in shown) is not is_shared
