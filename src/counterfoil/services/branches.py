"""Where a node's chain parts from the one that was read, and whether it goes on at all."""

from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Chain, Head, Store
from counterfoil.db import loops

# A tip older than this many block intervals is a node that is stuck, or a chain that is halted.
_TIP_AGE_INTERVALS = 10


def tip_trouble(chain: Chain, head: Head, now: int) -> str | None:
    """Return why a node may not show all up to now: it says so, or had no block for too long."""
    interval_s = chain.block_interval_s
    if head.trouble is not None or interval_s is None:
        return head.trouble
    age_s = (now - head.mined_at) // 1000
    if age_s <= interval_s * _TIP_AGE_INTERVALS:
        return None
    return f"The newest block is {age_s // 60} minutes old: the node or the chain stands still."


async def header_hash(store: Store, chain: Chain, height: int) -> str | None:
    """Return the hash that was read at a height, None where none is kept."""
    return await store.read(
        lambda connection: loops.get_header_hash(connection, chain.name, height)
    )


async def common_ancestor(store: Store, chain: Chain, cursor: loops.Cursor) -> loops.Cursor | None:
    """Return the highest block that both the node and we hold; None where the node is not that far.

    Raises NodeError where the headers that we keep do not reach down to one.
    """
    for height in range(cursor.height - 1, -1, -1):
        ours = await header_hash(store, chain, height)
        if ours is None:
            message = (
                f"The node's chain parts from ours below block {height + 1}, down to which all "
                f"headers are kept (ours reaches {cursor.height}). Check the node; nothing is "
                "recorded until it agrees."
            )
            raise NodeError(message)
        theirs = await chain.block_hash(height)
        if theirs is None:
            return None
        if ours == theirs:
            return loops.Cursor(height, ours)
    return None
