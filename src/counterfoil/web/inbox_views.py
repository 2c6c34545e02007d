"""The documents about the inbox, as /api/openapi.json describes them; see `views`."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from counterfoil.core.matching import Reason
from counterfoil.web.views import (
    Amount,
    Coins,
    Id,
    Invoice,
    Payment,
    Sentence,
    Special,
    Success,
    Time,
)


class FiatValue(Special):
    """A number, or the same as a text."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [*Amount.schema["anyOf"], {"type": "string", "maxLength": 0}, {"type": "null"}]
    }


class Candidate(Struct, kw_only=True):
    """An invoice that a transfer may have been meant for."""

    invoice_id: Id
    reason: Annotated[
        str,
        Meta(
            description="Why, in words for a person.",
            examples=["0.4 % below INV 12, an exchange fee?"],
        ),
    ]


class InboxTransfer(Struct, kw_only=True):
    """A transfer to an address of the merchant that pays no invoice."""

    id: Id
    method: Annotated[str, Meta(examples=["LTC"])]
    txid: str
    index: Annotated[int, Meta(ge=0, description="Its place within its transaction.")]
    amount: Coins
    address: str
    confirmations: Annotated[int, Meta(ge=0)]
    state: Annotated[
        Literal["seen", "mined", "gone"],
        Meta(description="Unconfirmed, in a block, or replaced and worth nothing."),
    ]
    reason: Annotated[Reason, Meta(description="Why it pays no invoice, for programs.")]
    message: Sentence
    first_seen_at: Time
    created_at: Annotated[Time, Meta(description="Since when it lies in the inbox.")]
    ignored_at: Time | None
    candidates: Annotated[list[Candidate], Meta(description="The likeliest invoice first.")]


class InboxAnswer(Struct, kw_only=True):
    """A page of the inbox, the newest first."""

    success: Success
    transfers: list[InboxTransfer]
    next: Annotated[
        str | None, Meta(description="Send it as `after` for the next page; null on the last.")
    ]


class Attachment(Struct, kw_only=True):
    """Which invoice a transfer belongs to."""

    invoice_id: Id
    fiat_value: (
        Annotated[
            FiatValue,
            Meta(
                description="What the transfer is worth in the invoice's currency, instead of what "
                "its price or the rate of its arrival says.",
                examples=["25.00"],
            ),
        ]
        | UnsetType
    ) = UNSET


class Attached(Struct, kw_only=True):
    """The invoice as it stands now, and its new payment."""

    success: Success
    invoice: Invoice
    payment: Payment


class Ignored(Struct, kw_only=True):
    """The transfer is listed with `state=ignored` from now on."""

    success: Success


class Detached(Struct, kw_only=True):
    """The invoice as it stands now, and where its former payment lies."""

    success: Success
    invoice: Invoice
    inbox_id: Id
