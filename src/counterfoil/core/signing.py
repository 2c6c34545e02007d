"""Signatures of what we send (wire contract, section 5).

One printed secret, `whsec_<base64>`, serves both schemes: `signature` is keyed with that whole
text, the Standard Webhooks `v1` signature with the bytes that stand after the prefix.
"""

import base64
import hashlib
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105  # the public prefix of every secret, not one of them
SECRET_SIZE_BYTES = 32


def make_secret(token: bytes) -> str:
    """Return the printed form of a secret of 24 to 64 random bytes."""
    return SECRET_PREFIX + base64.b64encode(token).decode()


def sign_body(secret: str, body: bytes) -> str:
    """Return the `signature` header: hex HMAC-SHA512 of the body under the secret's text."""
    return hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()


def sign_standard(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the `webhook-signature` header of Standard Webhooks 1.0: `v1,<base64 HMAC-SHA256>`."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    mac = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()
