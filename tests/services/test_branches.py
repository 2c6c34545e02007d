"""Reorgs, and nodes that change their minds, fall behind or lie, on both databases."""

from dataclasses import replace

import pytest

from counterfoil.core.invoice import Status
from counterfoil.core.ports import Block
from counterfoil.db import loops
from counterfoil.db.engine import Database
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import Shop, counted, open_shop
from tests.services.watches import confirming, cursor, trouble
from tests.sim.chain import WorldChain


async def test_the_block_that_we_began_at_is_replaced(database: Database, clock: FakeClock) -> None:
    chain = WorldChain()
    chain.mine(20)
    shop = await open_shop(database, clock, chain=chain)
    assert (await cursor(shop)).height == 20
    chain.reorg(3, keep=True)
    await shop.look()
    assert await cursor(shop) == loops.Cursor(21, chain.blocks[21].hash)
    assert await trouble(shop) is None


async def test_a_reorg_of_three_hundred_blocks(shop: Shop) -> None:
    invoice = await confirming(shop)
    shop.chain.mine(300)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    shop.chain.reorg(300, keep=False)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert (await cursor(shop)).height == 303


async def test_a_reorg_below_what_is_kept_stops_and_tells(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "HEADERS_KEPT", 5)
    invoice = await confirming(shop)
    shop.chain.mine(10)
    await shop.look()
    before, told = await cursor(shop), await shop.events()
    was = list(shop.chain.blocks)
    shop.chain.reorg(8, keep=False)
    for _ in range(3):
        await shop.look()
    assert "parts from ours below block 6" in (await trouble(shop) or "")
    assert await cursor(shop) == before
    assert await shop.status(invoice) is Status.PAID
    assert await shop.events() == told
    # The operator has mended the node.
    shop.chain.blocks = was
    shop.chain.mine()
    await shop.look()
    assert await trouble(shop) is None
    assert (await cursor(shop)).height == before.height + 1


async def test_a_gap_in_what_is_kept_stops_and_tells(database: Database, clock: FakeClock) -> None:
    """A rescan has kept the header of an old block, with nothing between it and our beginning."""
    chain = WorldChain()
    chain.mine(30)
    shop = await open_shop(database, clock, chain=chain)
    old = chain.blocks[5]
    await shop.store.write(lambda c: loops.fill_header(c, chain.name, old, 30))
    chain.reorg(20, keep=False)
    await shop.look()
    assert "parts from ours below block 21" in (await trouble(shop) or "")
    assert (await cursor(shop)).height == 30


class LyingChain(WorldChain):
    """A node that says of each block that it is much higher than it is."""

    is_lying = False

    async def block(self, block_hash: str) -> Block | None:
        found = await super().block(block_hash)
        return found and replace(found, height=found.height + 1_000 * self.is_lying)


async def test_a_block_of_another_height_is_none_to_go_on_with(
    database: Database, clock: FakeClock
) -> None:
    chain = LyingChain()
    shop = await open_shop(database, clock, chain=chain)
    invoice = await confirming(shop)
    chain.is_lying = True
    chain.mine()
    await shop.look()
    assert (await cursor(shop)).height == 0
    assert await shop.status(invoice) is Status.CONFIRMING


async def test_strays_of_several_blocks_take_the_locks_in_order(stall: Shop) -> None:
    """All invoices, and then the merchants, or two who do so would wait for each other."""
    quote = await stall.quote(await stall.invoice())
    chain = stall.chain
    chain.mine(5)
    await stall.look()
    chain.blocks = chain.blocks[:-3]
    for missing_atomic in (1, 2, 3):
        chain.pay(quote.address, quote.amount_atomic - missing_atomic)
        chain.mine()
    chain.mine()
    with counted(stall.store) as statements:
        await stall.look()
    assert await stall.inbox() == ["no_exact_amount"] * 3
    places = {
        table: [place for place, each in enumerate(statements) if f"UPDATE {table} " in each]
        for table in ("invoice", "merchant")
    }
    assert places["merchant"]
    assert max(places["invoice"]) < min(places["merchant"])


class FickleChain(WorldChain):
    """A node that goes over to another branch, and back, while it is asked for blocks."""

    other: list[Block] | None = None

    async def block(self, block_hash: str) -> Block | None:
        found = await super().block(block_hash)
        if self.other is not None:
            self.blocks, self.other = self.other, None
        return found


async def test_a_node_that_changes_its_mind_during_a_walk_back(
    database: Database, clock: FakeClock
) -> None:
    chain = FickleChain()
    shop = await open_shop(database, clock, chain=chain)
    invoice = await confirming(shop)
    chain.mine(6)
    await shop.look()
    before, told = await cursor(shop), await shop.events()
    kept = list(chain.blocks)
    chain.reorg(5, keep=False)
    # After the first block of the new branch the node is on the old one again.
    chain.other = kept
    await shop.look()
    assert await cursor(shop) == before
    assert await trouble(shop) is None
    assert await shop.events() == told
    assert await shop.status(invoice) is Status.PAID


async def test_a_node_that_lies_behind_means_wait(shop: Shop) -> None:
    invoice = await confirming(shop)
    shop.chain.mine(3)
    await shop.look()
    told = await shop.events()
    shop.chain.lag = 2
    await shop.look()
    assert "behind" in (await trouble(shop) or "")
    assert await shop.status(invoice) is Status.PAID
    shop.chain.lag = 0
    await shop.look()
    assert await trouble(shop) is None
    assert await shop.events() == told


async def test_another_chain_is_not_read(shop: Shop) -> None:
    shop.chain.configured_genesis = "0" * 64
    shop.chain.is_away = True
    await shop.look()
    shop.chain.is_away = False
    shop.chain.mine()
    await shop.look()
    assert "another chain" in (await trouble(shop) or "")
    assert (await cursor(shop)).height == 0


async def test_a_database_of_another_network_is_not_gone_on_with(shop: Shop) -> None:
    shop.chain.network = "test:another"
    shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
    shop.chain.mine()
    await shop.look()
    assert await trouble(shop) == (
        "This database has watched test:world as world; it cannot go on with test:another. "
        "Use another data folder for another network."
    )
    assert (await cursor(shop)).height == 0
