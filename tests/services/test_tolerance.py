"""How much of an invoice may be missing: set by the merchant, kept by each invoice."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from counterfoil.core.access import Scope
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.db.schema import audit
from counterfoil.services import keys, merchants
from counterfoil.services.keys import Keyring
from tests.conftest import FakeEntropy
from tests.services.shop import SECOND, Shop


async def forgive(shop: Shop, percent: str) -> None:
    """Set the tolerance, and ask with a key from now on, as every client does."""
    (owner,) = await merchants.list_all(shop.store)
    now = shop.clock.now()
    await merchants.set_tolerance(shop.store, owner, percent, now)
    made = await keys.create(
        shop.store, shop.context.entropy, owner.id, Mode.LIVE, Scope.AUTOMATE, now
    )
    shop.principal = await Keyring(shop.store).authenticate(made, now)


@pytest.mark.parametrize(
    ("percent", "is_enough"), [("0.5", True), ("0.4", True), ("0.39", False), ("0", False)]
)
async def test_a_small_shortfall_is_forgiven(shop: Shop, percent: str, *, is_enough: bool) -> None:
    await shop.listen()
    await forgive(shop, percent)
    invoice = await shop.invoice("250.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic * 996 // 1000)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is (Status.PAID if is_enough else Status.UNPAID)
    assert await shop.conditions(invoice) == ([] if is_enough else ["underpaid"])
    told = "payment_confirmed" if is_enough else "invoice_underpaid"
    assert (await shop.events(invoice))[-1] == told
    # The rest is asked for, unless nobody minds it.
    assert len(await shop.quotes(invoice)) == (1 if is_enough else 2)


async def test_an_invoice_keeps_the_tolerance_it_was_made_with(shop: Shop) -> None:
    old = await shop.invoice("250.00")
    await forgive(shop, "1")
    new = await shop.invoice("250.00")
    await forgive(shop, "0")
    assert [(await shop.read(each.id)).tolerance for each in (old, new)] == [0, Decimal("2.50")]


async def test_a_key_in_use_hears_of_it_within_a_second(shop: Shop) -> None:
    (owner,) = await merchants.list_all(shop.store)
    now = shop.clock.now()
    made = await keys.create(shop.store, FakeEntropy(), owner.id, Mode.LIVE, Scope.AUTOMATE, now)
    keyring = Keyring(shop.store)
    assert (await keyring.authenticate(made, now)).tolerance == 0
    await merchants.set_tolerance(shop.store, owner, "0.5", now)
    later = await keyring.authenticate(made, now + SECOND)
    assert later.tolerance == Decimal("0.5")
    rows = await shop.store.read(lambda c: c.execute(sa.select(audit)).all())
    assert [(row.who, row.act, row.details) for row in rows] == [
        ("cli", "tolerance", '{"percent": "0.5"}')
    ]
