"""Making, reading and cancelling invoices."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ParamSpec

from msgspec import Struct

from counterfoil.core import access, events, matching, money
from counterfoil.core.errors import ConflictError, InvalidError, NotFoundError, Problem
from counterfoil.core.invoice import NEW, Status
from counterfoil.core.payment import credit, progress
from counterfoil.core.ports import Destination, Method, Mode
from counterfoil.db import invoices, merchants, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.payments import Credited
from counterfoil.services import repeats
from counterfoil.services.context import Context
from counterfoil.services.payments import reassess
from counterfoil.services.quotes import named_for_address
from counterfoil.services.rates import unsupported_currency

P = ParamSpec("P")

SHARE_TOKEN_BYTES = 16
# What these functions are asked with and return.
Filter = invoices.Filter
Invoice = invoices.Invoice
# How far ahead of a wallet's next address somebody else's address is looked for among its own.
_LOOK_AHEAD = 20


class Draft(Struct, frozen=True):
    """What a client asks for, field by field checked; not given is None or empty.

    A struct as the next one is: they are made for every request, in a tenth of a dataclass's time.
    """

    amount: Decimal
    currency: str
    wallet_address: str | None = None
    coin_symbol: str | None = None
    memo: str = ""
    due_at: int | None = None
    invoice_message: str = ""
    invoice_title: str = ""
    client_email: str = ""
    client_name: str = ""
    order_id: str = ""
    metadata: Mapping[str, str] = {}
    redirect_url: str | None = None
    coins: tuple[str, ...] = ()


class Created(Struct, frozen=True):
    """The identity of a new invoice: all that its maker is told."""

    id: int
    share_token: str
    created_at: int


def problems(context: Context, draft: Draft, mode: Mode) -> list[Problem]:
    """Return what is wrong with a draft that can be told without the database."""
    unsupported = unsupported_currency(context, mode, draft.currency)
    found = [] if unsupported is None else [unsupported]
    symbol, address = draft.coin_symbol, draft.wallet_address
    if address is not None and symbol is None:
        message = "coin_symbol is required when wallet_address is given."
        found.append(Problem("coin_symbol", "missing", message))
    elif address is not None and symbol is not None:
        found += _refused(named_for_address, context, symbol, address, mode)
    elif symbol is not None:
        found += _refused(context.methods.named, symbol, mode=mode)
    for coin in draft.coins:
        found += _refused(context.methods.named, coin, "coins", mode)
    return found


def _refused(look: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> tuple[Problem, ...]:
    """Return what a look complains of."""
    try:
        look(*args, **kwargs)
    except InvalidError as error:
        return error.problems
    return ()


async def create(
    context: Context,
    principal: access.Principal,
    draft: Draft,
    now: int,
    request: repeats.Request | None = None,
) -> Created:
    """Make an invoice and return it once it is durable.

    A `request` that comes again gets the first answer again. Raises InvalidError, and ConflictError
    (`address_in_use`, `idempotency_mismatch`).
    """
    found = problems(context, draft, principal.mode)
    if found:
        raise InvalidError(*found)
    token = urlsafe_b64encode(context.entropy.token(SHARE_TOKEN_BYTES)).decode().rstrip("=")
    row = _row(context, principal, draft, token, now)
    if not _needs_transaction(draft) and request is None:
        return Created(await context.store.insert_invoice(row), token, now)

    def write(connection: Connection) -> Created:
        kept = repeats.take(connection, request, now)
        if kept is not None:
            return Created(*json.loads(kept))
        _check_merchant(connection, context, principal, draft, now)
        created = Created(invoices.insert(connection, row), token, now)
        answer = [created.id, created.share_token, created.created_at]
        repeats.keep(connection, request, json.dumps(answer))
        return created

    return await context.store.write(write)


async def earlier(context: Context, request: repeats.Request) -> Created | None:
    """Return what the same request was answered before, None where its key is new.

    Raises ConflictError (`idempotency_mismatch`).
    """
    kept = await repeats.earlier(context.store, request)
    return None if kept is None else Created(*json.loads(kept))


# What every new row has in common.
_NEW = invoices.new_row(NEW)


def _needs_transaction(draft: Draft) -> bool:
    """Tell whether anything besides the draft itself must be read or claimed."""
    return draft.coin_symbol is not None or draft.redirect_url is not None


def _row(
    context: Context, principal: access.Principal, draft: Draft, token: str, now: int
) -> dict[str, object]:
    address, symbol, coins = draft.wallet_address, draft.coin_symbol, draft.coins
    if address is not None and symbol is not None:
        (method,) = named_for_address(context, symbol, address, principal.mode)
        # A link, or another spelling, was given: here, on the page and in the QR code it is one.
        address = context.methods.chain_of(method).parse_address(address).address
        symbol = method.id
    elif symbol is not None:
        symbol = symbol.upper()
    return {
        **_NEW,
        "merchant_id": principal.merchant_id,
        "mode": principal.mode.value,
        "share_token": token,
        "type": "api",
        "created_at": now,
        "updated_at": now,
        "fiat_amount": str(draft.amount),
        "fiat_currency": draft.currency,
        "tolerance": str(money.tolerated(draft.amount, principal.tolerance, draft.currency)),
        "due_at": draft.due_at,
        "coin_symbol": symbol,
        "wallet_address": address,
        "coins": json.dumps([coin.upper() for coin in coins]) if coins else None,
        "memo": draft.memo,
        "client_name": draft.client_name,
        "client_email": draft.client_email,
        "invoice_title": draft.invoice_title,
        "invoice_message": draft.invoice_message,
        "order_id": draft.order_id,
        "metadata": json.dumps(dict(draft.metadata)) if draft.metadata else "{}",
        "redirect_url": draft.redirect_url,
    }


def _check_merchant(
    connection: Connection,
    context: Context,
    principal: access.Principal,
    draft: Draft,
    now: int,
) -> None:
    """Check a draft against what the merchant has, and claim the address it names."""
    if draft.redirect_url is not None:
        _check_redirect(connection, principal.merchant_id, draft.redirect_url)
    if principal.mode is Mode.TEST or draft.coin_symbol is None:
        return
    if draft.wallet_address is not None:
        (method,) = named_for_address(context, draft.coin_symbol, draft.wallet_address)
        destination = context.methods.chain_of(method).parse_address(draft.wallet_address)
        claim_shared(connection, context, principal.merchant_id, method, destination, now)
        return
    named = {method.id for method in context.methods.named(draft.coin_symbol)}
    wallets = merchants.list_wallets(connection, principal.merchant_id)
    if not any(wallet.method in named for wallet in wallets):
        message = (
            f"This merchant has no {draft.coin_symbol.upper()} wallet; add one with "
            "`counterfoil wallet add`, or send wallet_address."
        )
        raise InvalidError(Problem("coin_symbol", "no_wallet", message))


def _check_redirect(connection: Connection, merchant_id: int, url: str) -> None:
    origins = merchants.get(connection, merchant_id).redirect_origins
    scheme, _, rest = url.partition("://")
    origin = f"{scheme}://{rest.partition('/')[0].partition('?')[0].partition('#')[0]}".lower()
    if origin not in origins:
        message = (
            f"redirect_url must begin with an origin on the merchant's list; add it with "
            f"`counterfoil merchant allow-redirect {origin}`."
        )
        raise InvalidError(Problem("redirect_url", "origin_not_listed", message))


def claim_shared(
    connection: Connection,
    context: Context,
    merchant_id: int,
    method: Method,
    destination: Destination,
    now: int,
    *,
    field: str = "wallet_address",
) -> None:
    """Claim an address for a merchant to share among invoices; raises ConflictError.

    An address that a wallet here derives is for one invoice alone: shared, it would credit two. The
    claim itself rules that out: it gives an address one kind for ever, and a wallet passes over
    those of the other. So only what a wallet is about to show is compared, and only once.
    """
    message = f"This {field} is already in use on this server; use another address."
    conflict = ConflictError("address_in_use", message, field=field)
    is_new = quotes.find_destination(connection, destination.key) is None
    if is_new and _is_coming(connection, context, method, destination):
        raise conflict
    claimed = quotes.claim_destination(
        connection,
        merchant_id,
        destination,
        matching.Kind.SHARED,
        wallet_id=None,
        derivation_index=None,
        now=now,
    )
    if claimed is None:
        raise conflict


def _is_coming(
    connection: Connection, context: Context, method: Method, destination: Destination
) -> bool:
    """Tell whether an address is one of the next that some wallet here will show."""
    chain = context.methods.chain_of(method)
    return any(
        context.methods.derive(chain.name, wallet.value, index).key == destination.key
        for wallet in merchants.list_xpubs(connection, method.id)
        for index in range(wallet.next_index, wallet.next_index + _LOOK_AHEAD)
    )


async def get(context: Context, principal: access.Principal, invoice_id: int) -> Invoice:
    """Return an invoice of the key's merchant and mode; raises NotFoundError."""
    return read(await get_stored(context, principal, invoice_id))


async def get_stored(
    context: Context, principal: access.Principal, invoice_id: int
) -> tuple[Any, ...]:
    """Return an invoice as it is stored, which `read` reads; raises NotFoundError.

    What is stored twice in the same way is the same invoice in the same state.
    """
    row = await context.store.find_invoice(invoice_id, principal.merchant_id, principal.mode)
    if row is None:
        raise not_found()
    return tuple(row)


def read(stored: tuple[Any, ...]) -> Invoice:
    """Return what is stored as an invoice."""
    return invoices.from_row(stored)


def not_found() -> NotFoundError:
    """Return the one answer to an unknown id or share token and to somebody else's id."""
    return NotFoundError("not_found", "There is no such invoice.")


def own(connection: Connection, merchant_id: int, mode: Mode, invoice_id: int) -> Invoice:
    """Return a merchant's invoice as it is now, not locked; raises NotFoundError."""
    found = invoices.get(connection, invoice_id, merchant_id, mode)
    if found is None:
        raise not_found()
    return found


def find_any(connection: Connection, invoice_id: int) -> Invoice:
    """Return an invoice of whatever merchant and mode; raises NotFoundError."""
    found = invoices.by_id(connection, invoice_id)
    if found is None:
        raise not_found()
    return found


async def list_page(
    context: Context, principal: access.Principal, wanted: invoices.Filter, limit: int
) -> tuple[list[Invoice], int | None]:
    """Return a page of invoices, the newest first, and the id to go on after, if there are more."""
    rows = await context.store.read(
        lambda connection: invoices.list_page(
            connection, principal.merchant_id, principal.mode, wanted, limit + 1
        )
    )
    page = rows[:limit]
    return page, page[-1].id if len(rows) > limit else None


async def cancel(
    context: Context, principal: access.Principal, invoice_id: int, now: int
) -> Invoice:
    """Cancel an invoice; again does nothing. Raises ConflictError `invoice_has_money`.

    The address stays watched: what comes after all is credited.
    """

    def write(connection: Connection) -> Invoice:
        own(connection, principal.merchant_id, principal.mode, invoice_id)
        invoices.lock(connection, invoice_id)
        invoices.cancel(connection, invoice_id, now)
        reassess(connection, context, invoice_id, now)
        invoice = invoices.lock(connection, invoice_id)
        # Asked after the assessment: the watcher may have recorded money that nobody has assessed.
        if invoice.standing.status in (Status.CONFIRMING, Status.PAID):
            message = "This invoice has been paid or is being paid, so it cannot be cancelled."
            raise ConflictError("invoice_has_money", message)
        return invoice

    invoice = await context.store.write(write)
    context.wake_tellers()
    return invoice


async def list_payments(
    context: Context, principal: access.Principal, invoice_id: int
) -> tuple[Invoice, list[Credited]]:
    """Return an invoice and the payments that are credited to it."""

    def read(connection: Connection) -> tuple[Invoice, list[Credited]]:
        found = own(connection, principal.merchant_id, principal.mode, invoice_id)
        return found, payments.list_credited(connection, found.id)

    return await context.store.read(read)


def pay_url(checkout_url: str, share_token: str) -> str:
    """Return the address of the pay page."""
    return f"{checkout_url}/pay-invoice?share_token={share_token}"


def describe_payment(context: Context, invoice: Invoice, item: Credited) -> dict[str, object]:
    """Return a payment as the contract shows it (wire contract, section 7)."""
    payment = item.payment
    # Rivals are not looked for: the contract knows no payment that is displaced.
    worth = credit(payment, invoice.deadlines)
    return {
        "id": payment.id,
        "method": item.method,
        "txid": payment.txid,
        "index": item.place,
        "amount": context.methods.format_coin(item.method, payment.received_atomic),
        "confirmations": max(payment.depth, 0),
        "state": progress(payment, worth).value,
        "fiat_value": str(money.floor_to_minor(worth.value, invoice.currency)),
        "first_seen_at": events.iso(item.first_seen_at),
    }
