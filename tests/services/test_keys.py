"""API keys from the header to the principal, on both databases."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import (
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from counterfoil.core.ports import Mode, Store
from counterfoil.db.engine import Database
from counterfoil.services import keys
from counterfoil.services.keys import Keyring
from tests.conftest import FakeClock, FakeEntropy
from tests.db.rows import add_merchant


async def _merchant(store: Store) -> int:
    return await store.write(add_merchant)


async def _key(store: Store, merchant_id: int, clock: FakeClock, seed: int = 0) -> str:
    entropy = FakeEntropy(seed)
    return await keys.create(store, entropy, merchant_id, Mode.LIVE, Scope.AUTOMATE, clock.now())


async def _refused(keyring: Keyring, header: str | None, now: int) -> str:
    with pytest.raises(UnauthenticatedError) as error:
        await keyring.authenticate(header, now)
    return error.value.code


async def test_a_key_tells_who_asks(database: Database, clock: FakeClock) -> None:
    merchant_id = await _merchant(database)
    key = await _key(database, merchant_id, clock)
    keyring = Keyring(database)
    for header in (key, f"Bearer {key}", f"bearer   {key}", f" {key} ".strip()):
        found = await keyring.authenticate(header, clock.now())
        assert found == Principal(found.key_id, merchant_id, Mode.LIVE, Scope.AUTOMATE)
    (listed,) = await keys.list_all(database, merchant_id)
    assert key.startswith(listed.hint)
    assert len(listed.hint) < len(key) / 3


async def test_what_is_no_key(database: Database, clock: FakeClock) -> None:
    keyring = Keyring(database)
    key = await _key(database, await _merchant(database), clock)
    typo = key[:-1] + ("0" if key[-1] != "0" else "1")
    unknown = await keys.create(database, FakeEntropy(9), 1, Mode.TEST, Scope.FULL, clock.now())
    await keys.revoke(database, 1, 2, clock.now())
    assert await _refused(keyring, None, clock.now()) == "missing_key"
    assert await _refused(keyring, "", clock.now()) == "missing_key"
    for header in (typo, key[:-1], f"Basic {key}", unknown, "Bearer", "\xe9" * 46):
        assert await _refused(keyring, header, clock.now()) == "bad_key"


async def test_a_revoked_key_opens_nothing_within_a_second(
    database: Database, clock: FakeClock
) -> None:
    merchant_id = await _merchant(database)
    key = await _key(database, merchant_id, clock)
    keyrings = [Keyring(database), Keyring(database)]
    principal, _ = [await keyring.authenticate(key, clock.now()) for keyring in keyrings]
    await keys.revoke(database, merchant_id, principal.key_id, clock.now())
    clock.advance(1_000)
    for keyring in keyrings:
        assert await _refused(keyring, key, clock.now()) == "bad_key"
    with pytest.raises(NotFoundError):
        await keys.revoke(database, merchant_id, principal.key_id, clock.now())


async def test_only_the_merchants_own_keys_can_be_revoked(
    database: Database, clock: FakeClock
) -> None:
    key = await _key(database, await _merchant(database), clock)
    other = await database.write(lambda c: add_merchant(c, "other"))
    keyring = Keyring(database)
    principal = await keyring.authenticate(key, clock.now())
    with pytest.raises(NotFoundError):
        await keys.revoke(database, other, principal.key_id, clock.now())
    await keyring.authenticate(key, clock.advance(2_000))


async def test_use_is_written_once_for_many_requests(database: Database, clock: FakeClock) -> None:
    merchant_id = await _merchant(database)
    key = await _key(database, merchant_id, clock)
    keyring = Keyring(database)
    await asyncio.gather(*(keyring.authenticate(key, clock.now()) for _ in range(20)))
    used_at = clock.advance(5_000)
    await keyring.authenticate(key, used_at)
    assert (await keys.list_all(database, merchant_id))[0].last_used_at is None
    await keyring.save_last_used()
    assert (await keys.list_all(database, merchant_id))[0].last_used_at == used_at
    # Another process saw it earlier, and writes it down later.
    late = Keyring(database)
    await late.authenticate(key, used_at - 1_000)
    await late.save_last_used()
    assert (await keys.list_all(database, merchant_id))[0].last_used_at == used_at


class Moody:
    """A store whose disk is full now and then; the rest of it is real."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def write(self, fn: Callable[[Any], Any]) -> Any:
        if self.is_full:
            raise UnavailableError("database_unavailable", "The disk is full.")
        return await self.store.write(fn)


async def test_use_that_could_not_be_written_is_written_later(
    database: Database, clock: FakeClock
) -> None:
    merchant_id = await _merchant(database)
    key = await _key(database, merchant_id, clock)
    moody = Moody(database)
    keyring = Keyring(moody)
    await keyring.authenticate(key, clock.now())
    moody.is_full = True
    with pytest.raises(UnavailableError):
        await keyring.save_last_used()
    moody.is_full = False
    await keyring.save_last_used()
    assert (await keys.list_all(database, merchant_id))[0].last_used_at == clock.now()


@pytest.mark.parametrize("scope", list(Scope))
def test_a_small_key_is_told_what_it_needs(scope: Scope) -> None:
    principal = Principal(1, 1, Mode.LIVE, Scope.READ)
    if scope is Scope.READ:
        keys.require(principal, scope)
        return
    with pytest.raises(ForbiddenError) as error:
        keys.require(principal, scope)
    assert scope.label in error.value.message


class _Counted:
    """A store that counts how often it is read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads = 0
        self.has_read = asyncio.Event()

    async def find_key(self, digest: str) -> Any:
        self.reads += 1
        found = await self.store.find_key(digest)
        self.has_read.set()
        return found


async def test_requests_that_come_together_share_a_look_up(
    database: Database, clock: FakeClock
) -> None:
    key = await _key(database, await _merchant(database), clock)
    store: Any = _Counted(database)
    keyring = Keyring(store)
    asked = [asyncio.create_task(keyring.authenticate(key, clock.now())) for _ in range(20)]
    await asyncio.sleep(0)
    # Who asked first goes away, and the others have their answer all the same.
    asked[0].cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {type(each) for each in found[1:]} == {Principal}
    assert store.reads == 1
    clock.advance(1_000)
    await keyring.authenticate(key, clock.now())
    assert store.reads == 2
    await keys.revoke(database, 1, 1, clock.now())
    clock.advance(1_000)
    refused = await asyncio.gather(
        *(keyring.authenticate(key, clock.now()) for _ in range(20)), return_exceptions=True
    )
    assert {type(each) for each in refused} == {UnauthenticatedError}
    assert store.reads == 3


async def test_a_busy_key_is_asked_about_before_it_is_forgotten(
    database: Database, clock: FakeClock
) -> None:
    key = await _key(database, await _merchant(database), clock)
    store: Any = _Counted(database)
    keyring = Keyring(store)
    await keyring.authenticate(key, clock.now())
    clock.advance(600)
    for _ in range(20):
        await keyring.authenticate(key, clock.now())
    # Nobody waited: what was asked for has not even begun.
    assert store.reads == 1
    store.has_read.clear()
    await store.has_read.wait()
    assert store.reads == 2
    clock.advance(499)
    await keyring.authenticate(key, clock.now())
    assert store.reads == 2
    # What it finds out holds at once, for those who come after it.
    await keys.revoke(database, 1, 1, clock.now())
    clock.advance(1)
    await keyring.authenticate(key, clock.now())
    store.has_read.clear()
    await store.has_read.wait()
    assert await _refused(keyring, key, clock.now()) == "bad_key"
