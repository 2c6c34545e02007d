"""Settings: where they come from, what they must be, and the sentences when they are not."""

from decimal import Decimal
from pathlib import Path

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import SettingsError
from counterfoil.settings import NodeChain, Settings, load, read_secret_key, variable
from counterfoil.settings.values import PARSERS, RATE_SOURCES

RPC = "http://user:hunter2@127.0.0.1:9332"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of_file(text: str, path: str = "counterfoil.toml", **environment: str) -> Settings:
    Path(path).write_text(text, encoding="utf-8")
    return load(environment)


def refused(environment: dict[str, str], **options: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environment, options)
    return caught.value.message


# --- where they come from ----------------------------------------------------------------------


def test_the_defaults() -> None:
    settings = load({})
    assert settings.data == Path("counterfoil-data")
    assert settings.database == "sqlite:///counterfoil-data/counterfoil.db"
    assert settings.sqlite_file == Path("counterfoil-data/counterfoil.db")
    assert (settings.host, settings.port, settings.role) == ("127.0.0.1", 8000, "all")
    assert settings.chains == ()
    assert (settings.simulator.confirmations, settings.simulator.block_interval_s) == (2, 2.0)
    assert settings.secret_key_file == Path("counterfoil-data/secret.key")
    assert (settings.file, dict(settings.written)) == (None, {})


def test_the_environment_wins_over_the_file_and_options_over_both() -> None:
    text = "port = 1\nhost = 'a.example'\nrole = 'web'\n[chains.litecoin]\nrpc = 'http://x:1'\n"
    settings = of_file(text, COUNTERFOIL_PORT="2", COUNTERFOIL_CHAINS__LITECOIN__CONFIRMATIONS="7")
    assert (settings.host, settings.port, settings.role) == ("a.example", 2, "web")
    (litecoin,) = settings.chains
    assert (litecoin.rpc, litecoin.network) == ("http://x:1", "mainnet")
    assert litecoin.confirmations == Confirmations(7)
    assert load({"COUNTERFOIL_PORT": "2"}, {"port": 3, "host": None}).port == 3


def test_each_setting_is_named_as_it_was_written() -> None:
    settings = of_file("port = 1\nhost = 'a'\n[log]\nlevel = 'debug'\n", COUNTERFOIL_PORT="2")
    assert settings.name_of("port") == "COUNTERFOIL_PORT"
    assert settings.name_of("log.level") == "log.level in counterfoil.toml"
    assert settings.name_of("chains.litecoin.rpc") == "COUNTERFOIL_CHAINS__LITECOIN__RPC"
    assert load({}, {"port": 5}).name_of("port") == "--port"


def test_the_file_can_be_named() -> None:
    Path("other.toml").write_text("port = 5\n", encoding="utf-8")
    Path("counterfoil.toml").write_text("port = 6\n", encoding="utf-8")
    assert load({}).port == 6
    assert load({"COUNTERFOIL_CONFIG": "other.toml"}).port == 5
    assert load({}, {"config": Path("other.toml")}).port == 5
    assert load({}, has_file=False).port == 8000
    message = refused({"COUNTERFOIL_CONFIG": "none.toml"})
    assert message == "COUNTERFOIL_CONFIG: there is no file none.toml."
    assert refused({}, config=Path("none.toml")).startswith("--config: there is no file none.toml")


def test_the_data_folder_is_where_the_sqlite_file_is() -> None:
    assert load({"COUNTERFOIL_DATABASE": "sqlite:////srv/shop/a.db"}).data == Path("/srv/shop")
    settings = load({"COUNTERFOIL_DATABASE": "sqlite:///a.db", "COUNTERFOIL_DATA": "/srv"})
    assert (settings.data, settings.sqlite_file) == (Path("/srv"), Path("a.db"))
    assert load({"COUNTERFOIL_DATA": "/srv"}).database == "sqlite:////srv/counterfoil.db"
    postgres = load({"COUNTERFOIL_DATABASE": "postgresql://u:p@db.example/shop"})
    assert (postgres.data, postgres.sqlite_file) == (Path("counterfoil-data"), None)


def test_prices_and_hosts() -> None:
    settings = of_file(
        "[rates.fixed]\nLTC_USD = 80.10\nltc_jpy = '12000'\nBTC_USD = 64000\n"
        "[webhooks]\nallow_hosts = ['a', 'b']\n",
        COUNTERFOIL_RATES__FIXED__LTC_EUR="70.5",
    )
    assert settings.fixed_rates == {
        ("LTC", "USD"): Decimal("80.10"),
        ("LTC", "JPY"): Decimal(12000),
        ("BTC", "USD"): Decimal(64000),
        ("LTC", "EUR"): Decimal("70.5"),
    }
    assert settings.rate_sources == RATE_SOURCES
    assert settings.allow_hosts == ("a", "b")
    assert load({"COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "127.0.0.1, b ,"}).allow_hosts == (
        "127.0.0.1",
        "b",
    )


def test_all_of_it_in_a_file() -> None:
    settings = of_file(
        """
        data = "d"
        database = "postgresql://u:p@h:5433/n"
        public_url = "https://API.example/"
        checkout_url = "https://pay.example/shop/"
        host = "::"
        port = 8080
        role = "worker"
        trusted_proxies = ["10.0.0.1"]
        secret_key_file = "/run/secrets/key"
        log.format = "json"
        log.level = "warning"
        [chains.bitcoin]
        rpc = "http://user:pass@127.0.0.1:48332"
        network = "testnet4"
        second_rpc = "http://user:pass@127.0.0.2:48332"
        confirmations = 2
        explorer = "https://explorer.example/btc/{txid}"
        [chains.litecoin]
        rpc = "http://user:pass@127.0.0.1:19443"
        second_rpc = "http://user:pass@127.0.0.1:19444"
        network = "regtest"
        confirmations = "1, 3 from 0.5"
        explorer = "https://explorer.example/{txid}"
        [chains.simulator]
        confirmations = 3
        block_interval_s = 0.5
        """
    )
    assert set(settings.written) | {"webhooks.allow_hosts", "secret_key", "rates.sources"} == set(
        PARSERS
    )
    assert (settings.public_url, settings.checkout_url) == (
        "https://api.example",
        "https://pay.example/shop",
    )
    assert settings.database_place == "PostgreSQL at h:5433/n"
    assert settings.trusted_proxies == ("10.0.0.1",)
    assert settings.simulator.block_interval_s == 0.5
    assert settings.chains == (
        NodeChain(
            name="bitcoin",
            rpc="http://user:pass@127.0.0.1:48332",
            second_rpc="http://user:pass@127.0.0.2:48332",
            network="testnet4",
            confirmations=Confirmations(2),
            explorer="https://explorer.example/btc/{txid}",
        ),
        NodeChain(
            name="litecoin",
            rpc="http://user:pass@127.0.0.1:19443",
            second_rpc="http://user:pass@127.0.0.1:19444",
            network="regtest",
            confirmations=Confirmations(1, ((Decimal("0.5"), 3),)),
            explorer="https://explorer.example/{txid}",
        ),
    )


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("COUNTERFOIL_PROT", "COUNTERFOIL_PORT"),
        ("COUNTERFOIL_CHAINS_LITECOIN_RPC", "COUNTERFOIL_CHAINS__LITECOIN__RPC"),
        ("COUNTERFOIL_WEBHOOKS__ALLOW_HOST", "COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS"),
        ("COUNTERFOIL_DATABASE_URL", "COUNTERFOIL_DATABASE"),
    ],
)
def test_an_unknown_name_in_the_environment(name: str, near: str) -> None:
    assert refused({name: "x"}) == f"{name} is not a setting. Did you mean {near}?"


def test_an_unknown_name_with_nothing_near() -> None:
    assert (
        refused({"COUNTERFOIL_QQQQQQQQQQQQQQQ": "x"})
        == "COUNTERFOIL_QQQQQQQQQQQQQQQ is not a setting."
    )
    assert load({"OTHER_PORT": "x", "counterfoil_port": "x"}).port == 8000


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("prot = 1", "prot in counterfoil.toml is not a setting. Did you mean port?"),
        ("[chains.litcoin]\nrpc = 'x'", "chains.litcoin.rpc in counterfoil.toml is not a setting."),
        ("[port]\na = 1", "port.a in counterfoil.toml is not a setting."),
        ("chains = 5", "chains in counterfoil.toml is not a setting."),
        ("Port = 5", "Port in counterfoil.toml is not a setting. Did you mean port?"),
        ("port = 5\nport = 6", "The settings in counterfoil.toml cannot be read: "),
        ("port = '80a'", "port in counterfoil.toml must be a whole number from 0 to 65535."),
        ("host = 5", "host in counterfoil.toml must be text in quotation marks."),
        ("data = 5", "data in counterfoil.toml must be text in quotation marks."),
        ("port = true", "port in counterfoil.toml must be a whole number"),
        ("port = {}", "port in counterfoil.toml must be a whole number"),
        ("role = ['all']", "role in counterfoil.toml must be one of all, web, worker."),
        (
            "rates.sources = ['kraken', 'oracle']",
            (
                "rates.sources in counterfoil.toml must be some of kraken, coinbase, bitstamp, "
                "coingecko, ecb, or none."
            ),
        ),
        (
            "[rates.fixed]\nLTC_USD = nan",
            "rates.fixed.LTC_USD in counterfoil.toml must be a price of more than zero",
        ),
        (
            "[webhooks]\nallow_hosts = [5]",
            "webhooks.allow_hosts in counterfoil.toml must be a list of texts",
        ),
    ],
)
def test_what_is_wrong_in_a_file(text: str, start: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of_file(text)
    assert caught.value.message.startswith(start)


def test_a_file_that_is_no_text() -> None:
    Path("counterfoil.toml").write_bytes(b"\xff\xfe")
    assert refused({}).startswith("The settings in counterfoil.toml cannot be read: ")


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("port", ["-1", "65536", "8e3", "８０", "1.0", "9" * 5_000], "a whole number from 0"),
        ("role", ["All", "db"], "one of all, web, worker"),
        ("log.format", ["xml"], "one of auto, console, json"),
        ("log.level", ["trace"], "one of debug, info, warning, error"),
        (
            "database",
            [
                "mysql://a/b",
                "sqlite://a.db",
                "sqlite:///",
                "sqlite:///:memory:",
                "sqlite:///a.db?mode=ro",
                "postgresql://host",
                "postgresql://h:0/n",
                "postgresql://[/n",
            ],
            "sqlite:///path/to/file or postgresql://user:password@host/name",
        ),
        (
            "public_url",
            [
                "pay.example",
                "ftp://pay.example",
                "https://",
                "https://u:p@pay.example",
                "https://pay.example?x",
                "https://pay.example#x",
                "https://pay example",
                "https://[::1",
                "https://pay.example:0",
            ],
            "an address such as https://pay.example.com",
        ),
        ("checkout_url", ["/pay"], "an address such as https://pay.example.com"),
        ("host", ["http://0.0.0.0", "a b"], "a host name or address to listen on"),
        ("chains.litecoin.rpc", ["a.example:1", "http://", "http://[", "tcp://a:1"], "the node's"),
        ("chains.litecoin.confirmations", ["0", "-1", "x", "3, 1 from 2"], "a whole number from 1"),
        (
            "chains.litecoin.explorer",
            ["https://a.example/", "ftp://{txid}", "https://{txid}/{txid}"],
            "an address with {txid} in it",
        ),
        ("chains.simulator.confirmations", ["0"], "a whole number from 1"),
        ("chains.simulator.block_interval_s", ["0", "x", "NaN", "4000"], "a number of seconds"),
        ("rates.fixed.LTC_USD", ["0", "-1", "x", "Infinity", "1,5"], "a price of more than zero"),
        ("rates.fixed.LCT_USD", ["80"], "named by a coin and a fiat currency"),
        ("rates.fixed.LTC_XXX", ["80"], "named by a coin and a fiat currency"),
        ("rates.fixed.TEST_USD", ["1"], "named by a coin and a fiat currency"),
        ("rates.fixed.USD_USD", ["1"], "named by a coin and a fiat currency"),
    ],
)
def test_what_a_value_must_be(setting: str, values: list[str], expected: str) -> None:
    environment = {"COUNTERFOIL_CHAINS__LITECOIN__RPC": RPC}
    for value in values:
        message = refused(environment | {variable(setting): value})
        assert message.startswith(f"{variable(setting)} must be {expected}"), value


def test_every_setting_refuses_to_be_empty() -> None:
    for setting in PARSERS:
        message = refused({variable(setting): " "})
        assert message == f"{variable(setting)} is empty: give it a value, or leave it out."


def test_a_chain_without_a_node() -> None:
    message = refused({"COUNTERFOIL_CHAINS__LITECOIN__NETWORK": "regtest"})
    assert message.startswith(
        "COUNTERFOIL_CHAINS__LITECOIN__NETWORK is set, but COUNTERFOIL_CHAINS__LITECOIN__RPC is not"
    )


def test_secrets_are_in_no_text() -> None:
    environment = {
        "COUNTERFOIL_DATABASE": "postgresql://me:hunter2@db.example/shop",
        "COUNTERFOIL_SECRET_KEY": "hunter2",
        "COUNTERFOIL_CHAINS__LITECOIN__RPC": RPC,
    }
    settings = load(environment)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert "hunter2" not in settings.database_place
    for name in ("COUNTERFOIL_DATABASE", "COUNTERFOIL_CHAINS__LITECOIN__RPC"):
        for wrong in ("x" + environment[name], environment[name] + "\x07", "hunter2"):
            assert "hunter2" not in refused({name: wrong})


# --- the secret key ----------------------------------------------------------------------------


def test_the_secret_key_of_the_environment() -> None:
    settings = load({"COUNTERFOIL_SECRET_KEY": "abc"})
    assert (read_secret_key(settings), settings.is_key_given) == ("abc", True)


def test_the_secret_key_of_a_file() -> None:
    settings = load({"COUNTERFOIL_SECRET_KEY_FILE": "the.key"})
    with pytest.raises(SettingsError, match="COUNTERFOIL_SECRET_KEY_FILE: there is no file"):
        read_secret_key(settings)
    Path("the.key").write_text("abc\n", encoding="ascii")
    Path("the.key").chmod(0o600)
    assert read_secret_key(settings) == "abc"


def test_the_secret_key_of_the_data_folder() -> None:
    settings = load({})
    assert read_secret_key(settings) is None
    assert not settings.is_key_given
    settings.data.mkdir()
    settings.secret_key_file.write_text("abc", encoding="ascii")
    settings.secret_key_file.chmod(0o640)
    assert read_secret_key(settings) == "abc"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_secret_key_that_everybody_may_open(mode: int) -> None:
    Path("the.key").write_text("abc", encoding="ascii")
    Path("the.key").chmod(mode)
    with pytest.raises(SettingsError, match=r"chmod 600 the\.key"):
        read_secret_key(load({"COUNTERFOIL_SECRET_KEY_FILE": "the.key"}))


def test_a_secret_key_that_cannot_be_read() -> None:
    Path("the.key").mkdir(mode=0o700)
    settings = load({"COUNTERFOIL_SECRET_KEY_FILE": "the.key"})
    with pytest.raises(SettingsError, match=r"The secret key in the\.key cannot be read: Is a dir"):
        read_secret_key(settings)
    Path("the.key").rmdir()
    Path("the.key").write_bytes(b"\xff")
    Path("the.key").chmod(0o600)
    with pytest.raises(SettingsError, match="it is not text"):
        read_secret_key(settings)


def test_two_secret_keys() -> None:
    both = {"COUNTERFOIL_SECRET_KEY": "a", "COUNTERFOIL_SECRET_KEY_FILE": "b"}
    assert refused(both) == f"{' and '.join(both)} are both set: give one."


def test_a_secret_key_in_a_file_that_everybody_may_read() -> None:
    Path("counterfoil.toml").write_text("secret_key = 'abc'", encoding="utf-8")
    Path("counterfoil.toml").chmod(0o644)
    assert "chmod 600 counterfoil.toml" in refused({})
    assert load({"COUNTERFOIL_SECRET_KEY": "other"}).secret_key == "other"
    Path("counterfoil.toml").chmod(0o600)
    assert load({}).secret_key == "abc"
