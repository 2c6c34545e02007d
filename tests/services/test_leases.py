"""One process watches a chain, for as long as it has the lease, on both databases."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.ports import Block
from counterfoil.db.engine import Database
from counterfoil.db.schema import lease
from counterfoil.services.watching import LeaseLostError
from tests.conftest import FakeClock
from tests.services.shop import SECOND, Shop, end_lease, open_shop
from tests.services.watches import another, confirming, cursor, read_all
from tests.sim.chain import WorldChain


async def test_a_second_process_waits_for_the_lease(shop: Shop) -> None:
    second = another(shop)
    shop.chain.mine()
    assert await second.look(shop.clock.now()) is False
    assert (await cursor(shop)).height == 0
    await shop.watch.release()
    await read_all(second, shop.clock.now())
    assert (await cursor(shop)).height == 1


async def test_a_lease_that_ran_out_is_taken_over(shop: Shop) -> None:
    await end_lease(shop)
    second = another(shop)
    shop.chain.mine()
    await read_all(second, shop.clock.now())
    assert (await cursor(shop)).height == 1
    # The first one comes back when the second has gone.
    await second.release()
    shop.chain.mine()
    await shop.look(6)
    assert (await cursor(shop)).height == 2


async def test_who_slept_through_the_lease_records_nothing(shop: Shop) -> None:
    invoice = await confirming(shop)
    await end_lease(shop)
    second = another(shop)
    shop.chain.mine(2)
    await second.look(shop.clock.now())
    assert await shop.status(invoice) is Status.PAID
    # The first one still believes that it watches, and sees the same blocks and a new one.
    shop.chain.mine()
    with pytest.raises(LeaseLostError):
        await shop.watch.look(shop.clock.now())
    assert (await cursor(shop)).height == 2
    assert await shop.watch.look(shop.clock.now()) is False
    assert await shop.events(invoice) == ["payment_detected", "payment_confirmed"]


async def lease_until(shop: Shop) -> int:
    found: int = await shop.store.read(lambda c: c.execute(sa.select(lease.c.until)).scalar_one())
    return found


async def set_lease(shop: Shop, **values: Any) -> None:
    await shop.store.write(lambda c: c.execute(sa.update(lease).values(**values)))


class SlowChain(WorldChain):
    """A node that takes a third of a lease for each block."""

    between: Callable[[], Awaitable[None]] | None = None

    async def block(self, block_hash: str) -> Block | None:
        if self.between is not None:
            await self.between()
        return await super().block(block_hash)


async def test_a_lease_lasts_as_long_as_a_look(sqlite: Database, clock: FakeClock) -> None:
    """Ten blocks at five seconds each: nobody else begins the same walk meanwhile."""
    chain = SlowChain()
    shop = await open_shop(sqlite, clock, chain=chain)
    chain.mine(10)
    await shop.look()
    chain.reorg(10, keep=False)
    second = another(shop)

    async def between() -> None:
        await shop.watch.renew(clock.advance(5 * SECOND))
        assert not await second.look(clock.now())

    chain.between = between
    await shop.look()
    assert (await cursor(shop)).height == 11


async def test_a_lease_is_renewed_by_whoever_has_it(shop: Shop) -> None:
    await set_lease(shop, until=1)
    await shop.watch.renew(shop.clock.advance(SECOND))
    assert await lease_until(shop) == 1, "it is asked for every five seconds"
    await shop.watch.renew(shop.clock.advance(5 * SECOND))
    assert await lease_until(shop) > 1
    # Another one has taken it over, and given it back again.
    await set_lease(shop, holder="another", fence=lease.c.fence + 1, until=1)
    await shop.watch.renew(shop.clock.advance(6 * SECOND))
    assert await lease_until(shop) == 1


async def test_a_lease_that_was_given_back_is_not_renewed(shop: Shop) -> None:
    await end_lease(shop)
    await shop.watch.renew(shop.clock.advance(6 * SECOND))
    assert await lease_until(shop) == 0
    await shop.watch.release()
    await shop.watch.renew(shop.clock.advance(6 * SECOND))
    assert await lease_until(shop) == 0
