"""The life of an invoice, from the facts of a chain, a clock and a merchant, on both databases."""

from dataclasses import replace
from fractions import Fraction

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import ConflictError, LimitedError, UnavailableError
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.matching import QUARANTINE_MS
from counterfoil.core.money import format_coin
from counterfoil.db.engine import Database
from counterfoil.db.invoices import list_due
from counterfoil.services import rates, upkeep
from counterfoil.services.invoices import cancel, list_payments
from counterfoil.services.quotes import choose
from counterfoil.services.watching import Watch, list_states
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, SECOND, Shop, open_shop
from tests.sim.chain import COIN, WorldChain


async def test_paid_in_two_parts(shop: Shop) -> None:
    invoice = await shop.invoice("25.00")
    first = await shop.quote(invoice)
    shop.chain.pay(first.address, first.amount_atomic * 2 // 5)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.conditions(invoice) == ["underpaid"]
    rest = await shop.quote(invoice)
    assert rest.id != first.id
    assert (rest.fiat, rest.address) == (invoice.amount * 3 / 5, first.address)
    shop.chain.pay(rest.address, rest.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []


async def test_the_old_full_amount_still_credits_its_own_quote(shop: Shop) -> None:
    """A payer sends the whole twice over, from two devices: both count, nothing is lost."""
    invoice = await shop.invoice("25.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 2)
    await shop.look()
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert (await shop.read(invoice.id)).standing.final == Fraction(75, 2)
    assert await shop.conditions(invoice) == ["overpaid"]


async def test_an_underpayment_is_told_when_it_is_final(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 2)
    await shop.look()
    assert await shop.events(invoice) == []
    shop.chain.mine(2)
    await shop.look()
    assert await shop.events(invoice) == ["invoice_underpaid"]


async def test_two_outputs_of_one_transaction_pay_two_invoices(shop: Shop) -> None:
    one, two = await shop.invoice("10.00"), await shop.invoice("20.00")
    quotes = [await shop.quote(one), await shop.quote(two)]
    shop.chain.broadcast(*((quote.address, quote.amount_atomic) for quote in quotes))
    shop.chain.mine(2)
    await shop.look()
    assert [await shop.status(one), await shop.status(two)] == [Status.PAID, Status.PAID]


async def test_paid_in_one_step_is_told_once(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    shop.chain.confirmations = Confirmations(1)
    await shop.look()
    # The first observation was one block deep: a depth of one is frozen into the payment.
    assert await shop.events(invoice) == ["payment_confirmed"]


async def test_looking_again_changes_nothing(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    before = await shop.bodies()
    shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
    for _ in range(3):
        await shop.look(10)
        await shop.tick()
    assert await shop.bodies() == before


async def test_expiry_waits_until_the_chain_was_watched(shop: Shop) -> None:
    await shop.listen()
    due_at = shop.clock.now() + 10 * MINUTE
    invoice = await shop.invoice(due_at=due_at)
    quote = await shop.quote(invoice)
    assert quote.lock_until == due_at, "no lock outlasts the due date"
    shop.chain.is_away = True
    await shop.look(11 * 60)
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID, "nobody can know whether it was paid"
    due = await shop.store.read(lambda c: list_due(c, shop.clock.now(), 0, 10))
    assert due == [], "nor is it looked at again and again meanwhile"
    # It was, a minute before the end, while the node could not be asked.
    shop.chain.is_away = False
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = due_at - MINUTE
    shop.chain.mine()
    await shop.look()
    await shop.tick()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == [], "it was not late: nobody was looking"


async def test_expiry(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice(due_at=shop.clock.now() + 10 * MINUTE)
    await shop.look(9 * 60)
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID
    await shop.look(61)
    await shop.tick()
    assert await shop.status(invoice) is Status.EXPIRED
    assert await shop.events(invoice) == ["invoice_expired"]
    # A part of the money comes late: what holds money is not expired.
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 2)
    shop.chain.mine(2)
    await shop.look(60)
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.events(invoice) == ["invoice_expired", "invoice_underpaid"]


async def test_payment_after_a_month(shop: Shop) -> None:
    invoice = await shop.invoice(due_at=shop.clock.now() + MINUTE)
    quote = await shop.quote(invoice)
    await shop.look(61)
    await shop.tick()
    await shop.look(30 * 86_400)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["paid_late"]


async def test_cancel_is_refused_when_money_was_seen(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    with pytest.raises(ConflictError) as refused:
        await cancel(shop.context, shop.principal, invoice.id, shop.clock.now())
    assert refused.value.code == "invoice_has_money"
    assert (await shop.read(invoice.id)).cancelled_at is None


async def test_a_transaction_that_the_node_forgets(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.drop(payment)
    await shop.look(20 * 60)
    await shop.look(20 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING, "unknown for 20 minutes is not gone"
    shop.chain.node_up_s = 60
    await shop.look(20 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING, "a node that has just started forgets"
    shop.chain.node_up_s = 100_000
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.events(invoice) == ["payment_detected", "payment_failed"]


@pytest.mark.parametrize("fault", ["away", "syncing", "behind"])
async def test_a_node_in_trouble_is_told_and_changes_nothing(shop: Shop, fault: str) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.mine(3)
    await shop.look()
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    before = await shop.read(invoice.id)
    shop.chain.is_away = fault == "away"
    shop.chain.is_synced = fault != "syncing"
    shop.chain.lag = 2 if fault == "behind" else 0
    await shop.look(3_600)
    (state,) = await list_states(shop.context)
    assert state.trouble
    assert await shop.read(invoice.id) == before
    shop.chain.is_away, shop.chain.is_synced, shop.chain.lag = False, True, 0
    shop.chain.mine(2)
    await shop.look()
    (state,) = await list_states(shop.context)
    assert state.trouble is None
    assert await shop.status(invoice) is Status.PAID


async def test_a_node_on_another_chain_is_refused(database: Database, clock: FakeClock) -> None:
    chain = WorldChain(configured_genesis="the first block of the chain that was meant")
    shop = await open_shop(database, clock, wallet=None, chain=chain)
    (state,) = await list_states(shop.context)
    assert state.trouble is not None
    assert "another chain" in state.trouble
    assert state.cursor is None


async def test_one_address_two_invoices_of_one_price(stall: Shop) -> None:
    one, two = await stall.invoice("250.00"), await stall.invoice("250.00")
    first, second = await stall.quote(one), await stall.quote(two)
    assert first.address == second.address
    assert first.amount_atomic != second.amount_atomic
    stall.chain.pay(second.address, second.amount_atomic)
    stall.chain.mine(2)
    await stall.look()
    assert [await stall.status(one), await stall.status(two)] == [Status.UNPAID, Status.PAID]
    stall.chain.pay(first.address, first.amount_atomic)
    stall.chain.mine(2)
    await stall.look()
    assert await stall.status(one) is Status.PAID
    assert await stall.inbox() == []


async def test_another_amount_on_a_shared_address_goes_to_the_inbox(stall: Shop) -> None:
    await stall.listen(EventType.INBOX)
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()
    assert await stall.status(invoice) is Status.UNPAID
    assert await stall.inbox() == ["no_exact_amount"]
    (told,) = await stall.bodies()
    assert (told["event"], told["invoice_id"], told["reason"]) == (
        "inbox_received",
        "",
        "no_exact_amount",
    )
    assert told["payment"] == {
        "coin": "COIN",
        "network": "world",
        "txid": next(iter(stall.chain.pool)),
        "amount": format_coin(quote.amount_atomic - 1, COIN.decimals),
    }


async def test_the_merchants_own_money_is_no_payment(shop: Shop) -> None:
    one, two = await shop.invoice("10.00"), await shop.invoice("10.00")
    first, second = await shop.quote(one), await shop.quote(two)
    payment = shop.chain.pay(first.address, first.amount_atomic)
    shop.chain.mine()
    await shop.look()
    # The merchant's wallet spends it and sends the change to the next address of the same wallet.
    shop.chain.pay(second.address, second.amount_atomic, spends=(f"{payment.txid}:0",))
    await shop.look()
    assert await shop.status(two) is Status.UNPAID
    assert await shop.inbox() == ["own_transfer"]


async def test_the_money_of_another_merchant_is_a_payment(shop: Shop) -> None:
    other = await open_shop(shop.store, shop.clock, wallet="other", name="Other", chain=shop.chain)
    other.context = shop.context
    theirs = await other.quote(await other.invoice("10.00"))
    payment = shop.chain.pay(theirs.address, theirs.amount_atomic)
    shop.chain.mine()
    await shop.look()
    invoice = await shop.invoice("10.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic, spends=(f"{payment.txid}:0",))
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.inbox() == []


async def test_an_amount_stays_reserved_while_nobody_watches(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    await stall.look(16 * 60)
    await upkeep.sweep(stall.context, stall.clock.now())
    # A day passes in which the node is away: that is no day of watching.
    stall.chain.is_away = True
    await stall.look(QUARANTINE_MS / SECOND + 60)
    stall.chain.is_away = False
    await stall.look()
    await upkeep.sweep(stall.context, stall.clock.now())
    other = await stall.invoice("250.00")
    assert (await stall.quote(other)).amount_atomic != quote.amount_atomic
    stall.chain.pay(quote.address, quote.amount_atomic)
    stall.chain.mine(2)
    await stall.look()
    assert await stall.status(invoice) is Status.PAID
    assert await stall.conditions(invoice) == ["paid_late"]


async def test_a_refresh_at_the_same_price_keeps_the_amount(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    first = await stall.quote(invoice)
    await stall.look(14 * 60)
    await choose(stall.context, invoice.share_token, COIN.id, stall.clock.now())
    again = await stall.quote(invoice)
    assert again.id != first.id
    assert (again.amount_atomic, again.address) == (first.amount_atomic, first.address)
    assert again.lock_until > first.lock_until


async def test_a_blind_chain_offers_no_shared_address(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    stall.chain.is_away = True
    await stall.look(120)
    with pytest.raises(UnavailableError) as refused:
        await choose(stall.context, invoice.share_token, COIN.id, stall.clock.now())
    assert refused.value.code == "chain_unavailable"


async def test_no_rate_no_quote(shop: Shop) -> None:
    await rates.refresh(shop.store, [], shop.clock.now())
    with pytest.raises(UnavailableError) as refused:
        await shop.invoice()
    assert refused.value.code == "rate_unavailable"


async def test_twenty_quotes_an_hour(shop: Shop) -> None:
    invoice = await shop.invoice()
    for _ in range(19):
        await choose(shop.context, invoice.share_token, COIN.id, shop.clock.advance(SECOND))
    with pytest.raises(LimitedError) as refused:
        await choose(shop.context, invoice.share_token, COIN.id, shop.clock.advance(SECOND))
    assert 0 < refused.value.retry_after_s <= 3_600
    await shop.look(refused.value.retry_after_s)
    await choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
    assert len(await shop.quotes(invoice)) == 21


async def test_what_comes_from_the_address_itself_is_change(shop: Shop) -> None:
    """On chains of accounts the sender is known, whatever was spent."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    sent = shop.chain.pay(quote.address, quote.amount_atomic)
    own = shop.chain.parse_address(quote.address).key
    shop.chain.pool[sent.txid] = replace(sent, senders=(own,))
    await shop.look()
    assert await shop.inbox() == ["own_transfer"]
    assert await shop.status(invoice) is Status.UNPAID


async def test_nothing_is_no_payment(shop: Shop) -> None:
    invoice = await shop.invoice()
    shop.chain.pay((await shop.quote(invoice)).address, 0)
    shop.chain.mine()
    await shop.look()
    assert await shop.inbox() == []
    assert (await list_payments(shop.context, shop.principal, invoice.id))[1] == []


async def test_a_block_ahead_of_our_clock_holds_what_came_now(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = shop.clock.now() + 90 * MINUTE
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == [], "it was in time"


async def test_each_invoice_has_an_address_of_its_own(shop: Shop) -> None:
    quotes = [await shop.quote(await shop.invoice()) for _ in range(5)]
    assert len({quote.address for quote in quotes}) == 5
