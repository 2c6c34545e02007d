"""How deep a payment must be depends on what is at stake; it is decided once, when it is seen."""

from decimal import Decimal

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.invoice import Status
from tests.services.shop import Shop

# One COIN costs 100 USD, so three blocks are asked for from 100 USD on, and six from 1,000 USD.
BY_AMOUNT = Confirmations(1, ((Decimal(1), 3), (Decimal(10), 6)))


@pytest.fixture(autouse=True)
def policy(shop: Shop) -> None:
    shop.chain.confirmations = BY_AMOUNT


async def _blocks_until_paid(shop: Shop, amount: str, *parts: str) -> int:
    """Pay an invoice in parts of its price, each in its turn, and return the blocks it took."""
    invoice = await shop.invoice(amount)
    for part in parts:
        quote = await shop.quote(invoice)
        shop.chain.pay(quote.address, int(quote.amount_atomic * Decimal(part)))
        await shop.look()
    for blocks in range(1, 10):
        shop.chain.mine()
        await shop.look()
        if await shop.status(invoice) is Status.PAID:
            return blocks
    pytest.fail("it was never paid")


@pytest.mark.parametrize(
    ("amount", "blocks"),
    [("25.00", 1), ("99.99", 1), ("100.00", 3), ("999.99", 3), ("1000.00", 6)],
)
async def test_a_larger_invoice_waits_for_more_blocks(shop: Shop, amount: str, blocks: int) -> None:
    assert await _blocks_until_paid(shop, amount, "1") == blocks


async def test_a_small_part_of_a_large_invoice_is_as_deep_as_the_whole(shop: Shop) -> None:
    # Ten dollars alone would be final in one block; the shop delivers goods for a thousand.
    invoice = await shop.invoice("1000.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 100)
    shop.chain.mine(5)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.final == 0
    shop.chain.mine()
    await shop.look()
    assert (await shop.read(invoice.id)).standing.final == 10


async def test_what_came_counts_where_it_is_more_than_the_invoice(shop: Shop) -> None:
    assert await _blocks_until_paid(shop, "25.00", "4") == 3
    # Half of the price, and then more than the rest: the two together are worth over 100 USD.
    assert await _blocks_until_paid(shop, "99.99", "0.5", "1.1") == 3


async def test_what_was_decided_stays(shop: Shop) -> None:
    invoice = await shop.invoice("25.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.confirmations = Confirmations(6)
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
