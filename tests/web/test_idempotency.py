"""One Idempotency-Key makes one invoice, however often and from wherever it is sent."""

import asyncio
import json

import httpx2
import pytest

from counterfoil.core.ports import Mode
from tests.web.world import ADDRESS, World

BODY = b'{"amount": 25.00, "fiat_currency": "USD"}'
KEY = {"Idempotency-Key": "order-1001"}


async def count(world: World) -> int:
    return (await world.stored())[0]


async def test_the_same_request_gets_the_same_answer(world: World) -> None:
    first = await world.post(BODY, headers=KEY)
    world.clock.advance(3_600_000)
    again = await world.post(BODY, headers=KEY)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert await count(world) == 1


async def test_without_a_key_each_request_makes_an_invoice(world: World) -> None:
    first, second = await world.post(BODY), await world.post(BODY)
    assert first.json()["invoice"]["id"] != second.json()["invoice"]["id"]


@pytest.mark.parametrize(
    "other",
    [
        b'{"amount": 26.00, "fiat_currency": "USD"}',
        # The bytes are compared: what means the same may still be another program's request.
        b'{"amount": 25.0, "fiat_currency": "USD"}',
        b'{"fiat_currency": "USD", "amount": 25.00}',
        b'{"amount": "wrong", "fiat_currency": "USD"}',
    ],
)
async def test_another_body_is_a_conflict(world: World, other: bytes) -> None:
    await world.post(BODY, headers=KEY)
    answer = await world.post(other, headers=KEY)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_mismatch"
    assert await count(world) == 1


async def test_twins_at_the_same_time_make_one_invoice(world: World) -> None:
    answers = await asyncio.gather(*(world.post(BODY, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await count(world) == 1


async def test_of_different_bodies_at_the_same_time_one_wins(world: World) -> None:
    bodies = [json.dumps({"amount": n, "fiat_currency": "USD"}) for n in range(1, 9)]
    answers = await asyncio.gather(*(world.post(body, headers=KEY) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    assert await count(world) == 1


async def test_the_same_refund_is_noted_once(world: World) -> None:
    path = f"/api/invoice/{await world.invoice()}/refunds"
    other = f"/api/invoice/{await world.invoice()}/refunds"
    body = b'{"amount": "6.00"}'

    async def note(content: bytes = body, where: str = path) -> httpx2.Response:
        return await world.request("POST", where, content=content, headers=KEY)

    answers = await asyncio.gather(*(note() for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    mismatch = await note(b'{"amount": "7.00"}')
    assert mismatch.status_code == 409
    assert mismatch.json()["error"]["code"] == "idempotency_mismatch"
    # Of another invoice it is another request.
    assert (await note(where=other)).status_code == 200
    for where in (path, other):
        noted = (await world.request("GET", where)).json()["refunds"]
        assert [each["amount"] for each in noted] == ["6.00"]


async def test_an_error_is_not_kept(world: World) -> None:
    wrong = await world.post({"amount": -1, "fiat_currency": "USD"}, headers=KEY)
    assert wrong.status_code == 422
    assert (await world.post(BODY, headers=KEY)).status_code == 200


async def test_a_conflict_is_not_kept(world: World) -> None:
    wanted = {"wallet_address": ADDRESS, "coin_symbol": "LTC"}
    await world.invoice(key=world.key("Other"), **wanted)
    taken = await world.post({"amount": 25, "fiat_currency": "USD"} | wanted, headers=KEY)
    assert taken.status_code == 409
    assert (await world.post(BODY, headers=KEY)).status_code == 200


async def test_a_lost_database_is_not_kept(world: World) -> None:
    world.store.is_down = True
    assert (await world.post(BODY, headers=KEY)).status_code == 503
    world.store.is_down = False
    assert (await world.post(BODY, headers=KEY)).status_code == 200


async def test_merchants_and_modes_do_not_share_keys(world: World) -> None:
    keys = [world.key(name, mode) for name in ("Shop", "Other") for mode in Mode]
    answers: list[httpx2.Response] = [await world.post(BODY, headers=KEY, key=key) for key in keys]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["invoice"]["id"] for answer in answers}) == len(keys)


async def test_what_was_good_is_answered_when_its_time_has_passed(world: World) -> None:
    """A retry after the due date, or after a coin was switched off, is still the same request."""
    body = json.dumps(
        {"amount": 25, "fiat_currency": "USD", "due_at": "2026-01-06T12:00:00Z", "coins": ["LTC"]}
    )
    first = await world.post(body, headers=KEY)
    assert first.status_code == 200
    world.clock.advance(3_600_000)
    again = await world.post(body, headers=KEY)
    assert again.content == first.content
    assert (await world.post(body)).status_code == 422


@pytest.mark.parametrize("key", ["k", "k" * 255, "~ !", "0"])
async def test_a_key_may_be_anything_that_can_be_printed(small_world: World, key: str) -> None:
    answers = [await small_world.post(BODY, headers={"Idempotency-Key": key}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[0].status_code == 200


async def test_two_keys_are_no_key(small_world: World) -> None:
    headers = [
        ("Authorization", small_world.key()),
        ("Idempotency-Key", "a"),
        ("Idempotency-Key", "b"),
    ]
    answer = await small_world.client.post("/api/invoice", content=BODY, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "Idempotency-Key"


async def test_a_test_payment_that_is_asked_for_again_pays_nothing_new(world: World) -> None:
    key = world.key("Shop", Mode.TEST)
    invoice_id = (await world.post(BODY, key=key)).json()["invoice"]["id"]
    path = f"/api/invoice/{invoice_id}/simulate"

    async def pay(name: str) -> str:
        headers = {"Idempotency-Key": name}
        body = {"outcome": "under"}
        answer = await world.request("POST", path, key=key, json=body, headers=headers)
        txid: str = answer.json()["txid"]
        return txid

    assert await pay("first half") == await pay("first half")
    assert await pay("second half") != await pay("first half")
    await world.look()
    listed = await world.request("GET", f"/api/invoice/{invoice_id}/payments", key=key)
    assert len(listed.json()["payments"]) == 2
