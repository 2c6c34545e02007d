import asyncio
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
import uvloop
from sqlalchemy.util import await_only

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.core.ports import Mode
from counterfoil.db import postgres as postgres_module
from counterfoil.db import postgres_lanes
from counterfoil.db.engine import Bell
from counterfoil.db.invoices import COLUMNS
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import invoice, lease
from tests.crashes.line import Line
from tests.db.rows import add_lease, add_merchant, invoice_row, lease_names
from tests.postgres_server import PostgresServer

WAIT_S = 10.0
END_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = '{name}' AND pid <> pg_backend_pid()"
)
FAIL_AT_COMMIT = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail();
"""


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[Postgres]:
    """A second process on the database of `postgres`."""
    store = Postgres(postgres_url)
    await store.start()
    yield store
    await store.close()


async def plant(store: Postgres, script: str) -> None:
    def run(connection: sa.Connection) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

    await store.write(run)


async def until_it_works(store: Postgres, row: dict[str, Any]) -> int:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await store.insert_invoice(row)
            except UnavailableError:
                await asyncio.sleep(0.01)


# --- commits that fail ------------------------------------------------------------------------


async def test_a_failed_commit_is_told(postgres: Postgres) -> None:
    await plant(postgres, FAIL_AT_COMMIT.format(table="lease"))
    with pytest.raises(UnavailableError):
        await postgres.write(partial(add_lease, name="lost"))
    assert await postgres.read(lease_names) == set()


async def test_a_failed_commit_is_told_to_all_invoices_of_it(postgres: Postgres) -> None:
    merchant_id = await postgres.write(add_merchant)
    await plant(postgres, FAIL_AT_COMMIT.format(table="invoice"))
    outcomes = await asyncio.gather(
        *(postgres.insert_invoice(invoice_row(merchant_id, f"token {n}")) for n in range(20)),
        return_exceptions=True,
    )
    assert {type(each) for each in outcomes} == {UnavailableError}
    await plant(postgres, "DROP TRIGGER fail ON invoice")
    assert isinstance(await postgres.insert_invoice(invoice_row(merchant_id, "token 1")), int)


# --- invoices that share a statement ----------------------------------------------------------


async def test_texts_of_any_kind_come_back_as_they_were(postgres: Postgres) -> None:
    merchant_id = await postgres.write(add_merchant)
    texts = ["\\", '"', "\t\n\x01\x7f", "\\u0041", '{"a": ["b", null]}', "null", "\u2028\U0001f34d"]
    ids = await asyncio.gather(
        *(
            postgres.insert_invoice(
                invoice_row(merchant_id, f"token {n}", memo=text, metadata=text)
            )
            for n, text in enumerate(texts)
        )
    )
    found = [await postgres.find_invoice(each, merchant_id, Mode.LIVE) for each in ids]
    memo, metadata = (COLUMNS.index(name) for name in ("memo", "metadata"))
    assert [row and (row[memo], row[metadata]) for row in found] == [(text, text) for text in texts]


async def test_a_row_that_cannot_be_written_is_the_fault_of_one_alone(postgres: Postgres) -> None:
    merchant_id = await postgres.write(add_merchant)
    rows = [invoice_row(merchant_id, f"token {n}") for n in range(10)]
    rows[2]["memo"] = "no text of PostgreSQL holds a \0"
    rows[5]["memo"] = "half a character: \ud83c"
    rows[7]["due_at"] = 2**63
    outcomes = await asyncio.gather(
        *(postgres.insert_invoice(row) for row in rows), return_exceptions=True
    )
    assert [n for n, each in enumerate(outcomes) if isinstance(each, BaseException)] == [2, 5, 7]


async def test_a_lane_outlives_whatever_a_batch_dies_of(
    postgres_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_lanes, "_BATCH_MAX", 1)
    merchant_id = await postgres.write(add_merchant)
    tries: list[int] = []

    async def connect() -> asyncpg.Connection:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        return await asyncpg.connect(postgres_url)

    lane = postgres_lanes.InsertLane(connect)
    asked = [asyncio.create_task(lane.ask(invoice_row(merchant_id, f"{n}"))) for n in range(3)]
    # Closing waits for those behind it, too.
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        await lane.close()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in outcomes] == [UnavailableError, int, int]


# --- lost connections -------------------------------------------------------------------------


async def test_inserts_come_back_after_the_server_has_hung_up(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    merchant_id = await postgres.write(add_merchant)
    await postgres.insert_invoice(invoice_row(merchant_id, "before"))
    ended = await postgres_server.run(END_OTHERS.format(name=name_of(postgres_url)))
    assert ended[0]["count"] >= 2
    assert await until_it_works(postgres, invoice_row(merchant_id, "after")) > 0
    await postgres.write(partial(add_lease, name="after"))
    assert await postgres.read(lease_names) == {"after"}


async def test_an_invoice_is_found_though_the_server_has_hung_up(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    merchant_id = await postgres.write(add_merchant)
    invoice_id = await postgres.insert_invoice(invoice_row(merchant_id, "token"))
    assert await postgres.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None
    await postgres_server.run(END_OTHERS.format(name=name_of(postgres_url)))
    assert await postgres.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None


async def test_a_find_without_a_server_is_told(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    await postgres_server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    with pytest.raises(UnavailableError):
        await postgres.find_invoice(1, 1, Mode.LIVE)
    await postgres_server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert await postgres.find_invoice(1, 1, Mode.LIVE) is None


async def test_inserts_outlive_a_server_that_hangs_up_at_any_moment(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """What was answered is stored, nobody waits for ever, and the next one gets through."""
    chance = random.Random(0)
    merchant_id = await postgres.write(add_merchant)
    answered: dict[int, str] = {}

    async def insert(token: str) -> None:
        await asyncio.sleep(chance.random() * 0.01)
        with suppress(UnavailableError):
            answered[await postgres.insert_invoice(invoice_row(merchant_id, token))] = token

    async with asyncio.timeout(60):
        for n in range(25):
            inserts = [asyncio.create_task(insert(f"{n}-{each}")) for each in range(6)]
            await asyncio.sleep(chance.random() * 0.008)
            await postgres_server.run(END_OTHERS.format(name=name_of(postgres_url)))
            await asyncio.gather(*inserts)
    await until_it_works(postgres, invoice_row(merchant_id, "after"))
    stored = await postgres.read(
        lambda connection: connection.execute(sa.select(invoice.c.id, invoice.c.share_token)).all()
    )
    assert answered.items() <= {(row.id, row.share_token) for row in stored}


async def test_a_connection_lost_in_the_middle_is_told(postgres: Postgres, other: Postgres) -> None:
    def hang_up(connection: sa.Connection) -> None:
        add_lease(connection, "lost")
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(UnavailableError):
        await postgres.write(hang_up)
    assert await other.read(lease_names) == set()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_kernel_looks_whether_a_server_is_still_there(
    postgres_url: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A machine or a network that goes away says nothing: no test on one machine can show that."""
    wanted = {
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 10,
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 5,
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 2,
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 20_000,
    }

    async def look() -> dict[tuple[int, int], int]:
        connection = await Postgres(postgres_url)._connect()
        end = connection._transport.get_extra_info("socket")
        set_to = {option: end.getsockopt(*option) for option in wanted}
        await connection.close()
        return set_to

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(look()) == wanted


async def test_a_lane_gives_up_a_server_that_says_nothing_more(
    postgres_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_lanes, "_ANSWER_S", 0.3)
    merchant_id = await postgres.write(add_merchant)
    address = sa.make_url(postgres_url)
    line = Line(address.port or 0)
    await line.open()
    url = address.set(port=line.port).render_as_string(hide_password=False)
    store = Postgres(f"{url}?sslmode=disable")
    await store.start()
    row = partial(invoice_row, merchant_id)
    invoice_id = await store.insert_invoice(row("before"))
    speaks = asyncio.Event()
    line.arm(None, speaks.wait)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(UnavailableError):
            await store.insert_invoice(row("during"))
        with pytest.raises(UnavailableError):
            await store.find_invoice(invoice_id, merchant_id, Mode.LIVE)
        speaks.set()
        assert await until_it_works(store, row("after")) > invoice_id
        assert await store.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None
        # Nor does one keep a server from ending.
        speaks.clear()
        last = asyncio.create_task(store.insert_invoice(row("last")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        with pytest.raises(UnavailableError):
            await last
        await closing
    speaks.set()
    await line.close()


async def test_a_store_may_close_at_any_moment(postgres_url: str) -> None:
    for n in range(20):
        store = Postgres(postgres_url)
        await store.start()
        # Somewhere between the first byte of the listening connection and its rest.
        await asyncio.sleep(n / 1_000)
        await asyncio.wait_for(store.close(), 1.5)


async def test_a_server_that_is_not_there_is_refused() -> None:
    store = Postgres("postgresql://me:secret@127.0.0.1:1/shop")
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:1/shop cannot be reached") as refused:
        await store.start()
    assert refused.value.code == "database_unreachable"
    assert "secret" not in refused.value.message
    assert not await store.is_ready()
    await store.close()


async def test_a_database_that_is_not_there_is_refused(postgres_server: PostgresServer) -> None:
    store = Postgres(postgres_server.url("elsewhere"))
    with pytest.raises(SettingsError, match='"elsewhere" does not exist'):
        await store.start()
    with pytest.raises(UnavailableError):
        await store.read(lease_names)
    with pytest.raises(UnavailableError):
        await store.write(add_merchant)
    await store.close()


async def test_a_url_may_say_how_to_encrypt(postgres_url: str) -> None:
    store = Postgres(f"{postgres_url}?sslmode=prefer")
    await store.start()
    assert await store.is_ready()
    await store.close()


async def test_a_server_that_forgets_is_refused(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    await postgres_server.run(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    store = Postgres(postgres_url)
    with pytest.raises(SettingsError, match="synchronous_commit=off") as refused:
        await store.start()
    assert refused.value.code == "database_not_durable"
    await store.close()


# --- transactions in each other's way ---------------------------------------------------------


def lock(connection: sa.Connection, name: str) -> None:
    connection.execute(sa.select(lease).where(lease.c.name == name).with_for_update())


async def test_the_level_of_isolation_is_ours(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """What is read after a lock is what is there then, whatever an operator's default is."""
    name = name_of(postgres_url)
    await postgres_server.run(
        f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'"
    )
    store = Postgres(postgres_url)
    await store.start()

    def level(connection: sa.Connection) -> str:
        found: str = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
        return found

    assert await store.write(level) == await store.read(level) == "read committed"
    await store.close()


async def test_a_deadlock_is_run_again(postgres: Postgres) -> None:
    await postgres.write(partial(add_lease, name="a"))
    await postgres.write(partial(add_lease, name="b"))
    held: list[str] = []

    def in_order(first: str, second: str) -> Callable[[sa.Connection], None]:
        def run(connection: sa.Connection) -> None:
            lock(connection, first)
            held.append(first)
            while len(held) < 2:
                connection.exec_driver_sql("SELECT pg_sleep(0.01)")
            lock(connection, second)
            add_lease(connection, f"{first} before {second}")

        return run

    await asyncio.gather(postgres.write(in_order("a", "b")), postgres.write(in_order("b", "a")))
    assert await postgres.read(lease_names) == {"a", "b", "a before b", "b before a"}
    # Both held one lock and waited for the other's, and one of them began again; twice if the other
    # had not yet taken the second lock when it was back.
    assert len(held) >= 3


async def test_a_serialisation_error_is_run_again_and_then_told(postgres: Postgres) -> None:
    runs: list[int] = []

    def fail(times: int) -> Callable[[sa.Connection], str]:
        def run(connection: sa.Connection) -> str:
            runs.append(times)
            if len(runs) <= times:
                connection.exec_driver_sql(
                    "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$"
                )
            return "done"

        return run

    assert await postgres.write(fail(2)) == "done"
    assert len(runs) == 3
    runs.clear()
    with pytest.raises(UnavailableError):
        await postgres.write(fail(99))
    assert len(runs) == 5


async def test_a_mistake_in_a_statement_is_not_run_again(postgres: Postgres) -> None:
    runs: list[int] = []

    def mistake(connection: sa.Connection) -> None:
        runs.append(1)
        connection.exec_driver_sql("SELECT nothing FROM nowhere")

    with pytest.raises(sa.exc.ProgrammingError):
        await postgres.write(mistake)
    assert len(runs) == 1


def begin_statement(connection: sa.Connection) -> None:
    """Send the first half of a statement that is new to this connection, as the driver does."""
    driver = connection.connection.driver_connection
    assert driver is not None
    await_only(driver.prepare("SELECT 2"))


@pytest.fixture
def short_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_module, "_STANDSTILL_MS", 1_000)


@pytest.mark.usefixtures("short_standstill")
@pytest.mark.parametrize("and_then", [lambda _: None, begin_statement], ids=["between", "within"])
async def test_a_process_that_stands_still_lets_go_of_its_locks(
    postgres: Postgres,
    postgres_url: str,
    and_then: Callable[[sa.Connection], None],
) -> None:
    await postgres.write(partial(add_lease, name="a"))
    is_locked = threading.Event()
    may_go_on = threading.Event()

    def stand_still(connection: sa.Connection) -> None:
        lock(connection, "a")
        and_then(connection)
        is_locked.set()
        may_go_on.wait(WAIT_S * 2)
        add_lease(connection, "too late")

    async def another_process() -> None:
        store = Postgres(postgres_url)
        await store.start()
        try:
            with pytest.raises(UnavailableError):
                await store.write(stand_still)
            # It goes on as if nothing had been.
            await store.write(partial(add_lease, name="later"))
        finally:
            await store.close()

    frozen = asyncio.create_task(asyncio.to_thread(asyncio.run, another_process()))
    try:
        assert await asyncio.to_thread(is_locked.wait, WAIT_S)
        async with asyncio.timeout(WAIT_S):
            await postgres.write(partial(lock, name="a"))
    finally:
        may_go_on.set()
        await frozen
    assert await postgres.read(lease_names) == {"a", "later"}


# --- hints between processes ------------------------------------------------------------------


async def hears(bell: Bell, timeout_s: float) -> bool:
    """Tell whether a bell rings before a time is over."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await bell.wait(timeout_s)
    return loop.time() - started < timeout_s * 0.9


async def until_it_hears(bell: Bell, sender: Postgres) -> None:
    """Wake until it is heard: while a connection is on its way, hints may be lost."""
    async with asyncio.timeout(WAIT_S):
        sender.wake("outbox")
        while not await hears(bell, 0.2):
            sender.wake("outbox")


async def test_another_process_is_woken(postgres: Postgres, other: Postgres) -> None:
    bell, of_another_topic = other.listen("outbox"), other.listen("pages")
    await until_it_hears(bell, postgres)
    assert not await hears(of_another_topic, 0.1)


async def test_hints_come_back_after_the_server_has_hung_up(
    postgres: Postgres, other: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    bell = other.listen("outbox")
    await until_it_hears(bell, postgres)
    await postgres_server.run(END_OTHERS.format(name=name_of(postgres_url)))
    await until_it_hears(bell, postgres)


async def test_hints_are_heard_where_our_role_may_end_no_sessions(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "_STANDSTILL_LOOK_S", 0.05)
    role = f"humble_{name_of(postgres_url)}"

    def make_role(connection: sa.Connection) -> None:
        for statement in (
            "REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC",
            f"CREATE ROLE {role} LOGIN PASSWORD 'humble'",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        ):
            connection.exec_driver_sql(statement)

    await postgres.write(make_role)
    url = sa.make_url(postgres_url).set(username=role, password="humble")
    humble = Postgres(url.render_as_string(hide_password=False))
    await humble.start()
    try:
        bell = humble.listen("outbox")
        await until_it_hears(bell, postgres)
        # By now it has looked for sessions to end.
        await asyncio.sleep(0.2)
        postgres.wake("outbox")
        assert await hears(bell, 1)
    finally:
        await humble.close()


async def test_a_process_hears_its_own_hint_once(postgres: Postgres) -> None:
    bell = postgres.listen("outbox")
    postgres.wake("outbox")
    assert await hears(bell, 1)
    assert not await hears(bell, 0.2)
