import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from counterfoil.core.signing import SECRET_SIZE_BYTES, make_secret, sign_body, sign_standard

SECRET = make_secret(bytes(range(SECRET_SIZE_BYTES)))
BODY = b'{"event":"payment_confirmed","invoice_id":"12345","status":"Paid","payment_id":"6789"}'


def test_the_contract_s_vector() -> None:
    assert sign_body("SHARED_SECRET", BODY) == (
        "779e0bce85b25f413295f7ce06345f4b8c991529b6674889db70b7e8d24fbd2a"
        "e3c467f634818c37da48774918deea1c598e15e2eba0714a9c8c19a31dfcb3be"
    )


def test_a_secret_has_the_form_of_standard_webhooks() -> None:
    assert SECRET == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_the_body_is_signed_with_the_whole_printed_secret() -> None:
    expected = hmac.new(SECRET.encode(), BODY, hashlib.sha512).hexdigest()
    assert sign_body(SECRET, BODY) == expected


def test_standard_webhooks_is_keyed_with_the_bytes_after_the_prefix() -> None:
    mac = hmac.new(bytes(range(32)), b"17-0.1700000000." + BODY, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(mac).decode()
    assert sign_standard(SECRET, "17-0", 1_700_000_000, BODY) == expected


@given(token=st.binary(min_size=24, max_size=64), text=st.text())
def test_the_published_verifier_accepts_what_we_sign(token: bytes, text: str) -> None:
    secret = make_secret(token)
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    assert Webhook(secret).verify(body, signed(secret, body)) == {"text": text}


@pytest.mark.parametrize(
    "other", [BODY.replace(b"Paid", b"Unpaid"), BODY + b" ", BODY.replace(b"6789", b"6780")]
)
def test_the_published_verifier_refuses_another_body(other: bytes) -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(other, signed(SECRET, BODY))


def signed(secret: str, body: bytes) -> dict[str, str]:
    """Return the headers of a request that is sent now, since the verifier looks at its clock."""
    now_s = int(datetime.now(UTC).timestamp())
    return {
        "webhook-id": "17000000000-0",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard(secret, "17000000000-0", now_s, body),
    }
