"""Logs: one line an event, on stderr, without secrets.

Whatever a line is made of, the traceback of an exception included, goes through `redact` last. It
takes out what looks like a key, a secret, a password or the query of an address: who reads logs
should not be able to act for a merchant, or to open a customer's page.
"""

import logging
import re
import sys
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
# Names of fields whose values never belong into a log, whatever they look like.
_SENSITIVE = frozenset(
    {"api_key", "authorization", "cookie", "password", "secret", "secret_key", "share_token"}
)
_PATTERNS = (
    # What an address asks for, and who asks.
    (re.compile(r"(://)[^/@\s\"']*@"), rf"\1{HIDDEN}@"),
    (re.compile(r"((?:https?:/|\B)/[^\s?\"']*\?)[^\s\"']+"), rf"\1{HIDDEN}"),
    (re.compile(r"(share_token=)[\w-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(cf_(?:live|test)_)[0-9A-Za-z]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(whsec_)[0-9A-Za-z+/=]+"), rf"\1{HIDDEN}"),
)


def configure(log_format: str, level: str) -> None:
    """Let all logs, those of the libraries included, go to stderr in one form.

    `auto` is for people on a terminal and JSON anywhere else. Libraries speak from warnings on.
    """
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("counterfoil").setLevel(level.upper())


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Return a line without the secrets in it; a processor of structlog."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: object) -> object:
    if name.lower() in _SENSITIVE:
        return HIDDEN
    match value:
        case str():
            for pattern, without in _PATTERNS:
                value = pattern.sub(without, value)
            return value
        case Mapping():
            return {key: _clean(str(key), each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(name, each) for each in value]
        case bytes():
            return _clean(name, value.decode("utf-8", "replace"))
    return value
