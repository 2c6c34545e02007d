"""The endpoints of wallets: one declaration each, and the function behind it.

Wallets belong to the merchant, not to a mode: a test key sees them, and changes none.
"""

from dataclasses import replace
from typing import Literal

from counterfoil.core import events
from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.services import wallets
from counterfoil.web import bodies, wallet_views
from counterfoil.web.endpoints import Answer, Call, Endpoint, answer
from counterfoil.web.fields import COIN_LENGTH_MAX, Fields
from counterfoil.web.parameters import path_id
from counterfoil.web.wallet_views import WALLET_LENGTH_MAX

_CHOICES = ("xpub", "descriptor", "address")


async def list_wallets(call: Call) -> Answer:
    """Return the merchant's wallets."""
    known = await wallets.list_all(call.deps.context, call.who().merchant_id)
    return answer(wallet_views.WalletsAnswer(success=True, wallets=[_view(each) for each in known]))


async def add_wallet(call: Call) -> Answer:
    """Add a wallet."""
    fields = Fields(bodies.parse(call.body))
    method = fields.text("method", COIN_LENGTH_MAX)
    if not method and not fields.is_refused("method"):
        fields.refuse("method", "missing", "method is required.")
    name, value = _value(fields)
    next_index = fields.whole("next_index", wallets.INDEX_MAX)
    if fields.problems:
        raise InvalidError(*fields.problems)
    try:
        added = await wallets.add(
            call.deps.context,
            call.who().merchant_id,
            method,
            xpub=None if name == "address" else value,
            address=value if name == "address" else None,
            next_index=next_index,
            now=call.now,
        )
    except InvalidError as error:
        # A chain does not know what the field was called in which it was given something.
        is_value = ("wallet", "wallet_address")
        named = (replace(p, field=name) if p.field in is_value else p for p in error.problems)
        raise InvalidError(*named) from None
    history: Literal["whole", "unspent"] | None = None
    if added.history is not None:
        history = "whole" if added.history.is_whole else "unspent"
    wallet = _view(added.wallet)
    return answer(wallet_views.WalletAdded(success=True, wallet=wallet, history=history))


def _value(fields: Fields) -> tuple[str, str]:
    """Return which of the fields is given, and what it holds."""
    # In lines, too: so written a recovery phrase must also meet the chain, which tells what it is.
    values = {name: fields.text(name, WALLET_LENGTH_MAX, is_long=True).strip() for name in _CHOICES}
    given = [name for name in _CHOICES if values[name] or fields.is_refused(name)]
    if len(given) == 1:
        return given[0], values[given[0]]
    code = "too_many" if given else "missing"
    message = "Give one of xpub, descriptor and address."
    fields.refuse(given[1] if given else "xpub", code, message)
    return "", ""


async def remove_wallet(call: Call) -> Answer:
    """Take a wallet out of use."""
    wallet_id = call.path_id()
    if wallet_id is None:
        raise wallets.not_found()
    await wallets.remove(call.deps.context, call.who().merchant_id, wallet_id, call.now)
    return answer(wallet_views.WalletRemoved(success=True))


def _view(wallet: wallets.ListedWallet) -> wallet_views.Wallet:
    return wallet_views.Wallet(
        id=wallet.id,
        method=wallet.method,
        kind="address" if wallet.kind == "address" else "xpub",
        hint=wallet.hint,
        addresses=list(wallet.addresses),
        next_index=wallet.next_index,
        shown=wallet.use.shown,
        paid=wallet.use.paid,
        gap=wallet.use.gap,
        warning=wallet.warning,
        created_at=events.iso(wallet.created_at),
    )


# --- the declarations --------------------------------------------------------------------------

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/wallets",
        list_wallets,
        scope=Scope.AUTOMATE,
        tag="Wallets",
        summary="List the wallets",
        description="Returns the wallets of the key's merchant; live and test keys see the same.",
        answers={200: wallet_views.WalletsAnswer},
    ),
    Endpoint(
        "POST",
        "/api/wallets",
        add_wallet,
        scope=Scope.FULL,
        tag="Wallets",
        summary="Add a wallet",
        description="Adds what a coin is received on, one wallet for a coin. What could spend is "
        "refused. Compare the addresses of the answer with those that your own wallet shows before "
        "you take money. A wallet that was here before goes on behind the addresses it has shown.",
        body=wallet_views.NewWallet,
        answers={200: wallet_views.WalletAdded},
        errors={
            409: ("wallet_exists", "wallet_in_use", "address_in_use"),
            422: (
                "missing",
                "too_many",
                "wrong_type",
                "too_long",
                "invalid_characters",
                "unknown_coin",
                "ambiguous_method",
                "private_key_refused",
                "invalid_wallet",
                "invalid_address",
                "invalid_number",
            ),
            503: ("history_unavailable",),
        },
        is_live_only=True,
    ),
    Endpoint(
        "DELETE",
        "/api/wallets/{id}",
        remove_wallet,
        scope=Scope.FULL,
        tag="Wallets",
        summary="Remove a wallet",
        description="Asks for nothing new on a wallet. What was asked for on its addresses is "
        "still credited whenever it is paid.",
        answers={200: wallet_views.WalletRemoved},
        parameters=(path_id("The id of the wallet.", 2),),
        errors={404: ("not_found",)},
        is_live_only=True,
    ),
)
