"""What is wrong with one invoice holds up no other: it is passed over, tried again, and told of."""

from collections.abc import Awaitable

import pytest
import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import invoice
from counterfoil.services import upkeep
from tests.services.shop import MINUTE, SECOND, Shop

# No fraction, as after a disk error.
BROKEN = "1/0"


async def _write_sum(shop: Shop, broken: Invoice, text: str) -> None:
    statement = sa.update(invoice).where(invoice.c.id == broken.id).values(seen=text)
    await shop.store.write(lambda c: c.execute(statement))


async def _fails(act: Awaitable[object]) -> None:
    with pytest.raises(ZeroDivisionError):
        await act


async def test_an_invoice_that_cannot_be_assessed_does_not_stop_its_chain(shop: Shop) -> None:
    broken, well = await shop.invoice(), await shop.invoice()
    await _write_sum(shop, broken, BROKEN)
    for each in (broken, well):
        quote = await shop.quote(each)
        shop.chain.pay(quote.address, quote.amount_atomic)
    # The batch of the two, and then the first one alone: each is told to whoever runs the loop.
    await _fails(shop.look())
    await _fails(shop.look())
    shop.chain.mine(3)
    await shop.look()
    assert await shop.status(well) is Status.PAID
    # It is tried again after a while, and is as well as the others once it is mended.
    await _fails(shop.look(61))
    await _write_sum(shop, broken, "0")
    await shop.look(61)
    assert await shop.status(broken) is Status.PAID


async def test_an_invoice_that_cannot_be_assessed_does_not_stop_the_clock(shop: Shop) -> None:
    due_at = shop.clock.now() + 10 * MINUTE
    broken, well = [await shop.invoice(due_at=due_at) for _ in range(2)]
    await shop.look(10 * 60 + 5)
    await _write_sum(shop, broken, BROKEN)
    due_dates = upkeep.DueDates(shop.context)
    await _fails(due_dates.assess(shop.clock.now()))
    await due_dates.assess(shop.clock.advance(SECOND))
    assert await shop.status(well) is Status.EXPIRED
    await _fails(due_dates.assess(shop.clock.advance(SECOND)))
