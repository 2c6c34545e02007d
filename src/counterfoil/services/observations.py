"""What a chain showed becomes facts: transactions, payments, and the inbox.

These functions run in the watcher's transaction and write facts only; the invoices that they touch
are listed as due, and `payments.reassess` says what the facts mean for them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from counterfoil.core import matching
from counterfoil.core.matching import Kind
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Block, Chain, Head, Mempool, Method, Transaction, Transfer
from counterfoil.db import invoices, loops, payments, quotes, transactions
from counterfoil.db.engine import Connection
from counterfoil.db.quotes import Asked, StoredDestination
from counterfoil.services.context import Context
from counterfoil.services.crediting import Came, NewCredit, Price, credit_all
from counterfoil.services.looks import Look
from counterfoil.services.strays import touch_meant
from counterfoil.services.unmatched import UnmatchedTransfer, keep_all, tell_all

# A node that has just started knows little; one that has been up this long and still answers
# "unknown" for that long has dropped the transaction.
_NODE_UP_LEAST_S = 3_600
_UNKNOWN_MS = 30 * 60_000
# One that was started since has perhaps only lost it, and all others have it still.
_LOST_MS = 24 * 3_600_000
# A longer time than this between two looks counts as not watched.
_WATCH_GAP_MAX_MS = 30_000

# Our unconfirmed transactions, by the outpoints that others just shown spend as well.
_Spenders = Mapping[str, Sequence[transactions.StoredTransaction]]


@dataclass(frozen=True, slots=True)
class _Received:
    """A transfer to a destination of ours, with its transaction and the time of its arrival.

    `is_older` tells whether the transaction was in sight before the destination was ours.
    """

    seen: Transaction
    transfer: Transfer
    owner: StoredDestination
    arrived_at: int
    is_older: bool


def start(connection: Connection, chain: Chain, blocks: Iterable[Block]) -> None:
    """Begin to watch a chain after some blocks; what they hold is history and never credited."""
    for block in blocks:
        loops.add_header(connection, chain.name, block)


def list_pending_txids(connection: Connection, chain: Chain) -> frozenset[str]:
    """Return our transactions that wait for a block and are not gone."""
    return frozenset(known.txid for known in transactions.list_pending(connection, chain.name))


def record_block(
    connection: Connection,
    context: Context,
    chain: Chain,
    block: Block,
    seen_at: dict[str, int],
    now: int,
) -> None:
    """Record the block after the cursor, and move the cursor on to it.

    `seen_at` says since when unconfirmed transactions have been in sight; what is gone is taken out
    of it.
    """
    look = Look.begin(connection, context, chain, now, seen_at)
    _add_block(look, block)
    _finish(look, block.height)


def record_again(
    connection: Connection,
    context: Context,
    chain: Chain,
    block: Block,
    seen_at: dict[str, int],
    now: int,
) -> list[int]:
    """Record once more a block that the cursor has passed; return the transfers that were missed.

    Whoever should have seen those was blind, so they came when they were mined; what was mined
    before its destination was ours is older than its price. What is known is left as it is: a
    transfer is matched once. A header that is missing is kept, since the way back
    after a reorg may lead over it.
    """
    cursor = loops.get_cursor(connection, chain.name)
    assert cursor is not None, "only what the cursor has passed is read again"  # noqa: S101  # a promise of our own
    look = Look(connection, context, chain, now, None, seen_at, is_again=True)
    _read_block(look, block)
    loops.fill_header(connection, chain.name, block, cursor.height)
    _finish(look, cursor.height)
    return look.found


def record_reorg(
    connection: Connection,
    context: Context,
    chain: Chain,
    ancestor: int,
    branch: Sequence[Block],
    seen_at: dict[str, int],
    now: int,
) -> None:
    """Record that the blocks above `ancestor` were replaced by `branch`; `seen_at` as for a block.

    Both in one go: a payment that is in both branches never looks unconfirmed to anybody.
    """
    look = Look.begin(connection, context, chain, now, seen_at)
    look.touched.update(transactions.unconfirm_above(connection, chain.name, ancestor))
    loops.cut_headers(connection, chain.name, ancestor)
    for block in branch:
        _add_block(look, block)
    _finish(look, branch[-1].height)


def record_mempool(
    connection: Connection,
    context: Context,
    chain: Chain,
    mempool: Mempool,
    head: Head,
    *,
    is_tip_fresh: bool,
    seen_at: dict[str, int],
    now: int,
) -> None:
    """Record what is unconfirmed, what was replaced, and what the node no longer knows.

    `seen_at` as for a block: what was gone and is listed again is new. Where the tip is not fresh a
    block may be missing: nothing is given up then, and the chain does not count as watched.
    """
    look = Look.begin(connection, context, chain, now, seen_at)
    look.is_of_mempool = True
    pending = transactions.list_pending(connection, chain.name)
    spenders = _spenders(pending, mempool.fresh)
    # First, since what has been replaced is at stake no more when its rival is credited.
    _find_displaced(look, spenders, mempool.fresh, kept=mempool.txids)
    _observe(look, mempool.fresh, None, spenders)
    is_all = mempool.is_complete and is_tip_fresh
    back = []
    for known in pending:
        if known.txid in mempool.txids:
            if known.unknown_since is not None:
                back.append(known.id)
        elif is_all:
            _miss(look, known, head)
    transactions.set_block(connection, back, None)
    look.touched.update(back)
    _finish(look, None)
    if is_all:
        loops.save_watched(connection, chain.name, now, _WATCH_GAP_MAX_MS)


def _miss(look: Look, known: transactions.StoredTransaction, head: Head) -> None:
    """Note that the node does not list a transaction; after long enough it is gone."""
    if known.unknown_since is None:
        transactions.set_unknown_since(look.connection, known.id, look.now)
        return
    is_same_run = head.node_up_s * 1_000 >= look.now - known.first_seen_at
    wait_ms = _UNKNOWN_MS if is_same_run else _LOST_MS
    if head.node_up_s >= _NODE_UP_LEAST_S and look.now - known.unknown_since >= wait_ms:
        look.set_gone(known)


def _add_block(look: Look, block: Block) -> None:
    _read_block(look, block)
    loops.add_header(look.connection, look.chain.name, block)


def _read_block(look: Look, block: Block) -> None:
    pending = transactions.list_pending(look.connection, look.chain.name)
    mined = frozenset(seen.txid for seen in block.transactions)
    spenders = _spenders(pending, block.transactions)
    _find_displaced(look, spenders, block.transactions, kept=mined)
    _observe(look, block.transactions, block, spenders)


def _spenders(
    pending: Sequence[transactions.StoredTransaction], shown: Sequence[Transaction]
) -> _Spenders:
    """Return our unconfirmed transactions by those of their outpoints that what is shown spends."""
    found: defaultdict[str, list[transactions.StoredTransaction]] = defaultdict(list)
    spent = {outpoint for seen in shown for outpoint in seen.spends} if pending else set()
    for known in pending:
        for outpoint in known.spends & spent:
            found[outpoint].append(known)
    return found


def _observe(
    look: Look, shown: Sequence[Transaction], block: Block | None, spenders: _Spenders
) -> None:
    """Record the transactions that pay destinations of ours, and what they pay.

    All at once: the statements for a thousand payments are those for one.
    """
    keys = {t.destination for seen in shown for t in seen.transfers if t.amount_atomic > 0}
    owners = quotes.match_destinations(look.connection, keys)
    paying = {
        seen.txid: seen
        for seen in shown
        if any(t.destination in owners and t.amount_atomic > 0 for t in seen.transfers)
    }
    if not paying:
        return
    known = transactions.find_transactions(look.connection, look.chain.name, paying)
    fresh = {txid: seen for txid, seen in paying.items() if txid not in known}
    came = {txid: look.arrival_of(seen, block) for txid, seen in fresh.items()}
    # Nobody is later for a higher fee: it came when the first one did, and was worth that.
    replaced = _find_replaced(look, fresh, owners, spenders)
    came |= {txid: first.first_seen_at for txid, first in replaced.items()}
    look.remember_rates(replaced.values())
    arrivals = came | {txid: stored.first_seen_at for txid, stored in known.items()}
    ids = {txid: stored.id for txid, stored in known.items()}
    ids |= transactions.insert_transactions(
        look.connection,
        look.chain.name,
        [(seen, came[txid]) for txid, seen in fresh.items()],
        block,
    )
    moved = [s.id for s in known.values() if block is not None or s.block_height is None]
    transactions.set_block(look.connection, moved, block)
    look.touched.update(ids.values())
    received = {
        (ids[txid], transfer.index): _Received(
            seen,
            transfer,
            owners[transfer.destination],
            arrivals[txid],
            # Of a transaction that is known all is recorded that was ours at that time.
            is_older=txid in known or look.was_there(txid, block, owners[transfer.destination]),
        )
        for txid, seen in paying.items()
        for transfer in seen.transfers
        if transfer.destination in owners and transfer.amount_atomic > 0
    }
    new = transactions.insert_transfers(
        look.connection,
        [(place[0], each.transfer, each.owner.id) for place, each in received.items()],
    )
    look.found += new.values()
    _match(look, {new[place]: each for place, each in received.items() if place in new})


def _find_replaced(
    look: Look,
    fresh: Mapping[str, Transaction],
    owners: Mapping[bytes, StoredDestination],
    spenders: _Spenders,
) -> dict[str, transactions.StoredTransaction]:
    """Return what some new transactions pay once more, by the txids of the new ones.

    Whoever raises the fee of a payment sends another transaction, which pays us the very same.
    Where it pays anything else it is a new payment, or anybody could be in time for anything.
    """
    rivals = {
        txid: {known.id: known for spend in seen.spends for known in spenders.get(spend, ())}
        for txid, seen in fresh.items()
    }
    paid = transactions.sum_received(
        look.connection, {known_id for found in rivals.values() for known_id in found}
    )
    replaced: dict[str, transactions.StoredTransaction] = {}
    for txid, found in rivals.items():
        pays: Counter[tuple[int, str]] = Counter()
        for each in fresh[txid].transfers:
            if each.destination in owners:
                pays[owners[each.destination].id, each.method] += each.amount_atomic
        same = [known for known_id, known in found.items() if pays == paid[known_id]]
        if same:
            replaced[txid] = min(same, key=lambda known: (known.first_seen_at, known.id))
    return replaced


def _match(look: Look, received: Mapping[int, _Received]) -> None:
    """Credit new transfers, by their ids, to the quotes that they pay; keep the others."""
    asked_of = _list_asked(look, received)
    payers = _merchants_who_spend(look, {each.seen.txid: each.seen for each in received.values()})
    owners = look.merchants({each.owner.merchant_id for each in received.values()})
    paying: list[NewCredit] = []
    for transfer_id, each in received.items():
        owner, transfer, asked = each.owner, each.transfer, asked_of[transfer_id]
        is_own = owner.key in each.seen.senders or owner.merchant_id in payers[each.seen.txid]
        found = matching.match(
            transfer,
            owner.kind,
            [one.quote for one in asked],
            each.arrived_at,
            is_own=is_own,
            is_older=each.is_older,
        )
        method = look.context.methods.get(transfer.method)
        if isinstance(found, matching.Matched) and method is not None:
            paid = next(one for one in asked if one.quote.quote_id == found.quote_id)
            late_money = owners[owner.merchant_id].late_money
            paying.append(_credit(look, transfer_id, each, paid, method, late_money))
        else:
            look.unmatched.append(
                UnmatchedTransfer(
                    id=transfer_id,
                    txid=each.seen.txid,
                    transfer=transfer,
                    owner=owner,
                    arrived_at=each.arrived_at,
                    method=method,
                    reason=(
                        found.reason
                        if isinstance(found, matching.Unmatched)
                        # It pays a quote of a method that is switched off.
                        else matching.Reason.OTHER_METHOD
                    ),
                    asked=asked,
                )
            )
    credit_all(look.connection, look.context, paying, look.now)


def _list_asked(look: Look, received: Mapping[int, _Received]) -> dict[int, Sequence[Asked]]:
    """Return the quotes that new transfers, by their ids, may pay."""
    exclusive = {each.owner.id for each in received.values() if each.owner.kind is Kind.EXCLUSIVE}
    of_owners = quotes.list_asked(look.connection, exclusive)
    asked: dict[int, Sequence[Asked]] = {}
    shared: defaultdict[int, dict[int, Transfer]] = defaultdict(dict)
    for transfer_id, each in received.items():
        if each.owner.id in exclusive:
            asked[transfer_id] = of_owners[each.owner.id]
        else:
            shared[each.owner.id][transfer_id] = each.transfer
    for destination_id, paid in shared.items():
        asked |= quotes.list_asked_of_shared(look.connection, destination_id, paid)
    return asked


def _merchants_who_spend(look: Look, paying: Mapping[str, Transaction]) -> dict[str, set[int]]:
    """Return the merchants whose money some transactions spend, by their txids."""
    spent = {outpoint for seen in paying.values() for outpoint in seen.spends}
    merchants_of = transactions.list_owners(look.connection, look.chain.name, spent)
    return {
        txid: {merchants_of[outpoint] for outpoint in seen.spends if outpoint in merchants_of}
        for txid, seen in paying.items()
    }


def _credit(
    look: Look,
    transfer_id: int,
    each: _Received,
    paid: Asked,
    method: Method,
    late_money: LateMoney,
) -> NewCredit:
    """Return what a transfer is to the quote that it pays."""
    amount_atomic, asked = each.transfer.amount_atomic, paid.quote
    rate = look.rate_of(method, paid.currency, each.arrived_at)
    came = Came(transfer_id, method, amount_atomic, each.arrived_at, rate)
    price = Price.quoted(asked.quote_id, paid.fiat, asked.amount_atomic)
    return NewCredit(each.owner.merchant_id, paid.invoice_id, paid.amount, came, price, late_money)


def _find_displaced(
    look: Look, spenders: _Spenders, shown: Iterable[Transaction], kept: frozenset[str]
) -> None:
    """Note which of our unconfirmed transactions have lost an input to another transaction.

    `kept` are those that the node still lists, or has mined: they have lost nothing.
    """
    for seen in shown:
        for outpoint in seen.spends:
            for known in spenders.get(outpoint, ()):
                if known.txid != seen.txid and known.txid not in kept:
                    look.set_gone(known)


def _finish(look: Look, height: int | None) -> None:
    """Keep what pays no quote and tell of it, and list the invoices whose facts have changed.

    Those with a payment that has grown deep enough are among them, and those that have expired
    though a stray may be meant for them.
    """
    if look.unmatched:
        owners = look.merchants({each.owner.merchant_id for each in look.unmatched})
        keep_all(look.connection, look.unmatched, owners, look.rate_of, look.now)
    due: set[int] = set()
    if look.touched:
        due |= payments.list_invoices_of(look.connection, look.touched)
        due.update(touch_meant(look.connection, look.touched, look.now))
    if height is not None:
        due |= payments.list_ripe(look.connection, look.chain.name, height)
    # Everybody locks invoices first, then merchants, then what is due.
    if look.unmatched:
        tell_all(look.connection, look.unmatched, look.now)
    if due:
        invoices.mark_due_reassess(look.connection, sorted(due), look.chain.name)
