"""What is told of money that waits, is lost, came late, or is too much; from real stores."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import LateMoney, Progress
from counterfoil.core.ports import Mode
from counterfoil.db.engine import Database
from counterfoil.db.invoices import Invoice
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import diagnosis, inbox, marks, merchants, rates, refunds, wallets
from counterfoil.services.advice import advise
from counterfoil.services.case import Answer, Owner, Page, Surplus
from counterfoil.services.context import Methods
from counterfoil.services.explanation import findings
from counterfoil.services.invoices import cancel
from counterfoil.services.refunds import Draft
from tests.conftest import FakeClock
from tests.services.cases import examine
from tests.services.moves import actor, attach, credited_ids, detach, listed, stray
from tests.services.shop import MINUTE, SECOND, Shop, open_shop
from tests.sim.chain import COIN, TOKEN, WorldChain


async def set_price(shop: Shop, dollars: int) -> None:
    prices = FixedRates({("COIN", "USD"): Decimal(dollars)})
    await rates.refresh(shop.store, [prices], shop.clock.now())


# --- what the node does not show ---------------------------------------------------------------


async def test_a_node_that_started_anew_with_an_empty_mempool(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert [each.unknown_since for each in (await examine(shop, invoice)).seen] == [None]
    shop.chain.drop(sent)
    await shop.look()
    since = shop.clock.now()
    await shop.look(60)
    case = await examine(shop, invoice, sent.txid.upper())
    assert [(each.progress, each.unknown_since) for each in case.seen] == [(Progress.SEEN, since)]
    (lookup,) = case.lookups
    assert (lookup.answer, lookup.is_gone) == (Answer.UNKNOWN, False)
    (recorded,) = lookup.recorded
    assert (recorded.owner, recorded.invoice_id) == (Owner.INVOICE, invoice.id)
    again, wait = advise(case)
    assert again.endswith("; the payer should have the wallet send it again.")
    assert wait.startswith("Enough was seen, but the node does not list all of it")
    # It is sent again.
    shop.chain.receive(sent)
    await shop.look()
    assert [each.unknown_since for each in (await examine(shop, invoice)).seen] == [None]


async def test_what_was_dropped_for_good_is_not_sent_again(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.drop(sent)
    await shop.look()
    await shop.look(31 * 60)
    case = await examine(shop, invoice, sent.txid)
    assert [(s.progress, s.unknown_since) for s in case.seen] == [(Progress.GONE, None)]
    assert (case.lookups[0].is_gone, case.lookups[0].unknown_since) == (True, None)
    assert advise(case)[0].startswith(f"Transaction {sent.txid} was replaced or dropped.")


async def test_the_transaction_that_counts_instead_is_named(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    raised = shop.chain.raise_fee(sent)
    await shop.look()
    case = await examine(shop, invoice, sent.txid)
    assert [each.replaced_by for each in case.seen] == [raised.txid, None]
    assert advise(case)[0] == (
        f"Transaction {sent.txid} was replaced: look at {raised.txid}, which counts instead."
    )


async def test_a_replacement_that_nobody_knows_is_asked_for(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.pay("w1else", 5, spends=sent.spends)
    await shop.look()
    case = await examine(shop, invoice, sent.txid)
    assert [each.replaced_by for each in case.seen] == [None]
    todo = advise(case)
    assert f"`counterfoil explain {invoice.id} --txid ID`" in todo[0]
    assert not any("Compare" in each for each in todo)


async def test_what_lies_in_the_inbox_is_known_though_no_node_shows_it(stall: Shop) -> None:
    invoice = await stall.invoice()
    item_id = await stray(stall, invoice)
    (txid,) = stall.chain.pool
    stall.chain.drop(stall.chain.made[txid])
    await stall.look()
    since = stall.clock.now()
    # A second chain, which has never heard of it, says nothing worth a word.
    other = WorldChain(name="other", methods=(replace(COIN, id="OTHER", chain="other"),))
    stall.context = replace(stall.context, methods=Methods([stall.chain, other]))
    case = await examine(stall, invoice, txid)
    (lookup,) = case.lookups
    assert (lookup.chain, lookup.unknown_since) == ("world", since)
    assert [each.inbox_id for each in lookup.recorded] == [item_id]
    assert not any("Compare" in each for each in advise(case))


async def test_the_address_that_an_invoice_names_is_its_own(shop: Shop) -> None:
    order = await shop.order(coin_symbol=COIN.id, wallet_address="w1named")
    invoice = await shop.read(order)
    sent = shop.chain.pay("w1named", 5)
    await shop.look()
    shop.chain.drop(sent)
    (lookup,) = (await examine(shop, invoice, sent.txid)).lookups
    assert [(each.owner, each.reason) for each in lookup.recorded] == [(Owner.INVOICE, "no_quote")]


# --- what the page does ------------------------------------------------------------------------


async def test_what_the_page_does_while_no_price_is_open(shop: Shop) -> None:
    order = await shop.read(await shop.order())
    assert (await examine(shop, order)).page is Page.PRICE
    asked = await shop.invoice()
    await shop.look(16 * 60)
    case = await examine(shop, asked)
    assert case.page is Page.RENEWAL
    assert advise(case)[-1].endswith(": there they ask for a new price.")
    # Where its network is not seen the page is waited for, and the network is told of.
    shop.chain.is_away = True
    await shop.look()
    for each in (order, asked):
        case = await examine(shop, each)
        assert case.page is Page.UNSEEN
        assert [network.name for network in case.networks] == ["world"]
        assert [sentence.split(";")[0] for sentence in advise(case)] == ["See to the node of world"]
    bare = replace(shop, context=replace(shop.context, methods=Methods([])))
    case = await examine(bare, order)
    assert (case.page, case.networks) == (Page.NOTHING, ())
    assert advise(case)


async def test_a_page_with_two_coins_asks_first(database: Database, clock: FakeClock) -> None:
    shop = await open_shop(database, clock, chain=WorldChain(methods=(COIN, TOKEN)))
    await wallets.add(
        shop.context,
        shop.principal.merchant_id,
        TOKEN.id,
        xpub="another",
        address=None,
        now=clock.now(),
    )
    case = await examine(shop, await shop.read(await shop.order()))
    assert case.page is Page.CHOICE


async def test_what_the_chain_took_back_is_not_paid_again_unasked(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    shop.chain.reorg(2, keep=False)
    shop.chain.pay("w1else", 5, spends=sent.spends)
    shop.chain.mine()
    await shop.look()
    case = await examine(shop, invoice)
    assert (case.status, case.conditions) == (Status.UNPAID, (Condition.REVERSED,))
    (only,) = advise(case)
    assert only.startswith("The chain took back a payment that had been confirmed")


# --- what lies in the inbox --------------------------------------------------------------------


async def test_a_likely_payment_is_decided_about_first(stall: Shop) -> None:
    invoice = await stall.invoice(due_at=stall.clock.now() + 10 * MINUTE)
    item_id = await stray(stall, invoice)
    came_at = stall.clock.now()
    case = await examine(stall, invoice)
    assert [each.inbox_id for each in case.uncredited] == [item_id]
    assert case.waits_until == came_at + 24 * 60 * MINUTE
    assert len(advise(case)) == 2
    assert advise(case)[1].startswith("Until then ask for no other payment")
    await attach(stall, item_id, invoice)
    assert (await examine(stall, invoice)).uncredited == ()


async def test_expiry_that_waits_for_nothing_is_not_told_of(stall: Shop) -> None:
    never, later = [
        await stall.invoice(due_at=at) for at in (None, stall.clock.now() + 3 * 24 * 60 * MINUTE)
    ]
    for invoice in (never, later):
        await stray(stall, invoice)
        assert (await examine(stall, invoice)).waits_until is None


async def test_what_was_set_aside_does_not_wait(stall: Shop) -> None:
    invoice = await stall.invoice()
    item_id = await stray(stall, invoice)
    (txid,) = stall.chain.pool
    await inbox.ignore(stall.context, actor(stall), item_id, stall.clock.now())
    case = await examine(stall, invoice, txid)
    assert case.uncredited == ()
    assert "was set aside: `counterfoil inbox list --ignored` shows it." in " ".join(findings(case))
    todo = advise(case)
    assert f"`counterfoil inbox attach {item_id} {invoice.id}`" in todo[0]
    assert todo[1].startswith("The payer sends ")


async def test_what_was_credited_to_another_invoice_can_be_had(shop: Shop) -> None:
    invoice, other = await shop.invoice(), await shop.invoice()
    quote = await shop.quote(other)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (paid_id,) = await credited_ids(shop, other)
    todo = advise(await examine(shop, invoice, sent.txid))
    assert f"`counterfoil inbox detach {paid_id}`" in todo[0]
    await attach(shop, await detach(shop, paid_id), invoice)
    (lookup,) = (await examine(shop, invoice, sent.txid)).lookups
    assert [each.invoice_id for each in lookup.outputs] == [invoice.id]


# --- what is closed ----------------------------------------------------------------------------


async def test_a_price_is_open_only_where_it_can_be_paid(shop: Shop) -> None:
    invoice = await shop.invoice()
    marked_at = shop.clock.advance(MINUTE)
    await marks.mark(shop.context, actor(shop), invoice.id, marked_at)
    shop.clock.advance(SECOND)
    (asked,) = (await examine(shop, invoice)).asked
    assert (asked.valid_until, asked.is_open) == (marked_at, False)


async def test_what_is_paid_asks_for_nothing_by_any_clock(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.clock.at -= 9 * MINUTE
    (asked,) = (await examine(shop, invoice)).asked
    assert asked.valid_until > shop.clock.now()
    assert not asked.is_open


async def pay(shop: Shop, share: Decimal, **fields: Any) -> int:
    """Pay a share of a new invoice, let it be final, and return the invoice's id."""
    invoice = await shop.invoice(**fields)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, int(quote.amount_atomic * share))
    shop.chain.mine(2)
    await shop.look()
    return invoice.id


async def surplus(shop: Shop, invoice_id: int) -> Surplus | None:
    return (await examine(shop, await shop.read(invoice_id))).surplus


async def note(shop: Shop, invoice_id: int, amount: str, coin: str = "") -> None:
    draft = Draft(amount, coin)
    await refunds.add(shop.context, actor(shop), invoice_id, draft, shop.clock.now())


async def test_too_much_is_too_much_until_it_is_noted_as_sent_back(shop: Shop) -> None:
    invoice_id = await pay(shop, Decimal("1.2"))
    assert await surplus(shop, invoice_id) == Surplus("5.00", None, "5.00", is_final=True)
    await note(shop, invoice_id, "2")
    assert await surplus(shop, invoice_id) == Surplus("5.00", "2.00", "3.00", is_final=True)
    # Coin counts at the price at which it came.
    await note(shop, invoice_id, "0.03", COIN.id)
    assert await surplus(shop, invoice_id) == Surplus("5.00", "5.00", None, is_final=True)


async def test_what_came_after_a_mark_is_too_much(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    await marks.mark(shop.context, actor(shop), invoice.id, shop.clock.now())
    await shop.look()
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await surplus(shop, invoice.id) == Surplus("25.00", None, "25.00", is_final=False)


@pytest.mark.parametrize("how", ["cancelled", "overdue"])
async def test_what_came_for_what_is_closed_is_to_be_sent_back(shop: Shop, how: str) -> None:
    due_at = shop.clock.now() + 10 * MINUTE
    invoice_id = await pay(shop, Decimal("0.8"), due_at=due_at if how == "overdue" else None)
    assert await surplus(shop, invoice_id) is None, "it may still be paid"
    if how == "cancelled":
        await cancel(shop.context, shop.principal, invoice_id, shop.clock.now())
    await shop.look(11 * 60)
    assert await surplus(shop, invoice_id) == Surplus("20.00", None, "20.00", is_final=True)
    # A coin that the invoice was not paid with has no price here, and fiat has.
    await note(shop, invoice_id, "20")
    assert await surplus(shop, invoice_id) == Surplus("20.00", "20.00", None, is_final=True)


async def test_what_was_sent_back_in_a_coin_that_is_off_is_worth_nobody_knows_what(
    shop: Shop,
) -> None:
    invoice_id = await pay(shop, Decimal("1.2"))
    await note(shop, invoice_id, "0.05", COIN.id)
    shop.context = replace(shop.context, methods=Methods([]))
    assert await surplus(shop, invoice_id) == Surplus("5.00", None, "5.00", is_final=True)


# --- what it is worth --------------------------------------------------------------------------


async def test_held_money_has_two_worths(shop: Shop) -> None:
    (owner,) = await merchants.list_all(shop.store)
    await merchants.set_late_money(shop.store, owner, LateMoney.HOLD, shop.clock.now())
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    await shop.look(30 * 60)
    await set_price(shop, 90)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (seen,) = (await examine(shop, invoice)).seen
    assert (seen.quoted, seen.arrival, seen.is_held) == ("25.00", "22.50", True)
    await attach(shop, await detach(shop, seen.payment_id), invoice, "24.00")
    case = await examine(shop, invoice)
    (seen,) = case.seen
    assert (seen.counts, seen.is_by_hand) == ("24.00", True)
    assert "Its value was set by hand: 24.00 USD." in findings(case)


async def test_less_than_can_be_sent_is_worth_more_than_is_missing(shop: Shop) -> None:
    await set_price(shop, 40_000)
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic * 249 // 250)
    await shop.look()
    for seconds, is_open in ((0, True), (16 * 60, False)):
        await shop.look(seconds)
        case = await examine(shop, invoice)
        (due,) = case.coins
        assert (case.missing, due.amount, due.least) == ("0.10", "0.00001", "0.40 USD")
        assert due.is_open is is_open


# --- the commands ------------------------------------------------------------------------------


async def options(shop: Shop, order: Invoice, *, at_terminal: bool) -> str:
    now = shop.clock.now()
    case = await diagnosis.examine(shop.context, order, None, now, at_terminal=at_terminal)
    return case.options


async def test_a_command_names_the_mode_and_the_merchant_where_it_must(shop: Shop) -> None:
    invoice = await shop.invoice()
    assert await options(shop, invoice, at_terminal=True) == ""
    now = shop.clock.now()
    shop.principal = replace(shop.principal, mode=Mode.TEST)
    test = await shop.read(await shop.order())
    assert await options(shop, test, at_terminal=True) == " --test"
    merchant_id = await merchants.create(shop.context, "Tom's & Co", "USD", now)
    assert await options(shop, test, at_terminal=True) == " --test --merchant Shop"
    # With a merchant's key nobody hears that there are others.
    assert await options(shop, test, at_terminal=False) == " --test"
    shop.principal = replace(shop.principal, merchant_id=merchant_id, mode=Mode.LIVE)
    theirs = await shop.read(await shop.order())
    assert await options(shop, theirs, at_terminal=True) == """ --merchant 'Tom'"'"'s & Co'"""


async def test_an_empty_txid_is_none(shop: Shop) -> None:
    assert (await examine(shop, await shop.invoice(), " ")).lookups == ()


async def test_a_transaction_in_the_inbox_is_credited_as_it_is_said(stall: Shop) -> None:
    """Also one that is far from what was asked for."""
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    sent = stall.chain.pay(quote.address, quote.amount_atomic // 2)
    await stall.look()
    assert (await examine(stall, invoice)).uncredited == ()
    todo = advise(await examine(stall, invoice, sent.txid))
    (item,) = await listed(stall)
    assert f"`counterfoil inbox attach {item.item.id} {invoice.id}`" in todo[0]
    assert todo[1].startswith("Until then ask for no other payment")
