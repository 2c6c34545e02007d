"""The composition root: putting an installation together, and letting it serve."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx2
import pytest

from counterfoil.app import parts, secret_key, serving, world
from counterfoil.core.access import Scope
from counterfoil.core.errors import SettingsError
from counterfoil.core.ports import Mode
from counterfoil.db import loops
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import get_key_check, keep_key_check
from counterfoil.db.postgres import Postgres
from counterfoil.services import keys, merchants
from counterfoil.settings import NODE_CHAINS, Settings, load, variable
from tests.services.shop import at_once

KEY = "zJ1Zx6Q0aVq3mC7bq0v1Jk0sQ2h3l4d5f6g7h8j9k0A="
OTHER_KEY = "AJ1Zx6Q0aVq3mC7bq0v1Jk0sQ2h3l4d5f6g7h8j9k0A="


def settings_of(folder: Path, environment: Mapping[str, str] | None = None) -> Settings:
    return load(environment or {}, {"data": folder / "data", "port": 0}, has_file=False)


def postgres_settings(folder: Path, url: str, **environment: str) -> Settings:
    return settings_of(folder, {"COUNTERFOIL_DATABASE": url, **environment})


async def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        async with parts.opened(settings):
            pass
    return caught.value.message


# --- opening -----------------------------------------------------------------------------------


async def test_the_first_opening_makes_what_is_needed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    async with parts.opened(settings) as here:
        (merchant,) = await merchants.list_all(here.database)
        assert (merchant.name, merchant.currency) == ("Default", "USD")
        sealed = here.vault.encrypt("x")
        assert [chain.name for chain in here.chains] == ["simulator"]
    assert settings.data.stat().st_mode & 0o777 == 0o700
    assert settings.secret_key_file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in settings.data.iterdir()) == ["counterfoil.db", "secret.key"]
    async with parts.opened(settings) as again:
        assert again.vault.decrypt(sealed) == "x"
        assert len(await merchants.list_all(again.database)) == 1


async def test_the_first_merchant_can_be_named(tmp_path: Path) -> None:
    async with parts.opened(settings_of(tmp_path), has_merchant=False) as here:
        assert await merchants.list_all(here.database) == []
        await merchants.create(here.context, "Shop", "EUR", here.clock.now())
    async with parts.opened(settings_of(tmp_path)) as here:
        assert [each.name for each in await merchants.list_all(here.database)] == ["Shop"]


async def test_many_may_be_the_first(tmp_path: Path) -> None:
    async def seal() -> str:
        async with parts.opened(settings_of(tmp_path)) as here:
            return here.vault.encrypt("x")

    sealed = await asyncio.gather(*(seal() for _ in range(6)))
    async with parts.opened(settings_of(tmp_path)) as here:
        assert {here.vault.decrypt(each) for each in sealed} == {"x"}
        assert len(await merchants.list_all(here.database)) == 1
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["counterfoil.db", "secret.key"]


async def test_another_secret_key_stops_the_start(tmp_path: Path) -> None:
    async with parts.opened(settings_of(tmp_path, {"COUNTERFOIL_SECRET_KEY": KEY})):
        pass
    message = await refusal(settings_of(tmp_path, {"COUNTERFOIL_SECRET_KEY": OTHER_KEY}))
    assert message.startswith("The secret key does not open this database.")
    # The new key in front of the old one is how keys are changed.
    async with parts.opened(
        settings_of(tmp_path, {"COUNTERFOIL_SECRET_KEY": f"{OTHER_KEY},{KEY}"})
    ):
        pass


async def test_a_missing_secret_key_is_not_made_anew(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    async with parts.opened(settings):
        pass
    settings.secret_key_file.unlink()
    message = await refusal(settings)
    assert message.startswith("The secret key that this database was made with is missing.")
    assert str(settings.secret_key_file) in message
    assert not settings.secret_key_file.exists()


async def test_a_secret_key_that_is_none(tmp_path: Path) -> None:
    message = await refusal(settings_of(tmp_path, {"COUNTERFOIL_SECRET_KEY": "hunter2"}))
    assert message.startswith("The secret key in COUNTERFOIL_SECRET_KEY is none: it must be 32 ")
    assert "hunter2" not in message


async def test_on_postgresql_the_secret_key_must_be_given(
    tmp_path: Path, postgres_url: str
) -> None:
    message = await refusal(postgres_settings(tmp_path, postgres_url))
    assert message.startswith("On PostgreSQL the secret key must be given")
    given = postgres_settings(tmp_path, postgres_url, COUNTERFOIL_SECRET_KEY=KEY)
    async with parts.opened(given) as here:
        assert len(await merchants.list_all(here.database)) == 1
    other = postgres_settings(tmp_path, postgres_url, COUNTERFOIL_SECRET_KEY=OTHER_KEY)
    assert (await refusal(other)).startswith("The secret key does not open this database.")
    assert not (tmp_path / "data").exists()


async def test_of_two_secret_keys_at_the_first_start_one_is_refused(postgres: Postgres) -> None:
    def first_sees_none(connection: Connection, value: str) -> str:
        connection.exec_driver_sql("SELECT pg_sleep(0.2)")
        return keep_key_check(connection, value)

    kept = await at_once(
        postgres, *(postgres.write(partial(first_sees_none, value=key)) for key in ("a", "b"))
    )
    assert kept in (["a", "a"], ["b", "b"])
    assert [await postgres.read(get_key_check)] == kept[:1]


async def test_on_postgresql_the_schema_must_be_there(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    settings = postgres_settings(tmp_path, empty_postgres_url, COUNTERFOIL_SECRET_KEY=KEY)
    message = await refusal(settings)
    assert message == (
        "The database has no tables yet. Run `counterfoil migrate`, then start again."
    )
    await parts.migrate(settings)
    async with parts.opened(settings):
        pass


async def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    assert (await refusal(settings_of(tmp_path))).startswith("The data folder ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS", "http://a.example"),
        ("COUNTERFOIL_CHAINS__LITECOIN__RPC", "http://a:b@xn--\u00fc:1"),
    ],
)
async def test_what_an_adapter_refuses_is_named(tmp_path: Path, name: str, value: str) -> None:
    message = await refusal(settings_of(tmp_path, {name: value}))
    assert message.startswith(name)


async def test_a_network_that_a_coin_has_not(tmp_path: Path) -> None:
    rpc = {"COUNTERFOIL_CHAINS__BITCOIN__RPC": "http://a:b@127.0.0.1:1"}
    name = "COUNTERFOIL_CHAINS__BITCOIN__NETWORK"
    # Programs mean different ones by it: Bitcoin has two testnets.
    assert await refusal(settings_of(tmp_path, rpc | {name: "testnet"})) == (
        f"{name}: Bitcoin has no such network; it has mainnet, testnet4, testnet3, signet, regtest."
    )


async def test_every_chain_of_the_settings_can_be_switched_on(tmp_path: Path) -> None:
    nodes = {variable(f"chains.{name}.rpc"): "http://a:b@127.0.0.1:1" for name in NODE_CHAINS}
    async with parts.opened(settings_of(tmp_path, nodes)) as here:
        assert {chain.name for chain in here.chains} == {*NODE_CHAINS, "simulator"}
        # The coin of the settings' table is the one that the chain's own file has.
        for name, coin in NODE_CHAINS.items():
            assert [each.symbol for each in here.context.methods.chains[name].methods] == [coin]


def test_where_pages_are() -> None:
    def url(**options: object) -> str:
        return parts.checkout_url(load({}, options, has_file=False))

    assert url() == "http://127.0.0.1:8000"
    assert url(host="0.0.0.0", port=80) == "http://127.0.0.1:80"  # noqa: S104  # a way to say it
    assert url(host="::") == "http://[::1]:8000"
    assert url(host="2001:db8::1") == "http://[2001:db8::1]:8000"
    assert url(host="shop.example") == "http://shop.example:8000"
    assert url(public_url="https://a.example/") == "https://a.example"
    assert url(public_url="https://a.example", checkout_url="https://b.example/pay") == (
        "https://b.example/pay"
    )


async def test_the_worlds_clock_and_chance() -> None:
    clock, entropy = world.SystemClock(), world.SystemEntropy()
    before = clock.now()
    await clock.sleep(0.01)
    assert 10 <= clock.now() - before < 5_000
    assert len(entropy.token(16)) == 16
    assert {entropy.below(3) for _ in range(200)} == {0, 1, 2}


# --- serving -----------------------------------------------------------------------------------


def test_one_serves_a_sqlite_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with serving.serving_alone(settings):
        refused = pytest.raises(SettingsError, match=r"^Another `counterfoil serve` is running")
        with refused, serving.serving_alone(settings):
            pass
        with serving.serving_alone(settings_of(tmp_path / "elsewhere")):
            pass
    with serving.serving_alone(settings):
        pass


def test_one_serves_a_sqlite_file_whatever_the_data_folder(tmp_path: Path) -> None:
    database = {"COUNTERFOIL_DATABASE": f"sqlite:///{tmp_path}/db/a.db"}
    refused = pytest.raises(SettingsError, match=r"a\.db\.serve\.lock")
    with (
        serving.serving_alone(settings_of(tmp_path / "1", database)),
        refused,
        serving.serving_alone(settings_of(tmp_path / "2", database)),
    ):
        pass


@pytest.mark.parametrize("role", ["web", "worker"])
def test_on_sqlite_there_is_one_role(tmp_path: Path, role: str) -> None:
    settings = settings_of(tmp_path, {"COUNTERFOIL_ROLE": role})
    refused = pytest.raises(SettingsError, match=r"^COUNTERFOIL_ROLE must be all on SQLite")
    with refused, serving.serving_alone(settings):
        pass


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with serving.listen(settings_of(tmp_path)) as listener:
        taken = listener.getsockname()[1]
        settings = settings_of(tmp_path, {"COUNTERFOIL_HOST": "127.0.0.1"})
        with pytest.raises(SettingsError) as caught:
            serving.listen(replace(settings, port=taken))
    assert caught.value.message == (
        f"Nothing can listen on 127.0.0.1:{taken}: Address already in use. Choose others with "
        "COUNTERFOIL_HOST and --port."
    )


def test_a_host_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^Nothing can listen on no-such-host\.invalid:0: "):
        serving.listen(settings_of(tmp_path, {"COUNTERFOIL_HOST": "no-such-host.invalid"}))


def served(settings: Settings) -> tuple[Settings, socket.socket]:
    listener = serving.listen(settings)
    return replace(settings, port=listener.getsockname()[1]), listener


def client_of(settings: Settings) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=parts.base_url(settings), trust_env=False, timeout=30)


async def ready(client: httpx2.AsyncClient) -> None:
    """Return when the server says that it can do its work."""
    for _ in range(1_000):
        if (await client.get("/readyz")).status_code == 200:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the server does not get ready")


async def test_it_serves_the_api_the_pages_and_errors(tmp_path: Path) -> None:
    settings, listener = served(settings_of(tmp_path))
    async with parts.opened(settings) as here, serving.running(here, listener):
        key = await keys.create(
            here.database, here.entropy, 1, Mode.TEST, Scope.AUTOMATE, here.clock.now()
        )
        async with client_of(settings) as client:
            assert (await client.get("/healthz")).status_code == 200
            made = await client.post(
                "/api/invoice",
                headers={"Authorization": key},
                json={"amount": 5, "fiat_currency": "USD"},
            )
            assert made.status_code == 200
            pay_url = made.json()["invoice"]["pay_url"]
            assert pay_url.startswith(parts.base_url(settings))
            page = await client.get(pay_url)
            assert page.status_code == 200
            missing = await client.get("/no-such-page")
            assert missing.status_code == 404
            assert missing.headers["content-type"].startswith("text/html")
            assert "frame-ancestors 'none'" in missing.headers["content-security-policy"]
            assert "server" not in page.headers


async def test_the_end_gives_back_leases_and_writes_when_keys_were_used(tmp_path: Path) -> None:
    settings, listener = served(settings_of(tmp_path))
    async with parts.opened(settings) as here:
        async with serving.running(here, listener), client_of(settings) as client:
            key = await keys.create(
                here.database, here.entropy, 1, Mode.TEST, Scope.AUTOMATE, here.clock.now()
            )
            # Once it is watched, the lease is held.
            await ready(client)
            answer = await client.get("/api/invoices", headers={"Authorization": key})
            assert answer.status_code == 200
            assert await take_lease(here) is None
        assert await take_lease(here) is not None
        (listed,) = await keys.list_all(here.database, 1)
        assert listed.last_used_at is not None


async def take_lease(here: parts.Installation) -> int | None:
    """Return the lease of the simulator for somebody else, None while it is held."""

    def take(connection: Connection) -> int | None:
        return loops.take_lease(connection, "watch:simulator", "another", here.clock.now())

    return await here.database.write(take)


async def test_an_open_page_does_not_hold_up_the_end(tmp_path: Path) -> None:
    settings, listener = served(settings_of(tmp_path))
    async with parts.opened(settings) as here, client_of(settings) as client:
        async with serving.running(here, listener):
            key = await keys.create(
                here.database, here.entropy, 1, Mode.TEST, Scope.AUTOMATE, here.clock.now()
            )
            made = await client.post(
                "/api/invoice",
                headers={"Authorization": key},
                json={"amount": 5, "fiat_currency": "USD"},
            )
            token = made.json()["invoice"]["share_token"]
            request = client.build_request("GET", f"/pay-invoice/events?share_token={token}")
            stream = await client.send(request, stream=True)
            assert stream.status_code == 200
            ended_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - ended_at < 3
        await stream.aclose()


async def test_roles_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """What the web role is asked for, the worker role does."""
    environment = {"COUNTERFOIL_SECRET_KEY": KEY, "COUNTERFOIL_DATABASE": postgres_url}
    web, listener = served(settings_of(tmp_path, environment | {"COUNTERFOIL_ROLE": "web"}))
    worker = settings_of(tmp_path, environment | {"COUNTERFOIL_ROLE": "worker"})
    async with (
        parts.opened(web) as front,
        parts.opened(worker) as back,
        serving.running(front, listener),
        client_of(web) as client,
    ):
        assert (await client.get("/readyz")).status_code == 503
        async with serving.running(back, None):
            await ready(client)


def test_a_new_secret_key_is_one() -> None:
    assert secret_key.new_key() != secret_key.new_key()
    assert len(secret_key.new_key()) == 44
