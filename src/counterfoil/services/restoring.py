"""Putting a backup back, so that nothing the lost server gave out is given out once more.

Between the backup and its end the lost server may have answered with ids, told events, shown
addresses and asked for amounts. None of that is known here, and some of it will still be paid. So
numbers go on far ahead; the addresses that may have been shown are kept aside and watched; and
shared addresses give out no amounts until those that were asked for have been waited for. The
cursors stay: each chain is read on from where the backup was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from counterfoil.core import matching, quote
from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Destination, Store
from counterfoil.db import deliveries, loops, merchants, restoring
from counterfoil.db.copies import Copy
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import Wallet
from counterfoil.services.context import Methods

# More than any server gives out in the life of a backup: ids stay below 2^53 for millions of these.
NUMBERS_GAP = 1_000_000_000
# An amount that the lost server asked for in its last moment was locked, then in quarantine.
AMOUNTS_REST_MS = quote.LOCK_MS + matching.QUARANTINE_MS
# How many addresses of a wallet may have been shown since the backup, at the very most: so many in
# any case, so many for each day since, and so many for each quote of as long a time before.
_ADDRESSES_LEAST = 1_000
_ADDRESSES_PER_DAY = 100
_ADDRESSES_PER_QUOTE = 10
_DAY_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class KeptAside:
    """Addresses of a wallet that the lost server may have shown to somebody."""

    merchant: str
    wallet: Wallet
    addresses: Sequence[Destination]

    @property
    def next_index(self) -> int:
        """Where the wallet goes on."""
        return self.wallet.next_index + len(self.addresses)


def keep_aside(copy: Copy, methods: Methods, now: int) -> list[KeptAside]:
    """Return, for each wallet of a backup, the addresses that may have been shown since.

    Raises SettingsError where they cannot be told without the settings of the lost server.
    """
    return [
        KeptAside(merchant.name, wallet, _next_addresses(copy, methods, wallet, now))
        for merchant in merchants.list_all(copy.connection)
        for wallet in merchants.list_wallets(copy.connection, merchant.id)
        if wallet.kind != merchants.ADDRESS
    ]


def _next_addresses(
    copy: Copy, methods: Methods, wallet: Wallet, now: int
) -> Sequence[Destination]:
    method = methods.get(wallet.method)
    if method is None:
        message = (
            f"The backup has a wallet for {wallet.method}, which is switched off here, so its "
            "addresses cannot be watched. Give this server the settings that the lost one had."
        )
        raise SettingsError("method_switched_off", message)
    chain = methods.chain_of(method)
    states = loops.list_chains(copy.connection, [chain.name])
    if states and loops.get_network(copy.connection, chain.name) != chain.network:
        message = (
            f"The backup is of another network than {chain.network}. Set chains.{chain.name}"
            ".network as on the lost server."
        )
        raise SettingsError("another_network", message)
    made_at = copy.made_at()
    gone_ms = now - made_at
    quotes = restoring.count_quotes(copy.connection, wallet.id, made_at - gone_ms)
    count = (
        _ADDRESSES_LEAST + gone_ms * _ADDRESSES_PER_DAY // _DAY_MS + quotes * _ADDRESSES_PER_QUOTE
    )
    return [
        chain.derive(wallet.value, index)
        for index in range(wallet.next_index, wallet.next_index + count)
    ]


async def restore(
    store: Store, methods: Methods, copy: Copy, aside: Sequence[KeptAside], now: int
) -> None:
    """Fill an empty store, all in one commit; raises SettingsError where it is not empty."""

    def write(connection: Connection) -> None:
        restoring.keep_others_out(connection)
        if not restoring.is_empty(connection):
            raise not_empty()
        restoring.load(connection, copy)
        for chain in methods.chains.values():
            loops.ensure_chain(connection, chain.name, chain.network)
        restoring.move_ids_on(connection, NUMBERS_GAP)
        restoring.move_logs_on(connection, NUMBERS_GAP, now)
        for each in aside:
            restoring.set_aside(
                connection, each.wallet, matching.Kind.EXCLUSIVE, each.addresses, now
            )
        restoring.let_go_of_amounts(connection, matching.QUARANTINE_MS, copy.made_at(), now)
        restoring.rest_amounts(connection, AMOUNTS_REST_MS)
        # That nothing was sent while there was no server says nothing about the endpoints.
        deliveries.begin_anew(connection, now)

    await store.write(write)


def not_empty() -> SettingsError:
    """Return why a backup is not put over data that is there."""
    message = (
        "There is data here already, and a backup is only restored into an empty installation: "
        "name a new folder with --data, or on PostgreSQL a new database."
    )
    return SettingsError("not_empty", message)
