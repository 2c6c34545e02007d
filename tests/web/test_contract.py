"""The shapes of answers, byte for byte: what a client of the contract relies on."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from counterfoil.core.ports import Mode
from counterfoil.services import merchants
from counterfoil.web import views
from tests.conftest import START_AT
from tests.web.world import ADDRESS, CHECKOUT, World

CREATED_AT = f"{datetime.fromtimestamp(START_AT // 1000, UTC):%Y-%m-%dT%H:%M:%S}.123Z"
TOKEN = r"[A-Za-z0-9_-]{22}"
SEVENTEEN = [
    "id",
    "share_token",
    "created_at",
    "pay_url",
    "fiat_amount",
    "fiat_currency",
    "status",
    "updated_at",
    "due_at",
    "coin_symbol",
    "type",
    "wallet_address",
    "memo",
    "client_name",
    "client_email",
    "invoice_title",
    "invoice_message",
]
FURTHER = [
    "exceptions",
    "exception",
    "paid_at",
    "order_id",
    "metadata",
    "redirect_url",
    "coins",
    "test",
]


async def test_a_new_invoice_is_answered_with_these_bytes(world: World) -> None:
    answer = await world.post(b'{"amount": 25.00, "fiat_currency": "USD"}')
    assert answer.status_code == 200
    pattern = (
        r'\{"success":true,"invoice":\{"id":([1-9][0-9]*),"share_token":"(TOKEN)",'
        r'"created_at":"TIME","pay_url":"CHECKOUT/pay-invoice\?share_token=\2"\}\}'
    )
    for name, text in (("TOKEN", TOKEN), ("TIME", CREATED_AT), ("CHECKOUT", CHECKOUT)):
        pattern = pattern.replace(name, text)
    assert re.fullmatch(pattern, answer.text), answer.text


async def test_an_invoice_is_read_with_these_bytes(world: World) -> None:
    made = (await world.post()).json()["invoice"]
    answer = await world.request("GET", f"/api/invoice/{made['id']}")
    token, url = made["share_token"], made["pay_url"]
    assert answer.status_code == 200
    assert answer.text == (
        f'{{"success":true,"invoice":{{"id":{made["id"]},"share_token":"{token}",'
        f'"created_at":"{CREATED_AT}","pay_url":"{url}","fiat_amount":"25.00",'
        f'"fiat_currency":"USD","status":"Unpaid","updated_at":"{CREATED_AT}","due_at":null,'
        '"coin_symbol":null,"type":"api","wallet_address":null,"memo":"","client_name":"",'
        '"client_email":"","invoice_title":"","invoice_message":"","exceptions":[],'
        '"exception":null,"paid_at":null,"order_id":"","metadata":{},"redirect_url":null,'
        '"coins":[],"test":false}}'
    )


def test_the_seventeen_keys_come_first_and_in_order() -> None:
    assert list(views.Invoice.__struct_fields__) == SEVENTEEN + FURTHER
    assert list(views.CreatedInvoice.__struct_fields__) == SEVENTEEN[:4]


COMPLETE = {
    "amount": "12.34",
    "fiat_currency": "usd",
    "wallet_address": ADDRESS,
    "coin_symbol": "ltc",
    "memo": "Table 4 \U0001f600",
    "due_at": "2030-01-31T18:00:00+02:00",
    "invoice_message": "Thank you.\nCome again:\r\n\ttomorrow.",
    "invoice_title": "Coffee & cake <b>",
    "client_email": "Ada@Example.COM",
    "client_name": "Ada \u0645\u0631\u062d\u0628\u0627",
    "order_id": "order-1001",
    "metadata": {"cart": "77", "\u00e4": ""},
    "redirect_url": "https://shop.example.com/thanks?order=1001#top",
    "coins": ["ltc", "LTC"],
    "unknown": [{"key": 1}],
}


async def test_an_address_in_a_link_is_answered_as_an_address(small_world: World) -> None:
    link = f"LITECOIN:{ADDRESS.upper()}?amount=1&label=Shop"
    invoice_id = await small_world.invoice(coin_symbol="LTC", wallet_address=link)
    answer = await small_world.request("GET", f"/api/invoice/{invoice_id}")
    assert answer.json()["invoice"]["wallet_address"] == ADDRESS


async def test_everything_given_is_given_back(world: World) -> None:
    merchant = await merchants.find(world.store, "Shop")
    await merchants.allow_redirect(world.store, merchant, "https://shop.example.com")
    made = await world.post(COMPLETE)
    assert made.status_code == 200, made.text
    answer = await world.request("GET", f"/api/invoice/{made.json()['invoice']['id']}")
    invoice = answer.json()["invoice"]
    assert list(invoice) == SEVENTEEN + FURTHER
    expected = COMPLETE | {
        "fiat_amount": "12.34",
        "fiat_currency": "USD",
        "coin_symbol": "LTC",
        "due_at": "2030-01-31T16:00:00.000Z",
        # The name before the @ is its owner's business, the domain is not case-sensitive.
        "client_email": "Ada@example.com",
        "coins": ["LTC", "LTC"],
    }
    del expected["amount"], expected["unknown"]
    assert {name: invoice[name] for name in expected} == expected


@pytest.mark.parametrize("nothing", [None, ""])
async def test_null_and_an_empty_text_are_not_given(small_world: World, nothing: Any) -> None:
    optional = {name: nothing for name in COMPLETE if name not in ("amount", "fiat_currency")}
    full = await small_world.invoice(**optional)
    bare = await small_world.invoice()
    views_ = [
        (await small_world.request("GET", f"/api/invoice/{each}")).json()["invoice"]
        for each in (full, bare)
    ]
    for view in views_:
        for name in ("id", "share_token", "pay_url"):
            del view[name]
    assert views_[0] == views_[1]


EXACT = [
    ("25.00", "USD", "25.00"),
    ("25", "USD", "25.00"),
    ("0.01", "USD", "0.01"),
    ("25.0000", "USD", None),
    ("2.5e1", "USD", "25.00"),
    ("2.5E+1", "USD", "25.00"),
    ("2500e-2", "USD", "25.00"),
    ("999999999999999.99", "USD", "999999999999999.99"),
    ("123456789012345.67", "USD", "123456789012345.67"),
    ("0.1", "USD", "0.10"),
    ("1234", "JPY", "1234"),
    ("999999999999999", "JPY", "999999999999999"),
    ("1e3", "JPY", "1000"),
    ("1.234", "KWD", "1.234"),
    ("1.5", "KWD", "1.500"),
]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(("token", "currency", "expected"), EXACT)
async def test_an_amount_is_read_digit_by_digit(
    small_world: World, token: str, currency: str, expected: str | None, quote: str
) -> None:
    body = f'{{"amount": {quote}{token}{quote}, "fiat_currency": "{currency}"}}'
    made = await small_world.post(body)
    if expected is None:
        assert made.status_code == 422
        return
    path = f"/api/invoice/{made.json()['invoice']['id']}"
    invoice = (await small_world.request("GET", path)).json()["invoice"]
    assert (invoice["fiat_amount"], invoice["fiat_currency"]) == (expected, currency)


async def test_limits_are_reached_and_not_passed(small_world: World) -> None:
    smile = "\U0001f600"
    await small_world.invoice(
        memo=smile * 500,
        invoice_title="t" * 200,
        invoice_message="m" * 5_000,
        client_name="n" * 200,
        order_id="o" * 64,
        metadata={f"{n:040}": "v" * 500 for n in range(20)},
    )


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer ", "BEARER  "])
async def test_a_key_may_stand_bare_or_after_bearer(small_world: World, prefix: str) -> None:
    answer = await small_world.post(key=prefix + small_world.key())
    assert answer.status_code == 200


async def test_every_answer_has_its_headers(small_world: World) -> None:
    answers = [
        await small_world.post(),
        await small_world.post("nonsense"),
        await small_world.post(key=None),
        await small_world.request("GET", "/api/invoice/1"),
        await small_world.request("GET", "/api/invoices"),
        await small_world.request("GET", "/api/nothing"),
        await small_world.request("PUT", "/api/invoice"),
        await small_world.request("GET", "/healthz", key=None),
        await small_world.request("GET", "/readyz", key=None),
        await small_world.request("GET", "/api/openapi.json", key=None),
    ]
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert int(answer.headers["Content-Length"]) == len(answer.content)
    pages = [*answers, await small_world.request("GET", "/nothing")]
    assert len({page.headers["X-Request-Id"] for page in pages}) == len(pages)


async def test_the_id_of_a_request_is_ours(small_world: World) -> None:
    answer = await small_world.post(headers={"X-Request-Id": "theirs"})
    assert answer.headers.get_list("X-Request-Id") != ["theirs"]
    assert len(answer.headers.get_list("X-Request-Id")) == 1


async def test_a_test_key_makes_test_invoices(world: World) -> None:
    key = world.key(mode=Mode.TEST)
    invoice_id = await world.invoice(key=key, coin_symbol="TEST", coins=["TEST"])
    answer = await world.request("GET", f"/api/invoice/{invoice_id}", key=key)
    assert answer.json()["invoice"]["test"] is True
    assert answer.json()["invoice"]["coin_symbol"] == "TEST"


async def test_a_test_key_needs_no_wallet_and_no_rate(small_world: World) -> None:
    key = small_world.key(mode=Mode.TEST)
    await small_world.invoice(key=key, fiat_currency="EUR", coin_symbol="LTC")
    await small_world.invoice(key=key, coin_symbol="LTC", wallet_address=ADDRESS)


async def test_a_head_is_a_get_without_its_body(small_world: World) -> None:
    await small_world.invoice()
    for path in ("/api/invoice/1", "/api/invoices", "/healthz"):
        full = await small_world.request("GET", path)
        head = await small_world.request("HEAD", path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Length"] == full.headers["Content-Length"]
