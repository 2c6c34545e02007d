"""What the payer's view never holds, how it writes rates, and when it must be made anew."""

from decimal import Decimal

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import checkout, rates
from counterfoil.services.checkout_view import Look, View
from tests.services.shop import MINUTE, Shop
from tests.services.till import made, pay, visit

# --- what is never shown -----------------------------------------------------------------------


async def test_a_view_holds_nothing_that_is_not_the_payers(shop: Shop) -> None:
    token = await made(
        shop,
        "25.00",
        memo="secret-memo",
        client_email="secret@example.com",
        client_name="secret-name",
        order_id="secret-order",
        metadata={"secret-key": "secret-value"},
        invoice_title="A title",
    )
    await pay(shop, token, 0.5)
    found = await visit(shop, token)
    told = repr(found)
    assert "A title" in told
    assert "secret" not in told
    assert "xpub" not in told
    fields = set(View.__dataclass_fields__)
    assert not {"id", "invoice_id", "merchant_id", "memo"} & fields


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("84.12", "84.12"),
        ("64123.456789", "64123.46"),
        ("1.0000004", "1.00"),
        ("0.000012345678", "0.0000123457"),
        ("1234567", "1234567.00"),
    ],
)
async def test_a_rate_is_short(shop: Shop, price: str, text: str) -> None:
    token = await made(shop)
    dear = FixedRates({("COIN", "USD"): Decimal(price)})
    await rates.refresh(shop.store, [dear], shop.clock.now())
    found = (await visit(shop, token)).price
    assert found is not None
    assert found.rate == f"1 COIN = {text} USD"


# --- when a page must be made anew -------------------------------------------------------------


async def holds(shop: Shop, found: Look) -> bool:
    now = shop.clock.now()
    pulse = await checkout.take_pulse(shop.context, [found.basis.invoice_id], now)
    return found.basis.holds(pulse, now)


async def test_a_page_holds_until_something_happens(shop: Shop) -> None:
    token = await made(shop)
    await visit(shop, token)
    found = await checkout.look(shop.context, token, shop.clock.now())
    await shop.look(5 * 60)
    # A block changes nothing where no confirmations are counted.
    shop.chain.mine()
    await shop.look()
    assert await holds(shop, found)
    assert await checkout.status(shop.context, token, shop.clock.now()) == found.view.version
    await pay(shop, token)
    assert not await holds(shop, found)


async def test_a_page_that_counts_confirmations_follows_the_blocks(shop: Shop) -> None:
    shop.chain.confirmations = Confirmations(5)
    token = await made(shop)
    await pay(shop, token)
    shop.chain.mine()
    await shop.look()
    found = await checkout.look(shop.context, token, shop.clock.now())
    assert await holds(shop, found)
    shop.chain.mine()
    await shop.look()
    assert not await holds(shop, found)
    again = await checkout.look(shop.context, token, shop.clock.now())
    # The invoice itself is as it was: no write for a confirmation.
    assert again.view.rev == found.view.rev
    assert again.view.version != found.view.version
    assert again.view.confirmations == found.view.confirmations + 1


async def test_a_page_changes_by_time_alone(shop: Shop) -> None:
    token = await made(shop, due_at=shop.clock.now() + 60 * MINUTE)
    await visit(shop, token)
    versions = set()
    for minutes in (13, 2, 45):
        found = await checkout.look(shop.context, token, shop.clock.now())
        versions.add(found.view.version)
        await shop.look(minutes * 60 - 1)
        assert await holds(shop, found)
        await shop.look(1)
        assert not await holds(shop, found)
    versions.add(await checkout.status(shop.context, token, shop.clock.now()))
    assert len(versions) == 4


async def test_a_pulse_of_very_many_pages_is_taken(shop: Shop) -> None:
    token = await made(shop)
    found = await checkout.look(shop.context, token, shop.clock.now())
    ids = range(found.basis.invoice_id, found.basis.invoice_id + 40_000)
    pulse = await checkout.take_pulse(shop.context, ids, shop.clock.now())
    assert pulse.revs == {found.basis.invoice_id: 1}
