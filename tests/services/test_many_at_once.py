"""Many payments in one look: each counts as if it had come alone, and together they cost little."""

from itertools import islice
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.invoice import Status
from counterfoil.db import payments as rows
from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import event, payment
from counterfoil.services import payments, watching
from tests.services.shop import Shop, counted, open_shop


async def pay_all(shop: Shop, made: list[Invoice]) -> None:
    for each in made:
        quote = await shop.quote(each)
        shop.chain.pay(quote.address, quote.amount_atomic)


async def statements_of(shop: Shop, count: int) -> tuple[int, int]:
    """Return how many statements it takes to see payments, and to see them grow deep."""
    await pay_all(shop, [await shop.invoice() for _ in range(count)])
    with counted(shop.store) as seeing:
        await shop.look()
    shop.chain.mine(2)
    with counted(shop.store) as confirming:
        await shop.look()
    return len(seeing), len(confirming)


async def test_a_look_takes_as_many_statements_for_many_payments_as_for_two(shop: Shop) -> None:
    await shop.listen()
    two, many = await statements_of(shop, 2), await statements_of(shop, 24)
    # One more or less is the watcher's own, which now and then writes down how the node is.
    assert all(abs(few - most) <= 1 for few, most in zip(two, many, strict=True)), (two, many)
    assert two[0] < 50


async def test_one_transaction_that_pays_an_invoice_many_times_is_as_cheap(shop: Shop) -> None:
    """Whoever pays in a thousand parts does not keep everybody else from writing."""
    taken = []
    for count in (2, 24):
        invoice = await shop.invoice()
        quote = await shop.quote(invoice)
        part = quote.amount_atomic // count
        shop.chain.broadcast(*[(quote.address, part)] * (count - 1))
        await shop.look()
        shop.chain.pay(quote.address, quote.amount_atomic - part * (count - 1))
        with counted(shop.store) as statements:
            await shop.look()
        assert await shop.status(invoice) is Status.CONFIRMING
        taken.append(len(statements))
    assert abs(taken[0] - taken[1]) <= 1, taken


async def test_what_a_transaction_spends_is_read_once_for_all_that_it_pays(shop: Shop) -> None:
    """A thousand inputs and a thousand outputs are no million texts."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    outpoints = tuple(f"{number:064x}:0" for number in range(100))
    shop.chain.broadcast(*[(quote.address, 1_000)] * 100, spends=outpoints)
    await shop.look()

    def read(connection: sa.Connection) -> None:
        alone = rows.list_credited(connection, invoice.id)
        beside_others = rows.list_deciding(connection, [invoice.id])[invoice.id]
        for listed in (alone, beside_others):
            assert len(listed) == 100
            assert len(listed[0].payment.spends) == 100
            assert len({id(each.payment.spends) for each in listed}) == 1

    with counted(shop.store) as statements:
        await shop.store.read(read)
    of_payments = [each for each in statements if "FROM payment" in each]
    assert of_payments
    assert not any("spends" in each for each in of_payments)


async def test_strays_at_a_shared_address_take_as_many_statements_for_many(stall: Shop) -> None:
    await stall.listen()
    quote = await stall.quote(await stall.invoice("250.00"))

    async def statements_of_strays(count: int) -> int:
        amounts = range(1_000, 1_000 + count)
        stall.chain.broadcast(*((quote.address, amount) for amount in amounts))
        with counted(stall.store) as seeing:
            await stall.look()
        return len(seeing)

    two, many = await statements_of_strays(2), await statements_of_strays(24)
    assert abs(two - many) <= 1, (two, many)
    assert await stall.inbox() == ["no_exact_amount"] * 26


async def test_strays_too_take_as_many_statements_for_many_as_for_two(shop: Shop) -> None:
    await shop.listen()
    address = (await shop.quote(await shop.invoice("250.00"))).address
    own = shop.chain.broadcast(*[(address, 1_000)] * 26)
    await shop.look()
    # Change is no payment: what the merchant's own money comes back as lies in the inbox.
    outpoints = (f"{own.txid}:{place}" for place in range(26))

    async def statements_of_strays(count: int) -> int:
        for outpoint in islice(outpoints, count):
            shop.chain.pay(address, 900, spends=(outpoint,))
        with counted(shop.store) as seeing:
            await shop.look()
        return len(seeing)

    two, many = await statements_of_strays(2), await statements_of_strays(24)
    assert abs(two - many) <= 1, (two, many)
    assert await shop.inbox() == ["own_transfer"] * 26


async def test_each_is_told_once_and_the_log_has_no_gap(shop: Shop) -> None:
    """More than one transaction's worth of invoices, of two merchants, at once."""
    await shop.listen()
    name, chain = "Other", shop.chain
    stall = await open_shop(shop.store, shop.clock, wallet="w1stall", name=name, chain=chain)
    stall.context = shop.context
    count = watching._REASSESS_BATCH + 6  # noqa: SLF001  # more than goes into one transaction
    made = [
        await (stall if number % 3 == 0 else shop).invoice(f"{20 + number}.00")
        for number in range(count)
    ]
    await pay_all(shop, made)
    shop.chain.mine(2)
    await shop.look()
    for each in made:
        assert await shop.events(each) == ["payment_detected", "payment_confirmed"]
    statement = sa.select(event.c.merchant_id, event.c.seq).order_by(event.c.id)
    told = await shop.store.read(lambda c: c.execute(statement).all())
    for merchant_id in {row.merchant_id for row in told}:
        seqs = [row.seq for row in told if row.merchant_id == merchant_id]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_a_second_look_at_the_same_changes_nothing(shop: Shop) -> None:
    made = [await shop.invoice() for _ in range(3)]
    await pay_all(shop, made)
    pool = dict(shop.chain.pool)
    await shop.look()
    # A process that has just started knows nothing of what was decoded already.
    shop.watch = watching.Watch(shop.context, shop.chain, shop.watch.holder)
    await shop.look()
    shop.chain.mine()
    assert shop.chain.blocks[-1].transactions == tuple(pool.values())
    await shop.look()
    for each in made:
        assert await shop.events(each) == ["payment_detected"]
    paid = await shop.store.read(lambda c: c.execute(sa.select(payment.c.transfer_id)).all())
    assert len(paid) == len({row.transfer_id for row in paid}) == 3


@pytest.mark.parametrize("is_one_transaction", [True, False])
async def test_what_comes_together_counts_for_the_depth_together(
    shop: Shop, *, is_one_transaction: bool
) -> None:
    # From 100 USD on three blocks are asked for, and each part alone is worth 60.
    shop.chain.confirmations = Confirmations(1, ((1, 3),))  # type: ignore[arg-type]  # a whole number
    invoice = await shop.invoice("50.00")
    quote = await shop.quote(invoice)
    part = (quote.address, quote.amount_atomic * 6 // 5)
    if is_one_transaction:
        shop.chain.broadcast(part, part)
    else:
        shop.chain.broadcast(part)
        shop.chain.broadcast(part)
    await shop.look()
    needed = sa.select(payment.c.depth_needed).order_by(payment.c.id)
    assert list(await shop.store.read(lambda c: c.execute(needed).scalars().all())) == [1, 3]


async def test_the_merchants_own_money_is_known_though_both_come_at_once(shop: Shop) -> None:
    one, two = await shop.invoice("10.00"), await shop.invoice("10.00")
    first, second = await shop.quote(one), await shop.quote(two)
    paid = shop.chain.pay(first.address, first.amount_atomic)
    shop.chain.pay(second.address, second.amount_atomic, spends=(f"{paid.txid}:0",))
    # The node lists what spends before what is spent.
    shop.chain.pool = dict(reversed(shop.chain.pool.items()))
    await shop.look()
    assert await shop.status(one) is Status.CONFIRMING
    assert await shop.status(two) is Status.UNPAID
    assert await shop.inbox() == ["own_transfer"]


async def test_what_is_wrong_with_one_does_not_hold_up_those_before_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.listen()
    made = [await shop.invoice(f"{20 + number}.00") for number in range(3)]
    await pay_all(shop, made)
    usual = payments.reassess_all

    def fail(connection: sa.Connection, context: Any, invoice_ids: Any, now: int) -> set[int]:
        if made[2].id in invoice_ids:
            raise ValueError("nobody thought of this")
        return usual(connection, context, invoice_ids, now)

    monkeypatch.setattr(watching, "reassess_all", fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="nobody"):
            await shop.look()
    assert [await shop.events(each) for each in made] == [
        ["payment_detected"],
        ["payment_detected"],
        [],
    ]
    monkeypatch.undo()
    await shop.look(61)
    assert await shop.events(made[2]) == ["payment_detected"]
