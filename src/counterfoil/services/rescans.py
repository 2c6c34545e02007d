"""Reading a stretch of a chain again: the repair after an outage that was worse than a stop.

A watcher that was merely off reads on from its cursor and needs no repair. This is for a cursor
that moved on without looking: a faulty node that showed empty blocks, or a database from elsewhere.
The request is a row, and the holder of the chain's lease carries it out between its looks at the
tip, whether that is a running server or the process that asks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from counterfoil.core.errors import ConflictError, InvalidError, Problem
from counterfoil.core.ports import Chain, Clock
from counterfoil.db import loops, rescans, transfers
from counterfoil.db.engine import Connection
from counterfoil.services.context import Context
from counterfoil.services.watching import LeaseLostError, Watch

_POLL_S = 0.5

# What a report is made of.
Rescan = rescans.Rescan
Found = transfers.Found


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a stretch: the stretch, and the transfers in it that nobody had known."""

    rescan: Rescan
    found: list[Found]


async def ask(context: Context, chain: Chain, first: int, now: int) -> int:
    """Ask for the blocks from a height up to the cursor to be read again; return the request's id.

    Raises ConflictError (`chain_not_read`), and InvalidError for a height beyond the cursor.
    """

    def write(connection: Connection) -> int:
        cursor = loops.get_cursor(connection, chain.name)
        if cursor is None:
            message = (
                f"The chain {chain.name} has not been read yet; start `counterfoil serve` first."
            )
            raise ConflictError("chain_not_read", message)
        if not 0 <= first <= cursor.height:
            message = (
                f"{chain.name} has been read up to block {cursor.height}: --from must be a height "
                "from 0 to that one."
            )
            raise InvalidError(Problem("from", "invalid_height", message))
        return rescans.insert(connection, chain.name, first, cursor.height, now)

    rescan_id = await context.store.write(write)
    context.store.wake("chains")
    return rescan_id


async def carry_out(
    context: Context,
    rescan_id: int,
    holder: str,
    clock: Clock,
    told: Callable[[Rescan, str | None], None],
) -> Report:
    """Return when a stretch has been read again, by a server that runs or else by ourselves.

    `told` hears how far it is, and what is wrong with the node, if anything is.
    """

    def read(connection: Connection) -> tuple[Rescan, str | None]:
        known = rescans.get(connection, rescan_id)
        (state,) = loops.list_chains(connection, [known.chain])
        return known, state.trouble

    known, trouble = await context.store.read(read)
    watch = Watch(context, context.methods.chains[known.chain], holder)
    try:
        while not known.is_done:
            told(known, trouble)
            # Where a server watches this chain, its lease keeps us from looking.
            if not await _look(watch, clock.now()):
                await clock.sleep(_POLL_S)
            known, trouble = await context.store.read(read)
    finally:
        await watch.release()
    found = await context.store.read(lambda c: transfers.list_by_id(c, known.found))
    return Report(known, found)


async def _look(watch: Watch, now: int) -> bool:
    try:
        return await watch.look(now)
    except LeaseLostError:
        return False
