import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from counterfoil.core.errors import SettingsError
from counterfoil.db import migrate
from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import merchant, metadata
from counterfoil.db.sqlite import Sqlite
from tests.db.disk import small_disk
from tests.db.rows import add_merchant

VERSIONS = Path(migrate.__file__).with_name("migrations") / "versions"


def differences(connection: sa.Connection) -> list[Any]:
    """Return what the tables of a database and those of schema.py do not have in common."""
    found: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
    return found


def described(connection: sa.Connection) -> tuple[dict[str, Any], set[str]]:
    """Return the tables and the indexes, with the conditions that Alembic does not compare."""
    inspector = sa.inspect(connection)
    tables = {
        name: (
            [(each["name"], str(each["type"])) for each in inspector.get_columns(name)],
            inspector.get_pk_constraint(name),
            sorted(map(str, inspector.get_foreign_keys(name))),
            sorted(map(str, inspector.get_unique_constraints(name))),
        )
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }
    query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    if connection.dialect.name == "postgresql":
        query = (
            "SELECT indexdef FROM pg_indexes "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
    return tables, set(connection.execute(sa.text(query)).scalars())


async def set_revision(store: Database, revision: str) -> None:
    def run(connection: sa.Connection) -> None:
        statement = sa.text("UPDATE alembic_version SET version_num = :revision")
        connection.execute(statement, {"revision": revision})

    await store.write(run)


def files(folder: Path) -> list[Path]:
    """Return the database files of a folder, without the logs of those that are open."""
    return [path for path in folder.iterdir() if path.suffix not in {".db-shm", ".db-wal"}]


def merchant_names(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(merchant.c.name)).scalars())


async def test_the_migrations_make_the_schema(database: Database) -> None:
    assert await database.read(differences) == []
    assert await database.read(migrate.current) == migrate.wanted()


async def test_the_migrations_make_what_the_schema_makes(empty: Database) -> None:
    await empty.write(metadata.create_all)
    tables, indexes = await empty.read(described)
    assert len(indexes) > 20
    await empty.write(metadata.drop_all)
    await empty.migrate()
    assert await empty.read(described) == (tables, indexes)


async def test_sqlite_counts_the_ids_of_every_table(sqlite: Sqlite) -> None:
    """What a restore moves on is this count; without it the id of a deleted row comes again."""
    statement = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
    made = await sqlite.read(lambda connection: connection.execute(sa.text(statement)).all())
    counted = {row.name for row in made if "PRIMARY KEY AUTOINCREMENT" in row.sql}
    assert counted == {name for name, table in metadata.tables.items() if "id" in table.c}


async def test_a_difference_is_found(database: Database) -> None:
    await database.write(lambda connection: connection.execute(sa.text("DROP TABLE inbox")))
    await database.write(
        lambda connection: connection.execute(sa.text("ALTER TABLE lease ADD COLUMN note TEXT"))
    )
    found = str(await database.read(differences))
    assert "add_table" in found
    assert "remove_column" in found


async def test_an_empty_database_gets_the_tables(empty: Database) -> None:
    with pytest.raises(SettingsError, match="has no tables yet") as refused:
        await empty.check_schema()
    assert refused.value.code == "old_schema"
    assert "counterfoil migrate" in refused.value.message
    await empty.migrate()
    await empty.check_schema()
    assert await empty.read(differences) == []


async def test_a_database_that_is_there_stays_as_it_is(database: Database) -> None:
    await database.write(add_merchant)
    await database.migrate()
    await database.check_schema()
    assert await database.read(merchant_names) == ["shop"]


async def test_a_failed_migration_leaves_nothing_behind(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = migrate.upgrade

    def fail(connection: sa.Connection) -> None:
        upgrade(connection)
        raise KeyError("the power went away")

    monkeypatch.setattr(migrate, "upgrade", fail)
    with pytest.raises(KeyError):
        await empty.migrate()
    assert await empty.read(lambda connection: sa.inspect(connection).get_table_names()) == []
    monkeypatch.undo()
    await empty.migrate()
    await empty.check_schema()


async def test_an_older_schema_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = migrate.wanted()
    # This version pretends to want one more.
    monkeypatch.setattr(migrate, "wanted", lambda: "9998")
    with pytest.raises(SettingsError, match=f"has the older schema {newest}") as refused:
        await database.check_schema()
    assert refused.value.code == "old_schema"


async def test_an_unknown_schema_is_refused(database: Database) -> None:
    await set_revision(database, "9999")
    for open_with in (database.check_schema, database.migrate):
        with pytest.raises(SettingsError, match="schema 9999") as refused:
            await open_with()
        assert refused.value.code == "unknown_schema"
        assert "newer Counterfoil" in refused.value.message


async def test_two_processes_may_migrate_at_once(empty_postgres_url: str) -> None:
    stores = [Postgres(empty_postgres_url) for _ in range(3)]
    for store in stores:
        await store.start()
    async with asyncio.TaskGroup() as group:
        for store in stores:
            group.create_task(store.migrate())
    for store in stores:
        await store.check_schema()
        await store.close()


async def test_sqlite_keeps_a_copy_of_an_older_file(
    sqlite: Sqlite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite.write(add_merchant)
    (tmp_path / "counterfoil.db").chmod(0o600)
    monkeypatch.setattr(migrate, "wanted", lambda: "9998")
    await sqlite.migrate()
    copy = tmp_path / "counterfoil.db.before-9998"
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT name FROM merchant").fetchall() == [("shop",)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    # A second try copies the file as it is by then.
    await sqlite.write(lambda connection: add_merchant(connection, "second"))
    await sqlite.migrate()
    with sqlite3.connect(copy) as connection:
        assert len(connection.execute("SELECT name FROM merchant").fetchall()) == 2
    connection.close()


async def test_where_the_copy_has_no_room_nothing_is_changed_and_no_part_is_left(
    empty_sqlite: Sqlite, tmp_path: Path
) -> None:
    await empty_sqlite.write(upgrade("0014"))
    with small_disk(20_000), pytest.raises(SettingsError, match="Free 2 MB there") as refused:
        await empty_sqlite.migrate()
    assert refused.value.code == "copy_not_written"
    copy = tmp_path / f"empty.db.before-{migrate.wanted()}"
    assert f"kept at {copy}. That cannot be written: " in refused.value.message
    assert "[SQL" not in refused.value.message
    assert files(tmp_path) == [tmp_path / "empty.db"]
    assert await empty_sqlite.read(migrate.current) == "0014"
    await empty_sqlite.migrate()
    await empty_sqlite.check_schema()
    assert copy.exists()


async def test_sqlite_keeps_the_newest_copy_alone(
    empty_sqlite: Sqlite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty_sqlite.write(upgrade("0014"))
    others = ["empty.db.before-summer", "other.db.before-0009", "empty.db.before-0009.zip"]
    for name in ("empty.db.before-0009", "empty.db.before-0014", *others):
        (tmp_path / name).touch()
    before = {path.name for path in files(tmp_path)}

    def fail(_connection: sa.Connection) -> None:
        raise KeyError("the power went away")

    newest = f"empty.db.before-{migrate.wanted()}"
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "upgrade", fail)
        with pytest.raises(KeyError):
            await empty_sqlite.migrate()
    assert {path.name for path in files(tmp_path)} == before | {newest}
    await empty_sqlite.migrate()
    assert {path.name for path in files(tmp_path)} == {"empty.db", newest, *others}


async def test_sqlite_makes_no_copy_where_nothing_changes(
    sqlite: Sqlite, empty_sqlite: Sqlite, tmp_path: Path
) -> None:
    await sqlite.migrate()
    await empty_sqlite.migrate()
    assert sorted(path.name for path in files(tmp_path)) == ["counterfoil.db", "empty.db"]


def upgrade(revision: str) -> Callable[[sa.Connection], None]:
    """Return what brings a schema to a revision."""
    config = migrate._config  # noqa: SLF001  # there is no other way to stop half-way
    return lambda connection: command.upgrade(config(connection), revision)


async def test_a_table_that_sqlite_makes_anew_goes_on_counting(empty_sqlite: Sqlite) -> None:
    """A restore has moved its count on far beyond its rows: none of those ids comes again."""
    await empty_sqlite.write(upgrade("0006"))
    moved = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('payment', 1000)")
    await empty_sqlite.write(lambda connection: connection.execute(moved))
    await empty_sqlite.write(upgrade("head"))
    count = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'payment'")
    found = await empty_sqlite.read(lambda connection: connection.execute(count).scalars().all())
    assert found == [1_000]


def one_row(table: sa.Table) -> dict[str, Any]:
    """Return a row with something in each column, which fits to the one row of any other table."""
    something = {sa.Text: "1", sa.Boolean: True, sa.LargeBinary: b"1"}
    return {
        column.name: next(
            (value for kind, value in something.items() if isinstance(column.type, kind)), 1
        )
        for column in table.columns
    }


def rows(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """Return the only row of each table that has one."""
    known = sa.MetaData()
    known.reflect(connection)
    found = {
        name: connection.execute(sa.select(table)).mappings().one_or_none()
        for name, table in known.tables.items()
        if name != "alembic_version"
    }
    return {name: dict(row) for name, row in found.items() if row is not None}


def fill(connection: sa.Connection) -> None:
    known = sa.MetaData()
    known.reflect(connection)
    for table in known.sorted_tables:
        if table.name != "alembic_version":
            connection.execute(sa.insert(table).values(one_row(table)))


@pytest.mark.parametrize("revision", [each.stem[:4] for each in sorted(VERSIONS.glob("0*.py"))])
async def test_what_is_stored_comes_through_the_migrations(empty: Database, revision: str) -> None:
    await empty.write(upgrade(revision))
    await empty.write(fill)
    before = await empty.read(rows)
    await empty.write(upgrade("head"))
    after = await empty.read(rows)
    assert len(before) > 15
    for name, row in before.items():
        assert after[name].items() >= row.items()
