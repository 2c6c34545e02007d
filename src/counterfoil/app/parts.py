"""What an installation is made of, and how it is put together."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module

from counterfoil.app.rate_sources import opened_sources
from counterfoil.app.secret_key import make_folder, open_vault
from counterfoil.app.world import SystemClock, SystemEntropy
from counterfoil.chains.compared import ComparedChain
from counterfoil.chains.simulator import SimulatorChain
from counterfoil.channels.guard import Guard
from counterfoil.channels.webhook import WebhookChannel
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Chain, Channel, Clock, Entropy, RateSource, Store
from counterfoil.db import books, loops, outbox
from counterfoil.db.engine import Database, open_database
from counterfoil.db.simulator import Ledger
from counterfoil.db.vault import Vault
from counterfoil.services.context import Context, Methods
from counterfoil.services.keys import Keyring
from counterfoil.services.merchants import ensure_default
from counterfoil.services.outbox import Unheard
from counterfoil.settings import NodeChain, Settings


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that an installation is made of, put together."""

    settings: Settings
    clock: Clock
    entropy: Entropy
    database: Database
    vault: Vault
    context: Context
    keyring: Keyring
    sources: Sequence[RateSource]
    channels: Mapping[str, Channel]

    @property
    def chains(self) -> Sequence[Chain]:
        """The enabled chains."""
        return tuple(self.context.methods.chains.values())


@asynccontextmanager
async def opened(settings: Settings, *, has_merchant: bool = True) -> AsyncIterator[Installation]:
    """Open the database and put everything around it; close it all at the end.

    SQLite is brought to this version's schema, PostgreSQL must be at it. With `has_merchant` the
    first merchant is made where there is none. Raises SettingsError.
    """
    clock, entropy = SystemClock(), SystemEntropy()
    async with AsyncExitStack() as stack:
        database = open_store(settings)
        if settings.sqlite_file is not None:
            make_folder(settings.data)
        await database.start()
        stack.push_async_callback(database.close)
        if settings.sqlite_file is not None:
            await database.migrate()
        else:
            await database.check_schema()
        vault = await open_vault(settings, database, entropy)
        chains = build_chains(settings, database, clock)
        channels = build_channels(settings)
        for chain in chains:
            stack.push_async_callback(chain.close)
        for channel in channels.values():
            stack.push_async_callback(channel.close)
        methods = Methods(chains)
        sources = await stack.enter_async_context(opened_sources(settings, methods.all))
        context = Context(
            store=database,
            methods=methods,
            currencies=frozenset().union(*(source.currencies for source in sources)),
            entropy=entropy,
            checkout_url=checkout_url(settings),
        )
        if has_merchant:
            await ensure_default(context, clock.now())
        yield Installation(
            settings=settings,
            clock=clock,
            entropy=entropy,
            database=database,
            vault=vault,
            context=context,
            keyring=Keyring(database),
            sources=sources,
            channels=channels,
        )


# --- the parts ---------------------------------------------------------------------------------


def open_store(settings: Settings) -> Database:
    """Return the database, not yet connected."""
    return open_database(settings.database)


def build_chains(settings: Settings, store: Store, clock: Clock) -> list[Chain]:
    """Return the enabled chains; raises SettingsError that names the setting."""
    chains: list[Chain] = [_node_chain(settings, each) for each in settings.chains]
    chains.append(
        SimulatorChain(
            Ledger(store),
            clock,
            settings.simulator.confirmations,
            settings.simulator.block_interval_s,
        )
    )
    return chains


def _node_chain(settings: Settings, chain: NodeChain) -> Chain:
    # The file of a chain's facts, and what opens it there, have the name that the settings give it.
    # Deriving addresses takes libraries that are slow to load: only who needs them waits.
    module = import_module(f"counterfoil.chains.{chain.name}")
    open_chain: Callable[[str, str, Confirmations | None, str | None], Chain]
    open_chain = getattr(module, chain.name)

    def open_at(rpc: str, setting: str) -> Chain:
        try:
            return open_chain(chain.network, rpc, chain.confirmations, chain.explorer)
        except SettingsError as error:
            wrong = "network" if error.code == "unknown_network" else setting
            name = settings.name_of(f"chains.{chain.name}.{wrong}")
            raise SettingsError(error.code, f"{name}: {error.message}") from None

    first = open_at(chain.rpc, "rpc")
    if chain.second_rpc is None:
        return first
    return ComparedChain(first, open_at(chain.second_rpc, "second_rpc"))


def build_channels(settings: Settings) -> dict[str, Channel]:
    """Return the ways to tell merchants, by their kind."""
    try:
        webhook = WebhookChannel(Guard(settings.allow_hosts))
    except SettingsError as error:
        name = settings.name_of("webhooks.allow_hosts")
        raise SettingsError(error.code, f"{name}: {error.message}") from None
    return {webhook.kind: webhook}


def base_url(settings: Settings) -> str:
    """Return where this server is reached, as far as the settings tell."""
    if settings.public_url is not None:
        return settings.public_url
    host = settings.host.strip("[]")
    # What is listened on is not always where one can connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # as said above
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def checkout_url(settings: Settings) -> str:
    """Return where the pay pages are."""
    return settings.checkout_url or base_url(settings)


async def migrate(settings: Settings) -> None:
    """Bring the database to this version's schema."""
    if settings.sqlite_file is not None:
        make_folder(settings.data)
    database = open_store(settings)
    await database.start()
    try:
        await database.migrate()
        await database.check_schema()
    finally:
        await database.close()


async def database_time(database: Database, now: int) -> int:
    """Return the time of the database's server; SQLite has none, and answers `now`."""
    return await database.read(lambda connection: loops.database_now(connection, now))


async def list_chain_states(database: Database) -> list[loops.ChainState]:
    """Return how chains stand, all that were ever switched on."""
    return await database.read(loops.list_all_chains)


async def check_books(database: Database) -> books.Books:
    """Return whether what must hold of all rows together does."""
    return await database.read(books.check)


async def list_undecided(database: Database) -> list[int]:
    """Return the invoices whose late money waits for the merchant."""
    return await database.read(books.list_undecided)


async def list_unheard(database: Database, failing_before: int) -> list[Unheard]:
    """Return the channels that are paused, fail since then, or have parked deliveries."""
    return await database.read(lambda c: outbox.list_unheard(c, failing_before))
