"""The documents about wallets, as /api/openapi.json describes them; see `views`.

An extended public key tells every payment that its wallet ever gets, so none of these holds one.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from counterfoil.services.wallets import INDEX_MAX
from counterfoil.web import fields
from counterfoil.web.views import Address, Id, Success, Time

WALLET_LENGTH_MAX = 1_000

_Keys = Annotated[str, Meta(max_length=WALLET_LENGTH_MAX, pattern=fields.PLAIN_LINES)]
_Coin = Annotated[str, Meta(max_length=fields.COIN_LENGTH_MAX, pattern=fields.COIN)]
_Index = Annotated[int, Meta(ge=0, le=INDEX_MAX)]
_Count = Annotated[int, Meta(ge=0)]


class NewWallet(Struct, kw_only=True):
    """What to receive on: one of xpub, descriptor and address."""

    method: Annotated[_Coin, Meta(description="What is received.", examples=["LTC"])]
    xpub: (
        Annotated[
            _Keys | None,
            Meta(description="An account's extended public key: a fresh address for each invoice."),
        ]
        | UnsetType
    ) = UNSET
    descriptor: (
        Annotated[_Keys | None, Meta(description="The same as an output descriptor.")] | UnsetType
    ) = UNSET
    address: (
        Annotated[
            Address, Meta(description="One address for all; payments are told apart by amount.")
        ]
        | UnsetType
    ) = UNSET
    next_index: (
        Annotated[
            _Index | Literal[""] | None,
            Meta(
                description="The first address to use, counted from 0. Without it the node is "
                "asked which were used, which takes minutes on a main network."
            ),
        ]
        | UnsetType
    ) = UNSET


class Wallet(Struct, kw_only=True):
    """A wallet in use."""

    id: Id
    method: Annotated[str, Meta(examples=["LTC"])]
    kind: Annotated[
        Literal["xpub", "address"],
        Meta(description="A fresh address for each invoice, or one address for all."),
    ]
    hint: Annotated[
        str,
        Meta(description="The address, or the ends of the key or descriptor: enough to know it."),
    ]
    addresses: Annotated[
        list[str],
        Meta(
            description="The first receive addresses: compare them with those that the wallet "
            "itself shows. Empty while the coin is switched off."
        ),
    ]
    next_index: Annotated[_Count, Meta(description="The number of the next fresh address.")]
    shown: Annotated[_Count, Meta(description="How many addresses were shown to payers.")]
    paid: Annotated[_Count, Meta(description="How many of them were paid to.")]
    gap: Annotated[
        _Count, Meta(description="The most addresses in a row that were shown and not paid to.")
    ]
    warning: Annotated[
        str | None, Meta(description="What to do about a gap that wallets may not look across.")
    ]
    created_at: Time


class WalletAdded(Struct, kw_only=True):
    """A new wallet."""

    success: Success
    wallet: Wallet
    history: Annotated[
        Literal["whole", "unspent"] | None,
        Meta(
            description="How the node looked for used addresses: at all that was ever paid, or at "
            "unspent coin alone, where emptied addresses look unused; null if it was not asked."
        ),
    ]


class WalletsAnswer(Struct, kw_only=True):
    """The wallets in use."""

    success: Success
    wallets: list[Wallet]


class WalletRemoved(Struct, kw_only=True):
    """It is removed."""

    success: Success
