"""`GET /api/invoice/{id}/explain`: facts and sentences, and nothing of anybody else."""

from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.events import iso
from counterfoil.core.ports import Mode
from counterfoil.db.schema import chain_transaction
from tests.web.world import ADDRESS, World


async def explain(world: World, invoice_id: int, query: str = "", key: str = "") -> dict[str, Any]:
    path = f"/api/invoice/{invoice_id}/explain{query}"
    answer = await world.request("GET", path, key=key)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_payment_from_the_price_to_the_last_confirmation(world: World) -> None:
    key = world.key(mode=Mode.TEST)
    invoice_id = await world.invoice(key=key)
    said = await explain(world, invoice_id, key=key)
    assert said["advice"][0].startswith("Send the payer to https://pay.example.com/pay-invoice?")
    path = f"/api/invoice/{invoice_id}/simulate"
    paid = await world.request("POST", path, key=key, json={"outcome": "under"})
    txid = paid.json()["txid"]
    await world.look()
    world.clock.advance(10_000)
    await world.look()
    said = await explain(world, invoice_id, f"?txid={txid.upper()}", key=key)
    assert said["missing"]["amount"] == "12.50"
    assert [coin["amount"] for coin in said["missing"]["coins"]] == ["12.5"]
    assert [(seen["txid"], seen["counts"]) for seen in said["seen"]] == [(txid, "12.50")]
    (lookup,) = said["lookups"]
    assert (lookup["chain"], lookup["answer"], lookup["height"]) == ("simulator", "found", 1)
    (output,) = lookup["outputs"]
    assert (output["owner"], output["invoice_id"]) == ("invoice", invoice_id)
    assert said["chains"][0]["name"] == "simulator"
    assert "12.50 USD is missing." in said["findings"]


async def test_a_node_that_does_not_answer_is_said(world: World) -> None:
    invoice_id = await world.invoice(coin_symbol="LTC", wallet_address=ADDRESS)
    said = await explain(world, invoice_id, "?txid=" + "ab" * 32)
    (lookup,) = said["lookups"]
    assert (lookup["chain"], lookup["answer"]) == ("litecoin", "away")
    assert "password" not in str(said)


async def test_an_empty_txid_is_none(world: World) -> None:
    said = await explain(world, await world.invoice(), "?txid=")
    assert said["lookups"] == []


@pytest.mark.parametrize("mode", Mode)
async def test_another_merchants_invoice_is_not_there(world: World, mode: Mode) -> None:
    invoice_id = await world.invoice(key=world.key(mode=mode))
    for key in (world.key("Other", mode), world.key(mode=next(m for m in Mode if m is not mode))):
        answer = await world.request("GET", f"/api/invoice/{invoice_id}/explain", key=key)
        unknown = await world.request("GET", "/api/invoice/999999/explain", key=key)
        assert answer.status_code == 404
        assert answer.json() == unknown.json()


async def test_what_lies_in_the_inbox_has_its_id(world: World) -> None:
    key = world.key(mode=Mode.TEST)
    invoice_id = await world.invoice(key=key)
    path = f"/api/invoice/{invoice_id}/simulate"
    paid = await world.request("POST", path, key=key, json={"outcome": "under"})
    await world.look()
    payments = await world.request("GET", f"/api/invoice/{invoice_id}/payments", key=key)
    (payment,) = payments.json()["payments"]
    path = f"/api/payment/{payment['id']}/detach"
    detached = await world.request("POST", path, key=key)
    assert detached.status_code == 200, detached.text
    said = await explain(world, invoice_id, key=key)
    (item,) = said["inbox"]
    assert (item["txid"], item["reason"]) == (paid.json()["txid"], "detached")
    command = f"`counterfoil inbox attach {item['id']} {invoice_id} --test`"
    assert command in said["advice"][0]
    assert "Other" not in str(said), "who else is served here is nobody's business"


async def test_what_a_node_lists_no_more_is_said_with_its_time(world: World) -> None:
    key = world.key(mode=Mode.TEST)
    invoice_id = await world.invoice(key=key)
    path = f"/api/invoice/{invoice_id}/simulate"
    await world.request("POST", path, key=key, json={"outcome": "exact"})
    await world.look()
    forget = sa.update(chain_transaction).values(unknown_since=world.clock.now(), block_height=None)
    await world.store.write(lambda connection: connection.execute(forget))
    (seen,) = (await explain(world, invoice_id, key=key))["seen"]
    assert seen["unknown_since"] == iso(world.clock.now())
