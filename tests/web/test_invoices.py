"""Listing, cancelling, and what has been paid; the life of a test invoice over the API."""

from typing import Any
from urllib.parse import quote

import pytest

from counterfoil.core.ports import Mode
from counterfoil.web import views
from tests.web.world import World


async def listed(world: World, query: str = "", **rest: Any) -> list[int]:
    answer = await world.request("GET", f"/api/invoices{query}", **rest)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert list(document) == ["success", "invoices", "next"]
    return [each["id"] for each in document["invoices"]]


# --- lists ------------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page_and_the_newest_first(world: World) -> None:
    made = [await world.invoice(order_id=str(n)) for n in range(7)]
    pages, after = [], ""
    while True:
        answer = await world.request("GET", f"/api/invoices?limit=3{after}")
        document = answer.json()
        pages.append([each["id"] for each in document["invoices"]])
        if document["next"] is None:
            break
        assert isinstance(document["next"], str)
        after = f"&after={document['next']}"
    assert pages == [made[:3:-1], made[3:0:-1], made[:1]]


async def test_an_empty_list_is_a_page_too(small_world: World) -> None:
    answer = await small_world.request("GET", "/api/invoices")
    assert answer.text == '{"success":true,"invoices":[],"next":null}'


async def test_a_page_that_is_exactly_full_is_the_last(small_world: World) -> None:
    for _ in range(3):
        await small_world.invoice()
    answer = await small_world.request("GET", "/api/invoices?limit=3")
    assert len(answer.json()["invoices"]) == 3
    assert answer.json()["next"] is None


async def test_a_page_has_fifty_unless_asked_otherwise(small_world: World) -> None:
    for _ in range(51):
        await small_world.invoice()
    assert len(await listed(small_world)) == 50
    assert len(await listed(small_world, "?limit=200")) == 51


async def test_what_is_listed_is_what_is_read(world: World) -> None:
    invoice_id = await world.invoice(memo="Table 4", metadata={"cart": "77"})
    (one,) = (await world.request("GET", "/api/invoices")).json()["invoices"]
    assert one == (await world.request("GET", f"/api/invoice/{invoice_id}")).json()["invoice"]
    assert list(one) == list(views.Invoice.__struct_fields__)


async def test_a_list_can_be_narrowed(world: World) -> None:
    start = world.clock.now()
    first = await world.invoice(order_id="A-7", memo="Two coffees")
    world.clock.advance(60_000)
    second = await world.invoice(order_id="A-8", client_name="Ada")
    await world.request("POST", f"/api/invoice/{second}/cancel")
    world.clock.advance(60_000)
    third = await world.invoice(order_id="A-7", client_email="bob@example.com")
    middle = "2026-01-06T11:47:40.123Z"
    assert start + 60_000 == 1_767_700_060_123
    for query, expected in {
        "?status=Cancelled": [second],
        "?status=Unpaid": [third, first],
        "?status=Paid": [],
        "?order_id=A-7": [third, first],
        "?order_id=a-7": [],
        "?order_id=A-": [],
        "?text=COFFEE": [first],
        "?text=ada": [second],
        "?text=example.com": [third],
        "?text=A-8": [second],
        f"?created_from={middle}": [third, second],
        f"?created_to={middle}": [first],
        f"?created_from={middle}&created_to=2026-01-06T11:48:00Z": [second],
        f"?after={third}": [second, first],
        f"?after={third}&order_id=A-7": [first],
        "?order_id=&text=&created_from=&created_to=": [third, second, first],
        "?unknown=1&unknown=2": [third, second, first],
        "?created_from=2026-01-06": [third, second, first],
        "?created_from=2026-01-06T13:47:40.123%2B02:00": [third, second],
    }.items():
        assert await listed(world, query) == expected, query


@pytest.mark.parametrize(
    "sought", ["%", "_", "/", "\\", "100%", "a_b", "'", '"', "\u00e4", "\U0001f600"]
)
async def test_what_is_looked_for_is_taken_as_it_is(world: World, sought: str) -> None:
    found = await world.invoice(memo=f"some {sought} thing")
    await world.invoice(memo="some axb 100 thing")
    assert await listed(world, f"?text={quote(sought)}") == [found]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("status=paid", "status", "unknown_status"),
        ("status=", "status", "unknown_status"),
        ("status=Paid,Unpaid", "status", "unknown_status"),
        ("status=%00", "status", "unknown_status"),
        ("order_id=" + "x" * 65, "order_id", "too_long"),
        ("order_id=%00", "order_id", "invalid_characters"),
        ("text=" + "x" * 201, "text", "too_long"),
        ("text=%E2%80%AE", "text", "invalid_characters"),
        ("created_from=yesterday", "created_from", "invalid_time"),
        ("created_to=2026-13-01", "created_to", "invalid_time"),
        ("created_to=2026-01-01T00:00:00+02:00", "created_to", "invalid_time"),
        ("limit=0", "limit", "invalid_number"),
        ("limit=201", "limit", "invalid_number"),
        ("limit=-1", "limit", "invalid_number"),
        ("limit=1.0", "limit", "invalid_number"),
        ("limit=", "limit", "invalid_number"),
        ("limit=ten", "limit", "invalid_number"),
        ("limit=%D9%A1", "limit", "invalid_number"),
        ("limit=" + "9" * 5_000, "limit", "invalid_number"),
        ("after=0", "after", "invalid_number"),
        ("after=x", "after", "invalid_number"),
        (f"after={2**53}", "after", "invalid_number"),
        (f"after={2**63}", "after", "invalid_number"),
        ("limit=5&limit=5", "limit", "repeated_parameter"),
        ("order_id=a&order_id=b", "order_id", "repeated_parameter"),
        ("&".join(f"x{n}=1" for n in range(51)), "query", "too_many"),
    ],
)
async def test_a_bad_question_is_told(
    small_world: World, query: str, field: str, code: str
) -> None:
    answer = await small_world.request("GET", f"/api/invoices?{query}")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["field"], error["code"]) == (field, code)


async def test_all_of_a_bad_question_is_told(small_world: World) -> None:
    answer = await small_world.request("GET", "/api/invoices?limit=0&status=x&created_to=y&after=z")
    details = answer.json()["error"]["details"]
    assert {each["field"] for each in details} == {"limit", "status", "created_to", "after"}


async def test_a_query_of_strange_bytes_is_no_accident(world: World) -> None:
    for query in (
        "text=%FF%FE",
        "%FF=%FF",
        "text=%ED%A0%80",
        "&&&===",
        "text=%",
        "order_id=%25%5F",
    ):
        assert await listed(world, f"?{query}") == []


# --- the life of an invoice -------------------------------------------------------------------


async def test_an_invoice_is_cancelled_once_and_for_all(world: World) -> None:
    invoice_id = await world.invoice()
    world.clock.advance(1_000)
    answer = await world.request("POST", f"/api/invoice/{invoice_id}/cancel")
    assert answer.status_code == 200
    assert list(answer.json()) == ["success", "invoice"]
    assert answer.json()["invoice"]["status"] == "Cancelled"
    world.clock.advance(1_000)
    again = await world.request("POST", f"/api/invoice/{invoice_id}/cancel")
    assert again.content == answer.content
    read = await world.request("GET", f"/api/invoice/{invoice_id}")
    assert read.content == answer.content


async def pay(world: World, invoice_id: int, outcome: str = "exact") -> str:
    path = f"/api/invoice/{invoice_id}/simulate"
    key = world.key(mode=Mode.TEST)
    answer = await world.request("POST", path, key=key, json={"outcome": outcome})
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["success", "txid"]
    return str(answer.json()["txid"])


async def state(world: World, invoice_id: int) -> dict[str, Any]:
    path = f"/api/invoice/{invoice_id}"
    answer = await world.request("GET", path, key=world.key(mode=Mode.TEST))
    invoice: dict[str, Any] = answer.json()["invoice"]
    return invoice


async def payments(world: World, invoice_id: int) -> list[dict[str, Any]]:
    path = f"/api/invoice/{invoice_id}/payments"
    answer = await world.request("GET", path, key=world.key(mode=Mode.TEST))
    assert list(answer.json()) == ["success", "payments"]
    found: list[dict[str, Any]] = answer.json()["payments"]
    return found


async def wait(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1_000)
        await world.look()


async def test_a_test_invoice_is_paid_over_the_api(world: World) -> None:
    invoice_id = await world.invoice(key=world.key(mode=Mode.TEST))
    assert await payments(world, invoice_id) == []
    txid = await pay(world, invoice_id)
    await world.look()
    assert (await state(world, invoice_id))["status"] == "Confirming"
    (payment,) = await payments(world, invoice_id)
    assert list(payment) == list(views.Payment.__struct_fields__)
    expected = {
        "method": "TEST",
        "txid": txid,
        "index": 0,
        "amount": "25",
        "confirmations": 0,
        "state": "seen",
        "fiat_value": "25.00",
    }
    assert {name: payment[name] for name in expected} == expected
    await wait(world, 20)
    paid = await state(world, invoice_id)
    assert paid["status"] == "Paid"
    assert paid["paid_at"] is not None
    assert (await payments(world, invoice_id))[0]["state"] == "final"


async def test_what_is_unusual_stands_beside_the_status(world: World) -> None:
    for outcome, status, exceptions in (
        ("under", "Unpaid", ["underpaid"]),
        ("over", "Paid", ["overpaid"]),
    ):
        invoice_id = await world.invoice(key=world.key(mode=Mode.TEST))
        await pay(world, invoice_id, outcome)
        await wait(world, 20)
        invoice = await state(world, invoice_id)
        assert (invoice["status"], invoice["exceptions"]) == (status, exceptions)
        assert invoice["exception"] == exceptions[0]


@pytest.mark.parametrize(
    "body",
    ["{}", '{"outcome": null}', '{"outcome": 5}', '{"outcome": "EXACT"}', '{"outcome": ["exact"]}'],
)
async def test_an_unknown_outcome_is_told(small_world: World, body: str) -> None:
    key = small_world.key(mode=Mode.TEST)
    invoice_id = await small_world.invoice(key=key)
    path = f"/api/invoice/{invoice_id}/simulate"
    answer = await small_world.request("POST", path, key=key, content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "outcome"
