"""Wallets over the API: what is shown of them, who may change them, and what is never shown."""

import json
from typing import Any

import pytest

from counterfoil.core.access import Scope
from counterfoil.core.ports import Mode
from counterfoil.web.examples import REQUESTS
from tests.house import ROOT
from tests.web.world import ADDRESS, World

KEY: str = REQUESTS["add_wallet"]["xpub"]["value"]["xpub"]
VECTORS = ROOT / "tests" / "vectors" / "litecoin"
SPENDABLE = json.loads((VECTORS / "spendable.json").read_text(encoding="utf-8"))
WALLETS = json.loads((VECTORS / "wallets.json").read_text(encoding="utf-8"))["mainnet"]
(KNOWN,) = [each for each in WALLETS if KEY in each["texts"]]
FIRST = [each["address"] for each in KNOWN["addresses"][:3]]


async def add(world: World, status: int = 200, /, **fields: Any) -> dict[str, Any]:
    body = {"method": "LTC"} | fields
    answer = await world.request("POST", "/api/wallets", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(world: World, key: str = "") -> list[dict[str, Any]]:
    answer = await world.request("GET", "/api/wallets", key=key)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["wallets"]
    return found


async def test_a_wallet_is_added_listed_used_and_removed(world: World) -> None:
    added = await add(world, xpub=KEY, next_index=0)
    assert added["success"] is True
    assert added["history"] is None
    wallet = added["wallet"]
    assert wallet["addresses"] == FIRST
    assert (wallet["method"], wallet["kind"], wallet["next_index"]) == ("LTC", "xpub", 0)
    assert await listed(world) == [wallet]
    created = (
        await world.post({"amount": 25, "fiat_currency": "USD", "coin_symbol": "LTC"})
    ).json()
    page = await world.client.get(
        "/api/invoice/{}".format(created["invoice"]["id"]), headers={"Authorization": world.key()}
    )
    assert page.json()["invoice"]["coin_symbol"] == "LTC"
    answer = await world.request("DELETE", f"/api/wallets/{wallet['id']}")
    assert answer.json() == {"success": True}
    assert await listed(world) == []
    refused = await world.post({"amount": 25, "fiat_currency": "USD", "coin_symbol": "LTC"})
    assert refused.json()["error"]["code"] == "no_wallet"
    again = await world.request("DELETE", f"/api/wallets/{wallet['id']}")
    assert again.status_code == 404


@pytest.mark.parametrize("text", KNOWN["texts"])
async def test_every_spelling_is_one_wallet_and_no_answer_holds_the_key(
    small_world: World, text: str
) -> None:
    field = "descriptor" if "(" in text else "xpub"
    given: dict[str, Any] = {field: f" {text} ", "next_index": 7}
    added = await add(small_world, **given)
    assert added["wallet"]["addresses"] == FIRST
    assert added["wallet"]["next_index"] == 7
    shown = json.dumps([added, await listed(small_world)])
    key = KNOWN["canonical"].partition("(")[2].partition("/")[0]
    assert key not in shown
    assert text not in shown
    assert shown.count(key[:10]) == 2, "enough to know it by"
    other = await small_world.request(
        "POST",
        "/api/wallets",
        key=small_world.key("Other"),
        json={"method": "LTC", "xpub": KEY, "next_index": 0},
    )
    assert other.json()["error"]["code"] == "wallet_in_use"


async def test_one_address_for_all(small_world: World) -> None:
    added = await add(small_world, address=ADDRESS.upper())
    wallet = added["wallet"]
    assert (wallet["kind"], wallet["hint"], wallet["addresses"]) == ("address", ADDRESS, [ADDRESS])
    assert (await add(small_world, 409, address=ADDRESS))["error"]["code"] == "wallet_exists"


async def test_wallets_are_the_merchants_in_both_modes(small_world: World) -> None:
    await add(small_world, address=ADDRESS)
    live = await listed(small_world)
    assert await listed(small_world, small_world.key(mode=Mode.TEST)) == live
    assert await listed(small_world, small_world.key(scope=Scope.AUTOMATE)) == live
    assert await listed(small_world, small_world.key("Other")) == []


async def test_a_test_key_changes_none(small_world: World) -> None:
    await add(small_world, address=ADDRESS)
    (wallet,) = await listed(small_world)
    key = small_world.key(mode=Mode.TEST)
    body = {"method": "LTC", "xpub": KEY, "next_index": 0}
    for method, path in (("POST", ""), ("DELETE", f"/{wallet['id']}")):
        answer = await small_world.request(method, f"/api/wallets{path}", key=key, json=body)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "live_key_needed"
    assert await listed(small_world) == [wallet]


@pytest.mark.parametrize("field", ["xpub", "descriptor", "address", "method"])
async def test_what_can_spend_is_refused_and_shows_nowhere(
    small_world: World, capfd: pytest.CaptureFixture[str], field: str
) -> None:
    for secret in (each["text"] for each in SPENDABLE):
        body = {"method": "LTC", field: secret}
        answer = await small_world.request("POST", "/api/wallets", json=body)
        assert answer.status_code == 422
        error = answer.json()["error"]
        if field in ("xpub", "descriptor"):
            assert error["code"] == "private_key_refused"
            assert error["field"] == field
        told = answer.text + "".join(capfd.readouterr())
        assert not any(word in told for word in secret.split() if len(word) > 4), secret
    assert await listed(small_world) == []


async def test_all_that_is_wrong_is_told_at_once(small_world: World) -> None:
    answer = await add(small_world, 422, method="", xpub=KEY, address=ADDRESS, next_index="1")
    details = answer["error"]["details"]
    assert [(each["field"], each["code"]) for each in details] == [
        ("method", "missing"),
        ("address", "too_many"),
        ("next_index", "invalid_number"),
    ]


@pytest.mark.parametrize(
    "index", ["-1", "1.0", "1e3", '"1"', "true", "[]", "1000000001", "9" * 40, "01"]
)
async def test_an_index_that_is_none(small_world: World, index: str) -> None:
    body = f'{{"method": "LTC", "xpub": "{KEY}", "next_index": {index}}}'
    answer = await small_world.request("POST", "/api/wallets", content=body.encode())
    assert answer.status_code in (400, 422)
    assert await listed(small_world) == []
