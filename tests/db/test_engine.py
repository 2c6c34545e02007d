"""What both databases promise; what is one's alone is in test_sqlite.py and test_postgres.py."""

import asyncio
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Mode
from counterfoil.db import invoices
from counterfoil.db.engine import Database, Topics, open_database, unavailable
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import invoice
from counterfoil.db.sqlite import Sqlite
from tests.db.rows import add_lease, add_merchant, invoice_row, lease_names

WAIT_S = 5.0


@pytest.fixture
def commits() -> Iterator[list[str]]:
    """What commits on the SQLite connections that are opened after this.

    That is COMMIT, or an insert that is a transaction by itself.
    """
    seen: list[str] = []

    def note(statement: str) -> None:
        if statement == "COMMIT" or statement.startswith("INSERT INTO invoice"):
            seen.append(statement)

    def watch(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(note)

    sa.event.listen(sa.Engine, "connect", watch)
    yield seen
    sa.event.remove(sa.Engine, "connect", watch)


# --- reading and writing ----------------------------------------------------------------------


async def test_what_is_written_is_read(database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    await database.write(partial(add_lease, name="watcher"))
    assert isinstance(merchant_id, int)
    assert await database.read(lease_names) == {"watcher"}
    assert await database.is_ready()


async def test_an_error_undoes_its_own_work_and_nobody_elses(database: Database) -> None:
    def fail(connection: sa.Connection) -> None:
        add_lease(connection, "undone")
        raise KeyError("the job's own")

    def clash(connection: sa.Connection) -> None:
        add_lease(connection, "undone too")
        add_lease(connection, "undone too")

    jobs = [database.write(partial(add_lease, name=f"kept {n}")) for n in range(20)]
    jobs[3:3] = [database.write(fail)]
    jobs[7:7] = [database.write(clash)]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    errors = [each for each in outcomes if each is not None]
    assert [type(each) for each in errors] == [KeyError, sa.exc.IntegrityError]
    assert await database.read(lease_names) == {f"kept {n}" for n in range(20)}


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
        await database.read(partial(add_lease, name="lost"))
    assert await database.read(lease_names) == set()
    await database.write(partial(add_lease, name="kept"))
    assert await database.read(lease_names) == {"kept"}


async def test_an_error_shows_no_values(database: Database) -> None:
    """It may stand in a log: neither a share token nor who the customer is belongs there."""
    merchant_id = await database.write(add_merchant)
    row = invoice_row(merchant_id, "s3cret", client_name="Jane Roe")
    await database.insert_invoice(row)
    nothing = row | {"share_token": "s3cret too", "type": None}
    unknown = sa.text("SELECT :value FROM nowhere").bindparams(value="s3cret")
    outcomes = await asyncio.gather(
        database.write(lambda connection: invoices.insert(connection, row)),
        database.write(lambda connection: invoices.insert(connection, nothing)),
        database.insert_invoice(row),
        database.insert_invoice(nothing),
        database.read(lambda connection: connection.execute(unknown)),
        return_exceptions=True,
    )
    for each in outcomes:
        assert isinstance(each, Exception)
        said = "".join(format_exception(each))
        assert "s3cret" not in said
        assert "Jane" not in said


async def test_a_caller_may_go_away(database: Database) -> None:
    task = asyncio.create_task(database.write(partial(add_lease, name="gone")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(partial(add_lease, name="kept"))
    assert "kept" in await database.read(lease_names)


# --- invoices ---------------------------------------------------------------------------------


async def test_each_of_many_invoices_gets_its_own_id(database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    ids = await asyncio.gather(
        *(
            database.insert_invoice(invoice_row(merchant_id, f"token {n}", order_id=f"order {n}"))
            for n in range(200)
        )
    )
    rows = await database.read(
        lambda connection: connection.execute(
            sa.select(invoice.c.id, invoice.c.share_token, invoice.c.order_id)
        ).all()
    )
    stored = {row.id: (row.share_token, row.order_id) for row in rows}
    assert stored == {invoice_id: (f"token {n}", f"order {n}") for n, invoice_id in enumerate(ids)}
    assert len(set(ids)) == 200


async def test_an_invoice_is_stored_as_it_was_given(database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    given = invoice_row(
        merchant_id, "token", memo="Ünïcödé \N{PINEAPPLE} ' \" ; --", coins='["LTC"]'
    )
    invoice_id = await database.insert_invoice(given)
    row = await database.read(
        lambda connection: (
            connection.execute(sa.select(invoice).where(invoice.c.id == invoice_id))
            .mappings()
            .one()
        )
    )
    assert {column: row[column] for column in given} == given


async def test_a_wrong_row_is_the_fault_of_one_alone(database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    rows = [invoice_row(merchant_id, f"token {n}") for n in range(10)]
    rows[4]["merchant_id"] = merchant_id + 1_000
    outcomes = await asyncio.gather(
        *(database.insert_invoice(row) for row in rows), return_exceptions=True
    )
    assert [n for n, each in enumerate(outcomes) if isinstance(each, BaseException)] == [4]
    with pytest.raises(KeyError):
        await database.insert_invoice({"merchant_id": merchant_id})
    assert isinstance(await database.insert_invoice(invoice_row(merchant_id, "after")), int)


async def test_concurrent_invoices_share_commits(commits: list[str], database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    commits.clear()
    await asyncio.gather(
        *(database.insert_invoice(invoice_row(merchant_id, f"token {n}")) for n in range(50))
    )
    if isinstance(database, Postgres):
        # The rows of one transaction bear its number.
        count = await database.read(
            lambda connection: connection.execute(
                sa.text("SELECT count(DISTINCT xmin::text) FROM invoice")
            ).scalar_one()
        )
    else:
        count = len(commits)
    # One alone that came first, and the rest behind it; a busy machine may cut them smaller.
    assert 1 <= count <= 10


async def test_functions_and_invoices_share_commits(database: Database) -> None:
    """What is wrong with one of a mixed lot, function or row, is told to that one alone."""
    merchant_id = await database.write(add_merchant)

    def fail(connection: sa.Connection) -> None:
        add_lease(connection, "undone")
        raise KeyError("the job's own")

    rows = [invoice_row(merchant_id, f"token {n}") for n in range(150)]
    rows[70]["merchant_id"] = merchant_id + 1_000
    rows[141]["share_token"] = "token 3"
    jobs: list[Any] = [database.insert_invoice(row) for row in rows]
    jobs.insert(100, database.write(fail))
    jobs.insert(20, database.write(partial(add_lease, name="kept")))
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    failed = [n for n, each in enumerate(outcomes) if isinstance(each, BaseException)]
    # Of the two with one token, which PostgreSQL may insert in two statements, one is refused.
    assert set(failed) in ({71, 101, 143}, {71, 101, 4})
    assert await database.read(lease_names) == {"kept"}
    stored = await database.read(
        lambda connection: connection.execute(sa.select(invoice.c.id, invoice.c.share_token)).all()
    )
    asked = [row["share_token"] for row in rows]
    del outcomes[101], outcomes[20]
    answered = {
        (each, token) for each, token in zip(outcomes, asked, strict=True) if isinstance(each, int)
    }
    assert answered == {(row.id, row.share_token) for row in stored}
    assert len(answered) == 148


async def test_an_invoice_is_found_by_its_owner_alone(database: Database) -> None:
    owner = await database.write(partial(add_merchant, name="owner"))
    other = await database.write(partial(add_merchant, name="other"))
    ids = await asyncio.gather(
        *(database.insert_invoice(invoice_row(owner, f"token {n}")) for n in range(40))
    )
    asked = [
        *((each, owner, Mode.LIVE) for each in ids),
        (ids[0], other, Mode.LIVE),
        (ids[1], owner, Mode.TEST),
        (max(ids) + 1, owner, Mode.LIVE),
        (2**53 - 1, owner, Mode.LIVE),
    ]
    found = await asyncio.gather(*(database.find_invoice(*each) for each in asked))
    token = invoices.COLUMNS.index("share_token")
    assert [row and row[token] for row in found] == [
        *(f"token {n}" for n in range(40)),
        *([None] * 4),
    ]
    slow = await database.read(lambda c: invoices.get_row(c, ids[7], owner, Mode.LIVE))
    assert found[7] is not None
    assert slow == tuple(found[7])


def test_the_fields_of_an_invoice_are_its_columns_in_their_order() -> None:
    """Rows are read by place, so what moves in the one must move in the other."""
    renamed = {
        "amount": "fiat_amount",
        "currency": "fiat_currency",
        "title": "invoice_title",
        "message": "invoice_message",
    }
    fields = [renamed.get(name, name) for name in invoices.Invoice.__struct_fields__]
    place = fields.index("standing")
    fields[place : place + 1] = ["status", "conditions", "notices", "seen", "final"]
    assert tuple(fields) == invoices.COLUMNS


async def test_what_was_committed_is_found_at_once(database: Database) -> None:
    merchant_id = await database.write(add_merchant)
    invoice_id = await database.insert_invoice(invoice_row(merchant_id, "token"))
    await database.write(lambda connection: invoices.touch(connection, invoice_id))
    row = await database.find_invoice(invoice_id, merchant_id, Mode.LIVE)
    assert row is not None
    assert invoices.from_row(row).rev == 2


# --- hints ------------------------------------------------------------------------------------


async def test_a_bell_rings_when_its_topic_is_woken(database: Database) -> None:
    bell = database.listen("outbox")
    waiting = asyncio.create_task(bell.wait(WAIT_S))
    await asyncio.sleep(0)
    database.wake("pages")
    await asyncio.sleep(0.01)
    assert not waiting.done()
    database.wake("outbox")
    await asyncio.wait_for(waiting, 1)


async def test_a_bell_that_rang_before_the_wait_ends_it() -> None:
    topics = Topics()
    first, second = topics.listen("chains"), topics.listen("chains")
    topics.ring("chains")
    async with asyncio.timeout(1):
        await first.wait(WAIT_S)
        await second.wait(WAIT_S)
    # It was heard once, and does not ring again.
    started = asyncio.get_running_loop().time()
    await first.wait(0.05)
    assert asyncio.get_running_loop().time() - started >= 0.04


# --- opening ----------------------------------------------------------------------------------


def test_a_url_names_a_store(tmp_path: Path) -> None:
    assert isinstance(open_database("sqlite:///data/counterfoil.db"), Sqlite)
    assert isinstance(open_database(f"sqlite:///{tmp_path}/counterfoil.db"), Sqlite)
    assert isinstance(open_database("postgresql://me:secret@db.example/shop"), Postgres)
    assert isinstance(open_database("postgres://me:secret@db.example/shop"), Postgres)


@pytest.mark.parametrize("url", ["", "sqlite://", "mysql://me@host/shop", "counterfoil.db"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///path") as refused:
        open_database(url)
    assert refused.value.code == "invalid_database"


async def test_a_closed_store_is_refused(database: Database) -> None:
    await database.close()
    with pytest.raises(RuntimeError, match="not open"):
        await asyncio.wait_for(database.insert_invoice(invoice_row(1, "token")), WAIT_S)
    with pytest.raises(RuntimeError, match="not open"):
        await asyncio.wait_for(database.find_invoice(1, 1, Mode.LIVE), WAIT_S)


def test_the_error_of_a_lost_commit_says_what_to_do() -> None:
    assert "Send it again; with an Idempotency-Key" in unavailable().message
