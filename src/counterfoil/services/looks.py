"""One look at a chain: what it is recorded into, and when what it shows came."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from counterfoil.core.ports import Block, Chain, Method, Transaction
from counterfoil.core.quote import Rate
from counterfoil.db import loops, merchants, transactions, transfers
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import Merchant
from counterfoil.db.quotes import StoredDestination
from counterfoil.services import rates
from counterfoil.services.context import Context
from counterfoil.services.unmatched import UnmatchedTransfer

# Blocks' times are whole seconds, and miners' clocks differ from ours.
_BLOCK_SKEW_MS = 2 * 60_000


@dataclass(slots=True)
class Look:
    """One look at a chain: what it is recorded into and what it has touched so far.

    `watched_at` is until when all had been seen, `seen_at` since when unconfirmed transactions have
    been in sight, `is_again` that the cursor had passed the block, `is_of_mempool` that nothing of
    it is in a block. `touched` are transactions, `found` transfers that nobody knew, `unmatched`
    those of them that pay no quote.
    """

    connection: Connection
    context: Context
    chain: Chain
    now: int
    watched_at: int | None
    seen_at: dict[str, int]
    is_again: bool = False
    is_of_mempool: bool = False
    touched: set[int] = field(default_factory=set)
    found: list[int] = field(default_factory=list)
    unmatched: list[UnmatchedTransfer] = field(default_factory=list)
    _rates: dict[tuple[str, str, int], Rate | None] = field(default_factory=dict)
    _merchants: dict[int, Merchant] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        connection: Connection,
        context: Context,
        chain: Chain,
        now: int,
        seen_at: dict[str, int],
    ) -> "Look":
        """Return a look at what follows on what has been recorded."""
        (state,) = loops.list_chains(connection, [chain.name])
        return cls(connection, context, chain, now, state.watched_at, seen_at)

    def arrival_of(self, seen: Transaction, block: Block | None) -> int:
        """Return when a transaction came: now, unless it was mined while nobody looked."""
        if seen.first_seen_at is not None:
            return seen.first_seen_at
        if seen.txid in self.seen_at and not self.is_again:
            return self.seen_at[seen.txid]
        if block is None:
            return self.now
        return min(self.now, max(block.mined_at, self.watched_at or 0))

    def merchants(self, merchant_ids: Collection[int]) -> Mapping[int, Merchant]:
        """Return merchants by their ids, each read once."""
        missing = set(merchant_ids) - self._merchants.keys()
        if missing:
            self._merchants |= merchants.list_some(self.connection, missing)
        return self._merchants

    def rate_of(self, method: Method, currency: str, arrived_at: int) -> Rate | None:
        """Return what a coin cost on arrival, looked up once for all that came together.

        Of what is unconfirmed and came while nobody looked it may be what it costs now: prices of
        some minutes ago are not kept.
        """
        key = (method.id, currency, arrived_at)
        if key not in self._rates:
            found = rates.rate_of(self.connection, method, currency, arrived_at)
            if found is None and self.is_of_mempool:
                found = rates.rate_of(self.connection, method, currency, self.now)
            self._rates[key] = found
        return self._rates[key]

    def remember_rates(self, known: Iterable[transactions.StoredTransaction]) -> None:
        """Let coin be worth what it was when some transactions came, for all of that moment."""
        came_at = {each.id: each.first_seen_at for each in known}
        for found in transfers.list_arrival_rates(self.connection, came_at):
            place = (found.method, found.currency, came_at[found.transaction_id])
            self._rates[place] = found.rate or self._rates.get(place)

    def set_gone(self, known: transactions.StoredTransaction) -> None:
        """Note that a transaction is gone; should it be listed again, it is decoded once more."""
        transactions.set_gone(self.connection, known.id, self.now)
        self.touched.add(known.id)
        self.seen_at.pop(known.txid, None)

    def was_there(self, txid: str, block: Block | None, owner: StoredDestination) -> bool:
        """Tell whether a transaction was there before a destination was ours.

        To have been in sight is not enough: after a failover the database may have forgotten what
        we recorded of it, and then it came in time.
        """
        since = self.seen_at.get(txid)
        if block is not None and self.is_again:
            since = block.mined_at + _BLOCK_SKEW_MS
        return since is not None and since <= owner.created_at
