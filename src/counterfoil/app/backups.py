"""Backups: one file that is whole, and an installation made of it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from counterfoil.app.parts import build_chains, open_store
from counterfoil.app.secret_key import make_folder, open_with
from counterfoil.app.serving import serving_alone
from counterfoil.app.world import SystemClock, SystemEntropy
from counterfoil.core.errors import SettingsError
from counterfoil.db import merchants, migrate, restoring
from counterfoil.db.copies import Copy
from counterfoil.db.engine import Database
from counterfoil.services.context import Methods
from counterfoil.services.restoring import KeptAside, keep_aside, not_empty
from counterfoil.services.restoring import restore as restore_rows
from counterfoil.settings import Settings

_FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds, and as of when."""

    made_at: int
    invoices: int
    payments: int
    size_bytes: int


def _contents(copy: Copy) -> Contents:
    return Contents(copy.made_at(), *copy.count(), copy.path.stat().st_size)


async def back_up(settings: Settings, file: Path) -> Contents:
    """Write all that is stored now to a new file; a server may go on working meanwhile.

    Under its own name the file is whole from the first moment on. Raises SettingsError.
    """
    _check_files(settings, file)
    database = open_store(settings)
    await database.start()
    try:
        with _fresh_file(file) as fresh:
            now = SystemClock().now()
            await database.copy_to(fresh)
            return await asyncio.to_thread(_finish, fresh, file, now)
    finally:
        await database.close()


def _check_files(settings: Settings, file: Path) -> None:
    if file.exists():
        raise _is_there(file)
    if settings.sqlite_file is not None and not settings.sqlite_file.exists():
        message = f"There is nothing to back up: the {settings.database_place} is not there."
        raise SettingsError("no_database", message)


@contextmanager
def _fresh_file(file: Path) -> Iterator[Path]:
    """Make an empty file beside `file`, for its owner alone; what is left of it at the end goes."""
    fresh = file.with_name(f".{file.name}.{SystemEntropy().token(4).hex()}.part")
    try:
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE))
    except OSError as error:
        message = f"The backup cannot be written to {file.parent}: {error.strerror}."
        raise SettingsError("backup_not_written", message) from None
    try:
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _finish(fresh: Path, file: Path, now: int) -> Contents:
    """Check a copy, and give it its name."""
    with Copy(fresh, is_new=True) as copy:
        copy.finish(now)
        contents = _contents(copy)
    try:
        # Taken first, since a rename would write over what somebody else has put there meanwhile.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE))
    except FileExistsError:
        raise _is_there(file) from None
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return contents


def _is_there(file: Path) -> SettingsError:
    return SettingsError("file_exists", f"{file} is there already. Name a new file.")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and which addresses are kept aside."""

    contents: Contents
    aside: Sequence[KeptAside]


async def restore(settings: Settings, file: Path) -> Restored:
    """Make an empty installation one with all that a backup holds; raises SettingsError.

    Everything that can be wrong is found before anything is written.
    """
    with serving_alone(settings), _newest_schema(file) as copy:
        contents = _contents(copy)
        now = SystemClock().now()
        if now < contents.made_at:
            message = "This machine's clock is behind that of the backup. Set it, then try again."
            raise SettingsError("clock_behind", message)
        check = merchants.get_key_check(copy.connection)
        if check is not None:
            open_with(settings, check)
        database = open_store(settings)
        methods = Methods(build_chains(settings, database, SystemClock()))
        aside = keep_aside(copy, methods, now)
        if settings.sqlite_file is not None:
            make_folder(settings.data)
        await _fill(database, methods, copy, aside, now)
    return Restored(contents, aside)


async def _fill(
    database: Database, methods: Methods, copy: Copy, aside: Sequence[KeptAside], now: int
) -> None:
    await database.start()
    try:
        if not await database.read(restoring.is_empty):
            raise not_empty()
        await database.migrate()
        await restore_rows(database, methods, copy, aside, now)
    finally:
        await database.close()


@contextmanager
def _newest_schema(file: Path) -> Iterator[Copy]:
    """Open a backup with this version's schema; an older one is copied and brought up to date."""
    if not file.is_file():
        raise SettingsError("no_backup", f"There is no file {file}.")
    with Copy(file) as copy:
        copy.check()
        if migrate.is_current(copy.connection):
            yield copy
            return
    with tempfile.TemporaryDirectory() as folder:
        newer = Path(folder) / file.name
        shutil.copyfile(file, newer)
        with Copy(newer, is_new=True) as copy:
            copy.upgrade()
            yield copy
