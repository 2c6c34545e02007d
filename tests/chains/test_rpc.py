import base64
import gzip
import json
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from counterfoil.chains.rpc import (
    AbsentError,
    JsonRpc,
    as_flag,
    as_integer,
    as_list,
    as_object,
    as_text,
)
from counterfoil.core.errors import NodeError, SettingsError
from tests.chains.rpc_server import FaultError, RpcServer, http

PASSWORD = "p@ss/wörd?"
ENCODED = "alice:p%40ss%2Fw%C3%B6rd%3F@"
TOKEN = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


@pytest.fixture
def limit_s() -> float:
    return 30.0


@pytest.fixture
async def rpc(server: RpcServer, limit_s: float) -> AsyncIterator[JsonRpc]:
    client = JsonRpc(server.url(ENCODED), timeout_s=limit_s, limit_bytes=100_000)
    yield client
    await client.close()


async def test_numbers_are_exact(rpc: JsonRpc, server: RpcServer) -> None:
    server.raw = http(
        b'{"result": [0.1, 83999999.99999999, 1e-8, 12, 123456789012345678901.00000001],'
        b' "error": null, "id": 0}'
    )
    assert await rpc.call("amounts") == [
        Decimal("0.1"),
        Decimal("83999999.99999999"),
        Decimal("1e-8"),
        12,
        Decimal("123456789012345678901.00000001"),
    ]


async def test_a_call_is_json_rpc(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers["getblock"] = lambda block_hash, verbosity: [block_hash, verbosity]
    assert await rpc.call("getblock", "00ff", 2) == ["00ff", 2]
    assert server.requests == [
        {"jsonrpc": "2.0", "id": 0, "method": "getblock", "params": ["00ff", 2]}
    ]


async def test_a_result_may_be_null(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers["nothing"] = None
    assert await rpc.call("nothing") is None


async def test_an_answer_of_json_rpc_2_needs_no_error(rpc: JsonRpc, server: RpcServer) -> None:
    server.raw = http(b'{"jsonrpc": "2.0", "result": 7, "id": 0}')
    assert await rpc.call("anything") == 7


async def test_credentials_go_into_a_header(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers["uptime"] = 1
    await rpc.call("uptime")
    [head] = server.heads
    assert f"Authorization: Basic {TOKEN}\r\n" in head
    assert head.startswith("POST / HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head


async def test_a_path_is_kept(server: RpcServer) -> None:
    server.answers["uptime"] = 1
    client = JsonRpc(server.url() + "/wallet/till?x=1")
    await client.call("uptime")
    await client.close()
    assert server.heads[0].startswith("POST /wallet/till?x=1 HTTP/1.1\r\n")


async def test_the_proxies_of_the_environment_are_not_used(
    server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["uptime"] = 5
    client = JsonRpc(server.url())
    assert await client.call("uptime") == 5
    await client.close()


@pytest.mark.parametrize("code", [-5, -8])
async def test_no_such_thing_is_told_apart(rpc: JsonRpc, server: RpcServer, code: int) -> None:
    server.answers["getblock"] = FaultError(code, "Block not found")
    with pytest.raises(AbsentError, match=f"error {code}: Block not found"):
        await rpc.call("getblock", "00")


@pytest.mark.parametrize("code", [-1, -28, -32601, "-5", None, [-5], 5, Decimal])
async def test_another_error_is_not_absence(rpc: JsonRpc, server: RpcServer, code: object) -> None:
    code = -5.5 if code is Decimal else code
    server.answers["getblock"] = FaultError(code, "Loading block index...")
    with pytest.raises(NodeError, match=r"Loading block index\.\.\.") as caught:
        await rpc.call("getblock", "00")
    assert not isinstance(caught.value, AbsentError)


async def test_a_batch_keeps_the_order_of_its_requests(rpc: JsonRpc, server: RpcServer) -> None:
    def reversed_answers(request: Any) -> bytes:
        answers = [{"result": r["params"], "error": None, "id": r["id"]} for r in request]
        return http(json.dumps(answers[::-1]).encode())

    server.raw = reversed_answers
    assert await rpc.batch([("a", (1,)), ("b", (2, 3)), ("c", ())]) == [[1], [2, 3], []]


async def test_a_batch_holds_what_is_absent_in_its_place(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers = {"known": 1, "gone": FaultError(-5, "No such transaction")}
    first, second, third = await rpc.batch([("known", ()), ("gone", ()), ("known", ())])
    assert (first, third) == (1, 1)
    assert isinstance(second, AbsentError)


async def test_another_error_fails_the_batch(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers = {"known": 1, "broken": FaultError(-1, "oops")}
    with pytest.raises(NodeError, match="oops"):
        await rpc.batch([("known", ()), ("broken", ())])


async def test_an_empty_batch_asks_nothing(rpc: JsonRpc, server: RpcServer) -> None:
    assert await rpc.batch([]) == []
    assert server.requests == []


HOSTILE = {
    "nothing at all": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"result": 1',
    "an empty body": http(b""),
    "a page": http(b"<html>It works!</html>"),
    "cut JSON": http(b'{"result": 1, "error": null, "id": '),
    "bytes that are no text": http(b'{"result": "\xff\xfe", "error": null, "id": 0}'),
    "a lone number": http(b"7"),
    "a list": http(b"[]"),
    "null": http(b"null"),
    "no result": http(b'{"error": null, "id": 0}'),
    "another id": http(b'{"result": 1, "error": null, "id": 1}'),
    "an id that is a list": http(b'{"result": 1, "error": null, "id": [0]}'),
    "no id": http(b'{"result": 1, "error": null}'),
    "an error that is a text": http(b'{"result": 1, "error": "no", "id": 0}'),
    "an error that is false": http(b'{"result": 1, "error": false, "id": 0}'),
    "an empty error": http(b'{"result": 1, "error": {}, "id": 0}'),
    "an exponent beyond all bounds": http(
        b'{"result": 1e99999999999999999999999, "error": null, "id": 0}'
    ),
    "an integer beyond all bounds": http(
        b'{"result": ' + b"9" * 5_000 + b', "error": null, "id": 0}'
    ),
    "JSON a thousand levels deep": http(b"[" * 50_000 + b"]" * 50_000),
    "gzip that was not asked for": http(
        gzip.compress(b'{"result": 1, "error": null, "id": 0}'), 200, "Content-Encoding: gzip"
    ),
    "HTTP 302": http(b"", 302, "Location: http://127.0.0.1:1/"),
    "HTTP 401": http(b"", 401),
    "HTTP 403": http(b"forbidden", 403),
    "HTTP 404": http(b"not here", 404),
    "HTTP 500 in words": http(b"oh no", 500),
    "HTTP 500 with a result": http(b'{"result": 1, "error": null, "id": 0}', 500),
    "HTTP 503": http(b"Work queue depth exceeded", 503),
    "more than the limit": http(b'{"result": "' + b"x" * 200_000 + b'", "error": null, "id": 0}'),
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_answer_is_a_node_error(
    rpc: JsonRpc, server: RpcServer, raw: bytes
) -> None:
    server.raw = raw
    with pytest.raises(NodeError) as caught:
        await rpc.call("getblock", "00")
    assert not isinstance(caught.value, AbsentError)
    assert str(caught.value).endswith(".")
    with pytest.raises(NodeError):
        await rpc.batch([("getblock", ("00",))])


BATCHES = [
    "null",
    "{}",
    '{"result": [], "error": null, "id": 0}',
    "[]",
    "[1]",
    '[{"result": 1, "error": null, "id": 0}]',
    '[{"result": 1, "error": null, "id": 0}, {"result": 1, "error": null, "id": 0}]',
    '[{"result": 1, "error": null, "id": 0}, {"result": 1, "error": null, "id": {}}]',
    '[{"result": 1, "error": null, "id": 0}, {"result": 1, "error": null, "id": "1"}]',
    '[{"result": 1, "error": null, "id": 0}, {"error": null, "id": 1}]',
]


@pytest.mark.parametrize("body", BATCHES)
async def test_a_hostile_batch_is_a_node_error(rpc: JsonRpc, server: RpcServer, body: str) -> None:
    server.raw = http(body.encode())
    with pytest.raises(NodeError):
        await rpc.batch([("a", ()), ("b", ())])


@pytest.mark.parametrize("limit_s", [0.3])
async def test_a_node_that_is_silent_is_given_up(rpc: JsonRpc, server: RpcServer) -> None:
    server.raw, server.is_stalling = b"", True
    with pytest.raises(NodeError, match=r"did not answer within 0\.3 s"):
        await rpc.call("uptime")


@pytest.mark.parametrize("limit_s", [0.3])
async def test_the_time_limit_holds_for_the_whole_answer(rpc: JsonRpc, server: RpcServer) -> None:
    server.raw, server.is_stalling = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", True
    with pytest.raises(NodeError, match=r"did not answer within 0\.3 s"):
        await rpc.call("uptime")


async def test_a_node_that_is_not_there_cannot_be_reached(rpc: JsonRpc, server: RpcServer) -> None:
    await server.stop()
    with pytest.raises(NodeError, match=f"127.0.0.1:{server.port} cannot be reached"):
        await rpc.call("uptime")


@pytest.mark.parametrize(
    "raw",
    [
        *HOSTILE.values(),
        http(json.dumps({"id": 0, "error": {"code": -1, "message": TOKEN}}).encode(), 500),
        http(json.dumps({"id": 0, "error": {"code": PASSWORD, "message": 0}}).encode(), 500),
        http(json.dumps({"id": 0, "error": {"code": -1, "message": [PASSWORD]}}).encode()),
        http(b"", 302, f"Location: http://{ENCODED}127.0.0.1:1/"),
    ],
)
async def test_nothing_tells_the_credentials(
    rpc: JsonRpc, server: RpcServer, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    # One level lower, the library logs the headers of an answer, whatever a node put into them.
    caplog.set_level(logging.INFO)
    server.raw = raw
    with pytest.raises(NodeError) as caught:
        await rpc.call("uptime")
    for told in (str(caught.value), repr(caught.value.__cause__), caplog.text, repr(rpc)):
        assert PASSWORD not in told
        assert TOKEN not in told
        assert "p%40ss" not in told


async def test_the_words_of_a_node_are_cut_and_cleaned(rpc: JsonRpc, server: RpcServer) -> None:
    server.answers["uptime"] = FaultError(-1, "bad\n\x1b[31m\u202e" + "x" * 10_000)
    with pytest.raises(NodeError) as caught:
        await rpc.call("uptime")
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 400


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:9332",
        "alice:hunter2@127.0.0.1:9332",
        "ftp://alice:hunter2@127.0.0.1",
        "http://",
        "http://alice:hunter2@",
        "http://alice:hunter2@127.0.0.1:port",
        "http://alice:hunter2@127.0.0.1:65536",
        "http://alice:hunter2/@127.0.0.1:9332",
        "http://alice:hunter2@127.0.0.1\n:9332",
    ],
)
def test_a_wrong_url_is_a_settings_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        JsonRpc(url)
    assert caught.value.code == "invalid_rpc_url"
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


ONE = 1


def test_parts_of_an_answer_have_their_types() -> None:
    assert as_object({"a": 1}, "it") == {"a": 1}
    assert as_list([1], "it") == [1]
    assert as_text("a", "it") == "a"
    assert [as_flag(value, "it") for value in (True, False)] == [True, False]
    assert [as_integer(value, "it", most=9) for value in (0, 9)] == [0, 9]


@pytest.mark.parametrize("value", [None, True, ONE, -1, 10, Decimal(1), "1", [1], (1,)])
def test_parts_of_another_type_are_node_errors(value: object) -> None:
    with pytest.raises(NodeError, match=r"the part is not an object\.$"):
        as_object(value, "the part")
    if not isinstance(value, list):
        with pytest.raises(NodeError, match="the part is not a list"):
            as_list(value, "the part")
    if not isinstance(value, str):
        with pytest.raises(NodeError, match="the part is not a text"):
            as_text(value, "the part")
    if not isinstance(value, bool):
        with pytest.raises(NodeError, match="the part is not true or false"):
            as_flag(value, "the part")
    if value is not ONE:
        with pytest.raises(NodeError, match="the part is not an integer of 0 to 9"):
            as_integer(value, "the part", most=9)
