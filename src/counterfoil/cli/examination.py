"""What `counterfoil doctor` looks at: one line for each thing, and what to do where it is wrong.

It changes nothing, and goes as far as it can: without a database the rest is still looked at.
"""

import os
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import typer

from counterfoil import logs
from counterfoil.app import parts, rate_sources, secret_key, world
from counterfoil.cli.session import Session
from counterfoil.core import events, money, retry
from counterfoil.core.errors import CounterfoilError, NodeError
from counterfoil.core.ports import Chain, Mode
from counterfoil.services import merchants, rates, wallets
from counterfoil.services.branches import tip_trouble
from counterfoil.services.outbox import Unheard
from counterfoil.services.watching import ChainState
from counterfoil.settings import Settings, variable

OK, NOTE, PROBLEM = "ok", "note", "problem"
_COLORS = {OK: typer.colors.GREEN, NOTE: typer.colors.YELLOW, PROBLEM: typer.colors.RED}
_LEVEL_WIDTH, _SUBJECT_WIDTH = 9, 12
# Further apart than this, signatures with times in them are refused, and prices look old.
_SKEW_MAX_MS = 10_000
# Miners' clocks may be a little fast; this far ahead of ours it is ours that is slow.
_BLOCK_AHEAD_MAX_MS = 10 * 60_000
_LAG_MAX_BLOCKS = 3
# An endpoint that is restarted is away for less, and is told all the same.
_FAILING_NOTED_MS = retry.HOUR_MS
_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how it is, with what, and a sentence."""

    level: str
    subject: str
    text: str


async def run(session: Session) -> int:
    """Look at everything, print a line for each thing, and return the exit code."""
    problems = 0
    async for finding in _findings(session):
        level = typer.style(finding.level.ljust(_LEVEL_WIDTH), fg=_COLORS[finding.level])
        typer.echo(f"{level}{finding.subject.ljust(_SUBJECT_WIDTH)}{finding.text}")
        problems += finding.level == PROBLEM
    typer.echo(f"\n{problems or 'Nothing'} to mend.")
    return 1 if problems else 0


async def _findings(session: Session) -> AsyncIterator[Finding]:
    try:
        settings = session.load()
    except CounterfoilError as error:
        yield Finding(PROBLEM, "settings", f"{error} Nothing else can be looked at before that.")
        return
    logs.configure(settings.log_format, "error")
    yield _settings(settings)
    yield _data(settings)
    async with AsyncExitStack() as stack:
        examination = _Examination(settings)
        stack.push_async_callback(examination.database.close)
        yield await examination.look_at_database()
        yield await examination.look_at_books()
        yield await examination.look_at_late_money()
        yield await examination.look_at_secret_key()
        try:
            chains = parts.build_chains(settings, examination.database, examination.clock)
        except CounterfoilError as error:
            yield Finding(PROBLEM, "chains", str(error))
            chains = []
        for chain in chains:
            stack.push_async_callback(chain.close)
            yield await examination.look_at_chain(chain)
        for finding in await examination.look_at_missing_chains(chains):
            yield finding
        yield await examination.look_at_rates(chains)
        yield await examination.look_at_wallets()
        yield _public_url(settings)
        yield await examination.look_at_clock()
        yield _webhooks(settings)
        for finding in await examination.look_at_channels():
            yield finding


# --- what needs nothing but the settings -------------------------------------------------------


def _settings(settings: Settings) -> Finding:
    written = settings.written.values()
    outside = [name for name in written if not name.endswith(f" in {settings.file}")]
    places = [*([str(settings.file)] if settings.file else []), *outside]
    return Finding(OK, "settings", ", ".join(places) or "All are at their defaults.")


def _data(settings: Settings) -> Finding:
    folder = settings.data
    if not folder.exists():
        text = f"{folder} is not there yet"
        if settings.sqlite_file is None:
            return Finding(OK, "data", f"{text}, and PostgreSQL needs none.")
        return Finding(OK, "data", f"{text}; the first start makes it.")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        text = f"{folder} is not a folder that this user may write to. Change its owner, or name "
        return Finding(PROBLEM, "data", f"{text}another with --data or {variable('data')}.")
    return Finding(OK, "data", str(folder))


def _public_url(settings: Settings) -> Finding:
    url = settings.public_url
    if url is None:
        text = (
            f"{variable('public_url')} is not set: pay links lead to "
            f"{parts.checkout_url(settings)}, where customers cannot go. That is fine for trying."
        )
        return Finding(NOTE, "public URL", text)
    for each in (url, settings.checkout_url or url):
        host = urlsplit(each).hostname
        if each.startswith("http://") and host not in ("localhost", "127.0.0.1", "::1"):
            text = f"{each} is not https: whoever is in between can change the address to pay to."
            return Finding(PROBLEM, "public URL", f"{text} Put a reverse proxy with TLS in front.")
    return Finding(OK, "public URL", f"{url}, pay pages at {parts.checkout_url(settings)}")


def _webhooks(settings: Settings) -> Finding:
    try:
        parts.build_channels(settings)
    except CounterfoilError as error:
        return Finding(PROBLEM, "webhooks", str(error))
    if settings.allow_hosts:
        hosts = ", ".join(settings.allow_hosts)
        return Finding(OK, "webhooks", f"Public addresses, and what you allow: {hosts}.")
    return Finding(OK, "webhooks", "Public addresses alone.")


# --- what needs the world ----------------------------------------------------------------------


class _Examination:
    """What has been found so far, for what is looked at after it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = world.SystemClock()
        self.database = parts.open_store(settings)
        self._is_usable = False
        self._newest_block_at: int | None = None

    async def look_at_database(self) -> Finding:
        """Tell whether it answers, keeps what it acknowledges, and has our tables."""
        settings, place = self.settings, self.settings.database_place
        file = settings.sqlite_file
        if file is not None and not file.exists():
            return Finding(OK, "database", f"There is no {place} yet; the first start makes it.")
        try:
            await self.database.start()
            await self.database.check_schema()
        except CounterfoilError as error:
            if error.code == "old_schema" and file is not None:
                text = (
                    f"The {place} does not have this version's tables yet. `counterfoil serve` "
                    "brings it up to date and keeps a copy; `counterfoil migrate` does so now."
                )
                return Finding(NOTE, "database", text)
            return Finding(PROBLEM, "database", str(error))
        self._is_usable = True
        return Finding(OK, "database", f"{place}, durable, with this version's schema")

    async def look_at_books(self) -> Finding:
        """Tell whether each transfer counts once, Paid has its payment, and the logs are whole."""
        if not self._is_usable:
            return Finding(OK, "books", "There are none to look at.")
        found = await parts.check_books(self.database)
        faults = [
            f"{what}: {_named(ids)}."
            for what, ids in (
                ("Transfers that are not counted once", found.miscounted),
                ("Invoices that are Paid without a final payment", found.baseless),
                ("Merchants whose log lacks an event", found.broken_logs),
            )
            if ids
        ]
        if faults:
            text = f"{' '.join(faults)} This must never be: make a backup, and report it."
            return Finding(PROBLEM, "books", text)
        count = f"{found.transfers} in all"
        text = f"Each transfer ({count}) is counted once, each log of events is whole."
        return Finding(OK, "books", text)

    async def look_at_late_money(self) -> Finding:
        """Tell of invoices whose money came late and waits for the merchant to decide."""
        if not self._is_usable:
            return Finding(OK, "late money", "It is in the database.")
        waiting = await parts.list_undecided(self.database)
        if not waiting:
            return Finding(OK, "late money", "None waits for you.")
        text = (
            f"It waits for you at these invoices: {_named(waiting)}. "
            f"`counterfoil explain {waiting[0]}` says what to decide."
        )
        return Finding(NOTE, "late money", text)

    async def look_at_secret_key(self) -> Finding:
        """Tell whether there is one, private, and the one that the database was made with."""
        settings = self.settings
        try:
            vault = await secret_key.check_vault(
                settings, self.database if self._is_usable else None
            )
        except CounterfoilError as error:
            return Finding(PROBLEM, "secret key", str(error))
        if vault is None:
            text = f"There is none yet; the first start makes {settings.secret_key_file}."
            return Finding(OK, "secret key", text)
        is_set = settings.secret_key is not None
        where = settings.name_of("secret_key") if is_set else str(settings.secret_key_file)
        opens = ", and opens this database" if self._is_usable else ""
        return Finding(OK, "secret key", f"It is in {where}{opens}.")

    async def look_at_chain(self, chain: Chain) -> Finding:
        """Tell whether the node answers, is on the right chain, is synced, and how far we are."""
        if all(method.mode is Mode.TEST for method in chain.methods):
            text = f"The simulator, for test mode; final after {chain.confirmations} blocks."
            return Finding(OK, chain.name, text)
        rpc = self.settings.name_of(f"chains.{chain.name}.rpc")
        try:
            genesis = await chain.block_hash(0)
            head = await chain.head()
        except NodeError as error:
            return Finding(PROBLEM, chain.name, f"{error} Look at the node, and at {rpc}.")
        if genesis != chain.genesis:
            network = self.settings.name_of(f"chains.{chain.name}.network")
            text = f"The node is on another network. Change {rpc} or {network}."
            return Finding(PROBLEM, chain.name, text)
        self._newest_block_at = max(head.mined_at, self._newest_block_at or 0)
        if not head.is_synced:
            hint = "" if chain.block_interval_s else " On regtest, mine a block."
            text = f"The node is still syncing, at block {head.height}. Wait for it.{hint}"
            return Finding(PROBLEM, chain.name, text)
        if trouble := tip_trouble(chain, head, self.clock.now()):
            hint = "" if head.trouble else " Look at the node's peers."
            return Finding(PROBLEM, chain.name, f"{trouble}{hint}")
        return await self._cursor_finding(chain, head.height)

    async def _cursor_finding(self, chain: Chain, height: int) -> Finding:
        """Tell how far a chain whose node is well has been read."""
        state = (await self._chain_states()).get(chain.name)
        node = f"The node is synced at block {height}"
        if state is None or state.cursor is None:
            return Finding(OK, chain.name, f"{node}; `counterfoil serve` starts to watch there.")
        cursor = state.cursor
        if not state.is_looked_at(self.clock.now()):
            text = f"{node}, and nobody watches: start `counterfoil serve`."
            return Finding(NOTE, chain.name, text)
        if state.trouble is not None:
            return Finding(PROBLEM, chain.name, f"{node}, but its watcher says: {state.trouble}")
        if height - cursor.height > _LAG_MAX_BLOCKS:
            text = f"{node}, our watcher at {cursor.height}: it is catching up."
            return Finding(NOTE, chain.name, text)
        return Finding(OK, chain.name, f"{node}, and watched.")

    async def _chain_states(self) -> dict[str, ChainState]:
        """Return how the chains stand that the database knows, by name."""
        states = await parts.list_chain_states(self.database) if self._is_usable else []
        return {state.name: state for state in states}

    async def look_at_missing_chains(self, chains: Sequence[Chain]) -> list[Finding]:
        """Tell of chains that were watched once, are not now, and are still waited for."""
        on = {chain.name for chain in chains}
        missing = [
            state
            for name, state in (await self._chain_states()).items()
            if name not in on and state.watched_at is not None and state.retired_at is None
        ]
        return [
            Finding(
                PROBLEM,
                state.name,
                "It was watched before and is not switched on: payments on it are not seen, and "
                f"its invoices do not expire. Set {variable(f'chains.{state.name}.rpc')}, or end "
                f"the wait for good: `counterfoil chain retire {state.name}`.",
            )
            for state in missing
        ]

    async def look_at_rates(self, chains: Sequence[Chain]) -> Finding:
        """Ask the sources, and tell what they say and which coin has no price."""
        methods = [each for chain in chains for each in chain.methods]
        coins = sorted({each.symbol for each in methods if each.mode is Mode.LIVE})
        now = self.clock.now()
        async with rate_sources.opened_sources(self.settings, methods) as sources:
            survey = await rates.survey(sources, now)
            listed = frozenset().union(*(source.currencies for source in sources))
        told, without = [], [] if listed else list(coins)
        for coin in coins:
            for currency in rates.main_currencies(listed):
                rate = survey.rate_of(coin, currency, now)
                if rate is None:
                    without.append(f"{coin}/{currency}")
                else:
                    price = money.format_rate(rate.price)
                    told.append(f"1 {coin} = {price} {currency} ({', '.join(rate.sources)})")
        troubles = " ".join(survey.trouble.values())
        if without:
            example = variable(f"rates.fixed.{without[0].partition('/')[0]}_USD")
            text = f"There is no price of {', '.join(without)}. {troubles}".strip()
            last = await self._last_good_price()
            return Finding(PROBLEM, "rates", f"{text} {last}Set {example}, for example.")
        if troubles:
            return Finding(NOTE, "rates", f"{troubles} The others say: {'; '.join(told)}")
        return Finding(OK, "rates", "; ".join(told) or "None, and none is needed in test mode.")

    async def _last_good_price(self) -> str:
        """Return a sentence of when the server last had prices, as far as it ever had."""
        states = await rates.list_sources(self.database) if self._is_usable else []
        good_at = max((each.good_at for each in states if each.good_at), default=None)
        return f"The last ones came at {events.iso(good_at)}. " if good_at else ""

    async def look_at_wallets(self) -> Finding:
        """Tell of wallets that may stop to look before the address that is paid next."""
        if not self._is_usable:
            return Finding(OK, "wallets", "They are in the database.")
        gaps = await wallets.list_gaps(self.database)
        if gaps:
            text = " ".join(
                f"{gap.merchant}, wallet {gap.wallet_id} ({gap.method}): {gap.warning}"
                for gap in gaps
            )
            return Finding(NOTE, "wallets", text)
        return Finding(OK, "wallets", "None has shown too many unpaid addresses in a row.")

    async def look_at_channels(self) -> list[Finding]:
        """Tell of channels that are paused, have failed for long, or lack what was given up."""
        if not self._is_usable:
            return [Finding(OK, "channels", "They are in the database.")]
        failing_before = self.clock.now() - _FAILING_NOTED_MS
        unheard = await parts.list_unheard(self.database, failing_before)
        if not unheard:
            return [Finding(OK, "channels", "None is paused, and none has failed for an hour.")]
        is_one = len(await merchants.list_all(self.database)) == 1
        return [
            _unheard(each, "" if is_one else f" --merchant {shlex.quote(each.merchant)}")
            for each in unheard
        ]

    async def look_at_clock(self) -> Finding:
        """Compare the machine's clock with the database server's, or with the newest block."""
        before = self.clock.now()
        if self._is_usable and self.settings.sqlite_file is None:
            skew_ms = await parts.database_time(self.database, before) - before
            side = "ahead" if skew_ms > 0 else "behind"
            text = f"PostgreSQL's clock is {abs(skew_ms)} ms {side}."
            if abs(skew_ms) > _SKEW_MAX_MS:
                text += " Let both machines set their clocks by the network (NTP)."
                return Finding(PROBLEM, "clock", text)
            return Finding(OK, "clock", text)
        if self._newest_block_at is None:
            return Finding(OK, "clock", "There is nothing to compare it with.")
        if self._newest_block_at - before > _BLOCK_AHEAD_MAX_MS:
            minutes = (self._newest_block_at - before) // 60_000
            text = f"The newest block is {minutes} minutes ahead. Set it by the network (NTP)."
            return Finding(PROBLEM, "clock", text)
        return Finding(OK, "clock", "It agrees with the newest block.")


def _unheard(found: Unheard, option: str) -> Finding:
    """Tell how a channel stands, and what to type; `option` says whose it is, where that helps."""
    channel = found.channel
    states = []
    if channel.paused_at is not None:
        states.append(f"Paused {events.iso(channel.paused_at)}: {channel.pause_reason}")
    elif channel.failing_since is not None:
        states.append(f"Failing since {events.iso(channel.failing_since)}.")
    if found.parked:
        states.append(f"Deliveries that were given up: {found.parked}.")
    text = (
        f"{found.merchant}, channel {channel.id}: {' '.join(states)} "
        f"`counterfoil channel log {channel.id}{option}` says what came back. Mend that, then "
        f"`counterfoil channel resume {channel.id}{option}` sends all that waits."
    )
    return Finding(NOTE, "channels", text)


def _named(ids: Sequence[int]) -> str:
    """Return the first of some ids, and whether there are more."""
    return f"{', '.join(map(str, ids[:_NAMED_MAX]))}{', ...' * (len(ids) > _NAMED_MAX)}"
