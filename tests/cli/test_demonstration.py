"""What the demo does when something that it shows is missing."""

from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from counterfoil.app import parts
from counterfoil.cli import demonstration
from counterfoil.cli.demonstration import DemoError, Receiver, Shop
from counterfoil.core import signing
from counterfoil.core.invoice import EventType
from counterfoil.settings import load

SECRET = signing.make_secret(bytes(32))
BODY = b'{"event":"payment_confirmed","invoice_id":"1"}'


def shop_of(here: parts.Installation, answers: Mapping[str, httpx2.Response]) -> Shop:
    """Return a shop whose server gives these answers, by the path that is asked for."""
    transport = httpx2.MockTransport(lambda request: answers[request.url.path])
    client = httpx2.AsyncClient(transport=transport, base_url="http://a.example")
    return Shop(here, client, Receiver(), "key", SECRET)


async def incomplete(tmp_path: Path, answers: Mapping[str, httpx2.Response]) -> str:
    """Return the sentence with which the demo ends."""
    settings = load({}, {"data": tmp_path}, has_file=False)
    async with parts.opened(settings) as here:
        shop = shop_of(here, answers)
        async with shop.client:
            with pytest.raises(DemoError) as caught:
                await shop.show()
    return caught.value.message


MADE = httpx2.Response(
    200,
    json={
        "success": True,
        "invoice": {"id": 1, "share_token": "t", "pay_url": "http://a.example/pay"},
    },
)


async def test_no_invoice(tmp_path: Path) -> None:
    message = await incomplete(tmp_path, {"/api/invoice": httpx2.Response(503, text="later")})
    assert message == ("The demo is not complete: POST /api/invoice answered HTTP 503: later.")


async def test_no_page(tmp_path: Path) -> None:
    page = httpx2.Response(200, text="25 or so")
    message = await incomplete(tmp_path, {"/api/invoice": MADE, "/pay": page})
    assert "the pay page answered HTTP 200 without the amount" in message


async def test_no_payment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "/api/invoice": MADE,
        "/pay": httpx2.Response(200, text="25.00"),
        "/api/invoice/1": httpx2.Response(200, json={"invoice": {"status": "Unpaid"}}),
        "/pay-invoice/simulate": httpx2.Response(404),
    }
    assert "paying answered HTTP 404" in await incomplete(tmp_path, answers)
    assert " Unpaid\n" in capsys.readouterr().out


async def test_a_status_that_was_left_out(tmp_path: Path) -> None:
    answers = {
        "/api/invoice": MADE,
        "/pay": httpx2.Response(200, text="25.00"),
        "/api/invoice/1": httpx2.Response(200, json={"invoice": {"status": "Paid"}}),
        "/pay-invoice/simulate": httpx2.Response(303, headers={"location": "/pay"}),
    }
    assert "the status went Paid" in await incomplete(tmp_path, answers)


async def test_signatures(tmp_path: Path) -> None:
    settings = load({}, {"data": tmp_path}, has_file=False)
    good = {
        "signature": signing.sign_body(SECRET, BODY),
        "webhook-id": "1-0",
        "webhook-timestamp": "1",
        "webhook-signature": signing.sign_standard(SECRET, "1-0", 1, BODY),
    }
    async with parts.opened(settings) as here:
        shop = shop_of(here, {})
        shop.verify(good, BODY)
        for name in ("signature", "webhook-signature"):
            with pytest.raises(DemoError, match="signature of the webhook is wrong"):
                shop.verify(good | {name: "x"}, BODY)
        await shop.client.aclose()


def test_a_receiver_finds_what_it_was_sent() -> None:
    receiver = Receiver([({}, BODY)])
    assert receiver.find(EventType.CONFIRMED, 1) == ({}, BODY)
    assert receiver.find(EventType.CONFIRMED, 2) is None
    assert receiver.find(EventType.DETECTED, 1) is None


def test_how_it_is_called_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "counterfoil"
    program.touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    assert demonstration.command() == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demonstration.command() == "counterfoil"
