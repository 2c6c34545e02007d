"""A server process that may end at any statement, and the disk on which another one goes on.

Ended by a crash, it leaves on the disk all that it has written. In a power cut the commit that is
on its way to the disk is torn: of what it wrote since the commit before, each sector has arrived or
has not.
"""

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from counterfoil.db.sqlite import _BUSY_TIMEOUT_S, _PRAGMAS, Sqlite

_SECTOR_BYTES = 512


class CrashError(Exception):
    """The process ends here."""


@dataclass
class Fuse:
    """What ends the process: after so many statements, or in the next commit after those."""

    chance: random.Random
    left: int | None = None
    is_power_cut: bool = False
    # The process has ended: nothing of it runs a statement any more.
    is_blown: bool = False
    # What a power cut has left of the log.
    torn: bytes | None = None

    def light(self, statements: int, *, is_power_cut: bool) -> None:
        """End the process after so many statements."""
        self.left, self.is_power_cut, self.torn = statements, is_power_cut, None

    def put_out(self) -> None:
        """Let the process live."""
        self.left = None

    def renew(self) -> None:
        """Begin with another process."""
        self.left, self.is_blown = None, False

    def burn(self) -> None:
        """Count a statement, before it is run and after it."""
        if self.is_blown:
            raise CrashError
        if self.left is None:
            return
        self.left -= 1
        if self.left <= 0 and not self.is_power_cut:
            self.blow()

    def blow(self) -> None:
        """End the process."""
        self.is_blown = True
        raise CrashError


class _Cursor(sqlite3.Cursor):
    """Runs statements, and burns the fuse of its connection."""

    connection: "_Connection"

    def execute(self, sql: str, parameters: Any = (), /) -> "_Cursor":
        store = self.connection.store
        store.fuse.burn()
        if sql == "COMMIT" and store.fuse.left is not None and store.fuse.left <= 0:
            store.cut_power(lambda: super(_Cursor, self).execute(sql))
        super().execute(sql, parameters)
        store.fuse.burn()
        return self

    def executemany(self, sql: str, parameters: Any, /) -> "_Cursor":
        self.connection.store.fuse.burn()
        super().executemany(sql, parameters)
        self.connection.store.fuse.burn()
        return self


class _Connection(sqlite3.Connection):
    store: "FusedStore"

    def cursor(self, factory: Any = None) -> Any:  # the class has an overload for each factory
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        cursor: _Cursor = self.cursor()
        return cursor.execute(sql, parameters)


class FusedStore(Sqlite):
    """The real store, whose every statement may be the last one, BEGIN and COMMIT included."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path, inline=True)
        self.fuse = fuse

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.store = self
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def cut_power(self, commit: Any) -> None:
        """Let a commit run, and leave of its writes what a power cut in it might have left."""
        fuse = self.fuse
        before, log_before = read_files(self._path)
        commit()
        after, log_after = read_files(self._path)
        # Where the commit went on to copy the log into the file, the log was safe already.
        if after == before:
            fuse.torn = _tear(log_before, log_after, fuse.chance)
        fuse.blow()


def read_files(path: Path) -> tuple[bytes, bytes]:
    """Return what a database's file and its log hold."""
    log = path.with_name(f"{path.name}-wal")
    return path.read_bytes(), log.read_bytes() if log.exists() else b""


def _tear(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Return a mixture of two states of a file, in which each sector is of the one or the other."""
    # A log grows at its end, until it begins anew.
    start = len(before) // _SECTOR_BYTES * _SECTOR_BYTES if after.startswith(before) else 0
    sectors = [after[:start]]
    for place in range(start, len(after), _SECTOR_BYTES):
        old, new = (each[place : place + _SECTOR_BYTES] for each in (before, after))
        old = old.ljust(len(new), b"\0")
        sectors.append(new if chance.randrange(4) else old)
    return b"".join(sectors)


@dataclass
class Disk:
    """Where the database is; each process finds there what the one before it has left."""

    # On a RAM disk where there is one: what a power cut takes is drawn, so no sync need be real.
    _folder: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(dir=ram()))
    _generation: int = 0

    @property
    def path(self) -> Path:
        return Path(self._folder.name) / f"world-{self._generation}.db"

    def restart(self, files: Sequence[bytes]) -> None:
        """Let the next process find a database's file and its log."""
        for path in Path(self._folder.name).iterdir():
            path.unlink()
        self._generation += 1
        self.path.write_bytes(files[0])
        self.path.with_name(f"{self.path.name}-wal").write_bytes(files[1])

    def throw_away(self) -> None:
        self._folder.cleanup()


def ram() -> Path | None:
    shared_memory = Path("/dev/shm")  # noqa: S108  # a place for speed, in a folder of our own
    return shared_memory if shared_memory.is_dir() else None
