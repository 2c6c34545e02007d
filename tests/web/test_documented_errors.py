"""Every error that the document shows is made to happen, and is word for word what it shows."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from counterfoil.chains.litecoin import LTC
from counterfoil.core.access import Scope
from counterfoil.core.ports import Mode
from counterfoil.services import quotes
from counterfoil.web import examples
from counterfoil.web.endpoints import Endpoint
from counterfoil.web.openapi import document
from counterfoil.web.table import ENDPOINTS
from tests.web.act_errors import ACTS
from tests.web.world import ADDRESS, World

Recipe = Callable[[World], Awaitable[httpx2.Response]]

LARGE = b'{"memo": "' + b"x" * (64 * 1024) + b'"}'
KEY = examples.REQUESTS["add_wallet"]["xpub"]["value"]["xpub"]
TEST_KEY = ("Shop", Mode.TEST, Scope.FULL)
RATES = "/api/rates"
EXPLAIN = "/api/invoice/1/explain"


def path_of(endpoint: Endpoint, invoice_id: int = 1) -> str:
    return endpoint.path.replace("{id}", str(invoice_id))


# --- what is the same everywhere --------------------------------------------------------------

Shared = Callable[[World, Endpoint], Awaitable[httpx2.Response]]


def sending(body: bytes) -> Shared:
    async def send(world: World, endpoint: Endpoint) -> httpx2.Response:
        return await world.request(endpoint.method, path_of(endpoint), content=body)

    return send


async def no_key(world: World, endpoint: Endpoint) -> httpx2.Response:
    return await world.request(endpoint.method, path_of(endpoint), key=None)


async def bad_key(world: World, endpoint: Endpoint) -> httpx2.Response:
    return await world.request(endpoint.method, path_of(endpoint), key=world.key()[:-1])


async def small_key(world: World, endpoint: Endpoint) -> httpx2.Response:
    key = world.key(scope=Scope.READ)
    return await world.request(endpoint.method, path_of(endpoint), key=key)


async def many_failures(world: World, endpoint: Endpoint) -> httpx2.Response:
    for _ in range(20):
        await bad_key(world, endpoint)
    return await bad_key(world, endpoint)


async def lost_database(world: World, endpoint: Endpoint) -> httpx2.Response:
    world.store.is_down = True
    body = {"amount": 25, "fiat_currency": "USD", "outcome": "exact", "invoice_id": 1}
    return await world.request(endpoint.method, path_of(endpoint), json=body)


async def with_test_key(world: World, endpoint: Endpoint) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    return await world.request(endpoint.method, path_of(endpoint), key=key)


async def unknown_id(world: World, endpoint: Endpoint) -> httpx2.Response:
    body = {"outcome": "exact", "invoice_id": 1, "amount": "1"}
    return await world.request(endpoint.method, path_of(endpoint), json=body)


SHARED: dict[str, Shared] = {
    "not_json": sending(b'{"amount": 25'),
    "not_utf8": sending(b'{"memo": "\xff"}'),
    "too_deep": sending(b"[" * 33 + b"]" * 33),
    "not_an_object": sending(b"[]"),
    "repeated_key": sending(b'{"amount": 25, "amount": 26}'),
    "body_too_large": sending(LARGE),
    "missing_key": no_key,
    "bad_key": bad_key,
    "scope_too_small": small_key,
    "live_key_needed": with_test_key,
    "too_many_failures": many_failures,
    "database_unavailable": lost_database,
    "not_found": unknown_id,
}

# --- what one endpoint has of its own ---------------------------------------------------------


def asking(**fields: Any) -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        return await world.post({"amount": 25, "fiat_currency": "USD"} | fields)

    return ask


def listing(query: str, path: str = "/api/invoices") -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        return await world.request("GET", f"{path}?{query}")

    return ask


async def address_in_use(world: World) -> httpx2.Response:
    await world.invoice(key=world.key("Other"), coin_symbol="LTC", wallet_address=ADDRESS)
    return await asking(coin_symbol="LTC", wallet_address=ADDRESS)(world)


async def idempotency_mismatch(world: World) -> httpx2.Response:
    headers = {"Idempotency-Key": "order-1001"}
    await world.post(headers=headers)
    return await world.post({"amount": 26, "fiat_currency": "USD"}, headers=headers)


async def bad_idempotency_key(world: World) -> httpx2.Response:
    return await world.post(headers={"Idempotency-Key": "x" * 256})


async def simulate(
    world: World, invoice_id: int, outcome: str = "exact", **more: Any
) -> httpx2.Response:
    path, body = f"/api/invoice/{invoice_id}/simulate", {"outcome": outcome}
    return await world.request("POST", path, key=world.key(*TEST_KEY), json=body, **more)


async def has_money(world: World) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    invoice_id = await world.invoice(key=key)
    await simulate(world, invoice_id)
    await world.look()
    return await world.request("POST", f"/api/invoice/{invoice_id}/cancel", key=key)


async def live_invoice(world: World) -> httpx2.Response:
    path = f"/api/invoice/{await world.invoice()}/simulate"
    return await world.request("POST", path, json={"outcome": "exact"})


async def not_payable(world: World) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    invoice_id = await world.invoice(key=key)
    await world.request("POST", f"/api/invoice/{invoice_id}/cancel", key=key)
    return await simulate(world, invoice_id)


async def unknown_outcome(world: World) -> httpx2.Response:
    return await simulate(world, 1, "twice")


async def other_simulation(world: World) -> httpx2.Response:
    invoice_id = await world.invoice(key=world.key(*TEST_KEY))
    headers = {"Idempotency-Key": "payment-1"}
    await simulate(world, invoice_id, headers=headers)
    return await simulate(world, invoice_id, "over", headers=headers)


async def unkept_simulation(world: World) -> httpx2.Response:
    return await simulate(world, 1, headers={"Idempotency-Key": "x" * 256})


async def too_many_quotes(world: World) -> httpx2.Response:
    answer = await world.post(key=world.key(*TEST_KEY))
    made = answer.json()["invoice"]
    for _ in range(20):
        await quotes.choose(world.context, made["share_token"], "TEST", world.clock.now())
    world.clock.advance(20 * 60_000)
    return await simulate(world, made["id"])


async def chain_unavailable(world: World) -> httpx2.Response:
    invoice_id = await world.invoice(key=world.key(*TEST_KEY))
    # A server on which the simulator was switched off meanwhile.
    del world.context.methods._methods["TEST"]  # noqa: SLF001  # there is no other way to do it
    return await simulate(world, invoice_id)


def adding(**fields: Any) -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        return await world.request("POST", "/api/wallets", json={"method": "LTC"} | fields)

    return ask


async def wallet_exists(world: World) -> httpx2.Response:
    await adding(address=ADDRESS)(world)
    return await adding(xpub=KEY)(world)


async def wallet_in_use(world: World) -> httpx2.Response:
    body = {"method": "LTC", "xpub": KEY, "next_index": 0}
    await world.request("POST", "/api/wallets", key=world.key("Other"), json=body)
    return await adding(xpub=KEY)(world)


async def wallet_address_in_use(world: World) -> httpx2.Response:
    await world.invoice(key=world.key("Other"), coin_symbol="LTC", wallet_address=ADDRESS)
    return await adding(address=ADDRESS)(world)


async def ambiguous_method(world: World) -> httpx2.Response:
    # A server that takes one coin on two networks.
    for name in ("USDT-ETH", "USDT-TRON"):
        world.context.methods._methods[name] = replace(LTC, id=name, symbol="USDT")  # noqa: SLF001  # as above
    return await adding(method="usdt", xpub=KEY)(world)


OWN: dict[tuple[str, str], Recipe] = {
    **ACTS,
    ("create_invoice", "address_in_use"): address_in_use,
    ("create_invoice", "idempotency_mismatch"): idempotency_mismatch,
    ("create_invoice", "missing"): asking(amount=None),
    ("create_invoice", "wrong_type"): asking(memo=5),
    ("create_invoice", "too_long"): asking(memo="x" * 501),
    ("create_invoice", "too_short"): asking(coin_symbol="LTC", wallet_address="ltc1"),
    ("create_invoice", "too_many"): asking(metadata={str(n): "" for n in range(21)}),
    ("create_invoice", "invalid_characters"): asking(memo="Table \u202e4"),
    ("create_invoice", "invalid_amount"): asking(amount=25.001),
    ("create_invoice", "invalid_currency"): asking(fiat_currency="XYZ"),
    ("create_invoice", "unsupported_currency"): asking(fiat_currency="EUR"),
    ("create_invoice", "invalid_address"): asking(
        coin_symbol="LTC", wallet_address=ADDRESS[:-1] + "q"
    ),
    ("create_invoice", "unknown_coin"): asking(coin_symbol="XYZ"),
    ("create_invoice", "no_wallet"): asking(coin_symbol="LTC"),
    ("create_invoice", "invalid_time"): asking(due_at="tomorrow"),
    ("create_invoice", "time_passed"): asking(due_at="2020-01-31T18:00:00Z"),
    ("create_invoice", "invalid_email"): asking(client_email="ada"),
    ("create_invoice", "invalid_url"): asking(redirect_url="http://shop.example.com/"),
    ("create_invoice", "origin_not_listed"): asking(redirect_url="https://shop.example.com/"),
    ("create_invoice", "invalid_idempotency_key"): bad_idempotency_key,
    ("add_wallet", "wallet_exists"): wallet_exists,
    ("add_wallet", "wallet_in_use"): wallet_in_use,
    ("add_wallet", "address_in_use"): wallet_address_in_use,
    ("add_wallet", "missing"): adding(),
    ("add_wallet", "too_many"): adding(xpub=KEY, address=ADDRESS),
    ("add_wallet", "wrong_type"): adding(xpub=5),
    ("add_wallet", "too_long"): adding(xpub="x" * 1_001),
    ("add_wallet", "invalid_characters"): adding(xpub="xpub\u202e"),
    ("add_wallet", "unknown_coin"): adding(method="XYZ", xpub=KEY),
    ("add_wallet", "ambiguous_method"): ambiguous_method,
    ("add_wallet", "private_key_refused"): adding(xpub="abandon " * 11 + "about"),
    ("add_wallet", "invalid_wallet"): adding(descriptor=f"wpkh({KEY}/0/*)#qqqqqqqq"),
    ("add_wallet", "invalid_address"): adding(address=ADDRESS[:-1] + "q"),
    ("add_wallet", "invalid_number"): adding(xpub=KEY, next_index=-1),
    ("add_wallet", "history_unavailable"): adding(xpub=KEY),
    ("list_invoices", "unknown_status"): listing("status=paid"),
    ("list_invoices", "too_long"): listing("order_id=" + "x" * 65),
    ("list_invoices", "invalid_characters"): listing("text=%00"),
    ("list_invoices", "invalid_time"): listing("created_from=yesterday"),
    ("list_invoices", "invalid_number"): listing("limit=201"),
    ("list_invoices", "repeated_parameter"): listing("limit=1&limit=2"),
    ("list_invoices", "too_many"): listing("&".join(f"x{n}=" for n in range(51))),
    ("list_rates", "invalid_currency"): listing("fiat_currency=XYZ", RATES),
    ("list_rates", "unsupported_currency"): listing("fiat_currency=EUR", RATES),
    ("list_rates", "repeated_parameter"): listing("fiat_currency=USD&fiat_currency=EUR", RATES),
    ("list_rates", "too_many"): listing("&".join(f"x{n}=" for n in range(51)), RATES),
    ("explain_invoice", "too_long"): listing("txid=" + "x" * 129, EXPLAIN),
    ("explain_invoice", "invalid_characters"): listing("txid=%00", EXPLAIN),
    ("explain_invoice", "repeated_parameter"): listing("txid=a&txid=b", EXPLAIN),
    ("explain_invoice", "too_many"): listing("&".join(f"x{n}=" for n in range(51)), EXPLAIN),
    ("cancel_invoice", "invoice_has_money"): has_money,
    ("simulate_payment", "live_invoice"): live_invoice,
    ("simulate_payment", "not_payable"): not_payable,
    ("simulate_payment", "unknown_outcome"): unknown_outcome,
    ("simulate_payment", "idempotency_mismatch"): other_simulation,
    ("simulate_payment", "invalid_idempotency_key"): unkept_simulation,
    ("simulate_payment", "too_many_quotes"): too_many_quotes,
    ("simulate_payment", "chain_unavailable"): chain_unavailable,
}

DOCUMENT: dict[str, Any] = document(ENDPOINTS)
CASES = [
    pytest.param(endpoint, status, code, id=f"{endpoint.name}-{status}-{code}")
    for endpoint in ENDPOINTS
    for status, codes in endpoint.all_errors.items()
    for code in codes
]


@pytest.mark.parametrize(("endpoint", "status", "code"), CASES)
async def test_a_documented_error_happens_as_documented(
    small_world: World, endpoint: Endpoint, status: int, code: str
) -> None:
    shared = SHARED.get(code)
    if shared is not None:
        answer = await shared(small_world, endpoint)
    else:
        answer = await OWN[endpoint.name, code](small_world)
    assert answer.status_code == status, answer.text
    response = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"][str(status)]
    shown = response["content"]["application/json"]["examples"][code]["value"]
    assert answer.json() == shown
    for name, header in response["headers"].items():
        assert name in answer.headers or not header.get("required", True)


def test_no_recipe_is_for_an_error_that_is_not_documented() -> None:
    documented = {
        (each.name, code)
        for each in ENDPOINTS
        for codes in each.all_errors.values()
        for code in codes
    }
    assert OWN.keys() <= documented
    assert SHARED.keys() <= {code for _, code in documented}
