"""Money that comes late: taken for what it is worth, or held until the merchant has decided."""

from dataclasses import replace
from decimal import Decimal

import pytest

from counterfoil.core.invoice import Status
from counterfoil.core.payment import LateMoney, Progress
from counterfoil.core.ports import Mode
from counterfoil.db.invoices import Invoice
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import invoices, ledger, marks, merchants, rates
from counterfoil.services.context import Methods
from counterfoil.services.quotes import choose
from tests.services.moves import actor, attach, credited_ids, deeds, detach, listed
from tests.services.shop import MINUTE, Shop
from tests.services.till import visit
from tests.sim.chain import COIN

ACCEPT, HOLD = LateMoney.ACCEPT, LateMoney.HOLD


async def become(shop: Shop, late_money: LateMoney) -> None:
    (owner,) = await merchants.list_all(shop.store)
    await merchants.set_late_money(shop.store, owner, late_money, shop.clock.now())


async def pay(shop: Shop, *, is_late: bool = True) -> Invoice:
    """Pay an invoice, after its price has ended or before, and let that become final."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    if is_late:
        await shop.look(20 * 60)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.mine(2)
    await shop.look()
    return invoice


async def state(shop: Shop, invoice: Invoice) -> object:
    found, (made,) = await invoices.list_payments(shop.context, shop.principal, invoice.id)
    return invoices.describe_payment(shop.context, found, made)["state"]


async def test_a_payment_in_a_coin_that_is_switched_off_has_no_amount(shop: Shop) -> None:
    found = await pay(shop, is_late=False)
    _, (made,) = await invoices.list_payments(shop.context, shop.principal, found.id)
    shown = invoices.describe_payment(shop.context, found, made)
    assert shown["amount"] == "0.25"
    bare = replace(shop.context, methods=Methods([]))
    shown = invoices.describe_payment(bare, found, made)
    assert (shown["amount"], shown["fiat_value"]) == (None, "25.00")


@pytest.mark.parametrize(
    ("late_money", "is_late"), [(ACCEPT, True), (ACCEPT, False), (HOLD, False)]
)
async def test_money_in_time_counts_anyway_and_late_money_unless_it_is_held(
    shop: Shop, late_money: LateMoney, *, is_late: bool
) -> None:
    await shop.listen()
    await become(shop, late_money)
    invoice = await pay(shop, is_late=is_late)
    assert (await shop.status(invoice), await state(shop, invoice)) == (Status.PAID, "final")
    told = ["payment_detected", "payment_confirmed", "invoice_paid_late"]
    assert await shop.events(invoice) == told[: 2 + is_late]


@pytest.mark.parametrize("is_late", [True, False])
async def test_the_ledger_keeps_what_held_money_was_worth(shop: Shop, *, is_late: bool) -> None:
    await become(shop, HOLD)
    await pay(shop, is_late=is_late)
    (row,) = (await ledger.read(shop.context, 1, Mode.LIVE, 0, 1 << 52)).rows
    assert (row["arrival_value"], row["arrival_rate"]) == ("25.00", "100")
    assert row["arrival_rate_sources"] == "fixed"


async def test_held_money_is_seen_and_never_final(shop: Shop) -> None:
    await shop.listen()
    await become(shop, HOLD)
    invoice = await pay(shop)
    shop.chain.mine(100)
    await shop.look()
    assert (await shop.status(invoice), await state(shop, invoice)) == (
        Status.CONFIRMING,
        "confirming",
    )
    (shown,) = (await visit(shop, invoice.share_token)).payments
    assert shown.progress is Progress.CONFIRMING, "as the API says"
    standing = (await shop.read(invoice.id)).standing
    assert standing.seen == 25
    assert standing.final == 0
    assert await shop.events(invoice) == ["payment_detected"]


async def test_what_has_come_keeps_what_was_set_then(shop: Shop) -> None:
    await become(shop, HOLD)
    held = await pay(shop)
    await become(shop, ACCEPT)
    taken = await pay(shop)
    assert [await shop.status(each) for each in (held, taken)] == [Status.CONFIRMING, Status.PAID]
    assert [(who, act, details) for who, act, _, _, details in await deeds(shop)] == [
        ("cli", "late-money", {"to": "hold"}),
        ("cli", "late-money", {"to": "accept"}),
    ]


async def test_held_money_counts_once_it_is_credited_by_hand(shop: Shop) -> None:
    await become(shop, HOLD)
    invoice = await pay(shop)
    (held,) = await credited_ids(shop, invoice)
    # The rate of its arrival was written down, though it was held: no value need be typed.
    await attach(shop, await detach(shop, held), invoice)
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["paid_late"]
    assert await state(shop, invoice) == "final"


async def test_held_money_settles_an_invoice_that_is_marked(shop: Shop) -> None:
    await become(shop, HOLD)
    invoice = await pay(shop)
    await marks.mark(shop.context, actor(shop), invoice.id, shop.clock.now())
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["marked"]


# --- a fee that is raised ------------------------------------------------------------------------


async def pay_and_raise_the_fee(
    shop: Shop, share: int = 100, *, is_mined: bool = False
) -> tuple[Invoice, int]:
    """Pay in time, and once more with a higher fee when the coin is worth half of it.

    `share` is what the second transaction pays, in per cent. Return the invoice, and when the first
    one came.
    """
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    first = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    came_at = shop.clock.now()
    await shop.look(5 * 60)
    half = {("COIN", "USD"): Decimal(50)}
    await rates.refresh(shop.store, [FixedRates(half)], shop.clock.now())
    shop.chain.pay(quote.address, quote.amount_atomic * share // 100, first.spends)
    if not is_mined:
        await shop.look()
    shop.chain.mine(2)
    await shop.look()
    return invoice, came_at


@pytest.mark.parametrize("late_money", LateMoney)
@pytest.mark.parametrize("is_mined", [True, False])
async def test_whoever_raises_the_fee_is_no_later_for_it(
    shop: Shop, late_money: LateMoney, *, is_mined: bool
) -> None:
    await shop.listen()
    await become(shop, late_money)
    invoice, came_at = await pay_and_raise_the_fee(shop, is_mined=is_mined)
    assert (await shop.status(invoice), await shop.conditions(invoice)) == (Status.PAID, [])
    assert await shop.events(invoice) == ["payment_detected", "payment_confirmed"]
    _, items = await invoices.list_payments(shop.context, shop.principal, invoice.id)
    assert {item.first_seen_at for item in items} == {came_at}


@pytest.mark.parametrize(("share", "worth"), [(101, "12.62"), (99, "12.37")])
async def test_whoever_then_pays_another_amount_pays_late(
    shop: Shop, share: int, worth: str
) -> None:
    await shop.listen()
    invoice, came_at = await pay_and_raise_the_fee(shop, share)
    found, (_, second) = await invoices.list_payments(shop.context, shop.principal, invoice.id)
    shown = invoices.describe_payment(shop.context, found, second)
    assert (shown["fiat_value"], found.standing.status) == (worth, Status.UNPAID)
    # The shop is told the same.
    told = [body["payment"]["fiat_value"] for body in await shop.bodies(invoice)]
    assert told == ["25.00", "25.00", worth]
    assert second.first_seen_at > came_at


async def test_whoever_then_pays_another_invoice_too_pays_late(shop: Shop) -> None:
    invoice, other = await shop.invoice(), await shop.invoice()
    quote, dearer = await shop.quote(invoice), await shop.quote(other)
    first = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    came_at = shop.clock.now()
    await shop.look(5 * 60)
    both = ((quote.address, quote.amount_atomic), (dearer.address, dearer.amount_atomic))
    shop.chain.broadcast(*both, spends=first.spends)
    await shop.look()
    _, (paid,) = await invoices.list_payments(shop.context, shop.principal, other.id)
    assert paid.first_seen_at > came_at


async def test_in_the_inbox_a_raised_fee_keeps_what_the_coin_was_worth(stall: Shop) -> None:
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    first = stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()
    await stall.look(5 * 60)
    half = {("COIN", "USD"): Decimal(50)}
    await rates.refresh(stall.store, [FixedRates(half)], stall.clock.now())
    stall.chain.pay(quote.address, quote.amount_atomic - 1, first.spends)
    await stall.look()
    raised, dropped = await listed(stall)
    assert raised.item.first_seen_at == dropped.item.first_seen_at
    assert {rate.price for rate in raised.item.rates.values()} == {100}
    assert raised.item.rates == dropped.item.rates


async def test_a_fee_may_be_raised_twice_and_after_a_reorg(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    came_at = shop.clock.now()
    for _ in range(2):
        await shop.look(5 * 60)
        sent = shop.chain.raise_fee(sent)
        await shop.look()
    shop.chain.mine()
    await shop.look()
    shop.chain.reorg(1, keep=False)
    shop.chain.raise_fee(sent)
    shop.chain.mine(2)
    await shop.look(5 * 60)
    _, items = await invoices.list_payments(shop.context, shop.principal, invoice.id)
    assert [item.first_seen_at for item in items] == [came_at] * 4
    assert (await shop.status(invoice), await shop.conditions(invoice)) == (Status.PAID, [])


async def test_a_fee_may_be_raised_of_a_payment_in_two_parts(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    part = quote.amount_atomic // 3
    parts = (quote.address, part), (quote.address, quote.amount_atomic - part)
    sent = shop.chain.broadcast(*parts)
    await shop.look()
    await shop.look(20 * 60)
    shop.chain.raise_fee(sent)
    shop.chain.mine(2)
    await shop.look()
    assert (await shop.status(invoice), await shop.conditions(invoice)) == (Status.PAID, [])


@pytest.mark.parametrize("late_money", [ACCEPT, HOLD])
async def test_a_clock_that_is_set_back_makes_nothing_late(
    shop: Shop, late_money: LateMoney
) -> None:
    """A part was paid in time by a fast clock; once that is right, the payer asks for a price."""
    await become(shop, late_money)
    invoice = await shop.invoice()
    await shop.look(5 * 60)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic * 4 // 5)
    await shop.look()
    shop.clock.advance(-8 * MINUTE)
    await choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
    rest = await shop.quote(invoice)
    shop.chain.pay(rest.address, rest.amount_atomic)
    await shop.look()
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []
