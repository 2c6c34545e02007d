"""What each setting may be: one parser a setting, from a text or a value of TOML.

A parser raises WrongError, which says what is expected and never repeats the value.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from counterfoil.core import confirmations, money
from counterfoil.core.confirmations import CONFIRMATIONS_MAX, Confirmations
from counterfoil.core.currencies import MINOR_DIGITS

# The chains that can be switched on, each a file in `chains/`, and the coin that it brings.
NODE_CHAINS = MappingProxyType({"bitcoin": "BTC", "litecoin": "LTC"})
ROLES = ("all", "web", "worker")
LOG_FORMATS = ("auto", "console", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")
# Where live prices can come from.
RATE_SOURCES = ("kraken", "coinbase", "bitstamp", "coingecko", "ecb")
NO_SOURCES = "none"
# What the exchange rate of a coin may go through, so that one between the two may be fixed as well.
FIAT_LEGS = ("USD", "EUR")

PORT_MAX = 65_535
BLOCK_INTERVAL_MAX_S = 3_600
FIXED = "rates.fixed."
_URL = "an address such as https://pay.example.com"


class WrongError(ValueError):
    """A value is not what is expected; the text says what is."""


def text_of(raw: object) -> str:
    if not isinstance(raw, str):
        raise WrongError("text in quotation marks")
    text = raw.strip()
    if not text.isprintable():
        raise WrongError("text without control characters")
    return text


def path_of(raw: object) -> Path:
    if isinstance(raw, Path):
        return raw
    text = text_of(raw)
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


def whole(least: int, most: int) -> Callable[[object], int]:
    expected = f"a whole number from {least} to {most}"

    def parse(raw: object) -> int:
        if isinstance(raw, str) and raw.strip().isascii() and raw.strip().isdecimal():
            raw = int(raw) if len(raw.strip()) <= len(str(most)) else most + 1
        if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= most:
            raise WrongError(expected)
        return raw

    return parse


def one_of(*choices: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        if raw not in choices:
            raise WrongError(f"one of {', '.join(choices)}")
        return str(raw)

    return parse


def seconds_of(raw: object) -> float:
    number = money.parse_rate(str(raw)) if not isinstance(raw, bool) else None
    if number is None or not Decimal("0.1") <= number <= BLOCK_INTERVAL_MAX_S:
        raise WrongError(f"a number of seconds from 0.1 to {BLOCK_INTERVAL_MAX_S}")
    return float(number)


def texts(raw: object) -> tuple[str, ...]:
    """Return the parts of a list: of the file's, or of a text with commas."""
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise WrongError("a list of texts, or one text with commas between its parts")
    return tuple(part.strip() for part in parts if part.strip())


def sources_of(raw: object) -> tuple[str, ...]:
    """Return the sources of live prices that are named, or none of them."""
    names = texts(raw)
    if names == (NO_SOURCES,):
        return ()
    if not set(names) <= set(RATE_SOURCES):
        raise WrongError(f"some of {', '.join(RATE_SOURCES)}, or {NO_SOURCES}")
    return names


def url_of(raw: object) -> str:
    """Return the address that a site is reached at; it may be mounted under a path."""
    text = text_of(raw).rstrip("/")
    try:
        url = urlsplit(text)
        has_place = bool(url.hostname) and url.port != 0
    except ValueError:
        raise WrongError(_URL) from None
    is_plain = text.isascii() and set(text).isdisjoint("@?# \\")
    if url.scheme not in ("http", "https") or not has_place or not is_plain:
        raise WrongError(_URL)
    return f"{url.scheme}://{url.netloc.lower()}{url.path}"


def host_of(raw: object) -> str:
    text = text_of(raw)
    if not text.isascii() or set(text) & set("/@?# "):
        raise WrongError("a host name or address to listen on, such as 127.0.0.1 or 0.0.0.0")
    return text


def database_of(raw: object) -> str:
    expected = "sqlite:///path/to/file or postgresql://user:password@host/name"
    text = text_of(raw)
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        if not path or path.endswith("/") or ":memory:" in path or "?" in path:
            raise WrongError(f"{expected} (a file: nothing is kept in memory)")
        return text
    try:
        has_name = bool(urlsplit(text).path.strip("/")) and urlsplit(text).port != 0
    except ValueError:
        has_name = False
    if not text.startswith(("postgresql://", "postgres://")) or not has_name:
        raise WrongError(expected)
    return text


def rpc_of(raw: object) -> str:
    expected = "the node's address, such as http://user:password@127.0.0.1:9332"
    text = text_of(raw)
    try:
        url = urlsplit(text)
        is_whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or " " in text:
        raise WrongError(expected)
    return text


def confirmations_of(raw: object) -> Confirmations:
    """Return how deep payments must be, by amount; one number alone holds for every amount."""
    try:
        return confirmations.parse("" if isinstance(raw, bool) else str(raw))
    except ValueError:
        raise WrongError(
            f"a whole number from 1 to {CONFIRMATIONS_MAX}, or several that grow with the amount "
            "in coins, such as 1, 3 from 0.01, 6 from 1"
        ) from None


def explorer_of(raw: object) -> str:
    text = text_of(raw)
    if not text.startswith(("https://", "http://")) or text.count("{txid}") != 1 or " " in text:
        raise WrongError("an address with {txid} in it, such as https://explorer.example/tx/{txid}")
    return text


def pair_of(name: str) -> tuple[str, str]:
    """Return (coin, fiat) of a name such as `rates.fixed.ltc_usd`."""
    coin, _, fiat = name.removeprefix(FIXED).upper().partition("_")
    coins = (*NODE_CHAINS.values(), *FIAT_LEGS)
    if coin not in coins or fiat not in MINOR_DIGITS or coin == fiat:
        raise WrongError(
            "named by a coin and a fiat currency with an underscore between them, such as "
            f"LTC_USD (coins: {', '.join(coins)})"
        )
    return coin, fiat


def price_of(raw: object) -> Decimal:
    is_number = isinstance(raw, int | Decimal) and not isinstance(raw, bool)
    price = money.parse_rate(str(raw).strip()) if is_number or isinstance(raw, str) else None
    if price is None:
        raise WrongError("a price of more than zero, such as 80 or 80.25")
    return price


PARSERS: Mapping[str, Callable[[object], object]] = {
    "data": path_of,
    "database": database_of,
    "public_url": url_of,
    "checkout_url": url_of,
    "host": host_of,
    "port": whole(0, PORT_MAX),
    "role": one_of(*ROLES),
    "trusted_proxies": texts,
    "log.format": one_of(*LOG_FORMATS),
    "log.level": one_of(*LOG_LEVELS),
    "secret_key": text_of,
    "secret_key_file": path_of,
    "webhooks.allow_hosts": texts,
    "rates.sources": sources_of,
    "chains.simulator.confirmations": whole(1, CONFIRMATIONS_MAX),
    "chains.simulator.block_interval_s": seconds_of,
    **{
        f"chains.{chain}.{name}": parse
        for chain in NODE_CHAINS
        for name, parse in {
            "rpc": rpc_of,
            "second_rpc": rpc_of,
            # Which networks there are is known to the chain.
            "network": text_of,
            "confirmations": confirmations_of,
            "explorer": explorer_of,
        }.items()
    },
}
