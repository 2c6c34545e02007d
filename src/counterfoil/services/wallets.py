"""What merchants receive on: adding, listing and removing wallets, and warning of long gaps.

A wallet that is removed is kept: its addresses were shown, so they are watched for ever, and when
it is added again it goes on behind them. Nothing here can spend, and nothing that can is stored.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from counterfoil.core.errors import (
    ConflictError,
    InvalidError,
    NodeError,
    NotFoundError,
    Problem,
    UnavailableError,
)
from counterfoil.core.ports import Chain, Destination, History, Method, Store
from counterfoil.db import merchants
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import ADDRESS, XPUB, Wallet
from counterfoil.services.context import Context
from counterfoil.services.invoices import claim_shared

ADDRESSES_TO_COMPARE = 3
# Far below where the indexes of receive addresses end, far above what anybody uses.
INDEX_MAX = 1_000_000_000
# So many unpaid addresses in a row are told of; most wallets look no more than 20 ahead.
GAP_WARNED_OF = 15
_TEST_METHOD = "TEST"
_FINGERPRINT_LENGTH = 8
_HINT_HEAD, _HINT_TAIL = 20, 4

_log = structlog.get_logger("counterfoil.wallets")


@dataclass(frozen=True, slots=True)
class ListedWallet:
    """A wallet in use, with its first addresses, for its owner to compare with their own."""

    id: int
    method: str
    kind: str
    value: str
    addresses: tuple[str, ...]
    next_index: int
    use: merchants.Use
    created_at: int

    @property
    def hint(self) -> str:
        """Enough to know it by: all of an extended key would tell every payment to it."""
        if self.kind == ADDRESS:
            return self.value
        return f"{self.value[:_HINT_HEAD]}...{self.value[-_HINT_TAIL:]}"

    @property
    def warning(self) -> str | None:
        """A sentence where so many addresses in a row are unpaid that wallets stop to look."""
        return gap_warning(self.use.gap) if self.use.gap >= GAP_WARNED_OF else None


@dataclass(frozen=True, slots=True)
class AddedWallet:
    """A new wallet, and what the node told of its past: None where it was not asked."""

    wallet: ListedWallet
    history: History | None


def gap_warning(gap: int) -> str:
    """Return what to do about so many unpaid addresses in a row."""
    return (
        f"{gap} addresses in a row were shown and not paid, and most wallets look only 20 ahead: "
        f"set the gap limit of yours to {gap_limit(gap)}, or it may not show what is paid next."
    )


def gap_limit(gap: int) -> int:
    """Return a gap limit that is good for twice as long a run of unpaid addresses."""
    return 100 * (1 + gap // 50)


def _told_to_nobody(_percent: int) -> None:
    return


async def add(
    context: Context,
    merchant_id: int,
    method_id: str,
    *,
    xpub: str | None = None,
    address: str | None = None,
    next_index: int | None = None,
    told: Callable[[int], None] = _told_to_nobody,
    now: int,
) -> AddedWallet:
    """Add what a merchant receives a method on: one address, or an extended key or descriptor.

    With `next_index` the first fresh address is that one; without it the node is asked which were
    used already, and `told` hears how far it is. Raises InvalidError (`private_key_refused` and the
    like, never repeating the value), ConflictError where there is a wallet for the method or this
    one is in use, and UnavailableError (`history_unavailable`).
    """
    method = context.methods.only(method_id, "method")
    chain = context.methods.chain_of(method)
    _check_index(next_index, is_for_keys=xpub is not None)
    if xpub is None:
        destination = chain.parse_address(address or "")
        new = _New(merchant_id, method, ADDRESS, destination.address, destination)
    else:
        new = _New(merchant_id, method, XPUB, chain.parse_wallet(xpub), None)
    first = max(await context.store.read(lambda c: _check_free(c, new)), next_index or 0)
    history = None
    if new.kind == XPUB and next_index is None:
        history = await _ask_node(chain, new, first, told)
        first = history.next_index
    added = await context.store.write(lambda c: _put(c, context, new, first, now))
    _log.info(
        "wallet_added",
        merchant_id=merchant_id,
        method=method.id,
        wallet_id=added.id,
        fingerprint=fingerprint(added.value),
        next_index=added.next_index,
        is_history_whole=None if history is None else history.is_whole,
    )
    return AddedWallet(await context.store.read(lambda c: _listed(c, context, added)), history)


@dataclass(frozen=True, slots=True)
class _New:
    """A wallet on its way in, checked and in its canonical spelling."""

    merchant_id: int
    method: Method
    kind: str
    value: str
    destination: Destination | None


def _check_index(next_index: int | None, *, is_for_keys: bool) -> None:
    if next_index is None:
        return
    if not is_for_keys:
        message = "One address for all has no next_index; leave it out."
        raise InvalidError(Problem("next_index", "invalid_number", message))
    if not 0 <= next_index <= INDEX_MAX:
        message = f"next_index must be a whole number from 0 to {INDEX_MAX}."
        raise InvalidError(Problem("next_index", "invalid_number", message))


def _check_free(connection: Connection, new: _New) -> int:
    """Return the index at which a wallet goes on that was here before, 0 for a new one."""
    known = merchants.list_wallets(connection, new.merchant_id)
    if any(wallet.method == new.method.id for wallet in known):
        message = f"This merchant has a {new.method.id} wallet already; remove it first."
        raise ConflictError("wallet_exists", message)
    before = merchants.find_xpub(connection, new.value)
    if before is None:
        return 0
    if (before.merchant_id, before.method) != (new.merchant_id, new.method.id):
        raise _in_use()
    return before.next_index


def _in_use() -> ConflictError:
    message = "This wallet is in use on this server, or was; use another account of yours."
    return ConflictError("wallet_in_use", message)


async def _ask_node(chain: Chain, new: _New, first: int, told: Callable[[int], None]) -> History:
    """Return which addresses were used, as a node says that has the right chain, and all of it."""
    try:
        genesis, head = await chain.block_hash(0), await chain.head()
        if genesis == chain.genesis and head.is_synced:
            return await chain.history(new.value, first, told)
        trouble = "The node is still syncing, or on another network."
    except NodeError as error:
        trouble = str(error)
    _log.warning("history_unavailable", chain=chain.name, trouble=trouble)
    message = (
        f"The {new.method.name} node did not tell which addresses of this wallet were used, so the "
        "wallet was not added. Try again when it does, or say with next_index (--next-index) which "
        "address comes next: 0 for a wallet that was never used."
    )
    raise UnavailableError("history_unavailable", message)


def _put(connection: Connection, context: Context, new: _New, next_index: int, now: int) -> Wallet:
    # Two that come at once would both find that there is none.
    merchants.lock(connection, new.merchant_id)
    _check_free(connection, new)
    if new.destination is not None:
        claim_shared(
            connection, context, new.merchant_id, new.method, new.destination, now, field="address"
        )
    added = merchants.put_wallet(
        connection,
        merchant_id=new.merchant_id,
        method=new.method.id,
        kind=new.kind,
        value=new.value,
        next_index=next_index,
        now=now,
    )
    if added is None:
        raise _in_use()
    return added


async def remove(context: Context, merchant_id: int, wallet_id: int, now: int) -> None:
    """Take a wallet out of use; raises NotFoundError.

    What was asked for on it stays, and is credited whenever it comes; nothing new is asked for.
    """

    def write(connection: Connection) -> Wallet | None:
        known = merchants.list_wallets(connection, merchant_id)
        if not any(wallet.id == wallet_id for wallet in _live(known)):
            return None
        return merchants.remove_wallet(connection, merchant_id, wallet_id, now)

    removed = await context.store.write(write)
    if removed is None:
        raise not_found()
    _log.info(
        "wallet_removed",
        merchant_id=merchant_id,
        method=removed.method,
        wallet_id=wallet_id,
        fingerprint=fingerprint(removed.value),
        next_index=removed.next_index,
    )


def not_found() -> NotFoundError:
    """Return the one answer to an unknown id and to somebody else's."""
    return NotFoundError("not_found", "This merchant has no such wallet.")


async def list_all(context: Context, merchant_id: int) -> list[ListedWallet]:
    """Return a merchant's wallets in use for real coins."""

    def read(connection: Connection) -> list[ListedWallet]:
        known = merchants.list_wallets(connection, merchant_id)
        return [_listed(connection, context, wallet) for wallet in _live(known)]

    return await context.store.read(read)


def _live(known: list[Wallet]) -> list[Wallet]:
    """Leave out the simulator's wallet, which nobody added and nobody may remove."""
    return [wallet for wallet in known if wallet.method != _TEST_METHOD]


def _listed(connection: Connection, context: Context, wallet: Wallet) -> ListedWallet:
    method = context.methods.get(wallet.method)
    is_address = wallet.kind == ADDRESS
    addresses: tuple[str, ...] = (wallet.value,) if is_address else ()
    # A chain that was switched off knows no addresses.
    if method is not None and not is_address:
        derive = partial(context.methods.derive, method.chain, wallet.value)
        addresses = tuple(derive(index).address for index in range(ADDRESSES_TO_COMPARE))
    return ListedWallet(
        id=wallet.id,
        method=wallet.method,
        kind=wallet.kind,
        value=wallet.value,
        addresses=addresses,
        next_index=wallet.next_index,
        use=merchants.use_of_wallet(connection, wallet.id),
        created_at=wallet.created_at,
    )


def fingerprint(value: str) -> str:
    """Return what names a wallet in logs, from which nothing about it can be learnt."""
    return hashlib.sha256(value.encode()).hexdigest()[:_FINGERPRINT_LENGTH]


# --- gaps --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gap:
    """A wallet of which more addresses in a row are unpaid than its owner may expect."""

    merchant: str
    wallet_id: int
    method: str
    length: int

    @property
    def warning(self) -> str:
        """What to do about it."""
        return gap_warning(self.length)


async def list_gaps(store: Store) -> list[Gap]:
    """Return the wallets in use, of all merchants, whose gaps are worth a warning."""

    def read(connection: Connection) -> list[Gap]:
        return [
            Gap(merchant.name, wallet.id, wallet.method, use.gap)
            for merchant in merchants.list_all(connection)
            for wallet in _live(merchants.list_wallets(connection, merchant.id))
            if (use := merchants.use_of_wallet(connection, wallet.id)).gap >= GAP_WARNED_OF
        ]

    return await store.read(read)
