"""When an unconfirmed payment came: nobody is late because we did not look."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.core.errors import NodeError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mempool, Tick
from counterfoil.db.engine import Database
from counterfoil.db.rates import save_ticks
from counterfoil.db.schema import payment
from counterfoil.db.schema_world import rate
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, Shop, open_shop
from tests.sim.chain import WorldChain

HOUR_S = 3_600


async def arrived_at(shop: Shop) -> list[int]:
    statement = sa.select(payment.c.arrived_at).order_by(payment.c.id)
    return await shop.store.read(lambda c: list(c.execute(statement).scalars()))


def restart(shop: Shop) -> None:
    """Forget what a process knows by heart."""
    shop.watch = Watch(shop.context, shop.chain, "Shop")


async def test_a_payer_in_time_is_not_late_for_our_outage(shop: Shop) -> None:
    """Paid in minute 3 of 15; the server is back after 20, and no block has come."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.now = sent_at = shop.clock.advance(3 * MINUTE)
    shop.chain.pay(quote.address, quote.amount_atomic)
    restart(shop)
    await shop.look(20 * 60)
    assert await arrived_at(shop) == [sent_at]
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []


async def test_nor_for_that_of_the_node(shop: Shop) -> None:
    quote = await shop.quote(await shop.invoice())
    shop.chain.is_away = True
    await shop.look(60)
    sent_at = shop.clock.now()
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look(20 * 60)
    shop.chain.is_away = False
    await shop.look()
    assert await arrived_at(shop) == [sent_at]


async def test_what_was_not_there_at_the_last_look_came_after_it(shop: Shop) -> None:
    """However slow the clock of its node is."""
    quote = await shop.quote(await shop.invoice())
    await shop.look(10)
    looked_at = shop.clock.now()
    shop.chain.now -= HOUR_S * 1_000
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look(20 * 60)
    assert await arrived_at(shop) == [looked_at]


async def test_a_node_whose_clock_is_fast_makes_nobody_late(shop: Shop) -> None:
    quote = await shop.quote(await shop.invoice())
    shop.chain.now += HOUR_S * 1_000
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look(60)
    assert await arrived_at(shop) == [shop.clock.now()]


async def test_nor_is_anybody_late_for_a_clock_that_was_set_back(shop: Shop) -> None:
    """Mined while the node was away, at a time up to which all had been seen once before."""
    quote = await shop.quote(await shop.invoice())
    await shop.look(8 * 60)
    shop.clock.at -= 7 * MINUTE
    await shop.tick()
    shop.chain.is_away = True
    await shop.look()
    await shop.look(2 * 60)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    mined_at = shop.chain.blocks[-1].mined_at
    await shop.look(3 * 60)
    shop.chain.is_away = False
    await shop.look()
    assert await arrived_at(shop) == [mined_at]


async def test_while_all_is_in_sight_the_node_is_not_asked(shop: Shop) -> None:
    quote = await shop.quote(await shop.invoice())
    await shop.look(5)
    shop.chain.taken_in_at.clear()
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.taken_in_at[payment.txid] -= 3_000
    await shop.look(10)
    assert await arrived_at(shop) == [shop.clock.now()]


async def tick(shop: Shop, minutes: int = 0) -> None:
    """Let time pass in which two live sources tell prices, which are kept for a short time."""
    for _ in range(minutes + 1):
        now = shop.clock.now()
        await shop.store.write(lambda c, at=now: save_prices(c, at))  # type: ignore[misc]  # mypy cannot infer such a lambda
        if minutes:
            await shop.look(60)


def save_prices(connection: sa.Connection, now: int) -> None:
    for source in ("one", "other"):
        save_ticks(connection, source, [Tick(source, "COIN", "USD", Decimal(100), now)])


async def test_what_is_late_after_an_outage_has_a_price(shop: Shop) -> None:
    """Paid ten minutes after its price had ended, and found when no price of then is kept."""
    await shop.store.write(lambda c: c.execute(sa.delete(rate)))
    await tick(shop)
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.is_away = True
    await tick(shop, 25)
    sent_at = shop.clock.now()
    shop.chain.pay(quote.address, quote.amount_atomic)
    await tick(shop, 20)
    shop.chain.is_away = False
    await shop.look()
    assert await arrived_at(shop) == [sent_at]
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == ["paid_late"]


class DumbChain(WorldChain):
    """A node that is told not to answer when it took a transaction in."""

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        raise NodeError("The node refuses our user name and password.")


async def test_a_node_that_does_not_tell_is_read_all_the_same(
    database: Database, clock: FakeClock
) -> None:
    shop = await open_shop(database, clock, chain=DumbChain())
    quote = await shop.quote(await shop.invoice())
    shop.chain.pay(quote.address, quote.amount_atomic)
    restart(shop)
    with capture_logs() as logs:
        await shop.look(60)
    assert await arrived_at(shop) == [shop.clock.now()]
    (told,) = [line for line in logs if line["event"] == "arrivals_unknown"]
    assert told["chain"] == shop.chain.name
    assert told["error"] == "The node refuses our user name and password."


class KnowingChain(WorldChain):
    """A chain that says itself when a transaction came, as the simulator does."""

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        listed = await super().mempool(known, pending)
        fresh = tuple(replace(t, first_seen_at=self.taken_in_at[t.txid]) for t in listed.fresh)
        return replace(listed, fresh=fresh)

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        return {}


async def test_a_chain_that_says_when_a_payment_came_is_believed(
    database: Database, clock: FakeClock
) -> None:
    shop = await open_shop(database, clock, chain=KnowingChain())
    quote = await shop.quote(await shop.invoice())
    shop.chain.now = sent_at = shop.clock.advance(3 * MINUTE)
    shop.chain.pay(quote.address, quote.amount_atomic)
    restart(shop)
    await shop.look(60)
    assert await arrived_at(shop) == [sent_at]
