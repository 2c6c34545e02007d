"""What watches the worlds is watched: each invariant notices what is planted to violate it."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
import structlog.testing

from tests.sim import invariants
from tests.sim.steps import Steps
from tests.sim.world import World

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

# A world with addresses for each invoice, in which some are paid, in time
# and late, some expire, and one is reversed.
SEED = 87
# Among so many there is one for each thing that is done seldom.
FIRST_SEEDS = range(100)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = live(SEED)
    asyncio.run(invariants.check(world))
    yield world
    asyncio.run(world.end())


@pytest.fixture
def world_where(request: pytest.FixtureRequest) -> Iterator[World]:
    """Give the first world in whose database a statement finds something."""
    for seed in FIRST_SEEDS:
        world = live(seed)
        with closing(sqlite3.connect(world.disk.path)) as connection:
            if connection.execute(request.param).fetchone() is not None:
                asyncio.run(invariants.check(world))
                yield world
                asyncio.run(world.end())
                return
        asyncio.run(world.end())
    pytest.fail(f"No world of the first {len(FIRST_SEEDS)} has rows of: {request.param}")


def live(seed: int) -> World:
    """Let a world live."""
    world = World(seed)
    with structlog.testing.capture_logs():
        asyncio.run(world.live())
    return world


AT_ANY_TIME = [
    ("UPDATE payment SET detached_at = 1 WHERE id = 1", "counts 0 times"),
    (
        (
            "INSERT INTO inbox (merchant_id, mode, transfer_id, reason, created_at) "
            "SELECT 1, 'live', transfer_id, 'no_quote', 1 FROM payment WHERE id = 1"
        ),
        "counts 2 times",
    ),
    ("UPDATE transfer SET amount_atomic = amount_atomic + 1 WHERE id = 1", "is not what was sent"),
    ("UPDATE payment SET invoice_id = invoice_id + 1 WHERE id = 1", "went to"),
    (
        (
            "DELETE FROM payment WHERE id = 1; "
            "INSERT INTO inbox (merchant_id, mode, transfer_id, reason, created_at) "
            "SELECT 1, 'live', min(id), 'no_quote', 1 FROM transfer"
        ),
        "is not credited",
    ),
    ("UPDATE destination SET address = 'w1another' WHERE id = 1", "is not number"),
    ("UPDATE invoice SET status = 'Unpaid' WHERE status = 'Paid'", "went"),
    ("UPDATE invoice SET status = 'Confirming' WHERE status = 'Paid'", "holds its money"),
    ("DELETE FROM witness", "went []"),
    ("UPDATE chain SET watched_at = 1", "while nobody could see the chain"),
    ("UPDATE event SET seq = seq + 1 WHERE id = (SELECT max(id) FROM event)", "follows"),
    ("UPDATE event SET at = 1 WHERE id = (SELECT max(id) FROM event)", "does not grow"),
    ("UPDATE event SET payment_id = NULL WHERE type = 'payment_confirmed'", "has no cause"),
    (
        (
            "UPDATE event SET payment_id = (SELECT max(p.id) FROM payment p WHERE"
            " p.invoice_id <> event.invoice_id) WHERE payment_id IS NOT NULL"
        ),
        "another invoice's payment",
    ),
    ("DELETE FROM header WHERE height = (SELECT max(height) - 1 FROM header)", "does not follow"),
    (
        (
            "UPDATE header SET hash = (SELECT hash FROM header ORDER BY height LIMIT 1)"
            " WHERE height = (SELECT max(height) FROM header)"
        ),
        "does not follow",
    ),
    ("UPDATE chain_transaction SET block_hash = 'another'", "in a block that is not ours"),
    ("UPDATE chain_transaction SET block_height = NULL", "is Paid with 0.00"),
    ("UPDATE payment SET depth_needed = 10000", "is Paid with 0.00"),
    ("UPDATE invoice SET final = '0' WHERE status = 'Paid'", "has saved 0 as final"),
    ("UPDATE payment SET is_held = TRUE", "is Paid with"),
    ("UPDATE quote SET lock_until = 0", "came in time for its price, and is late now"),
    ("UPDATE payment SET arrival_value = '0/1'", "is Paid with"),
]

# The last that was done by hand to a transfer or an invoice.
LAST_ACT = """
    SELECT 1 FROM audit a WHERE a.act = '{act}' AND NOT EXISTS (
        SELECT 1 FROM audit later WHERE later.id > a.id
        AND (later.transfer_id = a.transfer_id OR a.transfer_id IS NULL
             AND later.invoice_id = a.invoice_id AND later.act IN ('mark', 'unmark')))
"""
# What a payer sent again with a higher fee: it came when the first came.
RAISED_FEE = """
    SELECT 1 FROM chain_transaction f
    JOIN payment p ON p.created_at = f.gone_at
    JOIN transfer t ON t.id = p.transfer_id
    JOIN chain_transaction x ON x.id = t.transaction_id
    WHERE x.id > f.id AND x.first_seen_at = f.first_seen_at
"""
SELDOM = [
    (
        LAST_ACT.format(act="attach"),
        (
            "UPDATE payment SET invoice_id = invoice_id + 1 WHERE detached_at IS NULL"
            " AND id IN (SELECT payment_id FROM audit WHERE act = 'attach')"
        ),
        "is not where attach has put it",
    ),
    (
        LAST_ACT.format(act="detach"),
        "UPDATE inbox SET ignored_at = 1",
        "is not where detach has put it",
    ),
    (
        LAST_ACT.format(act="ignore"),
        "UPDATE inbox SET ignored_at = NULL",
        "is not where ignore has put it",
    ),
    (
        LAST_ACT.format(act="mark"),
        "UPDATE invoice SET marked_at = NULL",
        "is not as mark has left it",
    ),
    (
        LAST_ACT.format(act="unmark"),
        "UPDATE invoice SET marked_at = 1",
        "is not as unmark has left it",
    ),
    (
        RAISED_FEE,
        "UPDATE chain_transaction SET first_seen_at = first_seen_at + id",
        "before it at",
    ),
]


@pytest.mark.parametrize(("violation", "told"), AT_ANY_TIME)
async def test_a_step_notices(world: World, violation: str, told: str) -> None:
    check_noticed(world, violation, told)


@pytest.mark.parametrize(
    ("world_where", "violation", "told"),
    SELDOM,
    indirect=["world_where"],
    ids=[told for _, _, told in SELDOM],
)
async def test_a_step_notices_what_happens_seldom(
    world_where: World, violation: str, told: str
) -> None:
    check_noticed(world_where, violation, told)


def check_noticed(world: World, violation: str, told: str) -> None:
    """Check that a world is whole, and that after a violation the next step says so."""
    steps = Steps(world, _looked_at=world.steps._looked_at)
    steps.open(world.disk.path)
    steps.check()
    assert steps.faults == []
    again = Steps(
        world,
        _is_settled=True,
        _looked_at=steps._looked_at,
        _tip=steps._tip,
        _in_time=steps._in_time,
    )
    again.open(world.disk.path)
    connection = again._connection
    assert connection is not None
    connection.execute("PRAGMA query_only=OFF")
    connection.execute("BEGIN")
    try:
        for statement in violation.split("; "):
            assert connection.execute(statement).rowcount > 0
        # The headers are looked at when there is a new one.
        if "header" in violation or "block_hash" in violation:
            again._tip = None
        again.check()
    finally:
        connection.execute("ROLLBACK")
        for each in (steps, again):
            each.close()
    assert told in "; ".join(again.faults)


async def test_an_event_heard_before_an_earlier_one_is_noticed(world: World) -> None:
    steps = Steps(world, _looked_at=world.steps._looked_at)
    steps.open(world.disk.path)
    connection = steps._connection
    assert connection is not None
    last = connection.execute(
        "SELECT at || '-' || number FROM event WHERE invoice_id = 1 ORDER BY id DESC"
    ).fetchone()[0]
    steps.hear(last)
    assert steps.faults == []
    connection.execute("PRAGMA query_only=OFF")
    connection.execute("BEGIN")
    connection.execute(
        "UPDATE delivery SET state = 'due' WHERE event_id ="
        " (SELECT min(id) FROM event WHERE invoice_id = 1)"
    )
    steps.hear(last)
    connection.execute("ROLLBACK")
    steps.close()
    assert "was heard before event" in steps.faults[0]


AT_THE_END = [
    ("DELETE FROM payment; DELETE FROM transfer", "is nowhere"),
    ("DELETE FROM header WHERE height = (SELECT max(height) FROM header)", "end below the tip"),
    ("UPDATE header SET hash = 'another' WHERE height = 3", "is not on the chain"),
    ("UPDATE merchant SET seq_live = seq_live + 1", "the log's end"),
    ("UPDATE invoice SET status = 'Expired' WHERE status = 'Paid'", "Expired and holds money"),
]


@pytest.mark.parametrize(("violation", "told"), AT_THE_END)
async def test_the_end_notices(world: World, violation: str, told: str) -> None:
    def spoil(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        for statement in violation.split("; "):
            assert connection.exec_driver_sql(statement).rowcount > 0
        invariants._check(world, connection)

    with pytest.raises(invariants.BrokenError, match=told):
        await world.store.write(spoil)


async def test_an_event_that_nobody_heard_is_noticed(world: World) -> None:
    heard = world.receiver.heard
    lost = heard[0][0]
    world.receiver.heard = [each for each in heard if each[0] != lost]
    try:
        with pytest.raises(invariants.BrokenError, match=f"event {lost} was never heard"):
            await invariants.check(world)
    finally:
        world.receiver.heard = heard
