"""Serving: one process of an installation, from its lock to its last lease."""

import asyncio
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from counterfoil.app import descriptors
from counterfoil.app.parts import Installation, base_url, opened
from counterfoil.app.secret_key import make_folder
from counterfoil.app.web import answering
from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Entropy
from counterfoil.services import rates, watching
from counterfoil.services.upkeep import DueDates
from counterfoil.services.watching import Watch
from counterfoil.settings import Settings
from counterfoil.workers import clock as expiry
from counterfoil.workers import lookout, quoter, sweeper, watcher
from counterfoil.workers.courier import Courier
from counterfoil.workers.supervisor import Loop, Supervisor

LOCK_FILE = "serve.lock"
# How often a process without a sweeper writes down when keys were used.
_NOTE_USE_EVERY_S = 60.0
_BACKLOG = 2_048
# New objects until a young, a middle, an old collection: a busy server makes 10,000 in a tenth of
# a second, and nearly all of them end without the collector.
_COLLECT_AFTER = (10_000, 10, 10)
# How long a thread may keep Python's lock while another one wants it. A commit on SQLite wants it
# for microseconds, a few times, and whoever waits for that commit waits for the event loop, too.
_SWITCH_AFTER_S = 0.0005
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def serving_alone(settings: Settings) -> Iterator[None]:
    """Keep any second `serve` off the same SQLite file; raises SettingsError where there is one."""
    file = settings.sqlite_file
    if file is None:
        yield
        return
    if settings.role != "all":
        message = (
            f"{settings.name_of('role')} must be all on SQLite, which one process serves alone. "
            "Several processes need PostgreSQL: set COUNTERFOIL_DATABASE=postgresql://..."
        )
        raise SettingsError("role_needs_postgresql", message)
    make_folder(settings.data)
    paths = [settings.data / LOCK_FILE]
    if file.parent.resolve() != settings.data.resolve():
        # The folder is not the file's: a `serve` with another folder may be at the same file.
        make_folder(file.parent)
        paths.append(file.with_name(f"{file.name}.{LOCK_FILE}"))
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(_locked(path))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("a", encoding="ascii")
    except OSError as error:
        message = f"The lock {path} cannot be opened: {error.strerror}."
        raise SettingsError("no_data_folder", message) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = (
                f"Another `counterfoil serve` is running on this data folder (it holds {path}). "
                "Stop it first, or use PostgreSQL to run several."
            )
            raise SettingsError("already_serving", message) from None
        yield


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say; raises SettingsError."""
    place = f"{settings.name_of('host')} and {settings.name_of('port')}"
    try:
        found = socket.getaddrinfo(
            settings.host.strip("[]"),
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        family, *_, address = found[0]
        # "::" means every address of the machine, those of IPv4 too.
        is_any = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=is_any)
    except OSError as error:
        # A failed look-up of the host has no number that the system knows.
        is_ours = error.errno is not None and error.errno > 0
        reason = os.strerror(error.errno) if is_ours and error.errno else error.strerror
        message = (
            f"Nothing can listen on {settings.host}:{settings.port}: {reason}. "
            f"Choose others with {place}."
        )
        raise SettingsError("cannot_listen", message) from None


@asynccontextmanager
async def running(here: Installation, listener: socket.socket | None) -> AsyncIterator[None]:
    """Run the workers, and the web on `listener` if there is one, until the block is left.

    Then nothing more is accepted, what was begun is finished, and leases are given back.
    """
    await watching.ensure_chains(here.context)
    await rates.enable(here.database, here.sources, here.clock.now())
    supervisor = Supervisor(here.clock)
    try:
        async with AsyncExitStack() as stack:
            if listener is not None:
                live = await stack.enter_async_context(answering(here, listener))
                bell = here.database.listen("pages")
                supervisor.start({"live": partial(live.run, bell)})
            supervisor.start(_loops(here))
            yield
    finally:
        await supervisor.stop()
        await here.keyring.save_last_used()


def _loops(here: Installation) -> Mapping[str, Loop]:
    """Return the loops of this process's role, but for those of the web."""
    if here.settings.role == "web":
        return {"note-use": partial(_note_use, here)}
    context, clock, database = here.context, here.clock, here.database
    # On SQLite only one process serves, so after a crash it need not wait for its own old lease.
    holder = "serve" if here.settings.sqlite_file is not None else _holder(here.entropy)
    courier = Courier(database, here.channels, here.vault.decrypt, clock, here.entropy)
    watches = {chain.name: Watch(context, chain, holder) for chain in here.chains}
    watchers = {
        f"watch-{name}": partial(watcher.follow, watch, clock, database.listen("chains"))
        for name, watch in watches.items()
    }
    keepers = {
        f"lease-{name}": partial(watcher.keep_lease, watch, clock)
        for name, watch in watches.items()
    }
    quoters = {
        f"ask-{source.name}": partial(quoter.ask, database, source, clock)
        for source in here.sources
    }
    return {
        **watchers,
        **keepers,
        **quoters,
        "clock": partial(expiry.expire, DueDates(context), clock),
        "courier": partial(courier.run, database.listen("outbox")),
        "sweeper": partial(sweeper.sweep_up, context, here.keyring, clock),
        "lookout": partial(lookout.look_out, database, clock),
    }


async def _note_use(here: Installation) -> None:
    """Write down when keys were used, where no sweeper does."""
    while True:
        await here.clock.sleep(_NOTE_USE_EVERY_S)
        await here.keyring.save_last_used()


def _holder(entropy: Entropy) -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{entropy.token(4).hex()}"


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `say` hears where, once requests are answered."""
    descriptors.raise_limit()
    with serving_alone(settings), ExitStack() as stack:
        listener = None
        if settings.role != "worker":
            listener = stack.enter_context(listen(settings))
            settings = replace(settings, port=listener.getsockname()[1])
        async with opened(settings) as here:
            stopped = stop_signal()
            async with running(here, listener):
                _tune_python()
                say(f"Serving on {base_url(settings)}" if listener else "Working, without the web.")
                await stopped.wait()


def _tune_python() -> None:
    """Set what is Python's, and not ours, to what suits a server with one busy thread."""
    _spare_the_collector()
    sys.setswitchinterval(_SWITCH_AFTER_S)


def _spare_the_collector() -> None:
    """Keep Python's garbage collector from walking over what is here for good.

    Half a million objects of the libraries are made at the start and never end. Looked through
    again and again, they were a quarter of what an invoice cost, in pauses of a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one ends the process at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    return stopped
