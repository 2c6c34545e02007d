"""The settings: read once, checked, frozen, and handed on; never a global.

Three layers, each winning over the one before: `counterfoil.toml`, the environment, the options of
the command line. A name in the environment is the name in the file in capitals, with two
underscores for each level: `port` is COUNTERFOIL_PORT, `rpc` in `[chains.litecoin]` is
COUNTERFOIL_CHAINS__LITECOIN__RPC. Whatever is unknown or wrong stops the program with a sentence
that names it as it was written, and never repeats a value: it may be a secret.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from stat import S_IRWXO
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import SettingsError
from counterfoil.settings.values import (
    FIXED,
    PARSERS,
    RATE_SOURCES,
    WrongError,
    pair_of,
    path_of,
    price_of,
)
from counterfoil.settings.values import NODE_CHAINS as NODE_CHAINS

PREFIX = "COUNTERFOIL_"
CONFIG_VARIABLE = "COUNTERFOIL_CONFIG"
CONFIG_FILE = "counterfoil.toml"
DATA_FOLDER = "counterfoil-data"
DATABASE_FILE = "counterfoil.db"
SECRET_KEY_FILE = "secret.key"  # noqa: S105  # where it is, not what it is


@dataclass(frozen=True, slots=True)
class NodeChain:
    """A chain that is read from a node."""

    name: str
    rpc: str = field(repr=False)
    second_rpc: str | None = field(repr=False)
    network: str
    confirmations: Confirmations | None
    explorer: str | None


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulated chain of test mode, which is always there."""

    confirmations: int
    block_interval_s: float


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; `written` are the names of those that were set, as they were written."""

    data: Path
    database: str = field(repr=False)
    public_url: str | None
    checkout_url: str | None
    host: str
    port: int
    role: str
    trusted_proxies: tuple[str, ...]
    log_format: str
    log_level: str
    secret_key: str | None = field(repr=False)
    secret_key_file: Path
    chains: tuple[NodeChain, ...]
    simulator: Simulator
    fixed_rates: Mapping[tuple[str, str], Decimal]
    rate_sources: tuple[str, ...]
    allow_hosts: tuple[str, ...]
    file: Path | None
    written: Mapping[str, str]

    @property
    def sqlite_file(self) -> Path | None:
        """The database's file, None on PostgreSQL."""
        kind, _, path = self.database.partition("sqlite:///")
        return None if kind else Path(path)

    @property
    def database_place(self) -> str:
        """Where the database is, fit for a terminal and a log."""
        if self.sqlite_file is not None:
            return f"SQLite file {self.sqlite_file}"
        url = urlsplit(self.database)
        return f"PostgreSQL at {url.hostname or 'this machine'}:{url.port or 5432}{url.path}"

    @property
    def is_key_given(self) -> bool:
        """Tell whether the secret key, or its file, was set, so that none is ever made."""
        return self.secret_key is not None or "secret_key_file" in self.written

    def name_of(self, setting: str) -> str:
        """Return a setting as it was written, or as it could be in the environment."""
        return self.written.get(setting) or variable(setting)


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given, and the setting's name as it was written there."""

    label: str
    raw: object


def load(
    environment: Mapping[str, str],
    options: Mapping[str, object] | None = None,
    *,
    has_file: bool = True,
) -> Settings:
    """Return the settings; raises SettingsError.

    `options` are the options of the command line by their setting's name; None is not given. The
    option `config` names the file; without `has_file` none is read.
    """
    given = {n: _Given(f"--{n}", raw) for n, raw in (options or {}).items() if raw is not None}
    config = given.pop("config", None)
    if config is None and CONFIG_VARIABLE in environment:
        config = _Given(CONFIG_VARIABLE, environment[CONFIG_VARIABLE])
    file = _find_file(config) if has_file else None
    layers = [
        _read_file(file) if file is not None else {},
        _read_environment(environment),
        given,
    ]
    merged = {name: each for layer in layers for name, each in layer.items()}
    values = {name: _check(name, each) for name, each in merged.items()}
    written = {name: each.label for name, each in merged.items()}
    _check_together(values, written, file)
    return _settings(values, written, file)


def read_secret_key(settings: Settings) -> str | None:
    """Return the secret key, None where there is no file of it; raises SettingsError."""
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.secret_key_file
    try:
        if path.stat().st_mode & S_IRWXO:
            message = (
                f"Everybody on this machine may open the secret key in {path}. "
                f"Close it with `chmod 600 {path}`."
            )
            raise SettingsError("secret_key_open", message)
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if settings.is_key_given:
            name = settings.name_of("secret_key_file")
            raise SettingsError("no_secret_key", f"{name}: there is no file {path}.") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        message = f"The secret key in {path} cannot be read: {reason}."
        raise SettingsError("secret_key_unreadable", message) from None


def variable(setting: str) -> str:
    """Return the name of a setting in the environment."""
    return PREFIX + setting.upper().replace(".", "__")


# --- the layers --------------------------------------------------------------------------------


def _find_file(config: _Given | None) -> Path | None:
    """Return the settings file: the one that is named, else the one that lies here, if any."""
    if config is None:
        here = Path(CONFIG_FILE)
        return here if here.is_file() else None
    path: Path = _parse(config, path_of)
    if not path.is_file():
        raise SettingsError("no_settings_file", f"{config.label}: there is no file {path}.")
    return path


def _read_file(path: Path) -> dict[str, _Given]:
    try:
        # TOML's floats become decimals, so that a price is what stands there.
        tree = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"The settings in {path} cannot be read: {reason}."
        raise SettingsError("settings_unreadable", message) from None
    found: dict[str, _Given] = {}

    def walk(table: Mapping[str, Any], above: str) -> None:
        for key, raw in table.items():
            name = f"{above}{key}"
            known = name.lower() if name.startswith(FIXED) else name
            if isinstance(raw, dict) and raw:
                walk(raw, f"{name}.")
            elif _is_known(known):
                found[known] = _Given(f"{name} in {path}", raw)
            elif raw != {}:
                _refuse_unknown(f"{name} in {path}", name, sorted(PARSERS))

    walk(tree, "")
    return found


def _read_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for label, raw in environment.items():
        if not label.startswith(PREFIX) or label == CONFIG_VARIABLE:
            continue
        name = label.removeprefix(PREFIX).lower().replace("__", ".")
        if not _is_known(name) or label != variable(name):
            _refuse_unknown(label, label, [*map(variable, sorted(PARSERS)), CONFIG_VARIABLE])
        found[name] = _Given(label, raw)
    return found


def _is_known(name: str) -> bool:
    return name in PARSERS or name.startswith(FIXED)


def _refuse_unknown(label: str, name: str, known: list[str]) -> NoReturn:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SettingsError("unknown_setting", f"{label} is not a setting.{hint}")


# --- all of them together ----------------------------------------------------------------------


def _check(name: str, each: _Given) -> object:
    if name.startswith(FIXED):
        return _parse(each, lambda raw: (pair_of(name), price_of(raw)))
    return _parse(each, PARSERS[name])


def _parse(each: _Given, parse: Callable[[object], Any]) -> Any:
    if isinstance(each.raw, str) and not each.raw.strip():
        message = f"{each.label} is empty: give it a value, or leave it out."
        raise SettingsError("invalid_setting", message)
    try:
        return parse(each.raw)
    except WrongError as wrong:
        raise SettingsError("invalid_setting", f"{each.label} must be {wrong}.") from None


def _check_together(
    values: Mapping[str, object], written: Mapping[str, str], file: Path | None
) -> None:
    """Refuse what is right by itself and wrong beside the rest."""
    if "secret_key" in values and "secret_key_file" in values:
        both = f"{written['secret_key']} and {written['secret_key_file']}"
        message = f"{both} are both set: give one."
        raise SettingsError("invalid_setting", message)
    is_in_file = file is not None and written.get("secret_key", "").endswith(f" in {file}")
    if file is not None and is_in_file and file.stat().st_mode & S_IRWXO:
        message = (
            f"{file} holds the secret key, and everybody on this machine may open it. "
            f"Close it with `chmod 600 {file}`."
        )
        raise SettingsError("secret_key_open", message)
    for chain in NODE_CHAINS:
        others = [name for name in values if name.startswith(f"chains.{chain}.")]
        if others and f"chains.{chain}.rpc" not in values:
            message = (
                f"{written[others[0]]} is set, but {variable(f'chains.{chain}.rpc')} is not: "
                f"without the address of a node {chain} stays switched off."
            )
            raise SettingsError("invalid_setting", message)


def _settings(values: Mapping[str, Any], written: Mapping[str, str], file: Path | None) -> Settings:
    database: str = values.get("database", "")
    data = values.get("data")
    if data is None:
        is_file = database.startswith("sqlite:///")
        data = Path(database.removeprefix("sqlite:///")).parent if is_file else Path(DATA_FOLDER)
    chains = tuple(
        NodeChain(
            name=chain,
            rpc=values[f"chains.{chain}.rpc"],
            second_rpc=values.get(f"chains.{chain}.second_rpc"),
            network=values.get(f"chains.{chain}.network", "mainnet"),
            confirmations=values.get(f"chains.{chain}.confirmations"),
            explorer=values.get(f"chains.{chain}.explorer"),
        )
        for chain in NODE_CHAINS
        if f"chains.{chain}.rpc" in values
    )
    fixed = dict(pair for name, pair in values.items() if name.startswith(FIXED))
    return Settings(
        data=data,
        database=database or f"sqlite:///{data / DATABASE_FILE}",
        public_url=values.get("public_url"),
        checkout_url=values.get("checkout_url"),
        host=values.get("host", "127.0.0.1"),
        port=values.get("port", 8000),
        role=values.get("role", "all"),
        trusted_proxies=values.get("trusted_proxies", ("127.0.0.1", "::1")),
        log_format=values.get("log.format", "auto"),
        log_level=values.get("log.level", "info"),
        secret_key=values.get("secret_key"),
        secret_key_file=values.get("secret_key_file", data / SECRET_KEY_FILE),
        chains=chains,
        simulator=Simulator(
            confirmations=values.get("chains.simulator.confirmations", 2),
            block_interval_s=values.get("chains.simulator.block_interval_s", 2.0),
        ),
        fixed_rates=MappingProxyType(fixed),
        rate_sources=values.get("rates.sources", RATE_SOURCES),
        allow_hosts=values.get("webhooks.allow_hosts", ()),
        file=file,
        written=MappingProxyType(dict(written)),
    )
