"""What must be true of every world when all is mended, told from the chain itself."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from counterfoil.core.invoice import MOVES, EventType, Status
from counterfoil.db.schema import (
    chain_transaction,
    destination,
    event,
    header,
    inbox,
    merchant,
    payment,
    transfer,
)
from tests.sim.world import World
from tests.sim.worth import Credit, list_accounts

_OF_MOVES = frozenset(kind for kinds in MOVES.values() for kind in kinds)


class BrokenError(AssertionError):
    """An invariant does not hold."""


async def check(world: World) -> None:
    """Raise BrokenError with what is wrong, and count it in the world's tally."""
    await world.store.read(lambda connection: _check(world, connection))


def _check(world: World, connection: sa.Connection) -> None:
    faults: list[str] = []
    faults += world.steps.faults
    faults += _transfers(world, connection)
    faults += _statuses(world, connection)
    faults += _events(world, connection)
    faults += _cursor(world, connection)
    if faults:
        raise BrokenError(f"seed {world.seed}: " + "; ".join(faults))


def _on_chain(world: World) -> dict[tuple[str, int], tuple[bytes, int]]:
    """Return every transfer of the best chain and the mempool: (txid, index) to (key, amount)."""
    transactions = [t for block in world.chain.blocks for t in block.transactions]
    transactions += world.chain.pool.values()
    return {
        (t.txid, transfer.index): (transfer.destination, transfer.amount_atomic)
        for t in transactions
        for transfer in t.transfers
    }


def _transfers(world: World, connection: sa.Connection) -> list[str]:
    """Every transfer to an address of ours is credited once, or lies in the inbox."""
    faults = []
    keys = {
        bytes.fromhex(key) for key in connection.execute(sa.select(destination.c.key)).scalars()
    }
    statement = (
        sa.select(
            chain_transaction.c.txid,
            transfer.c.place,
            sa.func.count(sa.distinct(payment.c.id)).label("credits"),
            sa.func.count(sa.distinct(inbox.c.id)).label("unmatched"),
        )
        .join(transfer, transfer.c.transaction_id == chain_transaction.c.id)
        .outerjoin(
            payment,
            sa.and_(payment.c.transfer_id == transfer.c.id, payment.c.detached_at.is_(None)),
        )
        .outerjoin(inbox, inbox.c.transfer_id == transfer.c.id)
        .group_by(chain_transaction.c.txid, transfer.c.place)
    )
    known = {(row.txid, row.place): row for row in connection.execute(statement)}
    for place, (key, _) in _on_chain(world).items():
        if key not in keys:
            continue
        row = known.get(place)
        if row is None or row.credits + row.unmatched == 0:
            world.tally.lost += 1
            faults.append(f"the transfer {place} is nowhere")
        elif row.credits + row.unmatched > 1:
            world.tally.credited_twice += 1
            faults.append(f"the transfer {place} counts {row.credits + row.unmatched} times")
    return faults


def _statuses(world: World, connection: sa.Connection) -> list[str]:
    """An invoice is Paid if, and only if, it was marked or the best chain holds its money."""
    faults = []
    depths = {
        t.txid: world.chain.height - block.height + 1
        for block in world.chain.blocks
        for t in block.transactions
        if t.transfers
    }

    def depth_of(paid: Credit) -> int:
        return depths.get(paid.txid, 0)

    def rows(statement: str) -> list[Any]:
        return list(connection.exec_driver_sql(statement))

    for invoice_id, account in list_accounts(rows).items():
        status = account.status
        if account.is_paid(depth_of) != (status == Status.PAID.value):
            world.tally.lost += status != Status.PAID.value
            world.tally.credited_twice += status == Status.PAID.value
            held = f"{float(account.settled(depth_of))} of {float(account.need)}"
            faults.append(f"invoice {invoice_id} is {status} with {held}")
        is_held = account.seen > 0 or any(depth_of(paid) for paid in account.credits)
        if status == Status.EXPIRED.value and is_held:
            faults.append(f"invoice {invoice_id} is Expired and holds money")
    return faults


def _events(world: World, connection: sa.Connection) -> list[str]:
    """The log has no gaps, tells every change, and was heard whole and in order."""
    faults = []
    log = connection.execute(sa.select(event).order_by(event.c.seq)).mappings().all()
    if [row["seq"] for row in log] != list(range(1, len(log) + 1)):
        faults.append("seq has gaps")
    ids = [(row["at"], row["number"]) for row in log]
    if ids != sorted(set(ids)):
        faults.append("event ids do not grow")
    if connection.execute(sa.select(merchant.c.seq_live)).scalar_one() != len(log):
        faults.append("the log's end is not its length")
    faults += _witnessed(world, connection, log)
    heard = {event_id for event_id, _ in world.receiver.heard}
    for row in log:
        event_id = f"{row['at']}-{row['number']}"
        if event_id not in heard:
            world.tally.events_lost += 1
            faults.append(f"event {event_id} was never heard")
    return faults


def _witnessed(world: World, connection: sa.Connection, log: Any) -> list[str]:
    """Each change of a status has its events, and each such event its change, in order."""
    wanted: defaultdict[int, list[str]] = defaultdict(list)
    for row in connection.execute(sa.text("SELECT * FROM witness ORDER BY id")):
        wanted[row.invoice_id] += MOVES[Status(row.old), Status(row.new)]
    told: defaultdict[int, list[str]] = defaultdict(list)
    for row in log:
        if EventType(row["type"]) in _OF_MOVES:
            told[row["invoice_id"]].append(row["type"])
    faults = []
    for invoice_id in sorted(wanted.keys() | told.keys()):
        if wanted[invoice_id] != told[invoice_id]:
            world.tally.events_lost += 1
            faults.append(
                f"invoice {invoice_id} went {wanted[invoice_id]} and was told {told[invoice_id]}"
            )
    return faults


def _cursor(world: World, connection: sa.Connection) -> list[str]:
    """The headers are those of the best chain, without a gap, up to its tip."""
    rows = connection.execute(sa.select(header).order_by(header.c.height)).mappings().all()
    blocks = {block.height: block.hash for block in world.chain.blocks}
    faults = [
        f"block {row['height']} is not on the chain"
        for row in rows
        if blocks.get(row["height"]) != row["hash"]
    ]
    heights = [row["height"] for row in rows]
    if heights != list(range(heights[0], world.chain.height + 1)):
        faults.append("the headers have gaps, or end below the tip")
    return faults
