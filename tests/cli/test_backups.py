"""`counterfoil backup FILE` and `backup restore FILE`: what they print, and how they refuse."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from counterfoil.app.serving import LOCK_FILE
from counterfoil.db.vault import make_key
from tests.cli.program import Program


@pytest.fixture
def backup(program: Program, tmp_path: Path) -> Path:
    """A backup of an installation with a key."""
    program("key", "create", "--scope", "read", "--test")
    file = tmp_path / "backup"
    program("backup", str(file))
    return file


@pytest.fixture
def vacant(program: Program, backup: Path, tmp_path: Path) -> Program:
    """A new folder, with the secret key of the lost server."""
    folder = tmp_path / "new"
    folder.mkdir()
    assert backup.exists()
    shutil.copy(program.folder / "secret.key", folder)
    return Program(folder)


def test_a_backup(program: Program, tmp_path: Path) -> None:
    program("key", "list")
    file = tmp_path / "backup"
    said = program("backup", str(file))
    assert said[0].startswith(f"{file} holds 0 invoices and 0 payments as of 2")
    assert said[1] == (
        f"The secret key is not in it: keep {program.folder}/secret.key too, in another place."
    )
    assert file.stat().st_mode & 0o777 == 0o600
    # Nothing is left of how it was made.
    assert {path.name for path in tmp_path.iterdir()} == {"backup", "data"}
    secret = (program.folder / "secret.key").read_bytes().strip()
    assert secret not in file.read_bytes()


def test_what_is_there_is_never_written_over(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("something else")
    assert program.refused("backup", str(file)) == f"{file} is there already. Name a new file."
    assert file.read_text() == "something else"


def test_where_nothing_can_be_written(program: Program, tmp_path: Path) -> None:
    message = program.refused("backup", str(tmp_path / "nowhere" / "backup"))
    assert message.endswith("No such file or directory.")
    assert Program(tmp_path / "none").refused("backup", "x").startswith("There is nothing to back")


def test_a_restore(vacant: Program, backup: Path) -> None:
    said = "\n".join(vacant("backup", "restore", str(backup)))
    assert said.startswith("Restored 0 invoices and 0 payments as of 2")
    assert "24.25 hours" in said
    assert len(vacant("key", "list")) == 2
    vacant("key", "create", "--scope", "read")
    assert vacant("key", "list")[2].startswith("1000000002 ")
    assert vacant.refused("backup", "restore", str(backup)).startswith("There is data here already")


def test_a_wrong_secret_key_is_told_before_anything_is_written(
    vacant: Program, backup: Path
) -> None:
    (vacant.folder / "secret.key").unlink()
    vacant.environment["COUNTERFOIL_SECRET_KEY"] = make_key()
    message = vacant.refused("backup", "restore", str(backup))
    assert message.startswith("The secret key does not open this database.")
    del vacant.environment["COUNTERFOIL_SECRET_KEY"]
    message = vacant.refused("backup", "restore", str(backup))
    assert message.startswith("The secret key that this database was made with is missing.")
    assert {path.name for path in vacant.folder.iterdir()} == {LOCK_FILE}


def test_what_is_no_backup(vacant: Program, backup: Path, program: Program, tmp_path: Path) -> None:
    refused = vacant.refused
    assert refused("backup", "restore", str(tmp_path / "none")).startswith("There is no file")
    other = tmp_path / "other"
    other.write_text("something else")
    assert "is no backup that" in refused("backup", "restore", str(other))
    database = program.folder / "counterfoil.db"
    assert "is no backup that" in refused("backup", "restore", str(database))
    content = backup.read_bytes()
    other.write_bytes(content[: len(content) // 2])
    assert "backup" in refused("backup", "restore", str(other))
    other.write_bytes(content)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("DELETE FROM merchant")
        connection.commit()
    assert refused("backup", "restore", str(other)).endswith(
        "is damaged. Restore another copy of it."
    )


def test_the_backup_of_a_newer_version_is_refused(vacant: Program, backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert "newer Counterfoil" in vacant.refused("backup", "restore", str(backup))


def test_the_backup_of_an_older_version_is_upgraded(vacant: Program, backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection:
        for table in ("quote", "transfer"):
            connection.execute(f"DROP INDEX ix_{table}_amount")
            connection.execute(
                f"CREATE INDEX ix_{table}_destination_id ON {table} (destination_id)"
            )
        connection.execute("DROP INDEX ix_inbox_created_at")
        # What was done by hand came later still.
        merchants = [("merchant", "tolerance"), ("merchant", "late_money")]
        strays = [("payment", "value"), ("transfer", "rates"), ("inbox", "ignored_at")]
        for table, column in merchants + strays:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("DROP INDEX ix_quote_created_at")
        for table in ("refund", "audit"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE chain DROP COLUMN amounts_from_ms")
        connection.execute("DROP INDEX ix_event_at")
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
        connection.commit()
    before = backup.read_bytes()
    vacant("backup", "restore", str(backup))
    assert len(vacant("key", "list")) == 2
    assert backup.read_bytes() == before
