"""How deep a payment must be depends on what is at stake; it is decided once, when it is seen."""

from decimal import Decimal

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.invoice import Status
from counterfoil.db import merchants as db_merchants
from counterfoil.services import merchants
from tests.services.moves import deeds
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


@pytest.mark.parametrize("looks", [1, 0])
async def test_a_payment_that_was_replaced_is_not_at_stake_a_second_time(
    shop: Shop, looks: int
) -> None:
    invoice = await shop.invoice("80.00")
    quote = await shop.quote(invoice)
    first = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.pay(quote.address, quote.amount_atomic, first.spends)
    for _ in range(looks):
        await shop.look()
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID


async def test_what_was_decided_stays(shop: Shop) -> None:
    invoice = await shop.invoice("25.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.confirmations = Confirmations(6)
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID


# --- what the merchant says --------------------------------------------------------------------


async def _says(shop: Shop, policy: str | None) -> None:
    (merchant,) = await merchants.list_all(shop.store)
    await merchants.set_confirmations(shop.context, merchant, "COIN", policy, shop.clock.now())


async def test_a_merchant_may_count_small_payments_as_soon_as_they_are_seen(shop: Shop) -> None:
    await shop.listen()
    await _says(shop, "0, 2 from 0.5")
    small, large = await shop.invoice("25.00"), await shop.invoice("50.00")
    for invoice in (small, large):
        quote = await shop.quote(invoice)
        shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(small) is Status.PAID
    assert await shop.events(small) == ["payment_confirmed"]
    assert await shop.status(large) is Status.CONFIRMING
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(large) is Status.PAID
    assert await shop.events(small) == ["payment_confirmed"], "it is told once"


async def test_what_was_counted_at_sight_and_taken_back_is_told(shop: Shop) -> None:
    await shop.listen()
    await _says(shop, "0")
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    paid = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    shop.chain.broadcast(("w1elsewhere", 1_000), spends=tuple(paid.spends))
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.conditions(invoice) == ["reversed"]
    told = ["payment_confirmed", "payment_reversed", "payment_failed"]
    assert await shop.events(invoice) == told


async def test_a_merchants_policy_holds_for_payments_from_then_on(shop: Shop) -> None:
    assert await _blocks_until_paid(shop, "25.00", "1") == 1
    early = await shop.invoice("25.00")
    quote = await shop.quote(early)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    await _says(shop, "4")
    assert await _blocks_until_paid(shop, "25.00", "1") == 4
    assert await shop.status(early) is Status.PAID, "what was seen before keeps what was said then"
    await _says(shop, None)
    assert await _blocks_until_paid(shop, "25.00", "1") == 1


async def test_who_set_a_policy_is_written_down(shop: Shop) -> None:
    await _says(shop, "0, 2 from 0.5")
    ((_, act, _, _, details),) = await deeds(shop)
    assert (act, details) == ("confirmations", {"method": "COIN", "policy": "0, 2 from 0.5"})


async def test_another_merchants_policy_is_nothing_to_us(shop: Shop) -> None:
    other = await shop.store.write(lambda c: db_merchants.insert(c, "Other", "USD", 1))
    assert other is not None
    found = await merchants.find(shop.store, "Other")
    await merchants.set_confirmations(shop.context, found, "COIN", "0", shop.clock.now())
    assert await _blocks_until_paid(shop, "25.00", "1") == 1
