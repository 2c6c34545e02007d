"""Reading one chain, block after block, and never skipping one.

The cursor is the last header read. The next block is asked for by hash and must name the cursor as
its parent; where the node's chain no longer holds the cursor, the way back to the common ancestor
and the new branch are recorded in one commit. A node that errs, lags or knows nothing new means:
wait. A crash anywhere is safe: nothing is kept outside of the database but what is in sight and
since when, and which invoices could not be assessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Block, Chain, Head
from counterfoil.db import invoices, loops, rescans
from counterfoil.db.engine import Connection
from counterfoil.services import arrivals, branches, observations
from counterfoil.services.context import Context
from counterfoil.services.payments import reassess_all

T = TypeVar("T")

_LEASE_RENEW_MS = 5_000
_BLOCKS_PER_LOOK = 50
# As deep as a reorg ever is on most chains, and few enough to be read at once.
_HEADERS_AT_START = 10
# A stretch that is read again must not keep the watcher from the tip.
_BLOCKS_AGAIN_PER_LOOK = 10
# So many invoices to a transaction: each costs little beside others, and nobody waits long for it.
_REASSESS_BATCH = 32
# What keeps an invoice from being assessed is rarely gone at once, and each try is an error.
_STUCK_MS = 60_000
# After so long without a look at the whole mempool, what is new need not have come just now.
_BLIND_MS = 30_000
# How often the row of a chain on which nothing happens is written.
_IDLE_WRITE_MS = 5_000

# What `list_states` returns.
ChainState = loops.ChainState

_log = structlog.get_logger("counterfoil.watching")


class LeaseLostError(Exception):
    """Another process watches this chain now; what we were about to record is its to record."""


async def ensure_chains(context: Context) -> None:
    """Make the rows of the enabled chains that have none."""

    def write(connection: Connection) -> None:
        for chain in context.methods.chains.values():
            loops.ensure_chain(connection, chain.name, chain.network)

    await context.store.write(write)


async def list_states(context: Context) -> list[loops.ChainState]:
    """Return how the enabled chains stand."""
    names = list(context.methods.chains)
    return await context.store.read(lambda connection: loops.list_chains(connection, names))


@dataclass(slots=True)
class Watch:
    """One process's watch over one chain."""

    context: Context
    chain: Chain
    holder: str
    _fence: int | None = None
    _renewed_at: int = 0
    _written_at: int = 0
    # When the whole mempool was in sight.
    _whole_at: int = 0
    # When the last look began.
    _looked_at: int = 0
    _is_right_chain: bool = False
    _noted: tuple[str | None, int | None] | None = None
    _noted_at: int = 0
    # Whether the last assessment of what was due did not come to its end.
    _broke_off: bool = False
    # The invoices that could not be assessed, each with when that was.
    _stuck: dict[int, int] = field(default_factory=dict)
    # Since when what is unconfirmed has been in sight: it need not be decoded again, and is older
    # than an address that it turns out to pay later. A restart loses that, and no payment.
    _seen_at: dict[str, int] = field(default_factory=dict)
    # The lease under which that was seen.
    _seen_with: int | None = None

    async def look(self, now: int) -> bool:
        """Take one look at the chain; return whether there was more than one look could take.

        Raises LeaseLostError where another process has taken over in the middle of it.
        """
        if not await self._hold_lease(now):
            return False
        if now < self._looked_at:
            # What a look has written down that began before the clock was set back is not seen yet.
            await self._write(lambda connection: loops.clamp_watched(connection, now))
        self._looked_at = now
        await self.drain(now)
        try:
            head = await self.chain.head()
            await self._check_chain()
            more, trouble = await self._follow(head, now)
            more = await self._read_again(now) or more
            if not head.is_synced:
                trouble = "The node is still syncing."
        except NodeError as error:
            await self._note_node(str(error), None, now)
            return False
        await self._note_node(trouble, head.height, now)
        return more

    async def drain(self, now: int) -> None:
        """Assess the invoices whose facts have changed, some to a transaction.

        After one that broke off each has its own, and what cannot be assessed is passed over for a
        while: what is wrong with one invoice holds up no other, and no block.
        """
        self._stuck = {
            each: since
            for each, since in self._stuck.items()
            if not _has_passed(_STUCK_MS, since, now)
        }
        size = 1 if self._broke_off or self._stuck else _REASSESS_BATCH
        self._broke_off = True
        while True:
            due = await self.context.store.read(
                lambda c: invoices.list_due_reassess(c, self.chain.name, size, self._stuck)
            )
            if due:
                alone = due if size == 1 else []
                self._stuck |= dict.fromkeys(alone, now)
                await self._write(lambda c, some=due: self._reassess(c, some, now))  # type: ignore[misc]  # mypy cannot infer such a lambda
                for each in alone:
                    del self._stuck[each]
                # What these have to tell goes out while the others are assessed.
                self.context.wake_tellers()
            if len(due) < size:
                self._broke_off = False
                return

    def _reassess(self, connection: Connection, due: Sequence[int], now: int) -> None:
        changed = reassess_all(connection, self.context, due, now)
        unchanged = [invoice_id for invoice_id in due if invoice_id not in changed]
        if unchanged:
            # The status is as it was, but what the page shows of the payments is not.
            invoices.touch(connection, *unchanged)
        invoices.clear_due_reassess(connection, due, self.chain.name)

    async def _hold_lease(self, now: int) -> bool:
        """Take the lease or keep it; False while another process holds it."""
        if self._fence is not None and not _has_passed(_LEASE_RENEW_MS, self._renewed_at, now):
            return True
        name = _lease_name(self.chain)
        self._fence = await self.context.store.write(
            lambda connection: loops.take_lease(connection, name, self.holder, now)
        )
        self._renewed_at = now
        if self._fence is not None and self._fence != self._seen_with:
            # Another process has watched meanwhile: what we have in sight may be gone for it.
            self._seen_at, self._seen_with = {}, self._fence
        return self._fence is not None

    async def renew(self, now: int) -> None:
        """Keep the lease during a look that lasts longer; what another process has taken is its."""
        name, fence = _lease_name(self.chain), self._fence
        if fence is None or not _has_passed(_LEASE_RENEW_MS, self._renewed_at, now):
            return
        if await self.context.store.write(lambda c: loops.renew_lease(c, name, fence, now)):
            self._renewed_at = now

    async def release(self) -> None:
        """Let another process watch at once instead of waiting for the lease to run out."""
        if self._fence is not None:
            self._fence = None
            name = _lease_name(self.chain)
            await self.context.store.write(
                lambda connection: loops.drop_lease(connection, name, self.holder)
            )

    async def _write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction in which we certainly hold the lease."""
        name, fence = _lease_name(self.chain), self._fence

        def fenced(connection: Connection) -> T:
            if fence is None or not loops.holds_lease(connection, name, fence):
                raise LeaseLostError
            return fn(connection)

        try:
            return await self.context.store.write(fenced)
        except LeaseLostError:
            self._fence = None
            self._stuck.clear()
            raise

    async def _check_chain(self) -> None:
        """Raise NodeError where the node is on another chain; asked once while it answers."""
        if self._is_right_chain:
            return
        genesis = await self.chain.block_hash(0)
        if genesis != self.chain.genesis:
            message = (
                f"The node is on another chain: its first block is {genesis}, "
                f"{self.chain.network} begins with {self.chain.genesis}. "
                f"Check chains.{self.chain.name}.network and .rpc."
            )
            raise NodeError(message)
        network = await self.context.store.read(
            lambda connection: loops.get_network(connection, self.chain.name)
        )
        if network != self.chain.network:
            message = (
                f"This database has watched {network} as {self.chain.name}; it cannot go on with "
                f"{self.chain.network}. Use another data folder for another network."
            )
            raise NodeError(message)
        self._is_right_chain = True

    async def _follow(self, head: Head, now: int) -> tuple[bool, str | None]:
        """Read what is new; return whether there is more, and what is wrong, if anything is.

        Blocks are read from a node that is still syncing as well: one that is pruned may not keep
        them until it is done.
        """
        cursor = await self._cursor()
        if cursor is None:
            if not head.is_synced:
                return False, None
            cursor = await self._start(head)
        for _ in range(_BLOCKS_PER_LOOK):
            is_on_chain = await self._is_on_chain(cursor)
            if is_on_chain is None:
                return False, f"The node is behind: it has not reached block {cursor.height} yet."
            if not is_on_chain:
                if not await self._go_back(cursor, now):
                    return False, None
            else:
                block = await self._next_block(cursor)
                if block is None:
                    break
                await self._record_block(block, now)
            await self.drain(now)
            moved = await self._cursor()
            assert moved is not None, "a cursor never vanishes"  # noqa: S101  # a promise of our own
            cursor = moved
        else:
            return True, None
        return await self._read_mempool(head, cursor, now) if head.is_synced else (False, None)

    async def _is_on_chain(self, cursor: loops.Cursor) -> bool | None:
        """Tell whether the node's chain holds the cursor; None where it is not that far."""
        at_cursor = await self.chain.block_hash(cursor.height)
        return None if at_cursor is None else at_cursor == cursor.hash

    async def _record_block(self, block: Block, now: int) -> None:
        """Record what a block holds and move the cursor on to it, in one commit."""
        await self._write(
            lambda c: observations.record_block(
                c, self.context, self.chain, block, self._seen_at, now
            )
        )

    async def _read_again(self, now: int) -> bool:
        """Read some blocks of a stretch that somebody wants read again; return whether any were.

        What keeps the node from showing such a block ends the stretch, not the watch.
        """
        asked = await self.context.store.read(lambda c: rescans.get_open(c, self.chain.name))
        if asked is None:
            return False
        for height in asked.next_heights[:_BLOCKS_AGAIN_PER_LOOK]:
            try:
                block = await self._block_below_cursor(height)
            except NodeError as error:
                await self._end_rescan(asked.id, str(error), now)
                return False
            if block is None:
                return False
            await self._write(lambda c, b=block: self._record_again(c, asked.id, b, now))  # type: ignore[misc]  # mypy cannot infer such a lambda
        await self.drain(now)
        if len(asked.next_heights) <= _BLOCKS_AGAIN_PER_LOOK:
            await self._end_rescan(asked.id, None, now)
        return True

    async def _end_rescan(self, rescan_id: int, trouble: str | None, now: int) -> None:
        await self._write(lambda connection: rescans.end(connection, rescan_id, trouble, now))

    async def _block_below_cursor(self, height: int) -> Block | None:
        """Return a block of the chain that our cursor is on; None while the node changes chains.

        Two nodes behind one address may answer in turns, each for its own branch: what we have read
        at that height is not taken from another one.
        """
        block_hash = await self.chain.block_hash(height)
        if block_hash is None or await branches.header_hash(
            self.context.store, self.chain, height
        ) not in {None, block_hash}:
            return None
        block = await self.chain.block(block_hash)
        # Asked last: a block of the cursor's chain is what was there before and is there still.
        cursor = await self._cursor()
        is_ours = cursor is not None and await self._is_on_chain(cursor)
        return block if is_ours and block is not None and block.height == height else None

    def _record_again(self, connection: Connection, rescan_id: int, block: Block, now: int) -> None:
        found = observations.record_again(
            connection, self.context, self.chain, block, self._seen_at, now
        )
        rescans.note_block(connection, rescan_id, block.height, found)

    async def _cursor(self) -> loops.Cursor | None:
        return await self.context.store.read(
            lambda connection: loops.get_cursor(connection, self.chain.name)
        )

    async def _start(self, head: Head) -> loops.Cursor:
        """Begin at the tip: what it holds, and what is below, is history and never credited.

        The headers below are kept for the way back: the very tip that we began at may be replaced.
        """
        tip = await self.chain.block(head.hash)
        if tip is None:
            message = "The node does not know its own tip."
            raise NodeError(message)
        blocks = [tip]
        while len(blocks) < _HEADERS_AT_START and blocks[0].height > 0:
            below = await self.chain.block(blocks[0].parent)
            if below is None:
                break
            blocks.insert(0, below)
        await self._write(lambda connection: observations.start(connection, self.chain, blocks))
        _log.info("chain_started", chain=self.chain.name, height=tip.height)
        return loops.Cursor(tip.height, tip.hash)

    async def _next_block(self, cursor: loops.Cursor) -> Block | None:
        """Return the block after the cursor, if there is one that fits onto it."""
        next_hash = await self.chain.block_hash(cursor.height + 1)
        block = None if next_hash is None else await self.chain.block(next_hash)
        fits = (cursor.height + 1, cursor.hash)
        return block if block is not None and (block.height, block.parent) == fits else None

    async def _go_back(self, cursor: loops.Cursor, now: int) -> bool:
        """Record that the node's chain has left ours below the cursor; False: ask again later."""
        ancestor = await branches.common_ancestor(self.context.store, self.chain, cursor)
        if ancestor is None:
            return False
        branch = await self._branch(ancestor, cursor.height)
        if branch is None:
            return False
        _log.warning("reorg", chain=self.chain.name, ancestor=ancestor.height, height=cursor.height)
        await self._write(
            lambda c: observations.record_reorg(
                c, self.context, self.chain, ancestor.height, branch, self._seen_at, now
            )
        )
        return True

    async def _branch(self, ancestor: loops.Cursor, height: int) -> Sequence[Block] | None:
        """Return the node's blocks from above the ancestor up to a height, linked to one another.

        None where the node changed its mind while it was asked.
        """
        blocks: list[Block] = []
        parent = ancestor
        while parent.height < height:
            block = await self._next_block(parent)
            if block is None:
                return None
            blocks.append(block)
            parent = loops.Cursor(block.height, block.hash)
        return blocks

    async def _read_mempool(
        self, head: Head, cursor: loops.Cursor, now: int
    ) -> tuple[bool, str | None]:
        """Record what is unconfirmed; at the tip, that makes everything seen up to now."""
        trouble = branches.tip_trouble(self.chain, head, now)
        pending = await self._pending()
        mempool = await self.chain.mempool(self._seen_at, pending)
        if _has_passed(_BLIND_MS, self._whole_at, now):
            mempool = await arrivals.dated(self.context.store, self.chain, mempool, now)
        is_idle = not mempool.fresh and pending <= mempool.txids
        if not is_idle or _has_passed(_IDLE_WRITE_MS, self._written_at, now):
            # Asked after the mempool: a block that came meanwhile may hold what has just left it.
            tip = await self.chain.head()
            is_at_tip = (tip.height, tip.hash) == (cursor.height, cursor.hash)
            is_all = is_at_tip and not tip.may_lag and trouble is None
            await self._write(
                lambda connection: observations.record_mempool(
                    connection,
                    self.context,
                    self.chain,
                    mempool,
                    head,
                    is_tip_fresh=is_all,
                    seen_at=self._seen_at,
                    now=now,
                )
            )
            self._written_at = now
            if mempool.is_complete:
                self._whole_at = now
            await self.drain(now)
        if mempool.fresh or not self._seen_at.keys() <= mempool.txids:
            fresh = {transaction.txid: now for transaction in mempool.fresh}
            self._seen_at = {
                txid: at for txid, at in (fresh | self._seen_at).items() if txid in mempool.txids
            }
        return not mempool.is_complete and not mempool.is_loading, trouble

    async def _pending(self) -> frozenset[str]:
        return await self.context.store.read(
            lambda connection: observations.list_pending_txids(connection, self.chain)
        )

    async def _note_node(self, trouble: str | None, height: int | None, now: int) -> None:
        """Write down how the node is, when that has changed or a while has passed."""
        noted = (trouble, height)
        if noted == self._noted and not _has_passed(_IDLE_WRITE_MS, self._noted_at, now):
            return
        if trouble is not None:
            self._is_right_chain = False
            _log.warning("chain_trouble", chain=self.chain.name, trouble=trouble)
        await self._write(
            lambda connection: loops.save_node(
                connection, self.chain.name, trouble=trouble, height=height, now=now
            )
        )
        self._noted, self._noted_at = noted, now


def _has_passed(duration_ms: int, since: int, now: int) -> bool:
    """Tell whether so much time has passed; where the clock was set back it may have."""
    return not 0 <= now - since < duration_ms


def _lease_name(chain: Chain) -> str:
    return f"watch:{chain.name}"
