"""Every endpoint against every kind of key, and what failures lead to."""

import time
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.access import Scope
from counterfoil.core.errors import LimitedError, UnauthenticatedError
from counterfoil.core.ports import Mode
from counterfoil.db.schema import api_key
from counterfoil.db.sqlite import Sqlite
from counterfoil.services.keys import Keyring
from counterfoil.web.auth import Gate, address_of
from counterfoil.web.endpoints import Endpoint
from counterfoil.web.table import ENDPOINTS
from tests.conftest import FakeClock
from tests.web.things import BODIES, thing
from tests.web.world import World, client_of

KEYS = ("none", "empty", "nonsense", "typo", "unknown", "revoked", *Scope)


def typo(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


async def key_of(world: World, kind: str, mode: Mode) -> str | None:
    """Return a key of a kind."""
    if kind in set(Scope):
        return world.key(mode=mode, scope=Scope(kind))
    if kind == "unknown":
        other = world.key("Other", Mode.TEST)
        await revoke(world, other, is_deleted=True)
        return other
    if kind == "revoked":
        other = world.key("Other", Mode.TEST)
        await revoke(world, other)
        return other
    made = {"none": None, "empty": " ", "nonsense": "secret", "typo": typo(world.key())}
    return made[kind]


async def revoke(world: World, key: str, *, is_deleted: bool = False) -> None:
    hint = api_key.c.hint == key[:12]
    change = sa.delete(api_key) if is_deleted else sa.update(api_key).values(revoked_at=1)
    await world.store.write(lambda c: c.execute(change.where(hint)))


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
async def test_every_endpoint_lets_in_the_keys_it_should(
    small_world: World, endpoint: Endpoint, kind: str
) -> None:
    # Only test keys may simulate, and only live keys may do what is for live money alone.
    mode = Mode.LIVE if endpoint.is_live_only else Mode.TEST
    thing_id = await thing(small_world, endpoint, "Shop", mode)
    key = await key_of(small_world, kind, mode)
    before = await small_world.stored()
    answer = await small_world.request(
        endpoint.method,
        endpoint.path.replace("{id}", str(thing_id)),
        key=key,
        json=BODIES.get(endpoint.name),
    )
    if endpoint.scope is None:
        assert answer.status_code == 200
    elif kind not in set(Scope):
        assert answer.status_code == 401
        code = "missing_key" if kind == "none" else "bad_key"
        assert answer.json()["error"]["code"] == code
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    elif Scope(kind).includes(endpoint.scope):
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 403
        assert endpoint.scope.label in answer.json()["error"]["message"]
    if answer.status_code != 200:
        assert await small_world.stored() == before


async def test_a_revoked_key_is_refused_within_a_second(world: World) -> None:
    key = world.key()
    assert (await world.request("GET", "/api/invoices", key=key)).status_code == 200
    await revoke(world, key)
    world.clock.advance(1_000)
    assert (await world.request("GET", "/api/invoices", key=key)).status_code == 401


async def test_a_key_in_the_query_opens_nothing(small_world: World) -> None:
    path = f"/api/invoices?key={small_world.key()}&authorization={small_world.key()}"
    assert (await small_world.request("GET", path, key=None)).status_code == 401


@pytest.fixture
def turned(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock, by which the failures are counted too."""
    monkeypatch.setattr(time, "time", lambda: clock.now() / 1_000)
    return clock


@pytest.mark.usefixtures("turned")
@pytest.mark.parametrize("key", [None, "", "cf_live_x", "\xff" * 46])
async def test_the_twenty_first_failure_in_a_minute_is_told_to_wait(
    small_world: World, key: str | None
) -> None:
    value = (key or " ").encode("latin-1")
    header = [] if key is None else [(b"Authorization", value)]
    for _ in range(20):
        answer = await small_world.client.get("/api/invoices", headers=header)
        assert answer.status_code == 401
    answer = await small_world.client.get("/api/invoices", headers=header)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_failures"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_who_fails_locks_out_nobody_with_a_key(small_world: World) -> None:
    for _ in range(25):
        await small_world.request("GET", "/api/invoices", key="wrong")
    assert (await small_world.request("GET", "/api/invoices")).status_code == 200
    async with client_of(small_world.app, "203.0.113.8") as other:
        assert (await other.get("/api/invoices")).status_code == 401


async def fail(gate: Gate, address: str, now: int) -> int | None:
    """Send no key from an address; return how many seconds it is told to wait, if it is."""
    with pytest.raises((UnauthenticatedError, LimitedError)) as caught:
        await gate.admit({"client": (address, 1)}, None, now)
    return caught.value.retry_after_s if isinstance(caught.value, LimitedError) else None


@pytest.mark.parametrize("into_minute_s", [1, 30, 59])
async def test_who_waits_as_told_is_heard_again(
    sqlite: Sqlite, turned: FakeClock, into_minute_s: int
) -> None:
    gate = Gate(Keyring(sqlite), 20)
    turned.at += 60_000 - turned.at % 60_000 + into_minute_s * 1_000
    for _ in range(20):
        assert await fail(gate, "203.0.113.7", turned.now()) is None
    wait_s = await fail(gate, "203.0.113.7", turned.now())
    assert wait_s is not None
    assert 1 <= wait_s <= 60
    turned.advance(wait_s * 1_000)
    assert await fail(gate, "203.0.113.7", turned.now()) is None


async def test_addresses_that_failed_are_forgotten(sqlite: Sqlite, turned: FakeClock) -> None:
    gate = Gate(Keyring(sqlite), 20)
    kept: Any = gate._limiter.storage  # noqa: SLF001  # nobody else sees what it remembers
    for last in range(200):
        await fail(gate, f"203.0.113.{last}", turned.now())
    kept.timer.join()
    turned.advance(121_000)
    await fail(gate, "198.51.100.1", turned.now())
    kept.timer.join()
    names = [*kept.storage, *kept.expirations, *kept.events, *kept.locks]
    assert [name for name in names if "203.0.113." in name] == []


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (None, "unknown"),
        (("203.0.113.7", 1), "203.0.113.7"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::1", 1), "2001:db8:1:2::"),
        (("/run/socket", 0), "/run/socket"),
    ],
)
def test_an_address_stands_for_its_customer(client: tuple[str, int] | None, expected: str) -> None:
    assert address_of({"client": client}) == expected


# --- whose invoice it is ----------------------------------------------------------------------

WITH_AN_ID = [each for each in ENDPOINTS if "{id}" in each.path]
IMPOSSIBLE = [
    "0",
    "-1",
    "1.0",
    "+1",
    "01",
    "abc",
    "1e3",
    "\u0661",
    "9" * 30,
    str(2**53),
    "%00",
    "1 ",
]


@pytest.mark.parametrize("endpoint", WITH_AN_ID, ids=lambda each: each.name)
async def test_foreign_and_unknown_ids_look_the_same(world: World, endpoint: Endpoint) -> None:
    theirs = await thing(world, endpoint, "Other", Mode.LIVE)
    # A wallet is of no mode, and nobody's own.
    is_wallet = endpoint.name == "remove_wallet"
    of_test = theirs if is_wallet else await thing(world, endpoint, "Shop", Mode.TEST)
    before = await world.stored()
    bodies = set()
    for invoice_id in (theirs, of_test, 987654, *IMPOSSIBLE):
        path = endpoint.path.replace("{id}", str(invoice_id))
        answer = await world.request(endpoint.method, path, json=BODIES.get(endpoint.name))
        assert answer.status_code == 404, path
        bodies.add(answer.content)
    assert len(bodies) == 1
    assert await world.stored() == before
    if is_wallet:
        kept = (await world.request("GET", "/api/wallets", key=world.key("Other"))).json()
        assert [each["id"] for each in kept["wallets"]] == [theirs]
    elif endpoint.path.startswith("/api/invoice/"):
        path = f"/api/invoice/{theirs}"
        kept = (await world.request("GET", path, key=world.key("Other"))).json()
        assert kept["invoice"]["status"] == "Unpaid"


async def test_a_list_shows_one_merchant_and_one_mode(world: World) -> None:
    made = {
        (name, mode): await world.invoice(key=world.key(name, mode))
        for name in ("Shop", "Other")
        for mode in Mode
    }
    for (name, mode), invoice_id in made.items():
        answer = await world.request("GET", "/api/invoices", key=world.key(name, mode))
        assert [each["id"] for each in answer.json()["invoices"]] == [invoice_id]
