"""What the endpoints with an id act on: an invoice, a wallet, a payment, a stray."""

from typing import Any

from counterfoil.core.ports import Mode
from counterfoil.web.endpoints import Endpoint
from tests.web.world import ADDRESS, World

BODIES: dict[str, dict[str, Any]] = {
    "create_invoice": {"amount": 25, "fiat_currency": "USD"},
    "simulate_payment": {"outcome": "exact"},
    "add_wallet": {"method": "LTC", "address": ADDRESS},
    "attach_transfer": {"invoice_id": 1},
    "add_refund": {"amount": "12.50"},
}


async def payment(world: World, *, key: str, **fields: Any) -> int:
    """Pay a test invoice and return the payment's id."""
    invoice_id = await world.invoice(key=key, **fields)
    path = f"/api/invoice/{invoice_id}"
    await world.request("POST", f"{path}/simulate", key=key, json={"outcome": "exact"})
    await world.look()
    (paid,) = (await world.request("GET", f"{path}/payments", key=key)).json()["payments"]
    return int(paid["id"])


async def stray(world: World, *, key: str, **fields: Any) -> int:
    """Put a transfer of test coin into the inbox and return its id there."""
    paid_id = await payment(world, key=key, **fields)
    answer = await world.request("POST", f"/api/payment/{paid_id}/detach", key=key)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["inbox_id"])


async def thing(world: World, endpoint: Endpoint, merchant: str, mode: Mode) -> int:
    """Return the id of what an endpoint acts on; money comes to test invoices alone."""
    if endpoint.path.startswith("/api/payment/"):
        return await payment(world, key=world.key(merchant, Mode.TEST))
    if endpoint.path.startswith("/api/inbox/"):
        return await stray(world, key=world.key(merchant, Mode.TEST))
    if endpoint.name == "remove_wallet":
        return await world.wallet(key=world.key(merchant))
    return await world.invoice(key=world.key(merchant, mode))
