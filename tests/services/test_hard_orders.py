"""The four orders that payment servers get wrong, on both databases.

Statuses, exceptions and events as the contract says (sections 3 and 5).
"""

from counterfoil.core.invoice import Status
from counterfoil.core.ports import Transaction
from counterfoil.db.invoices import Invoice
from counterfoil.services.invoices import cancel
from tests.services.shop import Shop


async def _paid(shop: Shop) -> tuple[Invoice, Transaction]:
    """Return an invoice that is Paid, and its payment."""
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    return invoice, payment


async def test_a_reorg_removes_a_paid_payment(shop: Shop) -> None:
    invoice, payment = await _paid(shop)
    shop.chain.reorg(2, keep=False)
    await shop.look()
    # The payment waits for a block again: that is no loss yet, but the shop must know.
    assert await shop.status(invoice) is Status.CONFIRMING
    assert await shop.conditions(invoice) == ["reversed"]
    # Then the same coins are spent on something else.
    shop.chain.broadcast(("w1elsewhere", 1), spends=payment.spends)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.conditions(invoice) == ["reversed"]
    assert (await shop.read(invoice.id)).paid_at is None
    told = await shop.bodies(invoice)
    assert [(t["event"], t["status"], t["exception"]) for t in told] == [
        ("payment_detected", "Confirming", None),
        ("payment_confirmed", "Paid", None),
        ("payment_reversed", "Confirming", "reversed"),
        ("payment_detected", "Confirming", "reversed"),
        ("payment_failed", "Unpaid", "reversed"),
    ]
    assert len({t["payment_id"] for t in told} - {""}) == 1


async def test_the_same_payment_comes_back(shop: Shop) -> None:
    invoice, payment = await _paid(shop)
    shop.chain.reorg(2, keep=False)
    shop.chain.drop(payment)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.receive(payment)
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []
    assert await shop.events(invoice) == [
        "payment_detected",
        "payment_confirmed",
        "payment_reversed",
        "payment_detected",
        "payment_confirmed",
    ]


async def test_a_reorg_that_keeps_the_payment_is_told_to_nobody(shop: Shop) -> None:
    invoice, _ = await _paid(shop)
    before = await shop.events()
    shop.chain.reorg(2, keep=True)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.events() == before


async def test_a_displaced_payment_comes_back_in_a_block(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.broadcast(("w1elsewhere", 1), spends=payment.spends)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    # A miner preferred the first one after all.
    shop.chain.receive(payment)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.events(invoice) == [
        "payment_detected",
        "payment_failed",
        "payment_detected",
        "payment_confirmed",
    ]


async def test_an_overpayment(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice("25.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic * 2)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    assert await shop.conditions(invoice) == [], "nothing is over before it is final"
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["overpaid"]
    assert await shop.events(invoice) == [
        "payment_detected",
        "payment_confirmed",
        "invoice_overpaid",
    ]


async def test_a_second_payment_of_a_paid_invoice(shop: Shop) -> None:
    invoice, _ = await _paid(shop)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["overpaid"]
    assert (await shop.events(invoice))[-1] == "invoice_overpaid"
    assert await shop.inbox() == []


async def test_a_payment_after_cancelling(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    cancelled = await cancel(shop.context, shop.principal, invoice.id, shop.clock.now())
    assert cancelled.standing.status is Status.CANCELLED
    await shop.look(5 * 60)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["paid_late"]
    told = await shop.bodies(invoice)
    assert [(t["event"], t["status"]) for t in told] == [
        ("invoice_cancelled", "Cancelled"),
        ("payment_detected", "Confirming"),
        ("payment_confirmed", "Paid"),
        ("invoice_paid_late", "Paid"),
    ]
