"""The documents that cross the API, as /api/openapi.json describes them.

They are types of their own: what a stored row gains does not show until it is added here. The order
of the fields is the order of the keys, which the contract fixes.
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from counterfoil.core.ids import ID_MAX
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.ports import Outcome
from counterfoil.web import fields

_EMPTY = {"type": "string", "maxLength": 0}
_NULL = {"type": "null"}

Success = Annotated[bool, Meta(extra_json_schema={"const": True})]
Failure = Annotated[bool, Meta(extra_json_schema={"const": False})]
Time = Annotated[
    str,
    Meta(
        description="A time in UTC with milliseconds.",
        examples=["2025-11-11T11:11:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Id = Annotated[int, Meta(ge=1, le=ID_MAX, examples=[12345])]
Coins = Annotated[
    str | None,
    Meta(
        description="In whole coins; null where the method has been switched off since.",
        examples=["0.125"],
    ),
]
Code = Annotated[str, Meta(description="For programs; it never changes.")]
Sentence = Annotated[str, Meta(description="One sentence for a person, who can act on it.")]
FieldName = Annotated[str, Meta(description="The field that is meant.", examples=["amount"])]


class Special:
    """A field that the types of Python cannot say: the document takes it from `schema`."""

    schema: ClassVar[dict[str, Any]]


class Amount(Special):
    """A number, or the same as a text."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**15},
            {"type": "string", "pattern": fields.DECIMAL},
        ]
    }


class Address(Special):
    """A text that may be an address."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {
                "type": "string",
                "minLength": fields.ADDRESS_LENGTH_LEAST,
                "maxLength": fields.ADDRESS_LENGTH_MAX,
                "pattern": fields.PLAIN_LINE,
            },
            _EMPTY,
            _NULL,
        ]
    }


class Email(Special):
    """An e-mail address."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "string", "format": "email", "maxLength": fields.EMAIL_LENGTH_MAX},
            _EMPTY,
            _NULL,
        ]
    }


class DueTime(Special):
    """A time."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": fields.TIME}, _EMPTY, _NULL]
    }


class RedirectUrl(Special):
    """A URL."""

    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "string", "pattern": fields.URL, "maxLength": fields.URL_LENGTH_MAX},
            _EMPTY,
            _NULL,
        ]
    }


_Line64 = Annotated[str, Meta(max_length=fields.ORDER_ID_LENGTH_MAX, pattern=fields.PLAIN_LINE)]
_Line200 = Annotated[str, Meta(max_length=200, pattern=fields.PLAIN_LINE)]
_Line500 = Annotated[str, Meta(max_length=500, pattern=fields.PLAIN_LINE)]
_Lines5000 = Annotated[str, Meta(max_length=5_000, pattern=fields.PLAIN_LINES)]
_Currency = Annotated[str, Meta(pattern=r"^[A-Za-z]{3}$", examples=["USD"])]
_Coin = Annotated[str, Meta(max_length=fields.COIN_LENGTH_MAX, pattern=fields.COIN)]
_Key = Annotated[
    str, Meta(min_length=1, max_length=fields.METADATA_KEY_LENGTH_MAX, pattern=fields.PLAIN_LINE)
]
_Value = Annotated[
    str, Meta(max_length=fields.METADATA_VALUE_LENGTH_MAX, pattern=fields.PLAIN_LINE)
]
_Metadata = Annotated[dict[_Key, _Value], Meta(max_length=fields.METADATA_KEYS_MAX)]
_Coins = Annotated[list[_Coin], Meta(max_length=fields.COINS_MAX)]


class NewInvoice(Struct, kw_only=True):
    """What an invoice is made from; keys that are not listed here are ignored."""

    amount: Annotated[
        Amount,
        Meta(
            description="What is charged, more than zero, as a number or a decimal text. It is "
            "read digit by digit; more decimals than the currency has are refused.",
            examples=[25.00, "25.00"],
        ),
    ]
    fiat_currency: Annotated[
        _Currency, Meta(description="An ISO 4217 code in any case that a rate source lists.")
    ]
    wallet_address: (
        Annotated[Address, Meta(description="Where to pay to; needs coin_symbol.")] | UnsetType
    ) = UNSET
    coin_symbol: (
        Annotated[
            _Coin | None,
            Meta(
                description="The coin to pay with. Alone, the merchant's wallet of it is used; "
                "without it, the payer chooses among the merchant's wallets.",
                examples=["BTC"],
            ),
        ]
        | UnsetType
    ) = UNSET
    memo: Annotated[_Line500 | None, Meta(description="A note, never shown to the payer.")] | (
        UnsetType
    ) = UNSET
    due_at: (
        Annotated[
            DueTime,
            Meta(
                description="Until when it can be paid: ISO 8601, in UTC where it names no zone, "
                "and still to come.",
                examples=["2030-01-31T18:00:00Z"],
            ),
        ]
        | UnsetType
    ) = UNSET
    invoice_message: (
        Annotated[_Lines5000 | None, Meta(description="What the payer reads; lines are kept.")]
        | UnsetType
    ) = UNSET
    invoice_title: (
        Annotated[_Line200 | None, Meta(description="The heading of the pay page.")] | UnsetType
    ) = UNSET
    client_email: (
        Annotated[Email, Meta(description="The customer's e-mail address.")] | UnsetType
    ) = UNSET
    client_name: Annotated[_Line200 | None, Meta(description="The customer's name.")] | (
        UnsetType
    ) = UNSET
    order_id: (
        Annotated[_Line64 | None, Meta(description="Your own reference; it need not be unique.")]
        | UnsetType
    ) = UNSET
    metadata: (
        Annotated[
            _Metadata | Literal[""] | None,
            Meta(description="Texts of your own, given back as they are."),
        ]
        | UnsetType
    ) = UNSET
    redirect_url: (
        Annotated[
            RedirectUrl,
            Meta(
                description="Where the pay page leads back to: https, with an origin on the "
                "merchant's list."
            ),
        ]
        | UnsetType
    ) = UNSET
    coins: (
        Annotated[
            _Coins | Literal[""] | None, Meta(description="The coins that the payer may choose.")
        ]
        | UnsetType
    ) = UNSET


class Simulation(Struct, kw_only=True):
    """How a test invoice is to be paid."""

    outcome: Annotated[
        Outcome,
        Meta(
            description="exact: in full; under: half; over: half as much again; late: after the "
            "price has ended; replaced: taken back before a block; reorged: out of its block again."
        ),
    ]


class CreatedInvoice(Struct, kw_only=True):
    """A new invoice."""

    id: Id
    share_token: Annotated[str, Meta(description="Opens the pay page, and nothing else.")]
    created_at: Time
    pay_url: Annotated[str, Meta(description="The pay page, to send the customer to.")]


class Created(Struct, kw_only=True):
    """The answer to a new invoice."""

    success: Success
    invoice: CreatedInvoice


class Invoice(Struct, kw_only=True):
    """An invoice; further keys may follow in later versions."""

    id: Id
    share_token: str
    created_at: Time
    pay_url: str
    fiat_amount: Annotated[str, Meta(examples=["12.34"])]
    fiat_currency: str
    status: Status
    updated_at: Time
    due_at: Time | None
    coin_symbol: str | None
    type: Annotated[
        Literal["api", "manual"],
        Meta(description="Made with a key, or by hand in the dashboard."),
    ]
    wallet_address: str | None
    memo: str
    client_name: str
    client_email: str
    invoice_title: str
    invoice_message: str
    exceptions: Annotated[
        tuple[Condition, ...], Meta(description="All that is unusual, worst first.")
    ]
    exception: Annotated[Condition | None, Meta(description="The first of exceptions, or null.")]
    paid_at: Time | None
    order_id: str
    metadata: dict[str, str]
    redirect_url: str | None
    coins: tuple[str, ...]
    test: Annotated[bool, Meta(description="Whether it is paid with the simulator's coin.")]


class InvoiceAnswer(Struct, kw_only=True):
    """One invoice."""

    success: Success
    invoice: Invoice


class InvoicesAnswer(Struct, kw_only=True):
    """A page of invoices, the newest first."""

    success: Success
    invoices: list[Invoice]
    next: Annotated[
        str | None, Meta(description="Send it as `after` for the next page; null on the last.")
    ]


class Payment(Struct, kw_only=True):
    """A transfer that is credited to an invoice."""

    id: Id
    method: Annotated[str, Meta(examples=["LTC"])]
    txid: str
    index: Annotated[int, Meta(ge=0, description="Its place within its transaction.")]
    amount: Coins
    confirmations: Annotated[int, Meta(ge=0)]
    state: Annotated[
        Literal["seen", "confirming", "final", "gone"],
        Meta(description="Unconfirmed, in a block, deep enough, or replaced and not counted."),
    ]
    fiat_value: Annotated[
        str,
        Meta(description="What it counts for, or would if it were not gone.", examples=["12.34"]),
    ]
    first_seen_at: Time


class PaymentsAnswer(Struct, kw_only=True):
    """The payments of one invoice."""

    success: Success
    payments: list[Payment]


class Simulated(Struct, kw_only=True):
    """The transaction that pays a test invoice."""

    success: Success
    txid: str


class Health(Struct, kw_only=True):
    """The process runs."""

    status: Literal["ok"]


class ChainHealth(Struct, kw_only=True):
    """How far a chain has been read."""

    name: str
    network: Annotated[str, Meta(description="CAIP-2.")]
    height: Annotated[int | None, Meta(description="The last block that was read.")]
    node_height: Annotated[int | None, Meta(description="The node's newest block.")]
    lag: Annotated[int | None, Meta(description="How many blocks are still to be read.")]
    watched_at: Annotated[Time | None, Meta(description="Up to when everything was seen.")]
    trouble: Annotated[str | None, Meta(description="What is wrong, in one sentence.")]


class SourceHealth(Struct, kw_only=True):
    """How a source of prices is."""

    name: str
    good_at: Annotated[Time | None, Meta(description="When it last gave prices.")]
    trouble: Annotated[str | None, Meta(description="What is wrong, in one sentence.")]


class RateHealth(Struct, kw_only=True):
    """How old the prices are, and which are missing."""

    last_good_at: Time | None
    without_rate: Annotated[
        list[str], Meta(description="Coins that cannot be priced now.", examples=[["LTC/USD"]])
    ]
    sources: list[SourceHealth]


class Readiness(Struct, kw_only=True):
    """Whether the server can do its work."""

    ready: bool
    database: bool
    chains: list[ChainHealth]
    rates: RateHealth


class ErrorDetail(Struct, kw_only=True):
    """One of several things that are wrong."""

    field: FieldName
    code: Code
    message: Sentence


class ErrorBody(Struct, kw_only=True):
    """What is wrong."""

    code: Code
    message: Sentence
    field: FieldName | UnsetType = UNSET
    details: (
        Annotated[
            list[ErrorDetail], Meta(description="All that is wrong, where it is more than one.")
        ]
        | UnsetType
    ) = UNSET


class ErrorAnswer(Struct, kw_only=True):
    """The answer to everything that did not work."""

    success: Failure
    error: ErrorBody
