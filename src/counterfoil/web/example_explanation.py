"""The example of an explanation: an exchange took its fee off what the payer sent."""

from typing import Any

_ADDRESS = "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh"
_TXID = "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082"
_NETWORK = "bip122:12a765e31ffd4059bada1e25190f6e98"
_AT = "2025-11-11T11:11:00.000Z"
_SEEN_AT = "2025-11-11T11:20:00.000Z"
_END = "2025-11-11T11:26:00.000Z"
_WATCHED_AT = "2025-11-11T11:30:00.000Z"
_UNTIL = "2025-11-11T11:35:00.000Z"
_PRICE = f"that price ended at {_END}"
_PLACE = "is in block 2899998 and final"
_SIGHT = f"is watched: block 2900000 is read, and all up to {_WATCHED_AT} was seen"

EXPLANATION: dict[str, Any] = {
    "success": True,
    "invoice_id": 12345,
    "status": "Unpaid",
    "exceptions": ["underpaid"],
    "findings": [
        "Invoice 12345 over 25.00 USD is Unpaid (underpaid).",
        f"At {_AT} it asked for 0.3125 LTC at {_ADDRESS}, for 25.00 USD; {_PRICE}.",
        f"0.25 LTC to {_ADDRESS} in transaction {_TXID} (first seen at {_SEEN_AT}) {_PLACE}.",
        "5.00 USD is missing.",
        f"That is 0.0625 LTC, valid until {_UNTIL}.",
        f"The node of litecoin ({_NETWORK}) {_SIGHT}.",
    ],
    "advice": [f"The payer sends 0.0625 LTC to {_ADDRESS} by {_UNTIL}."],
    "asked": [
        {
            "method": "LTC",
            "address": _ADDRESS,
            "amount": "0.3125",
            "fiat": "25.00 USD",
            "due": None,
            "rate": "80",
            "made_at": _AT,
            "valid_until": _END,
            "open": False,
        }
    ],
    "seen": [
        {
            "payment_id": 6789,
            "method": "LTC",
            "txid": _TXID,
            "index": 0,
            "amount": "0.25",
            "address": _ADDRESS,
            "counts": "20.00",
            "state": "final",
            "height": 2_899_998,
            "confirmations": 3,
            "needed": 3,
            "first_seen_at": _SEEN_AT,
            "unknown_since": None,
            "late": False,
        }
    ],
    "inbox": [],
    "missing": {
        "amount": "5.00",
        "currency": "USD",
        "coins": [
            {
                "method": "LTC",
                "amount": "0.0625",
                "address": _ADDRESS,
                "valid_until": _UNTIL,
                "open": True,
            }
        ],
    },
    "chains": [
        {
            "name": "litecoin",
            "network": _NETWORK,
            "height": 2_900_000,
            "node_height": 2_900_000,
            "watched_at": _WATCHED_AT,
            "trouble": None,
            "seen": True,
        }
    ],
    "claims": [],
    "lookups": [],
}
