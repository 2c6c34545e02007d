"""The inbox in a merchant's hands: crediting a transfer, taking it off again, setting it aside."""

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError, InvalidError
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.money import ceil_value
from counterfoil.core.quote import Rate
from counterfoil.db.schema import claim, transfer
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import inbox, rates
from counterfoil.services.claims import Claimed
from counterfoil.services.invoices import cancel
from counterfoil.services.payments import reassess
from counterfoil.services.quotes import choose
from tests.services.cases import examine
from tests.services.moves import actor, attach, credited_ids, deeds, detach, listed, stray
from tests.services.shop import MINUTE, Shop, open_shop
from tests.services.test_claims import say

# --- what is listed ---------------------------------------------------------------------------


async def test_what_lies_there_is_listed_with_the_invoice_it_was_meant_for(stall: Shop) -> None:
    await stall.invoice("70.00")
    meant = await stall.invoice("250.00")
    await stray(stall, meant)
    stall.chain.mine()
    await stall.look()
    (found,) = await listed(stall)
    shown = inbox.describe(stall.context, found)
    assert shown["candidates"] == [
        {"invoice_id": meant.id, "reason": f"0.4 % below INV {meant.id}, an exchange fee?"}
    ]
    assert (shown["reason"], shown["state"], shown["confirmations"]) == (
        "no_exact_amount",
        "mined",
        1,
    )
    assert shown["message"] == "No invoice had a price of exactly this amount when it came."
    assert shown["address"] == "w1stall"


async def test_who_pays_the_address_of_an_order_before_its_price_is_made(shop: Shop) -> None:
    """The shop showed the address itself; its payer has never opened the pay page."""
    given = {"coin_symbol": "COIN", "wallet_address": "w1static"}
    await shop.order("45.00")
    order_id = await shop.order("45.00", **given)
    sent = shop.chain.pay("w1static", 45_000_000)
    order = await shop.read(order_id)
    assert await say(shop, order, sent.txid) is Claimed.TO_SHOP
    claimed = sa.delete(claim)
    await shop.look()
    (found,) = await listed(shop)
    assert found.candidates[0].reason == f"the payer of INV {order_id} named this transaction"
    await shop.store.write(lambda c: c.execute(claimed))
    (found,) = await listed(shop)
    words = f"INV {order_id} names this address and had asked for no amount yet"
    assert [(each.invoice_id, each.reason) for each in found.candidates] == [(order_id, words)]
    assert await say(shop, order, sent.txid) is Claimed.REVIEW
    # A price that is made only now asks for something else, and the order stays.
    await shop.look(3 * 60)
    case = await examine(shop, order)
    assert [each.txid for each in case.uncredited] == [sent.txid]
    await choose(shop.context, order.share_token, "COIN", shop.clock.now())
    (found,) = await listed(shop)
    assert [each.invoice_id for each in found.candidates] == [order_id]
    case = await examine(shop, order)
    assert [each.txid for each in case.uncredited] == [sent.txid]
    # The other merchants' orders are nobody's business here.
    other = await open_shop(shop.store, shop.clock, name="Other", wallet=None, chain=shop.chain)
    assert await listed(other) == []
    await attach(shop, found.item.id, order)
    assert (await shop.read(order_id)).standing.status is Status.CONFIRMING


async def test_the_amount_of_long_ago_is_known_again(stall: Shop) -> None:
    old = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    quote = await stall.quote(old)
    for _ in range(30):
        await stall.look(24 * 60)
    await stall.store.write(lambda c: c.execute(sa.text("DELETE FROM amount_hold")))
    released = sa.text(f"UPDATE quote SET released_at = {stall.clock.now()}")  # noqa: S608  # a number
    await stall.store.write(lambda c: c.execute(released))
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    (found,) = await listed(stall)
    assert [each.reason for each in found.candidates] == [
        f"the amount of INV {old.id}, which expired 11 hours before"
    ]


async def test_pages_of_the_inbox(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    ids = [await stray(stall, invoice, Fraction(900 + n, 1_000)) for n in range(3)]
    assert sorted(ids) == ids
    who = actor(stall)
    first, after = await inbox.list_page(stall.context, who, is_ignored=False, after=None, limit=2)
    assert [each.item.id for each in first] == ids[:0:-1]
    assert after == ids[1]
    rest, end = await inbox.list_page(stall.context, who, is_ignored=False, after=after, limit=2)
    assert [each.item.id for each in rest] == ids[:1]
    assert end is None


# --- crediting --------------------------------------------------------------------------------


async def test_what_is_attached_is_worth_its_share_of_the_price(stall: Shop) -> None:
    await stall.listen()
    invoice = await stall.invoice("250.00")
    item_id = await stray(stall, invoice)
    quote = await stall.quote(invoice)
    received = int(quote.amount_atomic * Fraction(996, 1000))
    payment_id = await attach(stall, item_id, invoice)
    standing = (await stall.read(invoice.id)).standing
    assert standing.seen == ceil_value(Fraction(250) * received / quote.amount_atomic)
    assert await stall.conditions(invoice) == ["underpaid"]
    assert await listed(stall) == []
    assert await deeds(stall) == [("key 1", "attach", invoice.id, payment_id, {})]
    # The page asks for the rest at once, and that settles it.
    rest = await stall.quote(invoice)
    assert rest.id != quote.id
    stall.chain.pay(rest.address, rest.amount_atomic)
    await stall.look()
    assert await stall.status(invoice) is Status.CONFIRMING
    stall.chain.mine(2)
    await stall.look()
    assert await stall.status(invoice) is Status.PAID
    assert await stall.events(invoice) == ["payment_detected", "payment_confirmed"]


async def test_the_merchant_may_say_what_it_is_worth(stall: Shop) -> None:
    await stall.listen()
    invoice = await stall.invoice("250.00")
    item_id = await stray(stall, invoice)
    stall.chain.mine(2)
    await stall.look()
    payment_id = await attach(stall, item_id, invoice, "250.00")
    assert await stall.status(invoice) is Status.PAID
    assert await stall.conditions(invoice) == []
    (told,) = await stall.bodies(invoice)
    assert (told["event"], told["payment_id"]) == ("payment_confirmed", str(payment_id))
    assert told["payment"]["fiat_value"] == "250.00"
    assert (await deeds(stall))[0][4] == {"fiat_value": "250.00"}


async def test_without_a_price_it_is_worth_what_it_was_when_it_came(stall: Shop) -> None:
    other = await stall.invoice("250.00")
    item_id = await stray(stall, other)
    # The coin has doubled since, which is nobody's business.
    await set_rate(stall, 200)
    invoice = await stall.read(await stall.order("249.00"))
    received = (await listed(stall))[0].item.amount_atomic
    await attach(stall, item_id, invoice)
    assert (await stall.read(invoice.id)).standing.seen == Fraction(received, 10**8) * 100
    assert await stall.status(invoice) is Status.CONFIRMING


async def set_rate(shop: Shop, price: int) -> None:
    source = FixedRates({("COIN", "USD"): Decimal(price)})
    await rates.refresh(shop.store, [source], shop.clock.now())


async def forget_rates(shop: Shop) -> None:
    await shop.store.write(lambda c: c.execute(sa.update(transfer).values(rates=None)))


async def test_nobody_guesses_what_it_was_worth(stall: Shop) -> None:
    other = await stall.invoice("250.00")
    item_id = await stray(stall, other)
    await forget_rates(stall)
    invoice = await stall.read(await stall.order("249.00"))
    with pytest.raises(InvalidError) as refused:
        await attach(stall, item_id, invoice)
    assert (refused.value.code, refused.value.field) == ("value_needed", "fiat_value")
    assert len(await listed(stall)) == 1
    assert await deeds(stall) == []
    await attach(stall, item_id, invoice, "249.00")
    assert await stall.status(invoice) is Status.CONFIRMING


async def test_late_money_counts_for_the_lower_of_two_values(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    await stall.look(60 * 60)
    await set_rate(stall, 50)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()
    (found,) = await listed(stall)
    await attach(stall, found.item.id, invoice)
    received = found.item.amount_atomic
    assert (await stall.read(invoice.id)).standing.seen == Fraction(received, 10**8) * 50


async def test_late_money_without_a_rate_is_not_left_hanging(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    await stall.look(60 * 60)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()
    await forget_rates(stall)
    item_id = (await listed(stall))[0].item.id
    with pytest.raises(InvalidError, match="Nobody knows"):
        await attach(stall, item_id, invoice)
    assert (await stall.read(invoice.id)).standing.seen == 0
    await attach(stall, item_id, invoice, "250.00")
    stall.chain.mine(2)
    await stall.look()
    assert await stall.status(invoice) is Status.PAID


async def test_a_typed_value_does_not_make_late_money_come_in_time(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    await cancel(stall.context, stall.principal, invoice.id, stall.clock.now())
    await stall.look(10 * 60)
    # Nor does it count for the half that it was worth by then: the merchant knows better.
    await set_rate(stall, 50)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    stall.chain.mine(2)
    await stall.look()
    await attach(stall, (await listed(stall))[0].item.id, invoice, "250.00")
    assert await stall.status(invoice) is Status.PAID
    assert await stall.conditions(invoice) == ["paid_late"]


# --- taking it off ----------------------------------------------------------------------------


async def test_a_payment_of_another_invoice_is_moved(shop: Shop) -> None:
    await shop.listen()
    wrong, right = await shop.invoice("25.00"), await shop.invoice("25.00")
    quote = await shop.quote(wrong)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(wrong) is Status.PAID
    (first,) = await credited_ids(shop, wrong)
    item_id = await detach(shop, first)
    assert await shop.status(wrong) is Status.UNPAID
    assert await shop.conditions(wrong) == [], "no reorg has taken it"
    assert (await shop.read(wrong.id)).paid_at is None
    (found,) = await listed(shop)
    assert (found.item.id, found.item.reason.value) == (item_id, "detached")
    assert found.candidates[0].reason == f"the amount of INV {wrong.id}"
    second = await attach(shop, item_id, right)
    assert second != first
    assert await shop.status(right) is Status.PAID
    told = [(each["event"], each["payment_id"]) for each in await shop.bodies(wrong)]
    assert told == [
        ("payment_detected", str(first)),
        ("payment_confirmed", str(first)),
        ("payment_reversed", str(first)),
        ("payment_failed", str(first)),
    ]
    (confirmed,) = await shop.bodies(right)
    assert (confirmed["event"], confirmed["payment_id"]) == ("payment_confirmed", str(second))
    assert [deed[1:4] for deed in await deeds(shop)] == [
        ("detach", wrong.id, first),
        ("attach", right.id, second),
    ]
    # And back again: once more another payment.
    third = await attach(shop, await detach(shop, second), wrong)
    assert third not in (first, second)
    assert [await shop.status(each) for each in (wrong, right)] == [Status.PAID, Status.UNPAID]


async def test_a_page_no_longer_shows_what_was_taken_off_and_never_counted(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    paid = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.broadcast(("w1elsewhere", 1), spends=paid.spends)
    await shop.look()
    before = await shop.read(invoice.id)
    await detach(shop, (await credited_ids(shop, invoice))[0])
    after = await shop.read(invoice.id)
    assert after.standing == before.standing
    assert after.rev > before.rev


async def test_a_watched_transfer_in_the_inbox_is_not_matched_again(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    await detach(shop, (await credited_ids(shop, invoice))[0])
    shop.chain.mine(3)
    await shop.look()
    shop.chain.reorg(2, keep=True)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.inbox() == ["detached"]


async def test_a_rate_known_once_is_kept_when_a_transfer_moves(shop: Shop) -> None:
    invoice, other = await shop.invoice("25.00"), await shop.read(await shop.order("25.00"))
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    item_id = await detach(shop, (await credited_ids(shop, invoice))[0])
    payment_id = await attach(shop, item_id, other)
    assert (await shop.read(other.id)).standing.seen == 25
    await attach(shop, await detach(shop, payment_id), other)
    assert (await shop.read(other.id)).standing.seen == 25


async def test_what_an_order_without_a_price_is_credited_with_grows_deep(stall: Shop) -> None:
    """Nobody has opened the order, so no quote of it names the chain on which the money came."""
    await stall.listen()
    item_id = await stray(stall, await stall.invoice("250.00"))
    order = await stall.read(await stall.order("249.00"))
    await attach(stall, item_id, order)
    assert await stall.status(order) is Status.CONFIRMING
    stall.chain.mine(2)
    await stall.look()
    assert await stall.status(order) is Status.PAID
    told = await stall.events(order)
    assert told == ["payment_detected", "payment_confirmed"]
    now = stall.clock.now()
    await stall.store.write(lambda c: reassess(c, stall.context, order.id, now))
    assert await stall.status(order) is Status.PAID
    assert await stall.events(order) == told


async def test_rates_in_several_currencies_stay_known(stall: Shop) -> None:
    """A transfer that came when two currencies were asked about may be moved between both."""
    invoice = await stall.invoice("250.00")
    item_id = await stray(stall, invoice)
    known = {"EUR": "90", "USD": "100"}
    kept = {each: [price, ["fixed"], 7] for each, price in known.items()}
    both = sa.update(transfer).values(rates=json.dumps(kept))
    await stall.store.write(lambda c: c.execute(both))
    await detach(stall, await attach(stall, item_id, invoice))
    assert (await listed(stall))[0].item.rates == {
        each: Rate(Decimal(price), ("fixed",), 7) for each, price in known.items()
    }


async def test_the_currency_of_every_order_that_waits_there_is_known(stall: Shop) -> None:
    """The merchant and the first order are in dollars, the one that is meant is in euros."""
    stall.context = replace(stall.context, currencies=frozenset({"USD", "EUR"}))
    prices = FixedRates({("COIN", "USD"): Decimal(100), ("COIN", "EUR"): Decimal(90)})
    await rates.refresh(stall.store, [prices], stall.clock.now())
    await stall.invoice("250.00")
    invoice = await stall.invoice("90.00", currency="EUR")
    await stall.look(16 * 60)
    await rates.refresh(stall.store, [prices], stall.clock.now())
    item_id = await stray(stall, invoice)
    assert {*(await listed(stall))[0].item.rates} == {"EUR", "USD"}
    # It is late, so what it was worth when it came is needed, and nobody could tell now.
    await rates.refresh(stall.store, [FixedRates({})], stall.clock.now())
    await attach(stall, item_id, invoice)
    assert 89 < (await stall.read(invoice.id)).standing.seen < 90


# --- setting it aside -------------------------------------------------------------------------


async def test_what_is_ignored_is_listed_apart_and_may_still_be_attached(stall: Shop) -> None:
    await stall.listen(EventType.EXPIRED)
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    item_id = await stray(stall, invoice)
    for _ in range(2):
        await inbox.ignore(stall.context, actor(stall), item_id, stall.clock.now())
    assert [deed[:2] for deed in await deeds(stall)] == [("key 1", "ignore")]
    assert await listed(stall) == []
    assert [each.item.id for each in await listed(stall, is_ignored=True)] == [item_id]
    # Nothing waits for what nobody wants to see.
    await stall.look(11 * 60)
    await stall.tick()
    assert await stall.status(invoice) is Status.EXPIRED
    await attach(stall, item_id, invoice)
    assert await stall.status(invoice) is Status.UNPAID
    assert await listed(stall, is_ignored=True) == []


async def test_what_waited_for_a_transfer_that_is_set_aside_expires(stall: Shop) -> None:
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    item_id = await stray(stall, invoice)
    await stall.look(11 * 60)
    await stall.tick()
    assert await stall.status(invoice) is Status.UNPAID
    await inbox.ignore(stall.context, actor(stall), item_id, stall.clock.now())
    assert await stall.status(invoice) is Status.EXPIRED
    assert await stall.events(invoice) == ["invoice_expired"]


async def test_an_ignored_amount_may_be_asked_for_again(stall: Shop) -> None:
    # So low a price leaves nine amounts, and somebody has sent each of them.
    for amount in range(10_001, 10_010):
        stall.chain.pay("w1stall", amount)
    await stall.look()
    with pytest.raises(ConflictError):
        await stall.invoice("0.01")
    (first, *_) = await listed(stall)
    await inbox.ignore(stall.context, actor(stall), first.item.id, stall.clock.now())
    quote = await stall.quote(await stall.invoice("0.01"))
    assert quote.amount_atomic == first.item.amount_atomic
