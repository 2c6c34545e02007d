"""Settling by hand, and taking that back: what it means for status, page, events and the audit."""

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError, NotFoundError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import audit
from counterfoil.services import marks, merchants
from counterfoil.services.audit import at_terminal, with_key
from counterfoil.services.inbox import detach
from counterfoil.services.invoices import cancel
from tests.services.shop import MINUTE, Shop, at_once


async def mark(shop: Shop, invoice: Invoice) -> Invoice:
    return await marks.mark(shop.context, with_key(shop.principal), invoice.id, shop.clock.now())


async def unmark(shop: Shop, invoice: Invoice) -> Invoice:
    return await marks.unmark(shop.context, with_key(shop.principal), invoice.id, shop.clock.now())


async def deeds(shop: Shop) -> list[tuple[str, str, int | None]]:
    statement = sa.select(audit.c.who, audit.c.act, audit.c.payment_id).order_by(audit.c.id)
    return await shop.store.read(lambda c: [tuple(row) for row in c.execute(statement)])


async def pay(shop: Shop, invoice: Invoice) -> None:
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()


async def test_an_invoice_is_marked_and_unmarked(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    marked = await mark(shop, invoice)
    assert marked.standing.status is Status.PAID
    assert marked.paid_at == shop.clock.now()
    assert await shop.conditions(invoice) == ["marked"]
    # Again does nothing.
    shop.clock.advance(MINUTE)
    assert await mark(shop, invoice) == marked
    plain = await unmark(shop, invoice)
    assert (plain.standing.status, plain.paid_at) == (Status.UNPAID, None)
    assert await shop.conditions(invoice) == []
    assert await unmark(shop, invoice) == plain
    told = await shop.bodies(invoice)
    mark_id = str(marked.mark_id)
    assert [(t["event"], t["status"], t["exception"], t["payment_id"]) for t in told] == [
        ("payment_confirmed", "Paid", "marked", mark_id),
        ("payment_reversed", "Unpaid", None, mark_id),
        ("payment_failed", "Unpaid", None, mark_id),
    ]
    assert [t["payment"] for t in told] == [None] * 3
    assert await deeds(shop) == [
        ("key 1", "mark", marked.mark_id),
        ("key 1", "unmark", marked.mark_id),
    ]
    # The next mark is another one.
    assert (await mark(shop, invoice)).mark_id != marked.mark_id


async def test_a_mark_has_an_id_that_no_payment_has(shop: Shop) -> None:
    await shop.listen()
    marked, paid, later = [await shop.invoice() for _ in range(3)]
    await mark(shop, marked)
    await pay(shop, paid)
    await mark(shop, later)
    confirmed = [t["payment_id"] for t in await shop.bodies() if t["event"] == "payment_confirmed"]
    assert len(set(confirmed)) == 3


async def test_money_after_a_mark_is_too_much(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    await mark(shop, invoice)
    await shop.look(60)
    await pay(shop, invoice)
    assert await shop.conditions(invoice) == ["overpaid", "marked"]
    assert await shop.events(invoice) == ["payment_confirmed", "invoice_overpaid"]
    # Without the mark the money alone settles it, and nobody is told what they know.
    assert (await unmark(shop, invoice)).standing.status is Status.PAID
    assert await shop.conditions(invoice) == []
    assert len(await shop.events(invoice)) == 2


async def test_a_payment_that_is_on_its_way_may_be_trusted(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert (await mark(shop, invoice)).standing.status is Status.PAID
    assert (await unmark(shop, invoice)).standing.status is Status.CONFIRMING


async def test_a_paid_invoice_needs_no_mark(shop: Shop) -> None:
    invoice = await shop.invoice()
    await pay(shop, invoice)
    with pytest.raises(ConflictError) as refused:
        await mark(shop, invoice)
    assert refused.value.code == "already_paid"
    assert await deeds(shop) == []
    # Its payment was somebody else's: then it does.
    await detach(shop.context, with_key(shop.principal), 1, shop.clock.now())
    assert (await mark(shop, invoice)).standing.status is Status.PAID


@pytest.mark.parametrize("end", [Status.CANCELLED, Status.EXPIRED])
async def test_what_has_ended_may_be_settled_after_all(shop: Shop, end: Status) -> None:
    invoice = await shop.invoice(due_at=shop.clock.now() + MINUTE)
    if end is Status.CANCELLED:
        await cancel(shop.context, shop.principal, invoice.id, shop.clock.now())
    else:
        await shop.look(2 * 60)
        await shop.tick()
    assert await shop.status(invoice) is end
    assert (await mark(shop, invoice)).standing.status is Status.PAID
    assert (await unmark(shop, invoice)).standing.status is end


async def test_nobody_marks_what_is_somebody_elses(shop: Shop) -> None:
    invoice = await shop.invoice()
    now = shop.clock.now()
    stranger_id = await merchants.create(shop.context, "Stranger", "USD", now)
    for who in (
        at_terminal(stranger_id, Mode.LIVE),
        at_terminal(shop.principal.merchant_id, Mode.TEST),
    ):
        for act in (marks.mark, marks.unmark):
            with pytest.raises(NotFoundError):
                await act(shop.context, who, invoice.id, now)
    assert await shop.status(invoice) is Status.UNPAID


async def test_of_many_marks_at_once_one_is_told(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    made = await at_once(shop.store, *(mark(shop, invoice) for _ in range(4)))
    assert len({each.mark_id for each in made}) == 1
    assert await shop.events(invoice) == ["payment_confirmed"]
    assert len(await deeds(shop)) == 1
