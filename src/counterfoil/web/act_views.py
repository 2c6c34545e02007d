"""The documents about what is done by hand, as /api/openapi.json describes them; see `views`."""

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from counterfoil.core.ids import ID_MAX
from counterfoil.services.refunds import NOTE_LENGTH_MAX, TXID_LENGTH_MAX
from counterfoil.web import fields
from counterfoil.web.views import Amount, Id, Special, Success, Time

_Coin = Annotated[str, Meta(max_length=fields.COIN_LENGTH_MAX, pattern=fields.COIN)]
_Txid = Annotated[str, Meta(max_length=TXID_LENGTH_MAX, pattern=fields.PLAIN_LINE)]
_Note = Annotated[str, Meta(max_length=NOTE_LENGTH_MAX, pattern=fields.PLAIN_LINES)]


class PaymentID(Special):
    """The id of a payment, or nothing."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": ID_MAX},
            {"type": "string", "maxLength": 0},
            {"type": "null"},
        ]
    }


class NewRefund(Struct, kw_only=True):
    """What was sent back; keys that are not listed here are ignored."""

    amount: Annotated[
        Amount,
        Meta(
            description="How much, in whole coins of coin_symbol, or in the invoice's currency "
            "without one.",
            examples=["0.125"],
        ),
    ]
    coin_symbol: (
        Annotated[_Coin | None, Meta(description="The coin that was sent.", examples=["LTC"])]
        | UnsetType
    ) = UNSET
    txid: Annotated[_Txid | None, Meta(description="The transaction that sent it.")] | UnsetType = (
        UNSET
    )
    note: Annotated[_Note | None, Meta(description="Why, or how.")] | UnsetType = UNSET
    payment_id: (
        Annotated[PaymentID, Meta(description="The payment that it gives back.")] | UnsetType
    ) = UNSET


class Refund(Struct, kw_only=True):
    """A note of money that was sent back."""

    id: Id
    amount: Annotated[str, Meta(examples=["0.125"])]
    method: Annotated[str | None, Meta(description="Null where the amount is in fiat money.")]
    fiat_currency: Annotated[str | None, Meta(description="Null where the amount is in a coin.")]
    payment_id: Id | None
    txid: str
    note: str
    created_at: Time


class RefundAnswer(Struct, kw_only=True):
    """One refund."""

    success: Success
    refund: Refund


class RefundsAnswer(Struct, kw_only=True):
    """The refunds of one invoice."""

    success: Success
    refunds: Annotated[list[Refund], Meta(description="The oldest first.")]
