"""Amounts on a shared address, the locks of quotes, and what time brings about."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError
from counterfoil.core.invoice import Status
from counterfoil.core.matching import QUARANTINE_MS
from counterfoil.core.payment import GRACE_MS
from counterfoil.core.quote import LOCK_MS
from counterfoil.db.schema import amount_hold, chain
from counterfoil.db.schema import invoice as invoice_table
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep
from counterfoil.services.quotes import choose
from tests.services.shop import MINUTE, SECOND, Shop, at_once
from tests.sim.chain import COIN


async def again(shop: Shop, share_token: str) -> None:
    await choose(shop.context, share_token, COIN.id, shop.clock.now())


async def sit_out_quarantine(shop: Shop) -> None:
    """Let a lock end, and the chain be watched for a day after it."""
    await shop.look(LOCK_MS / SECOND + 1)
    await upkeep.sweep(shop.context, shop.clock.now())
    await shop.store.write(
        lambda c: c.execute(sa.update(chain).values(watched_ms=chain.c.watched_ms + QUARANTINE_MS))
    )
    shop.clock.advance(QUARANTINE_MS)
    await upkeep.sweep(shop.context, shop.clock.now())


async def set_price(shop: Shop, price: int) -> None:
    source = FixedRates({("COIN", "USD"): Decimal(price)})
    await rates.refresh(shop.store, [source], shop.clock.now())


async def holds(shop: Shop) -> int:
    statement = sa.select(sa.func.count()).select_from(amount_hold)
    return await shop.store.read(lambda c: c.execute(statement).scalar_one())


async def test_an_amount_that_came_free_pays_nobody(stall: Shop) -> None:
    """Also one that was quoted twice: each of its quotes has let go of it."""
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    stall.clock.advance(MINUTE)
    await again(stall, invoice.share_token)
    assert (await stall.quote(invoice)).amount_atomic == quote.amount_atomic
    await sit_out_quarantine(stall)
    assert await holds(stall) == 0
    await stall.look()
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    assert await stall.inbox() == ["no_exact_amount"]
    assert await stall.status(invoice) is Status.UNPAID


async def test_an_amount_that_was_quoted_twice_pays_as_long_as_it_is_held(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    await stall.look(60)
    stall.chain.pay(quote.address, quote.amount_atomic)
    await again(stall, invoice.share_token)
    await stall.look()
    assert await stall.status(invoice) is Status.CONFIRMING
    assert await stall.inbox() == []


async def test_five_amounts_and_no_more(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    for price in (101, 102, 103, 104):
        await set_price(stall, price)
        await again(stall, invoice.share_token)
    assert len({quote.amount_atomic for quote in await stall.quotes(invoice)}) == 5
    await set_price(stall, 109)
    with pytest.raises(ConflictError) as error:
        await again(stall, invoice.share_token)
    assert error.value.code == "no_free_amount"
    # The last price is still to be had.
    await set_price(stall, 104)
    await again(stall, invoice.share_token)


async def test_no_two_invoices_hold_one_amount(stall: Shop) -> None:
    # So low a price leaves nine amounts to choose from: without a lock two would meet.
    orders = [await stall.order("0.01") for _ in range(8)]
    tokens = [(await stall.read(order)).share_token for order in orders]
    await at_once(stall.store, *(again(stall, token) for token in tokens))
    quotes = [await stall.quote(await stall.read(order)) for order in orders]
    assert len({quote.amount_atomic for quote in quotes}) == len(orders)


async def test_a_new_quote_ends_the_lock_of_the_older_one(shop: Shop) -> None:
    invoice = await shop.invoice()
    shop.clock.advance(MINUTE)
    await again(shop, invoice.share_token)
    first, second = await shop.quotes(invoice)
    assert first.lock_until == shop.clock.now() + GRACE_MS
    assert second.lock_until == shop.clock.now() + LOCK_MS
    # What ends sooner anyway is not made longer.
    shop.clock.advance(MINUTE)
    await again(shop, invoice.share_token)
    assert (await shop.quotes(invoice))[0].lock_until == first.lock_until


async def test_many_that_cannot_expire_keep_none_from_expiring(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock looks at so many at a time, and goes on where it has stopped."""
    monkeypatch.setattr(upkeep, "_BATCH", 3)
    due_at = shop.clock.now() + 10 * MINUTE
    blind = [await shop.invoice(due_at=due_at) for _ in range(4)]
    shop.chain.is_away = True
    orders = [await shop.order(due_at=due_at) for _ in range(3)]
    await shop.look(11 * 60)
    after, pages = 0, 0
    while True:
        after = await upkeep.assess_due(shop.context, shop.clock.now(), after)
        pages += 1
        if not after:
            break
    assert pages == 3
    assert {await shop.status(each) for each in blind} == {Status.UNPAID}
    statement = sa.select(invoice_table.c.id).where(invoice_table.c.status == Status.EXPIRED.value)
    assert set(await shop.store.read(lambda c: c.execute(statement).scalars().all())) == set(orders)


async def test_the_clock_looks_no_more_at_what_holds_a_part_of_the_money(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice(due_at=shop.clock.now() + 10 * MINUTE)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 2)
    await shop.look(11 * 60)
    await shop.tick()
    assert await shop.events(invoice) == ["invoice_underpaid"]
    rev = (await shop.read(invoice.id)).rev
    await shop.look(60)
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID
    assert (await shop.read(invoice.id)).rev == rev
