"""The books of a shop that has seen much balance, and what is wrong with them is told."""

import pytest
import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.payment import LateMoney
from counterfoil.db import books, merchants
from counterfoil.db.books import Books
from counterfoil.db.engine import Database
from counterfoil.db.schema import payment
from counterfoil.db.schema_world import rate
from counterfoil.services import marks, refunds
from counterfoil.services.invoices import cancel
from counterfoil.services.refunds import Draft
from tests.conftest import FakeClock
from tests.services.moves import actor, attach, credited_ids, detach
from tests.services.shop import MINUTE, Shop, open_shop

_ROW = "(merchant_id, mode, transfer_id, reason, created_at) VALUES (1, 'live', 1, 'no_quote', 0)"


@pytest.fixture
async def shop(database: Database, clock: FakeClock) -> Shop:
    """A shop with a paid invoice, and one that was paid, detached, attached elsewhere, and more."""
    shop = await open_shop(database, clock)
    paid, other, third = [await shop.invoice() for _ in range(3)]
    for each in (paid, other):
        quote = await shop.quote(each)
        shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    (payment_id,) = await credited_ids(shop, other)
    await attach(shop, await detach(shop, payment_id), third)
    quote = await shop.quote(other)
    shop.chain.pay(quote.address, 1_000)
    await shop.look()
    (payment_id,) = await credited_ids(shop, other)
    await detach(shop, payment_id)
    assert [await shop.status(each) for each in (paid, other, third)] == [
        Status.PAID,
        Status.UNPAID,
        Status.PAID,
    ]
    return shop


@pytest.fixture
async def stall(database: Database, clock: FakeClock) -> Shop:
    return await open_shop(database, clock, wallet="w1stall")


async def looked_through(shop: Shop) -> Books:
    return await shop.store.read(books.check)


async def test_late_money_that_waits_for_the_merchant_is_named(stall: Shop) -> None:
    who = stall.principal.merchant_id
    now = stall.clock.now()
    await stall.store.write(lambda c: merchants.set_late_money(c, who, LateMoney.HOLD))
    first, second = [await stall.invoice(due_at=now + 10 * MINUTE) for _ in range(2)]
    for invoice, minutes in ((first, 0), (second, 13)):
        quote = await stall.quote(invoice)
        await stall.look(minutes * 60)
        stall.chain.pay(quote.address, quote.amount_atomic)
        await stall.look()
    assert await stall.store.read(books.list_undecided) == [second.id]
    # What was settled, or sent back, has been decided.
    who_marks = actor(stall)
    await marks.mark(stall.context, who_marks, second.id, stall.clock.now())
    assert await stall.store.read(books.list_undecided) == []
    await marks.unmark(stall.context, who_marks, second.id, stall.clock.now())
    assert await stall.store.read(books.list_undecided) == [second.id]
    (payment_id,) = await credited_ids(stall, second)
    await attach(stall, await detach(stall, payment_id), second, "25.00")
    assert await stall.store.read(books.list_undecided) == []


async def test_money_is_late_for_its_price_and_for_a_cancelling_too(stall: Shop) -> None:
    dropped, priced, cancelled = [await stall.invoice() for _ in range(3)]
    quote = await stall.quote(dropped)
    lost = stall.chain.pay(quote.address, quote.amount_atomic)
    quote = await stall.quote(cancelled)
    await cancel(stall.context, stall.principal, cancelled.id, stall.clock.now())
    await stall.look(5 * 60)
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look(20 * 60)
    quote = await stall.quote(priced)
    # In an outage of all sources nobody knows what it is worth.
    await stall.store.write(lambda c: c.execute(sa.delete(rate)))
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    held = sa.update(payment).values(is_held=True)
    assert await stall.store.read(books.list_undecided) == [priced.id]
    await stall.store.write(lambda c: c.execute(held))
    assert await stall.store.read(books.list_undecided) == [priced.id, cancelled.id]
    stall.chain.drop(lost)
    who = actor(stall)
    await refunds.add(stall.context, who, priced.id, Draft("25.00"), stall.clock.now())
    assert await stall.store.read(books.list_undecided) == [cancelled.id]


async def test_they_balance(shop: Shop) -> None:
    assert await looked_through(shop) == Books(3, [], [], [])


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM payment WHERE id = 1", Books(3, [1], [1], [])),
        (f"INSERT INTO inbox {_ROW}", Books(3, [1], [], [])),
        ("DELETE FROM inbox", Books(3, [3], [], [])),
        ("UPDATE payment SET final_at = NULL WHERE id = 1", Books(3, [], [1], [])),
        ("DELETE FROM event WHERE seq = 2", Books(3, [], [], [1])),
        # The oldest are dropped some day.
        ("DELETE FROM event WHERE seq = 1", Books(3, [], [], [])),
        (
            "UPDATE payment SET final_at = NULL; UPDATE invoice SET marked_at = 1 WHERE id = 1",
            Books(3, [], [3], []),
        ),
    ],
)
async def test_what_is_wrong_is_found(shop: Shop, damage: str, found: Books) -> None:
    for statement in damage.split("; "):
        await shop.store.write(lambda c, text=statement: c.execute(sa.text(text)))  # type: ignore[misc]  # mypy cannot infer such a lambda
    assert await looked_through(shop) == found
