"""What the document shows by example. A test makes each error happen and compares it with this.

`ERRORS` has what the world of that test answers: a server that takes LTC, with a fixed rate in USD.
"""

from typing import Any

_TOKEN = "q3mGZ1v7Tt2cYH0xkUeW9A"  # noqa: S105  # an example
_IDENTITY = {
    "id": 12345,
    "share_token": _TOKEN,
    "created_at": "2025-11-11T11:11:00.000Z",
    "pay_url": f"https://pay.example.com/pay-invoice?share_token={_TOKEN}",
}
_INVOICE = {
    **_IDENTITY,
    "fiat_amount": "25.00",
    "fiat_currency": "USD",
    "status": "Paid",
    "updated_at": "2025-11-11T11:25:00.000Z",
    "due_at": None,
    "coin_symbol": None,
    "type": "api",
    "wallet_address": None,
    "memo": "",
    "client_name": "",
    "client_email": "",
    "invoice_title": "",
    "invoice_message": "",
    "exceptions": [],
    "exception": None,
    "paid_at": "2025-11-11T11:25:00.000Z",
    "order_id": "order-1001",
    "metadata": {"cart": "77"},
    "redirect_url": None,
    "coins": [],
    "test": False,
}
_TXID = "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082"
_TIP = 2_900_000

REQUESTS: dict[str, dict[str, dict[str, Any]]] = {
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
    "simulate_payment": {"exact": {"summary": "In full", "value": {"outcome": "exact"}}},
}
ANSWERS: dict[tuple[str, int], dict[str, Any]] = {
    ("create_invoice", 200): {"success": True, "invoice": _IDENTITY},
    ("get_invoice", 200): {"success": True, "invoice": _INVOICE},
    ("list_invoices", 200): {"success": True, "invoices": [_INVOICE], "next": "12345"},
    ("cancel_invoice", 200): {
        "success": True,
        "invoice": {**_INVOICE, "status": "Cancelled", "paid_at": None},
    },
    ("list_payments", 200): {
        "success": True,
        "payments": [
            {
                "id": 6789,
                "method": "LTC",
                "txid": _TXID,
                "index": 0,
                "amount": "0.25",
                "confirmations": 2,
                "state": "confirming",
                "fiat_value": "25.00",
                "first_seen_at": "2025-11-11T11:20:00.000Z",
            }
        ],
    },
    ("simulate_payment", 200): {"success": True, "txid": _TXID},
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
        "rates": {"last_good_at": "2025-11-11T11:11:00.000Z"},
    },
    ("readyz", 503): {
        "ready": False,
        "database": False,
        "chains": [],
        "rates": {"last_good_at": None},
    },
}

# The field, where there is one, and the sentence.
Error = tuple[str | None, str]
ERRORS: dict[str, Error] = {}
