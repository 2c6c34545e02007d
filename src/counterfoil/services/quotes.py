"""Quotes: what an invoice costs in a coin now, and where to send it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from counterfoil.core import matching, money
from counterfoil.core.errors import (
    ConflictError,
    InvalidError,
    LimitedError,
    NotFoundError,
    UnavailableError,
)
from counterfoil.core.invoice import Status
from counterfoil.core.payment import GRACE_MS
from counterfoil.core.ports import Chain, Method, Mode
from counterfoil.core.quote import LOCK_MS, QUOTES_PER_HOUR_MAX
from counterfoil.db import amounts, invoices, loops, merchants, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.services import rates
from counterfoil.services.context import Context

_HOUR_MS = 3_600_000


def offered(connection: Connection, context: Context, invoice: Invoice) -> tuple[Method, ...]:
    """Return the methods that the payer of an invoice may choose from.

    The simulator alone for a test invoice; the given address's coin where there is one; else the
    merchant's wallets, as far as the invoice names coins.
    """
    if invoice.mode is Mode.TEST:
        return context.methods.of_mode(Mode.TEST)
    try:
        return _offered_live(connection, context, invoice)
    except InvalidError:
        # The coin that the invoice names has been switched off on this server since.
        return ()


def _offered_live(connection: Connection, context: Context, invoice: Invoice) -> tuple[Method, ...]:
    methods = context.methods
    if invoice.wallet_address is not None and invoice.coin_symbol is not None:
        return named_for_address(context, invoice.coin_symbol, invoice.wallet_address)
    wallets = {wallet.method for wallet in merchants.list_wallets(connection, invoice.merchant_id)}
    allowed = [method for method in methods.of_mode(Mode.LIVE) if method.id in wallets]
    if invoice.coin_symbol is not None:
        named = methods.named(invoice.coin_symbol)
        return tuple(method for method in allowed if method in named)
    if invoice.coins:
        chosen = set(invoice.coins)
        return tuple(method for method in allowed if chosen & {method.id, method.symbol})
    return tuple(allowed)


def named_for_address(
    context: Context, coin_symbol: str, address: str, mode: Mode = Mode.LIVE
) -> tuple[Method, ...]:
    """Return the one method that a coin and an address mean together.

    Raises InvalidError: for the coin if it is not enabled, for the address if no network of the
    coin takes it.
    """
    named = context.methods.named(coin_symbol, mode=mode)
    for method in named[:-1]:
        try:
            context.methods.chain_of(method).parse_address(address)
        except InvalidError:
            continue
        return (method,)
    context.methods.chain_of(named[-1]).parse_address(address)
    return (named[-1],)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a quote asks for money, and the amount."""

    destination_id: int
    amount_atomic: int
    is_shared: bool


def latest(known: Iterable[quotes.Quote]) -> dict[str, quotes.Quote]:
    """Return the last quote of each method."""
    return {quote.method: quote for quote in known}


def open_quote(
    connection: Connection, context: Context, invoice: Invoice, method: Method, now: int
) -> None:
    """Ask for what is still due of an invoice in one method, at the rate of now.

    Where less is due than can be sent, the least that can is asked for, at what it is worth.
    An older quote of the method keeps its price two minutes more: its payer may just be sending.
    Raises UnavailableError (`rate_unavailable`, `chain_unavailable`), ConflictError
    (`no_free_amount`, `not_payable`) and LimitedError.
    """
    if invoice.standing.status not in (Status.UNPAID, Status.CONFIRMING):
        message = f"This invoice is {invoice.standing.status}: there is nothing to pay."
        raise ConflictError("not_payable", message)
    if invoice.standing.seen >= invoice.amount:
        # A quote of nothing would credit whatever is paid on it with nothing.
        raise ConflictError("not_payable", "All that is due has been seen on its way already.")
    # No lock outlasts the due date, so a quote made after it would never be good.
    if invoice.is_overdue(now):
        raise ConflictError("not_payable", "The time to pay this invoice is over.")
    known = quotes.list_of_invoice(connection, invoice.id)
    recent = [quote.created_at for quote in known if quote.created_at > now - _HOUR_MS]
    if len(recent) >= QUOTES_PER_HOUR_MAX:
        wait_s = (min(recent) + _HOUR_MS - now) // 1000 + 1
        message = f"This invoice has had {len(recent)} prices in an hour; wait {wait_s} seconds."
        raise LimitedError("too_many_quotes", message, retry_after_s=wait_s)
    chain = context.methods.chain_of(method)
    rate = rates.rate_of(connection, method, invoice.currency, now)
    if rate is None:
        raise rates.unavailable(method, invoice.currency)
    fiat = money.payable_fiat(invoice.rest, invoice.currency, rate.price, method)
    price_atomic = money.to_atomic(fiat, rate.price, method)
    place = _find_place(connection, context, invoice, method, known, price_atomic, now)
    older = [old.id for old in known if old.method == method.id]
    quotes.shorten_locks(connection, older, now + GRACE_MS)
    quote_id = quotes.insert(
        connection,
        invoice_id=invoice.id,
        method=method.id,
        chain=chain.name,
        destination_id=place.destination_id,
        amount_atomic=str(place.amount_atomic),
        fiat=str(fiat),
        due=None if fiat == invoice.rest else str(invoice.rest),
        rate=str(rate.price),
        rate_sources=rate.sources,
        rate_at=rate.at,
        created_at=now,
        lock_until=min(now + LOCK_MS, invoice.due_at or now + LOCK_MS),
    )
    if place.is_shared:
        amount = money.format_coin(place.amount_atomic, method.decimals)
        amounts.hold_amount(connection, place.destination_id, amount, quote_id, now)


def _find_place(
    connection: Connection,
    context: Context,
    invoice: Invoice,
    method: Method,
    known: list[quotes.Quote],
    price_atomic: int,
    now: int,
) -> _Place:
    """Return where to ask for `price_atomic` or, on a shared address, a little more."""
    chain = context.methods.chain_of(method)
    earlier = [quote for quote in known if quote.method == method.id]
    state = next(iter(loops.list_chains(connection, [chain.name])), None)
    if state is None or state.cursor is None:
        raise _unavailable(method)
    if invoice.wallet_address is not None and invoice.mode is Mode.LIVE:
        key = chain.parse_address(invoice.wallet_address).key
        return _shared(connection, context, invoice, method, known, key, price_atomic, now)
    wallet = next(
        (
            wallet
            for wallet in merchants.list_wallets(connection, invoice.merchant_id)
            if wallet.method == method.id
        ),
        None,
    )
    if wallet is None:
        message = f"This shop takes no {method.id} at the moment."
        raise NotFoundError("method_not_offered", message)
    if wallet.kind == merchants.ADDRESS:
        key = chain.parse_address(wallet.value).key
        return _shared(connection, context, invoice, method, known, key, price_atomic, now)
    if earlier:
        shown = quotes.get_destination(connection, earlier[-1].destination_id)
        # The address of a wallet that was removed since is asked for no more.
        if shown.wallet_id == wallet.id:
            return _Place(shown.id, price_atomic, is_shared=False)
    fresh = _fresh_address(connection, context, chain, wallet, now)
    return _Place(fresh, price_atomic, is_shared=False)


def _fresh_address(
    connection: Connection, context: Context, chain: Chain, wallet: merchants.Wallet, now: int
) -> int:
    """Return the destination of the wallet's next address that nobody was ever shown."""
    while True:
        index = merchants.take_index(connection, wallet.id)
        derived = context.methods.derive(chain.name, wallet.value, index)
        destination_id = quotes.claim_new(
            connection,
            wallet.merchant_id,
            derived,
            matching.Kind.EXCLUSIVE,
            wallet_id=wallet.id,
            derivation_index=index,
            now=now,
        )
        # Else it was shown, for another wallet of the same keys or by a server that is lost.
        if destination_id is not None:
            return destination_id


def _shared(
    connection: Connection,
    context: Context,
    invoice: Invoice,
    method: Method,
    known: list[quotes.Quote],
    key: bytes,
    price_atomic: int,
    now: int,
) -> _Place:
    """Return a free amount on a merchant's one address, where the amount tells who paid.

    An invoice keeps its tag: its next amount is as much above its price as the last one, if that
    is free.
    """
    chain = context.methods.chain_of(method)
    (state,) = loops.list_chains(connection, [chain.name])
    if not _is_at_tip(state, now):
        raise _unavailable(method)
    destination = quotes.find_destination(connection, key)
    if destination is None or destination.merchant_id != invoice.merchant_id:
        message = "This address can no longer be used; ask the shop for a new invoice."
        raise ConflictError("address_in_use", message)
    amounts.lock_destination(connection, destination.id)
    shared = [quote for quote in known if quote.kind is matching.Kind.SHARED]
    own = [q for q in shared if (q.destination_id, q.method) == (destination.id, method.id)]
    kept = None
    if own:
        kept = price_atomic + own[-1].amount_atomic - _price(own[-1], method)
        held = money.format_coin(kept, method.decimals)
        holder = amounts.holder_of(connection, destination.id, held)
        if kept == own[-1].amount_atomic and holder in {quote.id for quote in own}:
            # The same price again: the amount may already stand in the payer's wallet.
            return _Place(destination.id, kept, is_shared=True)
    if state.amounts_rest_ms:
        message = (
            "The shop's server was restored from a backup, and amounts that it asked for before "
            "may still be paid to this address. Ask the shop for another way to pay."
        )
        raise ConflictError("no_free_amount", message)
    asked = {(quote.destination_id, quote.method, quote.amount_atomic) for quote in shared}
    if len(asked) >= matching.AMOUNTS_PER_INVOICE_MAX:
        message = "This invoice has had as many prices as it may. Ask the shop for a new invoice."
        raise ConflictError("no_free_amount", message)
    amount = matching.pick_amount(
        price_atomic,
        method.step_atomic,
        kept,
        lambda some: amounts.know_amounts(connection, destination.id, method, some),
        context.entropy.below,
    )
    if amount is None:
        message = "All amounts near this price are taken on the shop's address. Try again later."
        raise ConflictError("no_free_amount", message)
    return _Place(destination.id, amount, is_shared=True)


def _is_at_tip(state: loops.ChainState, now: int) -> bool:
    """Tell whether what came to a shared address is known: the node's tip has just been read."""
    return state.is_seen(now) and (state.node_height or 0) <= state.height


def _price(quote: quotes.Quote, method: Method) -> int:
    """Return what a quote's share of the invoice cost, without the tag that tells payers apart."""
    return money.to_atomic(quote.fiat, quote.rate, method)


def _unavailable(method: Method) -> UnavailableError:
    message = f"The {method.name} network cannot be seen now; try again in a minute."
    return UnavailableError("chain_unavailable", message)


def replace_open_quotes(
    connection: Connection,
    context: Context,
    moved: Iterable[tuple[Invoice, Sequence[quotes.Quote]]],
    now: int,
) -> None:
    """Ask for the rest wherever the whole was asked for: money has come, or has gone again.

    The invoices come with all their quotes. Where no new one can be had now, the old one still
    ends: a page must never ask for too much.
    """
    ending = [
        (invoice, quote)
        for invoice, known in moved
        # In the order in which they were chosen: the page shows the newest.
        for quote in sorted(latest(known).values(), key=lambda quote: quote.id)
        if quote.lock_until > now
    ]
    quotes.shorten_locks(connection, [quote.id for _, quote in ending], now)
    for invoice, quote in ending:
        method = context.methods.get(quote.method)
        if method is None or invoice.standing.seen >= invoice.amount - invoice.tolerance:
            continue
        try:
            open_quote(connection, context, invoice, method, now)
        except (ConflictError, LimitedError, UnavailableError, NotFoundError):
            continue


async def choose(context: Context, share_token: str, method_id: str, now: int) -> None:
    """Give the payer of an invoice a fresh quote in the method of their choice."""

    def write(connection: Connection) -> None:
        found = invoices.by_share_token(connection, share_token)
        if found is None:
            raise NotFoundError("not_found", "There is no such invoice.")
        invoice = invoices.lock(connection, found.id)
        method = context.methods.get(method_id)
        if method is None or method not in offered(connection, context, invoice):
            message = "Choose one of the coins that this invoice offers."
            raise NotFoundError("method_not_offered", message)
        open_quote(connection, context, invoice, method, now)
        invoices.touch(connection, invoice.id)

    await context.store.write(write)
