"""When unconfirmed payments came that nobody looked at: their node has noted it."""

from collections.abc import Iterable
from dataclasses import replace

import structlog

from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Chain, Mempool, Store, Transaction
from counterfoil.db import loops, quotes
from counterfoil.db.engine import Connection

_log = structlog.get_logger("counterfoil.watching")


async def dated(store: Store, chain: Chain, mempool: Mempool, now: int) -> Mempool:
    """Return a mempool with the times at which what is new in it, and pays us, came.

    None came before all was in sight the last time: it was not there then.
    """
    if not mempool.fresh:
        return mempool
    paying, watched_at = await store.read(lambda c: _list_paying(c, chain, mempool.fresh))
    try:
        since = await chain.waiting_since(paying) if paying else {}
    except NodeError as error:
        # A node may be told to answer no such question; all else that it says is worth no less.
        _log.warning("arrivals_unknown", chain=chain.name, error=str(error))
        return mempool
    came = {txid: min(now, max(at, watched_at)) for txid, at in since.items()}
    fresh = (
        replace(each, first_seen_at=came.get(each.txid, each.first_seen_at))
        for each in mempool.fresh
    )
    return replace(mempool, fresh=tuple(fresh))


def _list_paying(
    connection: Connection, chain: Chain, shown: Iterable[Transaction]
) -> tuple[set[str], int]:
    """Return which of some transactions pay destinations of ours, and until when all was seen."""
    paid_to = {seen.txid: {t.destination for t in seen.transfers} for seen in shown}
    owners = quotes.match_destinations(connection, set().union(*paid_to.values()))
    (state,) = loops.list_chains(connection, [chain.name])
    paying = {txid for txid, keys in paid_to.items() if not keys.isdisjoint(owners)}
    return paying, state.watched_at or 0
