"""Logs: one line an event, on stderr, without secrets.

Every line, the traceback of an exception included, is looked through before it is written. What
looks like a key, a secret, a password or the query of an address is taken out: who reads logs
should not be able to act for a merchant, or to open a customer's page.
"""

import logging
import re
import sys
from typing import Any

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


def configure(log_format: str, level: str, *, is_for_good: bool = False) -> None:
    """Let all logs, those of the libraries included, go to stderr in one form.

    `auto` is for people on a terminal and JSON anywhere else. Libraries speak from warnings on.
    `is_for_good` makes logging fast, and any later call of this useless.
    """
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer(lambda event, **_: _ENCODER.encode(event).decode())
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_fields,
    ]
    structlog.configure(
        processors=[*shared, renderer, hide_in_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
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
