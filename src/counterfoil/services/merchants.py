"""Merchants and their channels."""

from decimal import Decimal

from counterfoil.core import money, signing
from counterfoil.core.confirmations import Confirmations, parse
from counterfoil.core.errors import ConflictError, InvalidError, NotFoundError, Problem
from counterfoil.core.invoice import EventType
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Channel, Entropy, Method, Mode, Store
from counterfoil.db import confirmations, merchants, outbox
from counterfoil.db.audit import Deed
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import Merchant
from counterfoil.db.vault import Vault
from counterfoil.services.audit import at_terminal, record
from counterfoil.services.context import Context

DEFAULT_NAME = "Default"
NAME_LENGTH_MAX = 100
_TEST_WALLET_BYTES = 16


async def ensure_default(context: Context, now: int) -> None:
    """Make the first merchant where there is none."""

    def write(connection: Connection) -> None:
        if not merchants.list_all(connection):
            _insert(connection, context.entropy, DEFAULT_NAME, "USD", now)

    await context.store.write(write)


async def create(context: Context, name: str, currency: str, now: int) -> int:
    """Make a merchant and return its id; raises ConflictError where the name is taken."""
    code = money.parse_currency(currency, "currency")
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable() or name != name.strip():
        message = f"A merchant's name has 1 to {NAME_LENGTH_MAX} printable characters."
        raise InvalidError(Problem("name", "invalid_name", message))
    merchant_id = await context.store.write(
        lambda connection: _insert(connection, context.entropy, name, code, now)
    )
    if merchant_id is None:
        message = f"There is a merchant with the name {name} already."
        raise ConflictError("name_taken", message)
    return merchant_id


def _insert(
    connection: Connection, entropy: Entropy, name: str, currency: str, now: int
) -> int | None:
    """Add a merchant with a wallet for the simulator's coin, so that test mode needs no set-up."""
    merchant_id = merchants.insert(connection, name, currency, now)
    if merchant_id is None:
        return None
    merchants.put_wallet(
        connection,
        merchant_id=merchant_id,
        method="TEST",
        kind=merchants.XPUB,
        value=f"testwallet-{entropy.token(_TEST_WALLET_BYTES).hex()}",
        next_index=0,
        now=now,
    )
    return merchant_id


async def list_all(store: Store) -> list[Merchant]:
    """Return all merchants, the oldest first."""
    return await store.read(merchants.list_all)


async def find(store: Store, name: str | None) -> Merchant:
    """Return the merchant with a name, or the only one; raises NotFoundError that lists them."""
    known = await store.read(merchants.list_all)
    names = ", ".join(merchant.name for merchant in known) or "none"
    if name is None:
        if len(known) == 1:
            return known[0]
        message = f"There are several merchants; name one with --merchant. They are: {names}."
        raise NotFoundError("merchant_not_named", message)
    for merchant in known:
        if merchant.name == name:
            return merchant
    raise NotFoundError("unknown_merchant", f"There is no merchant {name}. There are: {names}.")


async def allow_redirect(store: Store, merchant: Merchant, origin: str) -> None:
    """Let the pay page send payers back to an origin such as https://shop.example."""
    scheme, _, host = origin.lower().partition("://")
    if scheme != "https" or not host or not set(host).isdisjoint("/?#@ "):
        message = "An origin is https:// and a host, such as https://shop.example."
        raise InvalidError(Problem("origin", "invalid_origin", message))

    def write(connection: Connection) -> None:
        # Read again under a lock: another origin may have been added meanwhile.
        known = merchants.lock(connection, merchant.id).redirect_origins
        origins = tuple(dict.fromkeys((*known, origin.lower())))
        merchants.set_redirect_origins(connection, merchant.id, origins)

    await store.write(write)


async def set_confirmations(
    context: Context, merchant: Merchant, method: str, text: str | None, now: int
) -> tuple[Method, Confirmations]:
    """Set how deep a merchant's payments of a method must be; None lets the chain's policy hold.

    Return the method and the policy that holds for payments seen from now on. Other than the
    chain's own a merchant's policy may begin with 0: it is the merchant who bears the risk. Raises
    InvalidError.
    """
    found = context.methods.only(method, "method", Mode.TEST)
    try:
        policy = None if text is None else parse(text, least=0)
    except ValueError:
        message = (
            "Confirmations are a number from 0 to 1,000, and more of them from some amounts on, "
            "such as `1` or `0, 1 from 0.5, 6 from 10`; or `default`."
        )
        raise InvalidError(Problem("confirmations", "invalid_confirmations", message)) from None

    def write(connection: Connection) -> None:
        if policy is None:
            confirmations.drop(connection, merchant.id, found.id)
        else:
            confirmations.put(connection, merchant.id, found.id, policy)
        details = {"method": found.id, "policy": "default" if policy is None else str(policy)}
        who = at_terminal(merchant.id, found.mode)
        record(connection, who, Deed("confirmations", details=details), now)

    await context.store.write(write)
    return found, policy or context.methods.chain_of(found).confirmations


async def set_tolerance(store: Store, merchant: Merchant, text: str, now: int) -> Decimal:
    """Forgive payers a small part of the invoices made from now on; return it in per cent.

    An invoice keeps the tolerance that it was made with. Raises InvalidError.
    """
    percent = money.parse_tolerance(text)

    def write(connection: Connection) -> None:
        merchants.set_tolerance(connection, merchant.id, percent)
        who = at_terminal(merchant.id, Mode.LIVE)
        record(connection, who, Deed("tolerance", details={"percent": f"{percent:f}"}), now)

    await store.write(write)
    return percent


async def set_late_money(store: Store, merchant: Merchant, late_money: LateMoney, now: int) -> None:
    """Take late money for what it is worth from now on, or hold it until it is credited by hand.

    A payment keeps what was set when it came.
    """

    def write(connection: Connection) -> None:
        merchants.set_late_money(connection, merchant.id, late_money)
        who = at_terminal(merchant.id, Mode.LIVE)
        record(connection, who, Deed("late-money", details={"to": late_money.value}), now)

    await store.write(write)


# --- channels ----------------------------------------------------------------------------------


async def add_channel(
    context: Context,
    vault: Vault,
    channel: Channel,
    merchant_id: int,
    target: str,
    wanted: tuple[EventType, ...],
    now: int,
) -> tuple[int, str]:
    """Add an endpoint and return its id and its secret: the only time that it is shown."""
    endpoint = channel.parse_target(target)
    secret = signing.make_secret(context.entropy.token(signing.SECRET_SIZE_BYTES))
    sealed = vault.encrypt(secret)

    def write(connection: Connection) -> int:
        return outbox.insert_channel(
            connection,
            merchant_id=merchant_id,
            kind=channel.kind,
            target=endpoint,
            secret=sealed,
            wanted=wanted,
            modes=tuple(Mode),
            now=now,
        )

    return await context.store.write(write), secret


async def find_channel(store: Store, merchant_id: int, channel_id: int) -> outbox.Channel:
    """Return a merchant's channel; raises NotFoundError."""
    found = await store.read(lambda connection: outbox.get_channel(connection, channel_id))
    if found is None or found.merchant_id != merchant_id:
        raise NotFoundError("unknown_channel", f"This merchant has no channel {channel_id}.")
    return found


async def list_channels(store: Store, merchant_id: int) -> list[outbox.Channel]:
    """Return a merchant's channels."""
    return await store.read(lambda connection: outbox.list_channels(connection, merchant_id))
