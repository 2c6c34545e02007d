"""The inbox when others are at it: other merchants, other clicks, and the chain itself."""

import asyncio
import time
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import CounterfoilError, InvalidError, NotFoundError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import invoice, quote
from counterfoil.services import inbox, merchants, observations, unmatched
from counterfoil.services.audit import at_terminal
from tests.conftest import FakeClock
from tests.services.moves import actor, attach, credited_ids, deeds, detach, listed, stray
from tests.services.shop import Shop, at_once, open_shop

# --- whose it is ------------------------------------------------------------------------------


async def test_nobody_moves_what_is_somebody_elses(stall: Shop) -> None:
    invoice = await stall.invoice("250.00")
    item_id = await stray(stall, invoice)
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, quote.amount_atomic)
    await stall.look()
    (payment_id,) = await credited_ids(stall, invoice)
    now = stall.clock.now()
    stranger_id = await merchants.create(stall.context, "Stranger", "USD", now)
    for who in (
        at_terminal(stranger_id, Mode.LIVE),
        at_terminal(stall.principal.merchant_id, Mode.TEST),
    ):
        assert await listed(stall, who=who) == []
        for act in (
            inbox.attach(stall.context, who, item_id, invoice.id, None, now),
            inbox.ignore(stall.context, who, item_id, now),
            inbox.detach(stall.context, who, payment_id, now),
        ):
            with pytest.raises(NotFoundError):
                await act
    assert await credited_ids(stall, invoice) == [payment_id]


async def test_what_it_may_be_meant_for_is_ones_own(stall: Shop) -> None:
    """What another merchant asks for at another address is nothing to tell this one of."""
    other = await open_shop(
        stall.store, stall.clock, wallet="w1other", name="Other", chain=stall.chain
    )
    other.context = stall.context
    ours, theirs = await stall.invoice("250.00"), await other.invoice("90.00")
    address = (await stall.quote(ours)).address
    stall.chain.pay(address, (await other.quote(theirs)).amount_atomic)
    await stall.look()
    (item,) = await listed(stall)
    assert item.candidates == ()
    # Once the merchant has such an order, it is.
    own = await stall.invoice("90.00")
    (item,) = await listed(stall)
    assert [each.invoice_id for each in item.candidates] == [own.id]


async def test_a_transfer_goes_to_an_invoice_of_ones_own(stall: Shop) -> None:
    item_id = await stray(stall, await stall.invoice("250.00"))
    tester = Principal(2, stall.principal.merchant_id, Mode.TEST, Scope.FULL)
    own, stall.principal = stall.principal, tester
    of_test = await stall.read(await stall.order("250.00"))
    stall.principal = own
    for invoice_id in (of_test.id, 999_999):
        with pytest.raises(InvalidError) as refused:
            await inbox.attach(
                stall.context, actor(stall), item_id, invoice_id, None, stall.clock.now()
            )
        assert (refused.value.code, refused.value.field) == ("unknown_invoice", "invoice_id")
    assert len(await listed(stall)) == 1


# --- at the same time -------------------------------------------------------------------------


async def test_of_two_who_attach_at_once_one_does(stall: Shop) -> None:
    one, two = await stall.invoice("250.00"), await stall.invoice("250.00")
    item_id = await stray(stall, one)
    done = await at_once(stall.store, *(attach(stall, item_id, each) for each in (one, two) * 3))
    assert sum(isinstance(each, int) for each in done) == 1
    assert all(isinstance(each, int | NotFoundError) for each in done)
    paid = [*await credited_ids(stall, one), *await credited_ids(stall, two)]
    assert paid == [each for each in done if isinstance(each, int)]
    assert len(await deeds(stall)) == 1


async def test_of_two_who_detach_at_once_one_does(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (payment_id,) = await credited_ids(shop, invoice)
    done = await at_once(shop.store, *(detach(shop, payment_id) for _ in range(4)))
    assert sum(isinstance(each, int) for each in done) == 1
    assert all(isinstance(each, int | NotFoundError) for each in done)
    assert await shop.inbox() == ["detached"]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_reorg_takes_away_what_is_just_being_attached(
    stall: Shop, *, is_kept: bool
) -> None:
    """Whoever comes first, in the end the invoice stands as the chain does."""
    invoice = await stall.invoice("250.00")
    item_id = await stray(stall, invoice)
    stall.chain.mine(2)
    await stall.look()
    stall.chain.reorg(2, keep=is_kept)
    done = await at_once(stall.store, attach(stall, item_id, invoice, "250.00"), stall.look())
    assert not any(isinstance(each, CounterfoilError) for each in done)
    await stall.look()
    status = Status.PAID if is_kept else Status.CONFIRMING
    assert await stall.status(invoice) is status


async def test_a_reorg_that_is_just_being_written_down_is_not_overlooked(
    postgres: Postgres, clock: FakeClock
) -> None:
    """Neither sees what the other has not committed, so the watcher looks at the invoice again."""
    stall = await open_shop(postgres, clock, wallet="w1stall")
    invoice = await stall.invoice("250.00")
    # So little that it may be meant for nobody, or one would wait for the other.
    item_id = await stray(stall, invoice, Fraction(1, 2))
    stall.chain.mine(2)
    await stall.look()
    ancestor = stall.chain.height - 2
    (payment_made,) = stall.chain.blocks[ancestor + 1].transactions
    stall.chain.reorg(2, keep=False)
    # Nor is it anywhere else to be seen again.
    stall.chain.drop(payment_made)
    branch = stall.chain.blocks[ancestor + 1 :]
    async with postgres._engine.begin() as connection:  # noqa: SLF001  # held open on purpose
        await connection.run_sync(
            lambda c: observations.record_reorg(
                c, stall.context, stall.chain, ancestor, branch, {}, clock.now()
            )
        )
        await attach(stall, item_id, invoice, "250.00")
        assert await stall.status(invoice) is Status.PAID
    await stall.look()
    assert await stall.status(invoice) is Status.CONFIRMING


async def test_what_is_credited_and_what_a_watcher_tells_do_not_wait_for_each_other(
    postgres: Postgres, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock the merchant, and then note that an invoice is due: in this order."""
    stall = await open_shop(postgres, clock, wallet="w1stall")
    invoice = await stall.invoice("250.00")
    quote = await stall.quote(invoice)
    half = await stray(stall, invoice, Fraction(1, 2))
    await attach(stall, half, invoice, "125.00")
    other = await stray(stall, invoice, Fraction(1, 2))
    # In the same block as what the invoice holds is something new for the inbox.
    stall.chain.pay(quote.address, quote.amount_atomic // 3)
    stall.chain.mine()
    begun, go_on, tries = asyncio.Event(), asyncio.Event(), 0
    tell_all = unmatched.tell_all

    def wait_and_tell(*args: Any) -> None:
        nonlocal tries
        tries += 1
        begun.set()
        await_only(go_on.wait())
        tell_all(*args)

    monkeypatch.setattr(observations, "tell_all", wait_and_tell)
    looking = asyncio.create_task(stall.look())
    await begun.wait()
    attaching = asyncio.create_task(attach(stall, other, invoice, "125.00"))
    await asyncio.sleep(0.3)
    go_on.set()
    await asyncio.gather(looking, attaching)
    await stall.look()
    assert await stall.status(invoice) is Status.CONFIRMING
    assert tries == 1, "after a deadlock it is tried again"


# --- on a busy day ----------------------------------------------------------------------------


def ask_for_much(connection: sa.Connection, quote_id: int, count: int, apart_ms: int) -> None:
    """Copy a quote and its invoice many times, each made a little later than the one before."""
    asked = connection.execute(sa.select(quote).where(quote.c.id == quote_id)).mappings().one()
    made_by = sa.select(invoice).where(invoice.c.id == asked["invoice_id"])
    made = connection.execute(made_by).mappings().one()
    for first in range(0, count, 1_000):
        ids = range(1_001 + first, 2_001 + first)
        at = {i: asked["created_at"] + (i - 1_000) * apart_ms for i in ids}
        made_too = [dict(made) | {"id": i, "share_token": f"copy-{i}"} for i in ids]
        asked_too = [dict(asked) | {"id": i, "invoice_id": i, "created_at": at[i]} for i in ids]
        connection.execute(sa.insert(invoice), made_too)
        connection.execute(sa.insert(quote), asked_too)


async def test_the_inbox_of_a_busy_day_is_read_at_once(stall: Shop) -> None:
    """A database that knows nothing of its tables yet reads them a few hundred rows at a time."""
    first = await stall.invoice("250.00")
    asked = await stall.quote(first)
    count, apart_ms = 20_000, 4_000
    await stall.store.write(lambda c: ask_for_much(c, asked.id, count, apart_ms))
    stall.chain.now = stall.clock.advance(count * apart_ms)
    stall.chain.pay(asked.address, asked.amount_atomic * 97 // 100)
    await stall.look()
    began = time.monotonic()
    (item,) = await listed(stall)
    # It takes a tenth of a second; a day that is read whole for each quote takes half a minute.
    assert time.monotonic() - began < 5
    assert 1_000 + count in [each.invoice_id for each in item.candidates]
