"""The payer's view of an invoice in every state, and when an open page must be made anew."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError, LimitedError, NotFoundError
from counterfoil.core.payment import GRACE_MS, Progress
from counterfoil.core.ports import Method, Outcome
from counterfoil.core.quote import LOCK_MS, QUOTES_PER_HOUR_MAX
from counterfoil.db import merchants
from counterfoil.db.schema import invoice as invoice_table
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import checkout, invoices, payments, rates, wallets
from counterfoil.services.checkout_view import Note, State
from counterfoil.services.context import Methods
from tests.services.shop import MINUTE, PRICES, SECOND, Shop
from tests.services.till import made, pay, visit
from tests.sim.chain import COIN, WorldChain

OTHER = Method("OTHER", "OTHER", "Other coin", "other", 8, 1, 1)
WHOLE = 25_000_000


async def with_other_coin(shop: Shop) -> Shop:
    """Let the merchant take a second coin too."""
    other = WorldChain("other", "test:other", (OTHER,))
    both = replace(shop.context, methods=Methods([shop.chain, other]))
    await wallets.add(both, shop.principal.merchant_id, "OTHER", xpub="xpub-other", now=1)
    return replace(shop, context=both)


# --- the first visit ---------------------------------------------------------------------------


async def test_an_unknown_share_token_opens_nothing(shop: Shop) -> None:
    for act in (
        checkout.view(shop.context, "nobody", 1),
        checkout.status(shop.context, "nobody", 1),
        checkout.choose(shop.context, "nobody", COIN.id, 1),
        checkout.reprice(shop.context, "nobody", 1),
        checkout.simulate(shop.context, "nobody", Outcome.EXACT, 1),
    ):
        with pytest.raises(NotFoundError) as error:
            await act
        assert error.value.code == "not_found"


async def test_with_one_way_to_pay_the_first_visit_makes_the_quote(shop: Shop) -> None:
    token = await made(shop)
    before = (await checkout.look(shop.context, token, shop.clock.now())).view
    assert (before.state, before.price) == (State.CHOOSE, None)
    found = await visit(shop, token)
    assert found.state is State.OPEN
    assert found.price is not None
    assert found.price.amount == "0.25"
    assert found.price.fiat == "25.00"
    assert found.price.rate == "1 COIN = 100.00 USD"
    assert found.price.lock_until == shop.clock.now() + LOCK_MS
    assert found.price.link == f"world:{found.price.address}?amount={WHOLE}"
    assert await visit(shop, token) == found


async def test_many_first_visits_at_once_make_one_quote(shop: Shop) -> None:
    token = await made(shop)
    found = await asyncio.gather(*(visit(shop, token) for _ in range(8)))
    assert len({view.price.address for view in found if view.price}) == 1
    wallet = (
        await shop.store.read(lambda c: merchants.list_wallets(c, shop.principal.merchant_id))
    )[0]
    assert wallet.next_index == 1


async def test_with_several_ways_the_payer_chooses(shop: Shop) -> None:
    shop = await with_other_coin(shop)
    token = await made(shop)
    found = await visit(shop, token)
    assert found.state is State.CHOOSE
    assert [offer.method for offer in found.offers] == ["COIN", "OTHER"]
    await checkout.choose(shop.context, token, "COIN", shop.clock.now())
    found = await visit(shop, token)
    assert found.price is not None
    assert found.price.offer.method == "COIN"
    with pytest.raises(NotFoundError) as error:
        await checkout.choose(shop.context, token, "LTC", shop.clock.now())
    assert error.value.code == "method_not_offered"


async def test_a_shop_without_a_wallet_has_nothing_to_offer(shop: Shop) -> None:
    shop = replace(shop, context=replace(shop.context, methods=Methods([])))
    found = await visit(shop, await made(shop))
    assert (found.state, found.offers, found.price) == (State.CHOOSE, (), None)


async def test_a_coin_that_is_switched_off_later_is_no_error(shop: Shop) -> None:
    token = await made(shop, coin_symbol="COIN")
    await pay(shop, token, 0.5)
    shop = replace(shop, context=replace(shop.context, methods=Methods([])))
    found = await visit(shop, token)
    assert (found.offers, found.price, found.chosen) == ((), None, None)
    assert [payment.amount for payment in found.payments] == [None]
    with pytest.raises(NotFoundError) as error:
        await checkout.choose(shop.context, token, "COIN", shop.clock.now())
    assert error.value.code == "method_not_offered"


async def test_without_a_rate_the_page_says_so_and_recovers(shop: Shop) -> None:
    token = await made(shop)
    await rates.refresh(shop.store, [], shop.clock.now())
    found = await visit(shop, token)
    assert (found.state, found.problem, found.price) == (State.CHOOSE, "rate_unavailable", None)
    await rates.refresh(shop.store, [FixedRates(PRICES)], shop.clock.now())
    assert (await visit(shop, token)).state is State.OPEN


async def test_a_chain_that_was_never_seen_is_a_problem_of_the_page(shop: Shop) -> None:
    unseen = WorldChain("unseen", "test:unseen", (replace(COIN, chain="unseen"),))
    context = replace(shop.context, methods=Methods([unseen]))
    found = await visit(replace(shop, context=context), await made(shop))
    assert (found.state, found.problem) == (State.CHOOSE, "chain_unavailable")


# --- the states --------------------------------------------------------------------------------


async def test_a_price_ends_and_is_renewed_on_the_same_address(shop: Shop) -> None:
    token = await made(shop)
    first = (await visit(shop, token)).price
    assert first is not None
    assert not first.is_ending
    await shop.look(13 * 60)
    ending = (await visit(shop, token)).price
    assert ending == replace(first, is_ending=True)
    await shop.look(2 * 60)
    ended = await visit(shop, token)
    assert (ended.state, ended.price) == (State.ENDED, None)
    assert ended.chosen is not None
    await checkout.reprice(shop.context, token, shop.clock.now())
    fresh = (await visit(shop, token)).price
    assert fresh is not None
    assert fresh.address == first.address
    assert fresh.lock_until > first.lock_until


async def test_prices_run_out_and_the_page_keeps_what_it_has(shop: Shop) -> None:
    token = await made(shop)
    await visit(shop, token)
    for _ in range(QUOTES_PER_HOUR_MAX - 1):
        await checkout.reprice(shop.context, token, shop.clock.now())
    with pytest.raises(LimitedError):
        await checkout.reprice(shop.context, token, shop.clock.now())
    assert (await visit(shop, token)).state is State.OPEN


async def test_a_payment_is_seen_then_confirming_then_paid(shop: Shop) -> None:
    token = await made(shop, redirect_url=None)
    await pay(shop, token)
    seen = await visit(shop, token)
    assert (seen.state, seen.confirmations, seen.needed) == (State.SEEN, 0, 2)
    assert (seen.price, seen.offers) == (None, ())
    shop.chain.mine()
    await shop.look()
    confirming = await visit(shop, token)
    assert (confirming.state, confirming.confirmations) == (State.CONFIRMING, 1)
    assert confirming.payments[0].progress is Progress.CONFIRMING
    shop.chain.mine()
    await shop.look()
    paid = await visit(shop, token)
    assert paid.state is State.PAID
    assert paid.paid_at == shop.clock.now()
    assert paid.notes == ()
    payment = paid.payments[0]
    assert (payment.amount, payment.symbol) == ("0.25", "COIN")
    assert payment.progress is Progress.FINAL
    assert payment.explorer == f"https://explorer.example/{payment.txid}"


async def test_the_usual_time_is_that_of_the_blocks_to_go(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token)
    shop.chain.block_interval_s = 150
    assert (await visit(shop, token)).wait_s == 300


async def test_a_part_leaves_the_rest_due_at_a_price_of_its_own(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token, 0.4)
    found = await visit(shop, token)
    assert (found.state, found.received, found.due) == (State.PARTIAL, "10.00", "15.00")
    assert found.price is not None
    assert (found.price.amount, found.price.fiat) == ("0.15", "15.00")
    await shop.look(16 * 60)
    ended = await visit(shop, token)
    assert (ended.state, ended.price) == (State.PARTIAL, None)
    await checkout.reprice(shop.context, token, shop.clock.now())
    await pay(shop, token)
    assert (await visit(shop, token)).state is State.SEEN


async def test_too_much_is_told_in_the_invoices_currency(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token, 1.5)
    shop.chain.mine(2)
    await shop.look()
    found = await visit(shop, token)
    assert (found.state, found.notes, found.excess) == (State.PAID, (Note.OVERPAID,), "12.50")


async def test_late_money_counts_and_is_called_late(shop: Shop) -> None:
    token = await made(shop)
    price = (await visit(shop, token)).price
    assert price is not None
    await shop.look((LOCK_MS + GRACE_MS) / SECOND + 1)
    shop.chain.pay(price.address, WHOLE)
    await shop.look()
    found = await visit(shop, token)
    assert (found.state, found.notes) == (State.SEEN, (Note.LATE,))
    assert found.payments[0].is_late
    shop.chain.mine(2)
    await shop.look()
    assert (await visit(shop, token)).notes == (Note.LATE,)


async def test_late_money_without_a_rate_is_for_the_shop_to_look_at(shop: Shop) -> None:
    token = await made(shop)
    price = (await visit(shop, token)).price
    assert price is not None
    await shop.look((LOCK_MS + GRACE_MS) / SECOND + 1)
    await rates.refresh(shop.store, [], shop.clock.now())
    shop.chain.pay(price.address, WHOLE)
    shop.chain.mine(2)
    await shop.look()
    found = await visit(shop, token)
    assert found.state is State.CONFIRMING
    assert found.notes == (Note.LATE, Note.REVIEW)
    assert found.needed == 0


async def test_of_two_rivals_that_are_both_there_the_newer_counts(shop: Shop) -> None:
    """Two nodes behind one address may each have their own."""
    token = await made(shop)
    price = (await visit(shop, token)).price
    assert price is not None
    first = shop.chain.pay(price.address, WHOLE)
    await shop.look()
    shop.chain.pay(price.address, WHOLE, spends=first.spends)
    shop.chain.pool[first.txid] = first
    await shop.look()
    found = await visit(shop, token)
    assert [payment.progress for payment in found.payments] == [Progress.DISPLACED, Progress.SEEN]


async def test_a_replaced_payment_does_not_count(shop: Shop) -> None:
    token = await made(shop)
    price = (await visit(shop, token)).price
    assert price is not None
    first = shop.chain.pay(price.address, WHOLE)
    await shop.look()
    shop.chain.pay("w1elsewhere", WHOLE, spends=first.spends)
    await shop.look()
    found = await visit(shop, token)
    assert (found.state, found.notes) == (State.ENDED, (Note.FAILED,))
    assert [payment.progress for payment in found.payments] == [Progress.GONE]
    await checkout.reprice(shop.context, token, shop.clock.now())
    assert (await visit(shop, token)).price is not None


async def test_a_reversed_payment_is_told_as_such(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token)
    shop.chain.mine(2)
    await shop.look()
    assert (await visit(shop, token)).state is State.PAID
    shop.chain.reorg(2, keep=False)
    await shop.look()
    found = await visit(shop, token)
    assert (found.state, found.notes) == (State.SEEN, (Note.REVERSED,))


async def test_time_is_over_when_the_due_date_has_passed(shop: Shop) -> None:
    token = await made(shop, due_at=shop.clock.now() + 10 * MINUTE)
    price = (await visit(shop, token)).price
    assert price is not None
    assert price.lock_until == shop.clock.now() + 10 * MINUTE
    shop.clock.advance(10 * MINUTE)
    over = await visit(shop, token)
    assert (over.state, over.price, over.offers) == (State.OVERDUE, None, ())
    with pytest.raises(ConflictError) as error:
        await checkout.choose(shop.context, token, COIN.id, shop.clock.now())
    assert error.value.code == "not_payable"
    await shop.look()
    await shop.tick()
    assert (await visit(shop, token)).state is State.EXPIRED


async def test_a_part_that_is_overdue_says_what_came(shop: Shop) -> None:
    token = await made(shop, due_at=shop.clock.now() + 10 * MINUTE)
    await pay(shop, token, 0.4)
    await shop.look(10 * 60)
    await shop.tick()
    found = await visit(shop, token)
    assert (found.state, found.received, found.due) == (State.OVERDUE, "10.00", "15.00")
    assert found.price is None


async def test_a_cancelled_invoice_asks_for_nothing(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token, 0.4)
    stored = await shop.store.read(
        lambda c: c.execute(
            sa.select(invoice_table.c.id).where(invoice_table.c.share_token == token)
        ).scalar_one()
    )
    await invoices.cancel(shop.context, shop.principal, stored, shop.clock.now())
    found = await visit(shop, token)
    assert (found.state, found.price, found.received) == (State.CANCELLED, None, "10.00")


async def test_a_settlement_by_hand_is_told(shop: Shop) -> None:
    token = await made(shop)
    await visit(shop, token)
    now = shop.clock.now()

    def mark(connection: sa.Connection) -> None:
        where = invoice_table.c.share_token == token
        connection.execute(sa.update(invoice_table).where(where).values(marked_at=now, mark_id=1))
        stored = connection.execute(sa.select(invoice_table.c.id).where(where)).scalar_one()
        payments.reassess(connection, shop.context, stored, now)

    await shop.store.write(mark)
    found = await visit(shop, token)
    assert (found.state, found.notes) == (State.PAID, (Note.MARKED,))


# --- a chain that cannot be seen ---------------------------------------------------------------


async def away(shop: Shop) -> None:
    shop.chain.is_away = True


async def syncing(shop: Shop) -> None:
    shop.chain.is_synced = False


@pytest.mark.parametrize("trouble", [away, syncing])
async def test_a_chain_in_trouble_is_said_and_changes_nothing_else(
    shop: Shop, trouble: Callable[[Shop], Awaitable[None]]
) -> None:
    token = await made(shop, due_at=shop.clock.now() + 10 * MINUTE)
    before = await visit(shop, token)
    seen_at = shop.clock.now()
    await trouble(shop)
    await shop.look()
    during = await visit(shop, token)
    assert [(each.network, each.since) for each in during.unseen] == [("World", seen_at)]
    assert during.price == before.price
    assert during.version != before.version
    # Nothing expires meanwhile.
    await shop.look(11 * 60)
    await shop.tick()
    assert (await visit(shop, token)).state is State.OVERDUE
    shop.chain.is_away, shop.chain.is_synced = False, True
    await shop.look()
    assert (await visit(shop, token)).unseen == ()


async def test_a_watcher_that_stands_still_is_noticed(shop: Shop) -> None:
    token = await made(shop)
    assert (await visit(shop, token)).unseen == ()
    shop.clock.advance(MINUTE + 1)
    assert len((await visit(shop, token)).unseen) == 1


async def test_who_has_paid_is_not_bothered_with_chains(shop: Shop) -> None:
    token = await made(shop)
    await pay(shop, token)
    shop.chain.mine(2)
    await shop.look()
    shop.chain.is_away = True
    await shop.look()
    assert (await visit(shop, token)).unseen == ()
