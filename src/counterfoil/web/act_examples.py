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
    "state": "confirming",
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
_SMALL = (
    None,
    "This needs a key with the scope Full control or higher; yours has Read analytics.",
)
_NOT_IN_INBOX = (
    None,
    "There is no such transfer in the inbox; it may have been credited meanwhile.",
)

REQUESTS: dict[str, dict[str, dict[str, Any]]] = {
    "attach_transfer": {
        "priced": {"summary": "Worth what the price said", "value": {"invoice_id": 12345}},
        "typed": {
            "summary": "Worth what you say",
            "value": {"invoice_id": 12345, "fiat_value": "25.00"},
        },
    },
}
ANSWERS: dict[tuple[str, int], dict[str, Any]] = {
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
