"""What the document shows by example of the inbox and of what is done by hand; see `examples`."""

from typing import Any

from counterfoil.web.example_values import INVOICE, PAYMENT, TXID

_STRAY = {
    "id": 34,
    "method": "LTC",
    "txid": TXID,
    "index": 0,
    "amount": "0.249",
    "address": "ltc1qqypqxpq9qcrsszg2pvxq6rs0zqg3yyc5dyg36p",
    "confirmations": 2,
    "state": "mined",
    "reason": "no_exact_amount",
    "message": "No invoice had a price of exactly this amount when it came.",
    "first_seen_at": "2025-11-11T11:20:00.000Z",
    "created_at": "2025-11-11T11:20:00.000Z",
    "ignored_at": None,
    "candidates": [
        {"invoice_id": 12345, "reason": "0.4 % below INV 12345, an exchange fee?"},
        {"invoice_id": 12301, "reason": "the amount of INV 12301, which expired 3 hours before"},
    ],
}
_REFUND = {
    "id": 5,
    "amount": "0.125",
    "method": "LTC",
    "fiat_currency": None,
    "payment_id": 6789,
    "txid": TXID,
    "note": "Half of it came back.",
    "created_at": "2025-11-12T09:00:00.000Z",
}
_SMALL = (
    None,
    "This needs a key with the scope Full control; yours has Read analytics.",
)
_NOT_IN_INBOX = (
    None,
    "There is no such transfer in the inbox; it may have been credited meanwhile.",
)

REQUESTS: dict[str, dict[str, dict[str, Any]]] = {
    "add_refund": {
        "coin": {
            "summary": "In the coin that was paid",
            "value": {
                "amount": "0.125",
                "coin_symbol": "LTC",
                "txid": TXID,
                "payment_id": 6789,
                "note": "Half of it came back.",
            },
        },
        "fiat": {
            "summary": "In the invoice's currency",
            "value": {"amount": "12.50", "note": "By bank."},
        },
    },
    "attach_transfer": {
        "priced": {"summary": "Worth what the price said", "value": {"invoice_id": 12345}},
        "typed": {
            "summary": "Worth what you say",
            "value": {"invoice_id": 12345, "fiat_value": "25.00"},
        },
    },
}
ANSWERS: dict[tuple[str, int], dict[str, Any]] = {
    ("add_refund", 200): {"success": True, "refund": _REFUND},
    ("list_refunds", 200): {"success": True, "refunds": [_REFUND]},
    ("mark_invoice", 200): {
        "success": True,
        "invoice": {**INVOICE, "exceptions": ["marked"], "exception": "marked"},
    },
    ("unmark_invoice", 200): {
        "success": True,
        "invoice": {**INVOICE, "status": "Unpaid", "paid_at": None},
    },
    ("list_inbox", 200): {"success": True, "transfers": [_STRAY], "next": "34"},
    ("attach_transfer", 200): {"success": True, "invoice": INVOICE, "payment": PAYMENT},
    ("ignore_transfer", 200): {"success": True},
    ("detach_payment", 200): {
        "success": True,
        "invoice": {**INVOICE, "status": "Unpaid", "paid_at": None},
        "inbox_id": 34,
    },
}

# The field, where there is one, and the sentence.
Error = tuple[str | None, str]
ERRORS: dict[str, Error] = {
    "already_paid": (None, "This invoice is paid, so there is nothing to settle by hand."),
    "unknown_payment": ("payment_id", "payment_id names no payment of this invoice."),
    "unknown_state": ("state", "state must be one of waiting, ignored."),
    "unknown_invoice": ("invoice_id", "invoice_id names no invoice of this merchant."),
    "value_needed": (
        "fiat_value",
        "Nobody knows what this was worth in EUR when it came: say it with fiat_value.",
    ),
    "method_off": (None, "TEST is switched off on this server; switch it on first."),
}
OTHER_ERRORS: dict[tuple[str, str], Error] = {
    ("mark_invoice", "scope_too_small"): _SMALL,
    ("unmark_invoice", "scope_too_small"): _SMALL,
    ("add_refund", "scope_too_small"): _SMALL,
    ("add_refund", "wrong_type"): ("amount", "amount must be a number such as 25.00."),
    ("add_refund", "too_long"): ("note", "note may have at most 500 characters; it has 501."),
    ("add_refund", "invalid_characters"): (
        "txid",
        "txid holds U+202E at position 3, which plain text may not hold; remove it.",
    ),
    ("add_refund", "invalid_number"): (
        "payment_id",
        "payment_id must be a whole number from 0 to 9007199254740991.",
    ),
    ("add_refund", "invalid_amount"): (
        "amount",
        "amount must be an amount of LTC such as 0.25, with at most 8 decimal places.",
    ),
    ("add_refund", "ambiguous_method"): (
        "coin_symbol",
        "This coin means several methods here; name one of USDT-ETH, USDT-TRON.",
    ),
    ("list_inbox", "invalid_number"): ("limit", "limit must be a whole number from 1 to 100."),
    ("list_inbox", "too_many"): ("query", "The query may have at most 50 parameters."),
    ("attach_transfer", "scope_too_small"): _SMALL,
    ("attach_transfer", "not_found"): _NOT_IN_INBOX,
    ("attach_transfer", "missing"): ("invoice_id", "invoice_id is required."),
    ("attach_transfer", "wrong_type"): (
        "fiat_value",
        "fiat_value must be a number such as 25.00.",
    ),
    ("attach_transfer", "invalid_number"): (
        "invoice_id",
        "invoice_id must be a whole number from 0 to 9007199254740991.",
    ),
    ("attach_transfer", "invalid_amount"): (
        "fiat_value",
        "fiat_value may have at most 2 decimal places in USD.",
    ),
    ("ignore_transfer", "scope_too_small"): _SMALL,
    ("ignore_transfer", "not_found"): _NOT_IN_INBOX,
    ("detach_payment", "scope_too_small"): _SMALL,
    ("detach_payment", "not_found"): (
        None,
        "There is no such payment; it may have been detached.",
    ),
}
