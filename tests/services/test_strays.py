"""Wrong amounts on a shared address: what may be meant for an invoice keeps it from expiring."""

import asyncio
from typing import Any

import pytest

from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Transaction
from counterfoil.db.postgres import Postgres
from counterfoil.services import inbox, observations, strays, upkeep
from counterfoil.services.checkout_look import look
from counterfoil.services.checkout_view import Note, State
from counterfoil.services.payments import reassess
from tests.conftest import FakeClock
from tests.services.moves import actor, credited_ids, detach, listed
from tests.services.shop import MINUTE, SECOND, Shop, open_shop
from tests.services.till import visit

# A day, as the page and the documents promise.
WAIT_S = 24 * 3_600
LIKELY_WAIT_MS = WAIT_S * SECOND


async def pass_due(stall: Shop) -> None:
    await stall.look(11 * 60)
    await stall.tick()


async def test_an_invoice_waits_a_day_for_a_payer_who_sent_a_wrong_amount(stall: Shop) -> None:
    await stall.listen(EventType.INBOX, EventType.EXPIRED)
    due_at = stall.clock.now() + 10 * MINUTE
    meant = await stall.invoice("250.00", due_at=due_at)
    other = await stall.invoice("100.00", due_at=due_at)
    quote = await stall.quote(meant)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    assert await stall.events() == ["inbox_received"]
    await pass_due(stall)
    assert await stall.status(other) is Status.EXPIRED
    # Nor does it expire when something else makes it be looked at.
    now = stall.clock.now()
    await stall.store.write(lambda c: reassess(c, stall.context, meant.id, now))
    assert await stall.status(meant) is Status.UNPAID
    await stall.look(WAIT_S - 12 * 60)
    await stall.tick()
    assert await stall.status(meant) is Status.UNPAID
    await stall.look(2 * 60)
    await stall.tick()
    assert await stall.status(meant) is Status.EXPIRED
    assert await stall.events(meant) == ["invoice_expired"]


async def test_the_page_asks_what_was_paid_before_it_asks_for_money_again(stall: Shop) -> None:
    meant, other = await stall.invoice("250.00"), await stall.invoice("100.00")
    quote = await stall.quote(meant)
    revs = [(await visit(stall, each.share_token)).rev for each in (meant, other)]
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    page, stranger = [await visit(stall, each.share_token) for each in (meant, other)]
    assert Note.STRAY in page.notes
    assert page.rev == revs[0] + 1, "a page that is open is told"
    assert Note.STRAY not in stranger.notes
    assert stranger.rev == revs[1]
    # What the merchant has set aside, or credited, bothers nobody any more.
    (item,) = await listed(stall)
    await inbox.ignore(stall.context, actor(stall), item.item.id, stall.clock.now())
    left = await visit(stall, meant.share_token)
    assert Note.STRAY not in left.notes
    assert left.rev == page.rev + 1, "a page that is open is told"


async def test_the_page_asks_for_a_day(stall: Shop) -> None:
    meant = await stall.invoice("250.00")
    quote = await stall.quote(meant)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    began = stall.clock.now()
    # When the price has ended nothing else will change the page.
    await stall.look(20 * 60)
    now = stall.clock.now()
    made = await stall.store.read(lambda c: look(c, stall.context, meant.share_token, None, now))
    assert made.basis.until == began + LIKELY_WAIT_MS
    assert Note.STRAY in made.view.notes
    await stall.look(WAIT_S - 20 * 60)
    assert Note.STRAY not in (await visit(stall, meant.share_token)).notes


async def test_setting_it_aside_again_touches_nobody(stall: Shop) -> None:
    meant = await stall.invoice("250.00")
    quote = await stall.quote(meant)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    (item,) = await listed(stall)
    revs = []
    for _ in range(2):
        await inbox.ignore(stall.context, actor(stall), item.item.id, stall.clock.now())
        revs.append((await visit(stall, meant.share_token)).rev)
    assert revs[0] == revs[1]


async def test_the_page_asks_no_more_once_the_money_was_credited_to_another(stall: Shop) -> None:
    meant, other = await stall.invoice("250.00"), await stall.invoice("100.00")
    quote = await stall.quote(meant)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    page = await visit(stall, meant.share_token)
    (item,) = await listed(stall)
    now = stall.clock.now()
    await inbox.attach(stall.context, actor(stall), item.item.id, other.id, None, now)
    left = await visit(stall, meant.share_token)
    assert Note.STRAY in page.notes
    assert Note.STRAY not in left.notes
    assert left.version != page.version


async def test_a_stray_to_a_busy_address_holds_nobody_up(
    stall: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "_TOUCHED_MAX", 2)
    meant = []
    for _ in range(3):
        stall.clock.advance(SECOND)
        meant.append(await stall.invoice("250.00"))
    quote = await stall.quote(meant[-1])
    revs = [each.rev for each in [await stall.read(each.id) for each in meant]]
    await stall.look()
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    now = [(await stall.read(each.id)).rev for each in meant]
    assert [after - before for before, after in zip(revs, now, strict=True)] == [0, 1, 1]
    notes = [(await visit(stall, each.share_token)).notes for each in meant]
    assert all(Note.STRAY in each for each in notes), "who opens the page is asked anyway"


async def test_what_came_before_an_amount_was_shown_is_not_meant_by_it(stall: Shop) -> None:
    early = await stall.invoice("250.00")
    quote = await stall.quote(early)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    late = await stall.invoice("250.00")
    assert Note.STRAY not in (await visit(stall, late.share_token)).notes
    await stall.look(LIKELY_WAIT_MS // SECOND + 1)
    assert Note.STRAY not in (await visit(stall, early.share_token)).notes, "a day is enough"


async def test_a_waiting_invoice_is_not_assessed_every_second(
    stall: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()

    def never(*_: Any) -> bool:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "reassess", never)
        await pass_due(stall)
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    assert await stall.status(invoice) is Status.CONFIRMING


@pytest.mark.parametrize("why", ["other amount", "before the quote", "after the end", "gone"])
async def test_what_was_hardly_meant_for_an_invoice_holds_nothing_up(stall: Shop, why: str) -> None:
    first = await stall.quote(await stall.invoice("250.00"))
    address, amount = first.address, first.amount_atomic - 1
    if why == "before the quote":
        stall.chain.pay(address, amount)
        await stall.look()
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    if why == "other amount":
        stall.chain.pay(address, amount * 94 // 100)
    elif why == "gone":
        stray = stall.chain.pay(address, amount)
        await stall.look()
        stall.chain.broadcast(("w1elsewhere", 1), spends=stray.spends)
    elif why == "after the end":
        await stall.look(10 * 60)
        stall.chain.pay(address, amount)
    await stall.look()
    assert await stall.inbox() == ["no_exact_amount"]
    await pass_due(stall)
    assert await stall.status(invoice) is Status.EXPIRED


# --- what is seen when its invoice has expired --------------------------------------------------


async def lose(stall: Shop, stray: Transaction) -> None:
    """Let the node not know a transaction any more, for so long that it is given up."""
    stall.chain.drop(stray)
    stall.chain.node_up_s = 10**8
    await stall.look()
    await stall.look(31 * 60)


@pytest.mark.parametrize("how", ["raised", "listed again"])
async def test_a_stray_from_before_the_end_is_waited_for_whenever_it_is_seen(
    stall: Shop, how: str
) -> None:
    """What the facts mean does not depend on when they are looked at."""
    await stall.listen(EventType.EXPIRED)
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    quote = await stall.quote(invoice)
    sent = (quote.address, quote.amount_atomic * 97 // 100)
    stray = stall.chain.broadcast(sent)
    await stall.look()
    if how == "raised":
        (item,) = await listed(stall)
        await inbox.ignore(stall.context, actor(stall), item.item.id, stall.clock.now())
    else:
        await lose(stall, stray)
    await pass_due(stall)
    assert await stall.status(invoice) is Status.EXPIRED
    before = await visit(stall, invoice.share_token)
    if how == "raised":
        stall.chain.broadcast(sent, spends=stray.spends)
    else:
        stall.chain.receive(stray)
    await stall.look()
    assert await stall.status(invoice) is Status.UNPAID
    page = await visit(stall, invoice.share_token)
    assert (before.state, page.state) == (State.EXPIRED, State.OVERDUE)
    assert page.rev > before.rev, "a page that is open is told"
    await stall.look(WAIT_S)
    await stall.tick()
    assert await stall.status(invoice) is Status.EXPIRED
    assert await stall.events(invoice) == ["invoice_expired"], "it is told once"


async def test_it_is_waited_for_though_the_price_is_days_old(stall: Shop) -> None:
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 3 * WAIT_S * SECOND)
    quote = await stall.quote(invoice)
    await stall.look(3 * WAIT_S - 60)
    stray = stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    await lose(stall, stray)
    await stall.tick()
    assert await stall.status(invoice) is Status.EXPIRED
    stall.chain.receive(stray)
    await stall.look()
    assert await stall.status(invoice) is Status.UNPAID


async def test_it_is_waited_for_at_a_busy_address(
    stall: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "_TOUCHED_MAX", 2)
    invoice = await stall.invoice("250.00", due_at=stall.clock.now() + 10 * MINUTE)
    quote = await stall.quote(invoice)
    stray = stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    await lose(stall, stray)
    await stall.tick()
    assert await stall.status(invoice) is Status.EXPIRED
    for _ in range(3):
        stall.clock.advance(SECOND)
        await stall.invoice("3.00")
    other = await stall.quote(await stall.invoice("3.00"))
    stall.clock.advance(SECOND)
    stall.chain.receive(stray)
    stall.chain.pay(other.address, other.amount_atomic * 97 // 100)
    await stall.look()
    assert await stall.status(invoice) is Status.UNPAID


async def test_what_came_over_a_day_ago_is_not_waited_for(stall: Shop) -> None:
    """Nor are the pages told when it is mined."""
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    await stall.look(WAIT_S)
    before = (await stall.read(invoice.id)).rev
    stall.chain.mine()
    await stall.look()
    assert (await stall.read(invoice.id)).rev == before


async def test_it_is_waited_for_though_the_payment_is_detached_meanwhile(
    postgres: Postgres, clock: FakeClock
) -> None:
    """Neither sees what the other has not committed, so the watcher looks at the invoice again."""
    stall = await open_shop(postgres, clock, wallet="w1stall")
    invoice = await stall.invoice("250.00", due_at=clock.now() + 10 * MINUTE)
    quote = await stall.quote(invoice)
    sent = (quote.address, quote.amount_atomic * 97 // 100)
    stray = stall.chain.broadcast(sent)
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    (item,) = await listed(stall)
    await inbox.ignore(stall.context, actor(stall), item.item.id, clock.now())
    await pass_due(stall)
    assert await stall.status(invoice) is Status.CONFIRMING
    (payment_id,) = await credited_ids(stall, invoice)
    stall.chain.broadcast(sent, spends=stray.spends)
    head = await stall.chain.head()
    mempool = await stall.chain.mempool(stall.watch._seen_at, frozenset())  # noqa: SLF001  # what is new
    async with postgres._engine.begin() as connection:  # noqa: SLF001  # held open on purpose
        await connection.run_sync(
            lambda c: observations.record_mempool(
                c,
                stall.context,
                stall.chain,
                mempool,
                head,
                is_tip_fresh=True,
                seen_at={},
                now=clock.now(),
            )
        )
        # It reads its facts at once, and then waits for the merchant whom the watcher has told.
        detaching = asyncio.create_task(detach(stall, payment_id))
        await asyncio.sleep(0.3)
        assert not detaching.done()
    await detaching
    assert await stall.status(invoice) is Status.EXPIRED
    # The watcher has decoded it, and will not again.
    stall.watch._seen_at |= dict.fromkeys(mempool.txids, clock.now())  # noqa: SLF001  # as its look does
    await stall.look()
    assert await stall.status(invoice) is Status.UNPAID


# --- its page -----------------------------------------------------------------------------------


async def test_a_page_asks_no_more_for_what_is_gone(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    stray = stall.chain.pay(quote.address, quote.amount_atomic * 97 // 100)
    await stall.look()
    before = await visit(stall, invoice.share_token)
    assert Note.STRAY in before.notes
    stall.chain.broadcast(("w1elsewhere", 1), spends=stray.spends)
    await stall.look()
    after = await visit(stall, invoice.share_token)
    assert Note.STRAY not in after.notes
    assert after.rev == before.rev + 1, "a page that is open is told"
