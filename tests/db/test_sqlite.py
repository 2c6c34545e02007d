import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
import structlog

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.core.ports import Mode
from counterfoil.db import sqlite_writer
from counterfoil.db.sqlite import Sqlite
from tests.db.disk import small_disk
from tests.db.rows import add_lease, add_merchant, invoice_row, lease_names


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the log of the database, as on a full disk."""
    with small_disk(path.with_name(f"{path.name}-wal").stat().st_size):
        yield


def pragmas(connection: sa.Connection) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "foreign_keys")
    return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}


async def test_every_connection_is_durable(sqlite: Sqlite) -> None:
    durable = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    together = threading.Barrier(2)

    def read(connection: sa.Connection) -> tuple[int, dict[str, object]]:
        # Neither reader is free before both are at work, so these are two connections.
        together.wait(5)
        return threading.get_ident(), pragmas(connection)

    (one, first), (other, second) = await asyncio.gather(sqlite.read(read), sqlite.read(read))
    assert one != other
    assert first == second == durable
    assert await sqlite.write(pragmas) == durable


async def test_a_failed_commit_is_told_to_all_who_share_it(sqlite: Sqlite, tmp_path: Path) -> None:
    merchant_id = await sqlite.write(add_merchant)
    with full_disk(tmp_path / "counterfoil.db"):
        outcomes = await asyncio.gather(
            *(sqlite.write(partial(add_lease, name=f"lost {n}")) for n in range(10)),
            *(sqlite.insert_invoice(invoice_row(merchant_id, f"lost {n}")) for n in range(10)),
            return_exceptions=True,
        )
    assert {type(each) for each in outcomes} == {UnavailableError}
    assert await sqlite.read(lease_names) == set()
    await sqlite.write(partial(add_lease, name="kept"))
    assert isinstance(await sqlite.insert_invoice(invoice_row(merchant_id, "lost 1")), int)
    assert await sqlite.read(lease_names) == {"kept"}


async def test_what_is_too_large_for_the_disk_is_undone_for_all(sqlite: Sqlite) -> None:
    """SQLite may undo a whole transaction when one statement fails; nobody is told "stored"."""
    pages = await sqlite.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())

    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        add_lease(connection, "x" * 100_000)

    outcomes = await asyncio.gather(
        sqlite.write(partial(add_lease, name="before")),
        sqlite.write(fill),
        sqlite.write(partial(add_lease, name="after")),
        return_exceptions=True,
    )
    kept = {
        name
        for name, outcome in zip(("before", "full", "after"), outcomes, strict=True)
        if outcome is None
    }
    assert "full" not in kept
    assert await sqlite.read(lease_names) == kept


def too_large(connection: sa.Connection) -> None:
    """Need more room than there is."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    add_lease(connection, "x" * 100_000)


async def test_why_a_commit_failed_is_told_and_logged_now_and_then(
    sqlite: Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            with pytest.raises(UnavailableError) as failed:
                await sqlite.write(too_large)
            assert getattr(failed.value.__cause__, "sqlite_errorname", "") == "SQLITE_FULL"
    assert [(line["log_level"], line["event"], line["cause"]) for line in logged] == [
        ("warning", "commit_failed", "SQLITE_FULL")
    ]
    assert logged[0]["reason"] == "database or disk is full"
    monkeypatch.setattr(sqlite_writer, "_LOG_AGAIN_S", 0.0)
    with structlog.testing.capture_logs() as logged, pytest.raises(UnavailableError):
        await sqlite.write(too_large)
    assert len(logged) == 1


class Planted(sqlite3.Connection):
    """A connection that fails at the statements it is told to, once at each."""

    failures: ClassVar[dict[str, BaseException]] = {}

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql in self.failures:
            raise self.failures.pop(sql)
        return super().execute(sql, *values)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, BaseException]]:
    """What the next statements of any connection fail of; `connect` is one of them."""
    connect = sqlite3.connect

    def planted(*where: Any, **how: Any) -> sqlite3.Connection:
        if "connect" in Planted.failures:
            raise Planted.failures.pop("connect")
        return connect(*where, **how, factory=Planted)

    monkeypatch.setattr(sqlite3, "connect", planted)
    yield Planted.failures
    Planted.failures.clear()


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), SystemExit(1)])
async def test_whatever_a_commit_dies_of_the_next_one_is_tried(
    failures: dict[str, BaseException], sqlite: Sqlite, error: BaseException
) -> None:
    failures["BEGIN IMMEDIATE"] = error
    with structlog.testing.capture_logs() as logged:
        writes = (sqlite.write(partial(add_lease, name=f"lost {n}")) for n in range(3))
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in outcomes] == [UnavailableError] * 3
    assert {each.__cause__ for each in outcomes if each} == {error}
    # Nobody thought of it: here its traceback is needed.
    assert [(line["cause"], line["exc_info"]) for line in logged] == [(type(error).__name__, error)]
    await sqlite.write(partial(add_lease, name="kept"))
    assert await sqlite.read(lease_names) == {"kept"}


async def test_a_connection_that_is_beyond_help_is_replaced_as_soon_as_that_can_be(
    failures: dict[str, BaseException], sqlite: Sqlite
) -> None:
    broken = sqlite3.OperationalError("disk I/O error")
    closed = sqlite3.OperationalError("unable to open database file")
    failures |= {"COMMIT": broken, "ROLLBACK": broken, "connect": closed}
    async with asyncio.timeout(5):
        for cause in (broken, closed):
            with pytest.raises(UnavailableError) as failed:
                await sqlite.write(partial(add_lease, name="lost"))
            assert failed.value.__cause__ is cause
        await sqlite.write(partial(add_lease, name="kept"))
    assert await sqlite.read(lease_names) == {"kept"}
    assert not failures


async def test_a_closing_store_finishes_what_waits(tmp_path: Path, sqlite: Sqlite) -> None:
    writes = [
        asyncio.create_task(sqlite.write(partial(add_lease, name=f"{n}"))) for n in range(300)
    ]
    await asyncio.sleep(0)
    await sqlite.close()
    await asyncio.gather(*writes)
    with sqlite3.connect(tmp_path / "counterfoil.db") as connection:
        assert connection.execute("SELECT count(*) FROM lease").fetchone() == (300,)
    connection.close()


async def test_readers_run_beside_the_writer(sqlite: Sqlite) -> None:
    await sqlite.write(partial(add_lease, name="committed"))
    loop = asyncio.get_running_loop()

    def write(connection: sa.Connection) -> set[str]:
        add_lease(connection, "not yet")
        return asyncio.run_coroutine_threadsafe(sqlite.read(lease_names), loop).result(5)

    assert await sqlite.write(write) == {"committed"}
    assert await sqlite.read(lease_names) == {"committed", "not yet"}


async def test_what_the_event_loop_cannot_read_a_thread_does(
    sqlite: Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    merchant_id = await sqlite.write(add_merchant)
    invoice_id = await sqlite.insert_invoice(invoice_row(merchant_id, "token"))
    fast = await sqlite.find_invoice(invoice_id, merchant_id, Mode.LIVE)
    monkeypatch.setattr("counterfoil.db.sqlite._FIND_INVOICE", "SELECT nothing FROM nowhere")
    slow = await sqlite.find_invoice(invoice_id, merchant_id, Mode.LIVE)
    assert fast is not None
    assert slow == fast


async def test_whoever_has_written_reads_it_though_a_turn_shares_its_snapshot(
    sqlite: Sqlite,
) -> None:
    merchant_id = await sqlite.write(add_merchant)

    async def write_and_read(n: int) -> None:
        for round_ in range(20):
            row = invoice_row(merchant_id, f"token {n} {round_}")
            invoice_id = await sqlite.insert_invoice(row)
            assert await sqlite.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None

    await asyncio.gather(*(write_and_read(n) for n in range(30)))


async def test_nothing_is_left_to_do_for_a_file_that_was_closed(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "counterfoil.db")
    await store.start()
    await store.migrate()
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: problems.append(about))
    finding = asyncio.create_task(store.find_key("digest"))
    closing = asyncio.create_task(store.close())
    assert await finding is None
    await closing
    await asyncio.sleep(0)
    assert not problems


async def test_a_file_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(
        tmp_path / "counterfoil.db", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN EXCLUSIVE")
    soon = threading.Timer(0.3, other.close)
    soon.start()
    store = Sqlite(tmp_path / "counterfoil.db")
    await store.start()
    assert await store.is_ready()
    await store.close()
    soon.join()


async def test_the_inline_mode_behaves_alike_without_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    store = Sqlite(tmp_path / "inline.db", inline=True)
    await store.start()
    await store.migrate()

    def fail(connection: sa.Connection) -> None:
        add_lease(connection, "undone")
        raise KeyError("the job's own")

    with pytest.raises(KeyError):
        await store.write(fail)
    await store.write(partial(add_lease, name="kept"))
    merchant_id = await store.write(add_merchant)
    assert isinstance(await store.insert_invoice(invoice_row(merchant_id, "token")), int)
    assert await store.read(lease_names) == {"kept"}
    with pytest.raises(sa.exc.OperationalError):
        await store.read(partial(add_lease, name="lost"))
    assert threading.active_count() == before
    await store.close()


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    """A file that is no database."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear shop, " * 100)
    return path


async def test_a_file_that_is_no_database_is_refused(letter: Path) -> None:
    with pytest.raises(SettingsError, match=r"letter\.txt cannot be opened") as refused:
        await Sqlite(letter).start()
    assert refused.value.code == "database_unreadable"


async def test_a_folder_that_cannot_be_made_is_refused(letter: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be opened"):
        await Sqlite(letter / "counterfoil.db").start()


async def test_a_folder_is_made(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "data" / "deep" / "counterfoil.db")
    await store.start()
    assert await store.is_ready()
    await store.close()
