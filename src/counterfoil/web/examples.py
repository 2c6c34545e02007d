"""What the document shows by example. A test makes each error happen and compares it with this.

`ERRORS` has what the world of that test answers: a server that takes LTC, with a fixed rate in USD.
"""

from typing import Any

from counterfoil.web import act_examples
from counterfoil.web.example_explanation import EXPLANATION
from counterfoil.web.example_values import IDENTITY, INVOICE, PAYMENT, TXID

_TIP = 2_900_000
_WALLET = {
    "id": 2,
    "method": "LTC",
    "kind": "xpub",
    "hint": "wpkh(xpub6CjGURuDpcz...7uq",
    "addresses": [
        "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh",
        "ltc1qwlezpr3890hcp6vva9twqh27mr6edadreqvhnn",
        "ltc1qc6aucuznvhh9uvux246x24vf9y9ncfk729m92s",
    ],
    "next_index": 12,
    "shown": 12,
    "paid": 9,
    "gap": 2,
    "warning": None,
    "created_at": "2025-11-11T11:11:00.000Z",
}

REQUESTS: dict[str, dict[str, dict[str, Any]]] = {
    **act_examples.REQUESTS,
    "create_invoice": {
        "minimal": {
            "summary": "The least",
            "value": {"amount": 25.00, "fiat_currency": "USD"},
        },
        "complete": {
            "summary": "With everything a shop knows",
            "value": {
                "amount": "25.00",
                "fiat_currency": "USD",
                "due_at": "2030-01-31T18:00:00Z",
                "memo": "Table 4",
                "invoice_title": "Coffee and cake",
                "invoice_message": "Thank you for your visit.",
                "client_name": "Ada Example",
                "client_email": "ada@example.com",
                "order_id": "order-1001",
                "metadata": {"cart": "77"},
            },
        },
    },
    "add_wallet": {
        "xpub": {
            "summary": "A fresh address for each invoice, from an extended public key",
            "value": {
                "method": "LTC",
                "xpub": "zpub6rPo5mF47z5coVm5rvWv7fv181awb7Vckn5Cf3xQXBVKu18kuBHDhNi1Jrb4br6vVD3Zbr"
                "nXemEsWJoR18mZwkUdzwD8TQnHDUCGxqZ6swA",
                "next_index": 0,
            },
        },
        "address": {
            "summary": "One address for all invoices",
            "value": {"method": "LTC", "address": "ltc1qqypqxpq9qcrsszg2pvxq6rs0zqg3yyc5dyg36p"},
        },
    },
    "simulate_payment": {"exact": {"summary": "In full", "value": {"outcome": "exact"}}},
}
ANSWERS: dict[tuple[str, int], dict[str, Any]] = {
    **act_examples.ANSWERS,
    ("create_invoice", 200): {"success": True, "invoice": IDENTITY},
    ("get_invoice", 200): {"success": True, "invoice": INVOICE},
    ("list_invoices", 200): {"success": True, "invoices": [INVOICE], "next": "12345"},
    ("cancel_invoice", 200): {
        "success": True,
        "invoice": {**INVOICE, "status": "Cancelled", "paid_at": None},
    },
    ("list_payments", 200): {
        "success": True,
        "payments": [PAYMENT],
    },
    ("explain_invoice", 200): EXPLANATION,
    ("list_wallets", 200): {"success": True, "wallets": [_WALLET]},
    ("add_wallet", 200): {
        "success": True,
        "wallet": {**_WALLET, "next_index": 0, "shown": 0, "paid": 0, "gap": 0},
        "history": None,
    },
    ("remove_wallet", 200): {"success": True},
    ("simulate_payment", 200): {"success": True, "txid": TXID},
    ("list_rates", 200): {
        "success": True,
        "rates": [
            {
                "method": "LTC",
                "coin_symbol": "LTC",
                "fiat_currency": "USD",
                "rate": "80.25",
                "sources": ["bitstamp", "coinbase", "kraken"],
                "at": "2025-11-11T11:11:00.000Z",
            }
        ],
        "unavailable": [
            {
                "method": "BTC",
                "coin_symbol": "BTC",
                "fiat_currency": "USD",
                "code": "rate_unavailable",
                "message": "There is no reliable BTC price in USD now; try again in a minute.",
            }
        ],
    },
    ("healthz", 200): {"status": "ok"},
    ("readyz", 200): {
        "ready": True,
        "database": True,
        "chains": [
            {
                "name": "litecoin",
                "network": "bip122:12a765e31ffd4059bada1e25190f6e98",
                "height": _TIP,
                "node_height": _TIP,
                "lag": 0,
                "watched_at": "2025-11-11T11:11:00.000Z",
                "trouble": None,
            }
        ],
        "rates": {
            "last_good_at": "2025-11-11T11:11:00.000Z",
            "without_rate": [],
            "sources": [{"name": "kraken", "good_at": "2025-11-11T11:11:00.000Z", "trouble": None}],
        },
    },
    ("readyz", 503): {
        "ready": False,
        "database": False,
        "chains": [],
        "rates": {"last_good_at": None, "without_rate": [], "sources": []},
    },
}

# The field, where there is one, and the sentence.
Error = act_examples.Error
ERRORS: dict[str, Error] = {
    **act_examples.ERRORS,
    "not_json": (None, "The body is not JSON: look at line 1, column 14."),
    "not_utf8": (None, "The body must be JSON in UTF-8."),
    "too_deep": (None, "The body may be nested at most 32 levels deep."),
    "not_an_object": (None, "The body must be a JSON object, in curly brackets."),
    "repeated_key": ("amount", "The key amount stands twice in one object of the body."),
    "body_too_large": (None, "A request may have a body of at most 65,536 bytes."),
    "missing_key": (None, "Send your API key in the Authorization header."),
    "bad_key": (None, "This is not a Counterfoil API key, or it has a typo in it."),
    "scope_too_small": (
        None,
        "This needs a key with the scope Automate payments or higher; yours has Read analytics.",
    ),
    "live_key_needed": (
        None,
        "This changes where live money goes, so it needs a live key; yours is a test key.",
    ),
    "too_many_failures": (
        None,
        "Too many requests without a valid API key; wait 60 seconds.",
    ),
    "database_unavailable": (
        None,
        (
            "The database did not answer, so nobody knows whether this was stored. Send it again; "
            "with an Idempotency-Key nothing is made twice."
        ),
    ),
    "not_found": (None, "There is no such invoice."),
    "address_in_use": (
        "wallet_address",
        "This wallet_address is already in use on this server; use another address.",
    ),
    "idempotency_mismatch": (
        None,
        (
            "This Idempotency-Key was used for a different request in the last 24 hours; "
            "use a new key for a new request."
        ),
    ),
    "missing": ("amount", "amount is required."),
    "wrong_type": ("memo", "memo must be a text."),
    "too_long": ("memo", "memo may have at most 500 characters; it has 501."),
    "too_short": ("wallet_address", "wallet_address must have at least 5 characters."),
    "too_many": ("metadata", "metadata may have at most 20 keys; it has 21."),
    "invalid_characters": (
        "memo",
        "memo holds U+202E at position 7, which plain text may not hold; remove it.",
    ),
    "invalid_amount": ("amount", "amount may have at most 2 decimal places in USD."),
    "invalid_currency": (
        "fiat_currency",
        "fiat_currency must be a 3-letter ISO 4217 code such as USD or EUR.",
    ),
    "unsupported_currency": (
        "fiat_currency",
        "This server has no rate source for EUR; it has: JPY, KWD, USD.",
    ),
    "invalid_address": (
        "wallet_address",
        (
            "This Litecoin address has a wrong checksum: a character is missing or changed. "
            "Copy it again."
        ),
    ),
    "unknown_coin": (
        "coin_symbol",
        "coin_symbol names no coin that this server takes; it takes: LTC.",
    ),
    "no_wallet": (
        "coin_symbol",
        (
            "This merchant has no LTC wallet; add one with `counterfoil wallet add`, or send "
            "wallet_address."
        ),
    ),
    "invalid_time": ("due_at", "due_at must be an ISO 8601 time such as 2030-01-31T18:00:00Z."),
    "time_passed": ("due_at", "due_at must be a time that is still to come."),
    "invalid_email": (
        "client_email",
        "client_email must be an e-mail address such as name@example.com.",
    ),
    "invalid_url": (
        "redirect_url",
        "redirect_url must be a URL that begins with https:// and names a host.",
    ),
    "origin_not_listed": (
        "redirect_url",
        (
            "redirect_url must begin with an origin on the merchant's list; add it with "
            "`counterfoil merchant allow-redirect https://shop.example.com`."
        ),
    ),
    "invalid_idempotency_key": (
        "Idempotency-Key",
        "Idempotency-Key must be a single text of 1 to 255 ASCII characters.",
    ),
    "wallet_exists": (None, "This merchant has a LTC wallet already; remove it first."),
    "wallet_in_use": (
        None,
        "This wallet is in use on this server, or was; use another account of yours.",
    ),
    "ambiguous_method": (
        "method",
        "This coin means several methods here; name one of USDT-ETH, USDT-TRON.",
    ),
    "private_key_refused": (
        "xpub",
        (
            "This can spend the money of a wallet, so it was refused and not stored. Give an "
            "account's extended public key, which begins with xpub, ypub, zpub, Ltub or Mtub, or "
            "its descriptor. Never type a key or recovery phrase into a server."
        ),
    ),
    "invalid_wallet": (
        "descriptor",
        ("This descriptor has a wrong checksum: a character is missing or changed; copy it again."),
    ),
    "history_unavailable": (
        None,
        (
            "The Litecoin node did not tell which addresses of this wallet were used, so the "
            "wallet was not added. Try again when it does, or say with next_index (--next-index) "
            "which address comes next: 0 for a wallet that was never used."
        ),
    ),
    "unknown_status": (
        "status",
        "status must be one of Unpaid, Confirming, Paid, Expired, Cancelled.",
    ),
    "invalid_number": ("limit", "limit must be a whole number from 1 to 200."),
    "repeated_parameter": ("limit", "limit may stand in the query only once."),
    "invoice_has_money": (
        None,
        "This invoice has been paid or is being paid, so it cannot be cancelled.",
    ),
    "live_invoice": (None, "Only a test invoice can be paid with test coins."),
    "not_payable": (None, "This invoice is Cancelled: there is nothing to pay."),
    "unknown_outcome": (
        "outcome",
        "outcome must be one of exact, under, over, late, replaced, reorged.",
    ),
    "too_many_quotes": (
        None,
        "This invoice has had 20 prices in an hour; wait 2401 seconds.",
    ),
    "chain_unavailable": (None, "The simulator is not running on this server."),
}
# Where an endpoint says the same of other fields.
OTHER_ERRORS: dict[tuple[str, str], Error] = {
    **act_examples.OTHER_ERRORS,
    ("list_invoices", "too_long"): (
        "order_id",
        "order_id may have at most 64 characters; it has 65.",
    ),
    ("list_invoices", "invalid_characters"): (
        "text",
        "text holds U+0000 at position 1, which plain text may not hold; remove it.",
    ),
    ("list_invoices", "invalid_time"): (
        "created_from",
        "created_from must be an ISO 8601 time such as 2030-01-31T18:00:00Z.",
    ),
    ("explain_invoice", "too_long"): (
        "txid",
        "txid may have at most 128 characters; it has 129.",
    ),
    ("explain_invoice", "invalid_characters"): (
        "txid",
        "txid holds U+0000 at position 1, which plain text may not hold; remove it.",
    ),
    ("explain_invoice", "repeated_parameter"): (
        "txid",
        "txid may stand in the query only once.",
    ),
    ("explain_invoice", "too_many"): ("query", "The query may have at most 50 parameters."),
    ("list_rates", "repeated_parameter"): (
        "fiat_currency",
        "fiat_currency may stand in the query only once.",
    ),
    ("list_rates", "too_many"): ("query", "The query may have at most 50 parameters."),
    ("add_wallet", "scope_too_small"): (
        None,
        "This needs a key with the scope Full control; yours has Read analytics.",
    ),
    ("add_wallet", "address_in_use"): (
        "address",
        "This address is already in use on this server; use another address.",
    ),
    ("add_wallet", "missing"): ("xpub", "Give one of xpub, descriptor and address."),
    ("add_wallet", "too_many"): ("address", "Give one of xpub, descriptor and address."),
    ("add_wallet", "wrong_type"): ("xpub", "xpub must be a text."),
    ("add_wallet", "too_long"): ("xpub", "xpub may have at most 1,000 characters; it has 1,001."),
    ("add_wallet", "invalid_characters"): (
        "xpub",
        "xpub holds U+202E at position 5, which plain text may not hold; remove it.",
    ),
    ("add_wallet", "unknown_coin"): (
        "method",
        "method names no coin that this server takes; it takes: LTC.",
    ),
    ("add_wallet", "invalid_address"): (
        "address",
        (
            "This Litecoin address has a wrong checksum: a character is missing or changed. "
            "Copy it again."
        ),
    ),
    ("add_wallet", "invalid_number"): (
        "next_index",
        "next_index must be a whole number from 0 to 1000000000.",
    ),
    ("remove_wallet", "scope_too_small"): (
        None,
        "This needs a key with the scope Full control; yours has Read analytics.",
    ),
    ("remove_wallet", "not_found"): (None, "This merchant has no such wallet."),
    ("list_invoices", "too_many"): ("query", "The query may have at most 50 parameters."),
}


def error(endpoint: str, code: str) -> Error:
    """Return what an endpoint says when it answers with a code."""
    return OTHER_ERRORS.get((endpoint, code)) or ERRORS[code]
