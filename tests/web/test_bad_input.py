"""Whatever is wrong with a request is told in one sentence with its field, and nothing is kept."""

import json
import re
from typing import Any

import httpx2
import pytest

from counterfoil.core.ports import Mode
from counterfoil.services import merchants
from counterfoil.web.table import ENDPOINTS
from tests.web.bad_bodies import SIZE_MAX, Bad, body
from tests.web.bad_input import corpus
from tests.web.world import ADDRESS, World, client_of

CORPUS = corpus()
CREATE = next(each for each in ENDPOINTS if each.name == "create_invoice")
SENTENCE = re.compile(r"[^\n]{10,250}\.")
SECOND_SENTENCE = re.compile(r"\. [A-Z]")
# What a chain says of an address is that it is none, and then what to give instead.
TWO_SENTENCES = {"invalid_address"}


def complaints(bad: Bad, answer: httpx2.Response) -> list[str]:
    """Return what is wrong with an answer to a bad request."""
    if answer.status_code != bad.status:
        return [f"{bad.why}: {answer.status_code} {answer.text[:200]}"]
    document = answer.json()
    error = document["error"]
    found = []
    if document["success"] is not False or set(document) != {"success", "error"}:
        found.append("its shape")
    if (error["code"], error.get("field")) != (bad.code, bad.field):
        found.append(f"{error['code']} of {error.get('field')}")
    if "details" in error:
        found.append(f"details {error['details']}")
    is_long = SECOND_SENTENCE.search(error["message"]) and bad.code not in TWO_SENTENCES
    if is_long or not SENTENCE.fullmatch(error["message"]):
        found.append(f"the sentence {error['message']!r}")
    if not set(error) <= {"code", "message", "field"}:
        found.append(f"keys {list(error)}")
    return [f"{bad.why}: {each}" for each in found]


async def send(world: World, bad: Bad) -> httpx2.Response:
    headers: list[tuple[bytes, bytes]] = [
        (b"Authorization", world.key().encode()),
        (b"Content-Type", b"application/json"),
        *((name.encode(), value.encode("latin-1")) for name, value in bad.headers.items()),
    ]
    return await world.client.post("/api/invoice", content=bad.content, headers=headers)


@pytest.mark.parametrize("part", CORPUS)
async def test_what_is_wrong_is_told_and_nothing_is_kept(world: World, part: str) -> None:
    before = await world.stored()
    found: list[str] = []
    for bad in CORPUS[part]:
        found += complaints(bad, await send(world, bad))
    assert found == []
    assert await world.stored() == before


def test_the_corpus_is_large_and_knows_every_code_of_a_field() -> None:
    rows = [bad for part in CORPUS.values() for bad in part]
    assert len(rows) >= 400
    assert len({bad.why for bad in rows}) == len(rows)
    codes = CREATE.all_errors
    for status in (400, 413, 422):
        assert {bad.code for bad in rows if bad.status == status} == set(codes[status])


# --- all of it at once ------------------------------------------------------------------------

EVERYTHING_WRONG: dict[str, Any] = {
    "amount": "-5",
    "fiat_currency": "XYZ",
    "wallet_address": "ltc1",
    "coin_symbol": "XYZ",
    "memo": "x" * 501,
    "due_at": "yesterday",
    "invoice_message": "\u202e",
    "invoice_title": 5,
    "client_email": "ada",
    "client_name": ["Ada"],
    "order_id": "x" * 65,
    "metadata": "text",
    "redirect_url": "http://shop.example.com",
    "coins": "LTC",
}


async def test_all_fields_are_told_at_once_and_in_their_order(world: World) -> None:
    answer = await world.post(EVERYTHING_WRONG, headers={"Idempotency-Key": "k" * 256})
    error = answer.json()["error"]
    fields = [detail["field"] for detail in error["details"]]
    assert fields == [*EVERYTHING_WRONG, "Idempotency-Key"]
    assert {name: error[name] for name in ("field", "code", "message")} == error["details"][0]
    assert all(set(detail) == {"field", "code", "message"} for detail in error["details"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"amount": 25.001, "fiat_currency": "XYZ"}, ["fiat_currency"]),
        ({"amount": 0, "fiat_currency": "XYZ"}, ["amount", "fiat_currency"]),
        ({"amount": 10**15, "fiat_currency": "XYZ"}, ["amount", "fiat_currency"]),
        ({"amount": 25.001, "fiat_currency": "EUR"}, ["amount", "fiat_currency"]),
        ({"amount": None, "fiat_currency": None}, ["amount", "fiat_currency"]),
        ({"wallet_address": ADDRESS, "memo": 5}, ["coin_symbol", "memo"]),
        ({"wallet_address": ADDRESS, "coin_symbol": 5}, ["coin_symbol"]),
        ({"wallet_address": 5, "coin_symbol": "XYZ"}, ["wallet_address", "coin_symbol"]),
        ({"wallet_address": "x" * 9, "coin_symbol": "LTC", "memo": 5}, ["wallet_address", "memo"]),
        ({"coins": ["LTC", "A", "B"], "memo": 5}, ["memo", "coins"]),
        ({"coins": [1, 2, "x" * 21], "memo": 5}, ["memo", "coins", "coins"]),
    ],
)
async def test_one_problem_does_not_make_another(
    small_world: World, fields: dict[str, Any], expected: list[str]
) -> None:
    answer = await small_world.post({"amount": 25, "fiat_currency": "USD"} | fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    told = error.get("details", [error])
    assert [each["field"] for each in told] == expected


async def test_a_test_key_is_checked_as_strictly(small_world: World) -> None:
    key = small_world.key(mode=Mode.TEST)
    answer = await small_world.post(EVERYTHING_WRONG, key=key)
    assert len(answer.json()["error"]["details"]) == len(EVERYTHING_WRONG)
    answer = await small_world.post(body(coin_symbol="LTC", wallet_address=ADDRESS + "q"), key=key)
    assert answer.json()["error"]["code"] == "invalid_address"


async def test_no_message_repeats_a_value_or_a_key(small_world: World) -> None:
    """What a stranger sent never stands in an answer, a log line, or a page made of either."""
    secret = "cf_live_0123456789"
    names = [name for name in EVERYTHING_WRONG if name != "metadata"]
    for name in names:
        for value in (secret, secret + "\x00", [secret], secret * 1_000):
            answer = await small_world.post(body(**{name: value}))
            assert secret not in answer.text, name


# --- bodies as they come over the wire --------------------------------------------------------


async def call(app: Any, messages: list[dict[str, Any]], **headers: str) -> list[dict[str, Any]]:
    """Call the site with these messages and return what it sends."""
    sent: list[dict[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    request = {
        "type": "http",
        "method": "POST",
        "path": "/api/invoice",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("203.0.113.7", 4242),
    }
    await app(request, receive, keep)
    return sent


def parts_of(content: bytes, size: int) -> list[dict[str, Any]]:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ]


async def test_a_body_may_come_in_pieces(small_world: World) -> None:
    content = body(memo="\u00e4" * 500)
    sent = await call(small_world.app, parts_of(content, 1), authorization=small_world.key())
    assert sent[0]["status"] == 200


async def test_a_body_may_be_as_large_as_it_may_be(small_world: World) -> None:
    content = body(x="")
    content = content[:-2] + b"x" * (SIZE_MAX - len(content)) + b'"}'
    assert len(content) == SIZE_MAX
    assert (await small_world.post(content)).status_code == 200


async def test_a_body_that_never_ends_is_not_read_to_its_end(small_world: World) -> None:
    pieces = [{"type": "http.request", "body": b" " * 1_000, "more_body": True}] * 1_000
    waiting = list(pieces)
    sent = await call(small_world.app, waiting, authorization=small_world.key())
    assert sent[0]["status"] == 413


async def test_a_length_that_is_too_large_is_refused_unread(small_world: World) -> None:
    headers = {"authorization": small_world.key(), "content-length": str(10**12)}
    sent = await call(small_world.app, [], **headers)
    assert sent[0]["status"] == 413


async def test_a_body_is_not_read_for_a_stranger(small_world: World) -> None:
    sent = await call(small_world.app, [], authorization="wrong")
    assert sent[0]["status"] == 401


async def test_a_client_that_goes_away_is_not_answered(small_world: World) -> None:
    before = await small_world.stored()
    half = {"type": "http.request", "body": b'{"amount": 25', "more_body": True}
    sent = await call(
        small_world.app, [half, {"type": "http.disconnect"}], authorization=small_world.key()
    )
    assert sent == []
    assert await small_world.stored() == before


# --- what comes instead of an endpoint --------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/nothing", "/api/invoice/", "/api/invoice/1/", "/api/invoice/1/refund"],
)
async def test_an_unknown_path_is_told_as_json(small_world: World, path: str) -> None:
    for key in (None, ""):
        answer = await small_world.request("GET", path, key=key)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unknown_path"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_another_method_is_told_which_there_are(small_world: World, method: str) -> None:
    answer = await small_world.request(method, "/api/invoice", key=None)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_a_path_that_is_read_allows_a_head_too(small_world: World) -> None:
    answer = await small_world.request("POST", "/api/invoice/1")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


async def test_an_accident_is_told_by_its_number_alone(
    small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is 12345")

    await small_world.invoice()
    monkeypatch.setattr("counterfoil.services.invoices.get_stored", fail)
    answer = await small_world.request("GET", "/api/invoice/1")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal"
    assert answer.headers["X-Request-Id"] in error["message"]
    assert "12345" not in answer.text
    assert "Traceback" not in answer.text


async def test_a_lost_database_is_told_and_found_again(world: World) -> None:
    before = await world.stored()
    world.store.is_down = True
    answer = await world.post()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_unavailable"
    world.store.is_down = False
    assert await world.stored() == before
    assert (await world.post()).status_code == 200


async def test_a_redirect_is_only_to_where_the_merchant_said(small_world: World) -> None:
    merchant = await merchants.find(small_world.store, "Shop")
    await merchants.allow_redirect(small_world.store, merchant, "https://shop.example.com")
    for url in (
        "https://shop.example.com",
        "HTTPS://Shop.Example.com/x",
        "https://shop.example.com?a",
    ):
        await small_world.invoice(redirect_url=url)
    for url in (
        "https://shop.example.com:8443/",
        "https://shop.example.com.evil.example/",
        "https://evil.example/https://shop.example.com",
        "https://evil.example#https://shop.example.com",
    ):
        answer = await small_world.post(json.loads(body(redirect_url=url)))
        assert answer.json()["error"]["code"] == "origin_not_listed"
        answer = await small_world.post(body(redirect_url=url), key=small_world.key("Other"))
        assert answer.json()["error"]["code"] == "origin_not_listed"


async def test_another_content_type_is_read_as_json_too(small_world: World) -> None:
    """A browser cannot send our header without asking first, so a type is no protection."""
    headers = {"Content-Type": "text/plain"}
    assert (await small_world.post(body(), headers=headers)).status_code == 200


async def test_the_limit_of_failures_is_a_setting(small_world: World) -> None:
    async with client_of(small_world.app, "2001:db8::1") as one:
        for _ in range(20):
            assert (await one.post("/api/invoice")).status_code == 401
    # Somebody else in the same network of one customer.
    async with client_of(small_world.app, "2001:db8::2") as two:
        assert (await two.post("/api/invoice")).status_code == 429
