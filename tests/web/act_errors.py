"""How the errors of the inbox and of acts by hand are made to happen, word for word."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2

from counterfoil.chains.litecoin import LTC
from counterfoil.core.access import Scope
from counterfoil.core.ports import Mode
from tests.web.things import payment, stray
from tests.web.world import World

Recipe = Callable[[World], Awaitable[httpx2.Response]]
TEST_KEY = ("Shop", Mode.TEST, Scope.FULL)


def listing(query: str) -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        return await world.request("GET", f"/api/inbox?{query}")

    return ask


def attaching(**body: Any) -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        key = world.key(*TEST_KEY)
        path = f"/api/inbox/{await stray(world, key=key)}/attach"
        return await world.request("POST", path, key=key, json=body)

    return ask


async def value_needed(world: World) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    item_id = await stray(world, key=key)
    body = {"invoice_id": await world.invoice(key=key, fiat_currency="EUR")}
    return await world.request("POST", f"/api/inbox/{item_id}/attach", key=key, json=body)


async def method_off(world: World) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    item_id = await stray(world, key=key)
    # A server on which the simulator was switched off meanwhile.
    del world.context.methods._methods["TEST"]  # noqa: SLF001  # there is no other way to do it
    return await world.request(
        "POST", f"/api/inbox/{item_id}/attach", key=key, json={"invoice_id": 1}
    )


async def already_paid(world: World) -> httpx2.Response:
    key = world.key(*TEST_KEY)
    await payment(world, key=key)
    for _ in range(3):
        world.clock.advance(60_000)
        await world.look()
    return await world.request("POST", "/api/invoice/1/mark", key=key)


def refunding(**fields: Any) -> Recipe:
    async def ask(world: World) -> httpx2.Response:
        path = f"/api/invoice/{await world.invoice()}/refunds"
        return await world.request("POST", path, json={"amount": "1"} | fields)

    return ask


async def other_refund(world: World) -> httpx2.Response:
    path = f"/api/invoice/{await world.invoice()}/refunds"
    headers = {"Idempotency-Key": "refund-1"}
    await world.request("POST", path, json={"amount": "1"}, headers=headers)
    return await world.request("POST", path, json={"amount": "2"}, headers=headers)


async def unkept_key(world: World) -> httpx2.Response:
    path = f"/api/invoice/{await world.invoice()}/refunds"
    headers = {"Idempotency-Key": "x" * 256}
    return await world.request("POST", path, json={"amount": "1"}, headers=headers)


async def ambiguous_method(world: World) -> httpx2.Response:
    # A server that takes one coin on two networks.
    for name in ("USDT-ETH", "USDT-TRON"):
        world.context.methods._methods[name] = replace(LTC, id=name, symbol="USDT")  # noqa: SLF001  # as above
    return await refunding(coin_symbol="usdt")(world)


ACTS: dict[tuple[str, str], Recipe] = {
    ("mark_invoice", "already_paid"): already_paid,
    ("add_refund", "idempotency_mismatch"): other_refund,
    ("add_refund", "invalid_idempotency_key"): unkept_key,
    ("add_refund", "missing"): refunding(amount=None),
    ("add_refund", "wrong_type"): refunding(amount=True),
    ("add_refund", "too_long"): refunding(note="x" * 501),
    ("add_refund", "invalid_characters"): refunding(txid="ab\u202e"),
    ("add_refund", "invalid_number"): refunding(payment_id=-1),
    ("add_refund", "invalid_amount"): refunding(amount="0.123456789", coin_symbol="LTC"),
    ("add_refund", "unknown_coin"): refunding(coin_symbol="XYZ"),
    ("add_refund", "ambiguous_method"): ambiguous_method,
    ("add_refund", "unknown_payment"): refunding(payment_id=77),
    ("list_inbox", "unknown_state"): listing("state=new"),
    ("list_inbox", "invalid_number"): listing("limit=101"),
    ("list_inbox", "repeated_parameter"): listing("limit=1&limit=2"),
    ("list_inbox", "too_many"): listing("&".join(f"x{n}=" for n in range(51))),
    ("attach_transfer", "missing"): attaching(),
    ("attach_transfer", "wrong_type"): attaching(invoice_id=1, fiat_value=True),
    ("attach_transfer", "invalid_number"): attaching(invoice_id=-1),
    ("attach_transfer", "unknown_invoice"): attaching(invoice_id=999),
    ("attach_transfer", "value_needed"): value_needed,
    ("attach_transfer", "invalid_amount"): attaching(invoice_id=1, fiat_value=25.001),
    ("attach_transfer", "method_off"): method_off,
}
