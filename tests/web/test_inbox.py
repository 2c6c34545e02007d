"""The inbox over the API: a payment of the wrong invoice is moved to the right one."""

from typing import Any

import pytest

from counterfoil.core.access import Scope
from counterfoil.core.ports import Mode
from tests.web.things import payment, stray
from tests.web.world import World


async def listed(world: World, key: str, query: str = "") -> dict[str, Any]:
    answer = await world.request("GET", f"/api/inbox{query}", key=key)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_payment_is_moved_to_another_invoice(world: World) -> None:
    key = world.key(mode=Mode.TEST)
    paid_id = await payment(world, key=key)
    right = await world.invoice(key=key)
    answer = await world.request("POST", f"/api/payment/{paid_id}/detach", key=key)
    detached = answer.json()
    assert detached["invoice"]["status"] == "Unpaid"
    wrong, item_id = detached["invoice"]["id"], detached["inbox_id"]
    (found,) = (await listed(world, key))["transfers"]
    assert (found["id"], found["method"], found["amount"]) == (item_id, "TEST", "25")
    assert found["reason"] == "detached"
    assert found["candidates"] == [{"invoice_id": wrong, "reason": f"the amount of INV {wrong}"}]
    path = f"/api/inbox/{item_id}/attach"
    answer = await world.request("POST", path, key=key, json={"invoice_id": right})
    attached = answer.json()
    assert attached["invoice"]["status"] == "Confirming"
    assert attached["payment"]["fiat_value"] == "25.00"
    assert attached["payment"]["txid"] == found["txid"]
    assert attached["payment"]["id"] > paid_id
    assert (await listed(world, key))["transfers"] == []
    payments = await world.request("GET", f"/api/invoice/{right}/payments", key=key)
    assert payments.json()["payments"] == [attached["payment"]]
    again = await world.request("POST", path, key=key, json={"invoice_id": right})
    assert again.status_code == 404


@pytest.mark.parametrize("value", [12.5, "12.50", "1.25e1"])
async def test_a_value_is_read_digit_by_digit(small_world: World, value: float | str) -> None:
    key = small_world.key(mode=Mode.TEST)
    item_id = await stray(small_world, key=key)
    invoice_id = await small_world.invoice(key=key)
    body = {"invoice_id": invoice_id, "fiat_value": value}
    path = f"/api/inbox/{item_id}/attach"
    answer = await small_world.request("POST", path, key=key, json=body)
    assert answer.json()["payment"]["fiat_value"] == "12.50"
    assert answer.json()["invoice"]["exceptions"] == ["underpaid"]


async def test_pages_and_what_is_ignored(small_world: World) -> None:
    key = small_world.key(mode=Mode.TEST)
    ids = [await stray(small_world, key=key) for _ in range(3)]
    first = await listed(small_world, key, "?limit=2")
    assert [each["id"] for each in first["transfers"]] == ids[:0:-1]
    rest = await listed(small_world, key, f"?limit=2&after={first['next']}")
    assert [each["id"] for each in rest["transfers"]] == ids[:1]
    assert rest["next"] is None
    answer = await small_world.request("POST", f"/api/inbox/{ids[1]}/ignore", key=key)
    assert answer.json() == {"success": True}
    waiting = (await listed(small_world, key, "?state=waiting"))["transfers"]
    assert [each["id"] for each in waiting] == [ids[2], ids[0]]
    (ignored,) = (await listed(small_world, key, "?state=ignored"))["transfers"]
    assert ignored["id"] == ids[1]
    assert ignored["ignored_at"] is not None


async def test_whoever_may_only_make_invoices_moves_nothing(small_world: World) -> None:
    item_id = await stray(small_world, key=small_world.key(mode=Mode.TEST))
    key = small_world.key(mode=Mode.TEST, scope=Scope.AUTOMATE)
    assert len((await listed(small_world, key))["transfers"]) == 1
    for path in (f"/api/inbox/{item_id}/attach", f"/api/inbox/{item_id}/ignore"):
        answer = await small_world.request("POST", path, key=key, json={"invoice_id": 1})
        assert answer.status_code == 403
    assert (await listed(small_world, small_world.key(mode=Mode.LIVE)))["transfers"] == []


async def test_refunds_over_the_api(small_world: World) -> None:
    key = small_world.key(mode=Mode.TEST)
    paid_id = await payment(small_world, key=key)
    body = {"amount": 12.5, "coin_symbol": "test", "payment_id": paid_id, "txid": None}
    path = "/api/invoice/1/refunds"
    made = (await small_world.request("POST", path, key=key, json=body)).json()["refund"]
    assert (made["amount"], made["method"], made["payment_id"]) == ("12.5", "TEST", paid_id)
    assert (await small_world.request("GET", path, key=key)).json()["refunds"] == [made]
