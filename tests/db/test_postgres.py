import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import sqlalchemy as sa
import uvloop
from sqlalchemy.util import await_only

from counterfoil.core.errors import SettingsError, UnavailableError
from counterfoil.db import postgres as postgres_module
from counterfoil.db.engine import Bell
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import lease
from tests.db.rows import add_lease, add_merchant, invoice_row, lease_names
from tests.postgres_server import PostgresServer, name_of

WAIT_S = 10.0
FAIL_AT_COMMIT = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail();
"""


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


# --- lost connections -------------------------------------------------------------------------


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
        connection = await Postgres(postgres_url)._connect()  # noqa: SLF001  # all connections are made by it
        end = connection._transport.get_extra_info("socket")  # noqa: SLF001  # there is no other way to it
        set_to = {option: end.getsockopt(*option) for option in wanted}
        await connection.close()
        return set_to

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(look()) == wanted


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
    await postgres_server.hang_up(name_of(postgres_url))
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
