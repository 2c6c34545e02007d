import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from counterfoil import logs

KEY = "cf_live_0123456789ABCDEFGHIJKLMNOPQRSTUV012345"
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def as_they_were() -> Iterator[None]:
    """Leave the logs of the other tests as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    said = capsys.readouterr()
    assert not said.out, "what a program answers and what it logs must not mix"
    return [json.loads(line) for line in said.err.splitlines()]


def test_a_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto", "info")
    structlog.get_logger("counterfoil.x").info("request", path="/api/invoice", status=200)
    structlog.get_logger("counterfoil.x").debug("nobody asks")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "path": "/api/invoice",
        "status": 200,
    }


async def test_lines_of_one_turn_are_written_together(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger("counterfoil.x")
    log.info("first")
    log.warning("second")
    assert not lines(capsys)
    await asyncio.sleep(0)
    assert [line["event"] for line in lines(capsys)] == ["first", "second"]
    log.info("third")
    await asyncio.sleep(0)
    assert [line["event"] for line in lines(capsys)] == ["third"]


def test_a_loop_that_ended_takes_no_later_line_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger("counterfoil.x")
    loop = asyncio.new_event_loop()

    async def speak() -> None:
        log.info("last words")
        loop.stop()
        await asyncio.Event().wait()

    task = loop.create_task(speak())
    loop.call_soon(loop.stop)
    loop.run_forever()
    log.info("afterwards")
    assert [line["event"] for line in lines(capsys)] == ["last words", "afterwards"]
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_the_fast_way_of_info_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of requests go round structlog; but for the level they are those of a warning."""
    logs.configure("json", "info")
    log = structlog.get_logger("counterfoil.x")
    fields = {"path": "/pay?share_token=abc", "secret": "x", "at": 1, "what": object}
    log.info("said", **fields)
    log.warning("said", **fields)
    fast, slow = lines(capsys)
    assert (fast.pop("level"), slow.pop("level")) == ("info", "warning")
    assert fast.pop("timestamp")[:10] == slow.pop("timestamp")[:10]
    assert fast == slow
    assert list(fast) == list(slow)
    assert fast["secret"] == logs.HIDDEN
    assert "abc" not in fast["path"]


def test_libraries_speak_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "debug")
    logging.getLogger("httpx2").info("nobody asks")
    logging.getLogger("uvicorn.error").warning("to %s with %s", "https://a.example/?x=1", KEY)
    (line,) = lines(capsys)
    assert line["event"] == "to https://a.example/?*** with cf_live_***"
    assert line["level"] == "warning"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pass@db.example/shop", "postgresql://***@db.example/shop"),
        ("http://user:p:w@127.0.0.1:9332 is down", "http://***@127.0.0.1:9332 is down"),
        ("GET https://a.example/hook?token=1&b=2 failed", "GET https://a.example/hook?*** failed"),
        ("/pay-invoice?share_token=abc_-1", "/pay-invoice?***"),
        ("share_token=abc_-1 opens it", "share_token=*** opens it"),
        (f"Authorization: {KEY}", "Authorization: cf_live_***"),
        (f"the secret {SECRET}, twice {SECRET}", "the secret whsec_***, twice whsec_***"),
        ("is it 1/2? yes, or and/or? no", "is it 1/2? yes, or and/or? no"),
        ("me@shop.example", "me@shop.example"),
    ],
)
def test_secrets_are_taken_out(capsys: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    logs.configure("json", "info")
    structlog.get_logger().info(text, deep={"list": [text]})
    (line,) = lines(capsys)
    assert line["event"] == shown
    assert line["deep"] == {"list": [shown]}


def test_fields_that_say_that_they_are_secret(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    structlog.get_logger().info("x", password="hunter2", share_token="abc", secret=b"x", path="/")
    (line,) = lines(capsys)
    assert (line["password"], line["share_token"], line["secret"]) == ("***", "***", "***")
    assert line["path"] == "/"


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("whose", ["ours", "a library's"])
def test_a_traceback_shows_no_secrets(
    capsys: pytest.CaptureFixture[str], log_format: str, whose: str
) -> None:
    logs.configure(log_format, "info")

    def fail(key: str) -> None:
        raise ValueError(f"{key} at http://u:hunter2@a.example?{SECRET}")

    try:
        fail(KEY)
    except ValueError:
        if whose == "ours":
            structlog.get_logger().exception("worker_failed")
        else:
            logging.getLogger("asyncio").exception("worker_failed")
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ValueError" in said
    assert KEY not in said
    assert "hunter2" not in said
    assert SECRET not in said
