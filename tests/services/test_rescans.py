"""Reading a stretch again: what was missed is found, nothing is credited twice, on both stores."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import ConflictError, InvalidError, NodeError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Block
from counterfoil.db import loops
from counterfoil.db import rescans as stored
from counterfoil.db.engine import Database
from counterfoil.db.invoices import Invoice
from counterfoil.db.rescans import Rescan
from counterfoil.db.schema import header
from counterfoil.services import rescans, watching
from counterfoil.services.rescans import Report
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, SECOND, Shop, open_shop


def quiet(_known: Rescan, _trouble: str | None) -> None:
    """Hear nothing of how far it is."""


async def skip_to_tip(shop: Shop) -> None:
    """Put the cursor to the tip without reading, as a node that showed empty blocks would have."""
    tip = shop.chain.blocks[-1]

    def write(connection: sa.Connection) -> None:
        loops.add_header(connection, shop.chain.name, tip)

    await shop.store.write(write)


async def missed(shop: Shop) -> Invoice:
    """Return an invoice that was paid, two blocks deep, where nobody looked."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = shop.clock.advance(MINUTE)
    shop.chain.mine(3)
    await skip_to_tip(shop)
    await shop.look(20 * 60)
    assert await shop.status(invoice) is Status.UNPAID
    return invoice


async def read_again(shop: Shop, first: int = 1, holder: str = "rescan") -> Report:
    """Read a stretch again while the server's own watch goes on."""
    asked = await rescans.ask(shop.context, shop.chain, first, shop.clock.now())
    serving = asyncio.create_task(_serve(shop))
    try:
        return await rescans.carry_out(shop.context, asked, holder, shop.clock, quiet)
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _serve(shop: Shop) -> None:
    while True:
        await shop.look()


async def test_what_was_missed_is_found_and_credited_as_of_its_block(shop: Shop) -> None:
    await shop.listen()
    invoice = await missed(shop)
    report = await read_again(shop)
    assert [(found.invoice_id, found.block_height) for found in report.found] == [(invoice.id, 1)]
    assert report.rescan.next_height == 4
    assert await shop.status(invoice) is Status.PAID
    # The price had ended long before the repair, but not before the block.
    assert await shop.conditions(invoice) == []
    assert await shop.events(invoice) == ["payment_confirmed"]


async def test_read_again_nothing_is_credited_twice(shop: Shop) -> None:
    await shop.listen()
    invoice = await missed(shop)
    await read_again(shop)
    assert (await read_again(shop)).found == []
    assert await shop.conditions(invoice) == []
    assert await shop.events(invoice) == ["payment_confirmed"]


async def test_what_pays_no_quote_is_found_in_the_inbox(stall: Shop) -> None:
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    stall.chain.mine()
    await skip_to_tip(stall)
    await stall.look()
    (found,) = (await read_again(stall)).found
    assert (found.invoice_id, found.reason) == (None, "no_exact_amount")
    assert await stall.inbox() == ["no_exact_amount"]


async def test_where_no_server_runs_who_asks_does_it(shop: Shop) -> None:
    invoice = await missed(shop)
    await shop.watch.release()
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    report = await rescans.carry_out(shop.context, asked, "rescan", shop.clock, quiet)
    assert [found.invoice_id for found in report.found] == [invoice.id]
    # The lease is given back: a server that starts now need not wait.
    shop.chain.mine()
    await shop.look()
    (state,) = await watching.list_states(shop.context)
    assert state.cursor is not None
    assert state.cursor.height == 4


async def test_while_a_server_watches_nobody_else_records(shop: Shop) -> None:
    await missed(shop)
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    other = Watch(shop.context, shop.chain, "rescan")
    assert await other.look(shop.clock.now()) is False
    known: Rescan = await shop.store.read(lambda c: stored.get(c, asked))
    assert known.next_height == 1


async def test_a_long_stretch_goes_on_where_it_was(shop: Shop) -> None:
    shop.chain.mine(30)
    await shop.look()
    asked = await rescans.ask(shop.context, shop.chain, 0, shop.clock.now())
    assert await shop.watch.look(shop.clock.now()) is True
    # Another process takes over in the middle.
    await shop.watch.release()
    heights: list[int] = []
    report = await rescans.carry_out(
        shop.context,
        asked,
        "rescan",
        shop.clock,
        lambda known, _: heights.append(known.next_height),
    )
    assert heights[0] == 10
    assert heights == sorted(heights)
    assert (report.rescan.next_height, report.rescan.is_done) == (31, True)


async def test_the_tip_is_read_between(shop: Shop) -> None:
    shop.chain.mine(30)
    await shop.look()
    await rescans.ask(shop.context, shop.chain, 0, shop.clock.now())
    await shop.watch.look(shop.clock.now())
    shop.chain.mine()
    await shop.watch.look(shop.clock.now())
    (state,) = await watching.list_states(shop.context)
    assert state.cursor is not None
    assert state.cursor.height == 31


async def test_a_node_that_leaves_our_chain_meanwhile_shows_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = await missed(shop)
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    show = shop.chain.block

    async def leave_then_show(block_hash: str) -> Block | None:
        monkeypatch.undo()
        block = await show(block_hash)
        # The payment is in no block of the chain that the node is on from now on.
        shop.chain.reorg(3, keep=False)
        shop.chain.pool.clear()
        return block

    monkeypatch.setattr(shop.chain, "block", leave_then_show)
    await shop.watch.look(shop.clock.now())
    known: Rescan = await shop.store.read(lambda c: stored.get(c, asked))
    assert (known.next_height, known.found) == (1, ())
    assert await shop.status(invoice) is Status.UNPAID


async def test_a_block_of_a_branch_that_we_are_not_on_is_not_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two nodes behind one address one is on another branch, and answers now and then."""
    quote = await shop.quote(await shop.invoice())
    shop.chain.mine(3)
    await shop.look()
    ours = shop.chain.blocks
    shop.chain.blocks = ours[:2]
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    theirs, shop.chain.blocks = shop.chain.blocks[2], ours
    block_hash, block = shop.chain.block_hash, shop.chain.block

    async def hash_of_either(height: int) -> str | None:
        return theirs.hash if height == theirs.height else await block_hash(height)

    async def block_of_either(wanted: str) -> Block | None:
        return theirs if wanted == theirs.hash else await block(wanted)

    monkeypatch.setattr(shop.chain, "block_hash", hash_of_either)
    monkeypatch.setattr(shop.chain, "block", block_of_either)
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    await shop.look()
    known: Rescan = await shop.store.read(lambda c: stored.get(c, asked))
    assert (known.next_height, known.is_done, known.found) == (2, False, ())
    monkeypatch.undo()
    await shop.look()
    known = await shop.store.read(lambda c: stored.get(c, asked))
    assert (known.is_done, known.trouble, known.found) == (True, None, ())


async def test_what_the_node_still_shows_of_a_chain_that_it_has_left_is_not_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the blocks of ours by their hashes, and has left them below all our headers."""
    shop.chain.mine(3)
    await shop.look()
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    ours = {block.hash: block for block in shop.chain.blocks}

    async def any_block(wanted: str) -> Block | None:
        return ours.get(wanted)

    async def another_hash(height: int) -> str | None:
        return f"another{height}" if height else shop.chain.genesis

    monkeypatch.setattr(shop.chain, "block", any_block)
    monkeypatch.setattr(shop.chain, "block_hash", another_hash)
    await shop.look()
    known: Rescan = await shop.store.read(lambda c: stored.get(c, asked))
    assert (known.next_height, known.is_done) == (1, False)


async def test_a_block_that_the_node_cannot_show_ends_the_stretch_and_not_the_watch(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.chain.mine(3)
    await shop.look()
    shop.clock.advance(SECOND)
    asked = await rescans.ask(shop.context, shop.chain, 1, shop.clock.now())
    first = shop.chain.blocks[2].hash
    show = shop.chain.block

    async def pruned(block_hash: str) -> Block | None:
        if block_hash == first:
            raise NodeError("The block is pruned.")
        return await show(block_hash)

    monkeypatch.setattr(shop.chain, "block", pruned)
    await shop.look()
    known: Rescan = await shop.store.read(lambda c: stored.get(c, asked))
    assert (known.next_height, known.is_done, known.trouble) == (2, True, "The block is pruned.")
    (state,) = await watching.list_states(shop.context)
    assert state.trouble is None


async def test_the_way_back_leads_over_what_was_read_again(shop: Shop) -> None:
    """Without the headers of the gap no common ancestor would be found."""
    invoice = await missed(shop)
    await read_again(shop)
    shop.chain.reorg(2, keep=True)
    await shop.look()
    (state,) = await watching.list_states(shop.context)
    assert state.trouble is None
    assert state.cursor is not None
    assert state.cursor.height == 4
    heights = sa.select(header.c.height).order_by(header.c.height)
    rows: list[Any] = await shop.store.read(lambda c: list(c.execute(heights).scalars()))
    assert rows == [0, 1, 2, 3, 4]
    assert await shop.status(invoice) is Status.PAID


async def test_a_height_that_was_not_read_is_refused(shop: Shop) -> None:
    for height in (-1, 1):
        with pytest.raises(InvalidError, match="read up to block 0"):
            await rescans.ask(shop.context, shop.chain, height, shop.clock.now())


async def test_a_chain_that_was_never_read_is_refused(database: Database, clock: FakeClock) -> None:
    shop = await open_shop(database, clock)
    await shop.store.write(lambda c: c.execute(sa.delete(header)))
    with pytest.raises(ConflictError, match="has not been read yet"):
        await rescans.ask(shop.context, shop.chain, 0, clock.now())
