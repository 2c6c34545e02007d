"""Logs: one line an event, on stderr, without secrets.

Every line, the traceback of an exception included, is looked through before it is written. What
looks like a key, a secret, a password or the query of an address is taken out: who reads logs
should not be able to act for a merchant, or to open a customer's page.
"""

import asyncio
import json
import logging
import re
import sys
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
# Names of fields whose values never belong into a log, whatever they look like.
_SENSITIVE = frozenset(
    {"api_key", "authorization", "cookie", "password", "secret", "secret_key", "share_token"}
)
# The user and password in an address.
_USERS = re.compile(r"""(?<=://)[^/@\s"'\\]+(?=@)""")
# In this order: what an address is asked, the token of a pay page, keys, and secrets of webhooks.
# What stands before the secret part is kept, so that a reader knows what it was.
_SECRETS = re.compile(
    r"""((?:https?:/|\B)/[^\s?"'\\]*\?)[^\s"'\\]+"""
    r"""|(share_token=)[\w-]+"""
    r"""|(cf_(?:live|test)_)[0-9A-Za-z]+"""
    r"""|(whsec_)[0-9A-Za-z+/=]+"""
)

_MARKS = ("://", "?", "share_token=", "cf_", "whsec_")
_ENCODER = msgspec.json.Encoder(enc_hook=repr)
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


def configure(log_format: str, level: str, *, is_for_good: bool = False) -> None:
    """Let all logs, those of the libraries included, go to stderr in one form.

    `auto` is for people on a terminal and JSON anywhere else. Libraries speak from warnings on.
    `is_for_good` makes logging fast, and any later call of this useless.
    """
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else _json_line
    )
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        _STAMP,
        structlog.processors.format_exc_info,
        hide_fields,
    ]
    wrapper: type[Any] = structlog.make_filtering_bound_logger(level)
    if not is_console and logging.getLevelNamesMapping()[level.upper()] <= logging.INFO:
        wrapper = type("Logger", (wrapper,), {"info": _info})
    structlog.configure(
        processors=[*shared, renderer, hide_in_line],
        wrapper_class=wrapper,
        logger_factory=_Lines(sys.stderr),
        cache_logger_on_first_use=is_for_good,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
                hide_in_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _text(event)


def _text(event: EventDict) -> str:
    try:
        return _ENCODER.encode(event).decode()
    except UnicodeEncodeError:
        # Half a surrogate pair: not in UTF-8, and no reason to lose the other lines.
        return json.dumps(event, default=str)


def _info(self: Any, event: str, **fields: Any) -> None:
    """Write a line of a request as the processors would, without asking structlog for each.

    A busy server writes one for every request: structlog's way takes 31 us. This one only notes
    what there is to say; it becomes text when the turn's lines are written.
    """
    fields["event"], fields["level"] = event, "info"
    fields["timestamp"] = datetime.now(UTC)  # noqa: TID251  # a log's own time, which nothing hangs on
    if not _SENSITIVE.isdisjoint(fields):
        hide_fields(None, "info", fields)
    self._logger.msg(fields)


class _Lines:
    """Writes lines; those of one turn of the event loop in one go, at the turn's end.

    A busy server writes one for each request. Written one by one each lets go of Python's lock, and
    waits for it again: under 64 clients that was a tenth of what an invoice cost.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        # Finished lines, and the fields of those that are still to be made.
        self._waiting: deque[str | EventDict] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, *_names: object) -> "_Lines":
        """Be the one logger of all names; what structlog asks of a factory."""
        return self

    def msg(self, line: str | EventDict) -> None:
        self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._write)

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        self._loop = None
        lines = []
        while self._waiting:
            line = self._waiting.popleft()
            lines.append(line if isinstance(line, str) else _text(line))
        # Looked through all at once: no pattern reaches over the end of a line.
        self._file.write(hide_in_line(None, "", "".join(f"{line}\n" for line in lines)))
        self._file.flush()


def hide_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank the fields whose very names say that they are secret; a processor of structlog."""
    for name in _SENSITIVE & event.keys():
        event[name] = HIDDEN
    return event


def hide_in_line(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """Take out of a finished line what looks like a secret; a processor of structlog."""
    # Most lines hold nothing of the kind, and looking for these costs a hundredth of the patterns.
    if not any(mark in line for mark in _MARKS):
        return str(line)
    return _SECRETS.sub(_without_secret, _USERS.sub(HIDDEN, line))


def _without_secret(match: re.Match[str]) -> str:
    return f"{match[match.lastindex or 0]}{HIDDEN}"
