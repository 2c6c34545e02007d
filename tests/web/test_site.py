"""The whole site: pages beside the API, errors among them, the log, and the short cuts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from counterfoil.core.errors import LimitedError, NotFoundError, SettingsError, UnavailableError
from counterfoil.web.endpoints import Answer, Deps
from counterfoil.web.site import build_site
from counterfoil.web.table import ENDPOINTS
from tests.web.world import World, client_of


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def half(_request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half a "
        raise RuntimeError("and no more")

    return StreamingResponse(pieces())


def raising(error: Exception) -> Any:
    async def fail(_request: Request) -> PlainTextResponse:
        raise error

    return fail


PAGES: Sequence[BaseRoute] = (
    Route("/pay", echo, methods=["GET", "POST"]),
    Route("/half", half),
    Route("/gone", raising(NotFoundError("not_found", "There is no such page here."))),
    Route("/busy", raising(LimitedError("busy", "Wait.", retry_after_s=7))),
    Route("/later", raising(UnavailableError("later", "Later."))),
    Route("/wrong", raising(RuntimeError("the password is 12345"))),
    Route("/settings", raising(SettingsError("settings", "the password is 12345"))),
)


def page(status: int, message: str, request_id: str) -> Answer:
    assert request_id
    text = f"<h1>{status}</h1><p>{message}</p>".encode()
    headers = ((b"X-Page", b"1"), (b"Cache-Control", b"private"))
    return Answer(status, text, headers, b"text/html; charset=utf-8")


@pytest.fixture
async def client(small_world: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(build_site(small_world.deps, PAGES, error_page=page)) as client:
        yield client


async def test_pages_stand_beside_the_api(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/pay")).text == "0"
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert "X-Request-Id" in (await client.get("/pay")).headers


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/gone", 404, "There is no such page here."),
        ("/busy", 429, "Wait."),
        ("/later", 503, "Later."),
        ("/nothing", 404, "There is no such page."),
    ],
)
async def test_an_error_among_the_pages_is_a_page(
    client: httpx2.AsyncClient, path: str, status: int, message: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Page"] == "1"
    assert answer.headers.get_list("Cache-Control") == ["private"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text == f"<h1>{status}</h1><p>{message}</p>"
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)


@pytest.mark.parametrize("path", ["/wrong", "/settings"])
async def test_an_accident_on_a_page_says_nothing_but_its_number(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text
    assert "12345" not in answer.text


async def test_without_a_page_for_errors_they_are_plain(small_world: World) -> None:
    answer = await small_world.request("GET", "/nothing")
    assert (answer.status_code, answer.text) == (404, "There is no such page.\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    async with client_of(build_site(small_world.deps, PAGES)) as client:
        answer = await client.get("/wrong")
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text


async def test_a_page_is_sent_no_more_than_the_api_either(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/pay", content=b"x" * 65_536)).text == "65536"
    assert (await client.post("/pay", content=b"x" * 65_537)).status_code == 413


async def test_another_method_than_a_page_takes_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.delete("/pay")
    assert answer.status_code == 405
    assert {each.strip() for each in answer.headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}


async def test_what_breaks_in_the_middle_ends_the_connection(small_world: World) -> None:
    site = build_site(small_world.deps, PAGES)
    transport = httpx2.ASGITransport(app=site)
    async with httpx2.AsyncClient(transport=transport, base_url="https://a.example") as client:
        with pytest.raises(RuntimeError):
            await client.get("/half")


# --- the log ----------------------------------------------------------------------------------


async def test_a_line_of_the_log_tells_no_secret(
    small_world: World, client: httpx2.AsyncClient
) -> None:
    with structlog.testing.capture_logs() as lines:
        await client.get("/pay?share_token=SECRET", headers={"Authorization": small_world.key()})
        await client.post("/api/invoice?share_token=SECRET", content=b"SECRET")
        await client.get("/api/" + "x" * 1_000)
    (first, second, third) = [line for line in lines if line["event"] == "request"]
    assert "SECRET" not in str(lines)
    assert "cf_live" not in str(lines)
    assert (first["method"], first["path"], first["status"]) == ("GET", "/pay", 200)
    assert (second["method"], second["path"], second["status"]) == ("POST", "/api/invoice", 401)
    assert len(third["path"]) == 200
    assert all(line["duration_ms"] == 0 and line["request_id"] for line in (first, second, third))


async def test_an_accident_is_logged_with_its_cause(client: httpx2.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/wrong")
    (line,) = [line for line in lines if line["event"] == "request_failed"]
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert isinstance(line["exc_info"], RuntimeError)


# --- what else comes over ASGI ----------------------------------------------------------------


async def call(site: ASGIApp, request: dict[str, Any], *messages: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def keep(message: Any) -> None:
        sent.append(message)

    await site(request, receive, keep)
    return sent


async def test_a_websocket_that_leads_nowhere_is_closed(small_world: World) -> None:
    request = {"type": "websocket", "path": "/nothing", "headers": [], "query_string": b""}
    sent = await call(small_world.app, request)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_start_and_stop_are_handed_on(small_world: World) -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        happened.append("start")
        yield
        happened.append("stop")

    site = build_site(small_world.deps, lifespan=lifespan)
    sent = await call(
        site,
        {"type": "lifespan", "state": {}},
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
    )
    assert happened == ["start", "stop"]
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_a_hot_path_is_found_below_a_prefix_too(small_world: World) -> None:
    """Behind a proxy that mounts us, Starlette's router finds what the short cut does not."""
    invoice_id = await small_world.invoice()
    transport = httpx2.ASGITransport(app=small_world.app, root_path="/shop")
    headers = {"Authorization": small_world.key()}
    async with httpx2.AsyncClient(
        transport=transport, base_url="https://a.example/shop", headers=headers
    ) as client:
        answer = await client.get(f"/api/invoice/{invoice_id}")
        assert answer.json()["invoice"]["id"] == invoice_id
        body = {"amount": 25, "fiat_currency": "USD"}
        assert (await client.post("/api/invoice", json=body)).status_code == 200


def test_the_two_hot_endpoints_are_those_that_shops_call() -> None:
    assert [each.name for each in ENDPOINTS if each.is_hot] == ["create_invoice", "get_invoice"]


def test_what_the_web_is_given_is_small() -> None:
    assert list(Deps.__dataclass_fields__) == [
        "context",
        "keyring",
        "clock",
        "is_ready",
        "failures_per_minute",
    ]
