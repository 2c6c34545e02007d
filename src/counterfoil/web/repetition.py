"""The header `Idempotency-Key`: a request that comes again makes nothing new (wire, section 7)."""

import re

from counterfoil.services.repeats import Request
from counterfoil.web.endpoints import Call, Parameter
from counterfoil.web.fields import Fields

_NAME = "Idempotency-Key"
_KEY = re.compile(rb"[ -~]{1,255}")

PARAMETER = Parameter(
    _NAME,
    "header",
    "Your name for this request: sent again within 24 hours with the same body, it gets the first "
    "answer again and makes nothing new.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[ -~]*$"},
    "order-1001",
)


def request_of(call: Call, fields: Fields, path: str) -> Request | None:
    """Return a request that may come again, by its key; None where it has none, or a bad one.

    What is wrong with the key is noted among the problems of `fields`.
    """
    values = call.header_values(b"idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        message = f"{_NAME} must be a single text of 1 to 255 ASCII characters."
        fields.refuse(_NAME, "invalid_idempotency_key", message)
        return None
    who, key = call.who(), values[0].decode("ascii")
    return Request.of(who.merchant_id, who.mode, f"POST {path}", key, call.body)
