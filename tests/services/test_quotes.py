"""Amounts on a shared address, the locks of quotes, and what time brings about."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError, UnavailableError
from counterfoil.core.invoice import Status
from counterfoil.core.matching import QUARANTINE_MS
from counterfoil.core.payment import GRACE_MS
from counterfoil.core.ports import Transaction, Transfer
from counterfoil.core.quote import LOCK_MS
from counterfoil.db import quotes
from counterfoil.db.engine import Database
from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import amount_hold, chain
from counterfoil.db.schema import invoice as invoice_table
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep, wallets, watching
from counterfoil.services.context import Methods
from counterfoil.services.quotes import choose
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, SECOND, Shop, at_once, open_shop
from tests.services.till import visit
from tests.sim.chain import COIN, WorldChain


class CrashError(Exception):
    """The process ends here."""


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


async def test_five_amounts_are_counted_over_all_methods(stall: Shop) -> None:
    method = replace(COIN, id="OTHER", symbol="OTHER", chain="other")
    other = WorldChain("other", "test:other", (method,))
    stall.context = replace(stall.context, methods=Methods([stall.chain, other]))
    await watching.ensure_chains(stall.context)
    await watching.Watch(stall.context, other, "other").look(stall.clock.now())
    who = stall.principal.merchant_id
    await wallets.add(stall.context, who, "OTHER", address="w1other", now=1)
    invoice = await stall.invoice("250.00")

    async def ask(method_id: str, price: int) -> None:
        prices = {("COIN", "USD"): Decimal(price), ("OTHER", "USD"): Decimal(price)}
        await rates.refresh(stall.store, [FixedRates(prices)], stall.clock.now())
        await choose(stall.context, invoice.share_token, method_id, stall.clock.now())

    for method_id, price in (("OTHER", 100), ("OTHER", 101), ("COIN", 101), ("OTHER", 102)):
        await ask(method_id, price)
    for method_id in ("OTHER", "COIN"):
        with pytest.raises(ConflictError) as error:
            await ask(method_id, 103)
        assert error.value.code == "no_free_amount"


async def test_a_refresh_keeps_its_tag_at_another_price(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    tag = (await stall.quote(invoice)).amount_atomic - 250_000_000
    await set_price(stall, 125)
    await again(stall, invoice.share_token)
    assert (await stall.quote(invoice)).amount_atomic == 200_000_000 + tag


# So low a price leaves nine amounts: one step to nine steps above it.
LOW_PRICE = "0.01"
NINE = [10_000 + tag for tag in range(1, 10)]


async def test_an_amount_that_waits_in_the_inbox_is_not_given_out(stall: Shop) -> None:
    for amount in NINE[:-1]:
        stall.chain.pay("w1stall", amount)
    await stall.look()
    assert await stall.inbox() == ["no_quote"] * 8
    invoice = await stall.invoice(LOW_PRICE)
    assert (await stall.quote(invoice)).amount_atomic == NINE[-1]
    with pytest.raises(ConflictError) as error:
        await stall.invoice(LOW_PRICE)
    assert error.value.code == "no_free_amount"


async def test_amounts_that_nobody_ever_had_go_first(stall: Shop) -> None:
    old = [(await stall.quote(await stall.invoice(LOW_PRICE))).amount_atomic for _ in range(4)]
    await sit_out_quarantine(stall)
    await stall.look()
    new = [(await stall.quote(await stall.invoice(LOW_PRICE))).amount_atomic for _ in range(5)]
    assert sorted(old + new) == NINE
    assert (await stall.quote(await stall.invoice(LOW_PRICE))).amount_atomic in old


async def with_token(database: Database, clock: FakeClock) -> Shop:
    """Return a shop that takes a coin and a token of the same price on one address."""
    token = replace(COIN, id="TOKEN", symbol="TOKEN")
    chain = WorldChain(methods=(COIN, token))
    shop = await open_shop(database, clock, wallet="w1stall", chain=chain)
    who = shop.principal.merchant_id
    await wallets.add(shop.context, who, "TOKEN", address="w1stall", now=1)
    prices = {("COIN", "USD"): Decimal(100), ("TOKEN", "USD"): Decimal(100)}
    await rates.refresh(shop.store, [FixedRates(prices)], clock.now())
    return shop


async def test_a_coin_and_a_token_on_one_address_never_ask_for_one_amount(
    database: Database, clock: FakeClock
) -> None:
    shop = await with_token(database, clock)
    asked = []
    for number in range(9):
        order = await shop.read(await shop.order(LOW_PRICE))
        method_id = "COIN" if number < 5 else "TOKEN"
        await choose(shop.context, order.share_token, method_id, clock.now())
        asked.append((await shop.quote(order)).amount_atomic)
    assert sorted(asked) == NINE
    with pytest.raises(ConflictError):
        await shop.invoice(LOW_PRICE)


async def test_a_token_instead_of_the_coin_pays_nobody(
    database: Database, clock: FakeClock
) -> None:
    shop = await with_token(database, clock)
    invoice = await shop.invoice("250.00")
    quote = await shop.quote(invoice)
    key = shop.chain.parse_address(quote.address).key
    paid = Transfer(0, key, "TOKEN", quote.amount_atomic)
    shop.chain.receive(Transaction("ab" * 32, (paid,), ("in:0",)))
    await shop.look()
    assert await shop.inbox() == ["other_method"]
    assert await shop.status(invoice) is Status.UNPAID


async def test_a_chain_that_is_being_caught_up_with_offers_no_shared_address(stall: Shop) -> None:
    """Somebody's payment may lie in a block that nobody has read yet."""
    order = await stall.read(await stall.order("250.00"))
    stall.chain.mine(60)
    stall.clock.advance(5 * SECOND)
    assert await stall.watch.look(stall.clock.now()), "there is more than one look takes"
    with pytest.raises(UnavailableError) as error:
        await again(stall, order.share_token)
    assert error.value.code == "chain_unavailable"
    await stall.look()
    await again(stall, order.share_token)


async def test_a_payment_that_was_mined_while_nobody_looked_is_in_time(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    stall.chain.is_away = True
    stall.chain.pay(quote.address, quote.amount_atomic)
    stall.chain.now = stall.clock.now() + MINUTE
    stall.chain.mine(2)
    # Longer than an amount is held, if time alone counted.
    await stall.look(2 * QUARANTINE_MS / SECOND)
    await upkeep.sweep(stall.context, stall.clock.now())
    stall.chain.is_away = False
    await stall.look()
    assert await stall.status(invoice) is Status.PAID
    assert await stall.conditions(invoice) == []


async def test_an_address_that_was_not_shown_is_the_next_to_be_shown(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> int:
        raise CrashError

    order = await shop.read(await shop.order())
    with monkeypatch.context() as patch:
        patch.setattr(quotes, "insert", crash)
        with pytest.raises(CrashError):
            await again(shop, order.share_token)
    await again(shop, order.share_token)
    assert (await shop.quote(order)).address == shop.chain.derive("xpub", 0).address


async def test_no_two_invoices_hold_one_amount(stall: Shop) -> None:
    # So low a price leaves nine amounts to choose from: without a lock two would meet.
    orders = [await stall.order("0.01") for _ in range(8)]
    tokens = [(await stall.read(order)).share_token for order in orders]
    await at_once(stall.store, *(again(stall, token) for token in tokens))
    made = [await stall.quote(await stall.read(order)) for order in orders]
    assert len({quote.amount_atomic for quote in made}) == len(orders)


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
    orders = [await shop.order(due_at=due_at) for _ in range(7)]
    await shop.look(11 * 60)
    due_dates, pages = upkeep.DueDates(shop.context), 1
    while await due_dates.assess(shop.clock.now()):
        pages += 1
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


# --- a rest that is less than can be sent -------------------------------------------------------


async def short_by_little(
    database: Database, clock: FakeClock
) -> tuple[Shop, Invoice, Transaction]:
    """Pay an invoice of 100.00 but for 0.20, where the least that can be sent is worth 0.50."""
    coin = replace(COIN, least_atomic=500_000)
    shop = await open_shop(database, clock, chain=WorldChain(methods=(coin,)))
    await shop.listen()
    invoice = await shop.invoice("100.00")
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic - 200_000)
    await shop.look()
    return shop, invoice, sent


async def test_the_least_that_can_be_sent_is_asked_for_at_what_it_is_worth(
    database: Database, clock: FakeClock
) -> None:
    shop, invoice, _ = await short_by_little(database, clock)
    rest = await shop.quote(invoice)
    assert (str(rest.fiat), rest.amount_atomic) == ("0.50", 500_000)
    view = await visit(shop, invoice.share_token)
    assert (view.due, view.price and view.price.is_least) == ("0.20", True)
    shop.chain.pay(rest.address, rest.amount_atomic)
    await shop.look()
    shop.chain.mine(2)
    await shop.look()
    # Who pays as asked has not paid too much.
    assert (await shop.status(invoice), await shop.conditions(invoice)) == (Status.PAID, [])
    assert (await shop.read(invoice.id)).standing.final == 100
    assert "invoice_overpaid" not in await shop.events(invoice)


async def test_what_costs_less_than_can_be_sent_is_paid_as_asked(
    database: Database, clock: FakeClock
) -> None:
    coin = replace(COIN, least_atomic=500_000)
    shop = await open_shop(database, clock, chain=WorldChain(methods=(coin,)))
    invoice = await shop.invoice("0.20")
    quote = await shop.quote(invoice)
    assert (str(quote.fiat), str(quote.due), quote.amount_atomic) == ("0.50", "0.20", 500_000)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert (await shop.status(invoice), await shop.conditions(invoice)) == (Status.PAID, [])


async def test_whoever_sends_more_than_that_is_credited_with_all_of_it(
    database: Database, clock: FakeClock
) -> None:
    shop, invoice, _ = await short_by_little(database, clock)
    shop.chain.pay((await shop.quote(invoice)).address, 10_000_000)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.seen == Fraction("109.80")


async def test_whoever_sends_less_than_that_is_credited_with_what_is_due_at_most(
    database: Database, clock: FakeClock
) -> None:
    shop, invoice, _ = await short_by_little(database, clock)
    shop.chain.pay((await shop.quote(invoice)).address, 100_000)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.seen == Fraction("99.90")
    shop.chain.pay((await shop.quote(invoice)).address, 300_000)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.seen == 100


async def test_the_fee_of_the_first_part_may_still_be_raised(
    database: Database, clock: FakeClock
) -> None:
    shop, invoice, first = await short_by_little(database, clock)
    await shop.look(5 * 60)
    half = {("COIN", "USD"): Decimal(50)}
    await rates.refresh(shop.store, [FixedRates(half)], shop.clock.now())
    quote = (await shop.quotes(invoice))[0]
    shop.chain.pay(quote.address, quote.amount_atomic - 200_000, first.spends)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.seen == Fraction("99.80")


async def test_a_price_that_can_be_sent_is_what_is_due(shop: Shop) -> None:
    view = await visit(shop, (await shop.invoice()).share_token)
    assert view.price is not None
    assert (view.price.fiat, view.price.is_least) == ("25.00", False)
