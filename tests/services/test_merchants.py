"""Merchants and their channels, on both databases."""

import pytest

from counterfoil.channels.webhook import WebhookChannel
from counterfoil.core.errors import ConflictError, InvalidError, NotFoundError
from counterfoil.core.events import DEFAULT_EVENTS
from counterfoil.core.ports import Mode
from counterfoil.core.signing import SECRET_PREFIX
from counterfoil.db.engine import Database
from counterfoil.db.vault import Vault, make_key
from counterfoil.services import merchants, wallets
from counterfoil.services.context import Context
from tests.channels.receivers import guarded, opened
from tests.conftest import FakeClock
from tests.services.shop import Shop, at_once, open_shop


async def _context(store: Database) -> Context:
    return (await open_shop(store, FakeClock(), wallet=None)).context


async def test_the_first_merchant_is_made_once(database: Database, clock: FakeClock) -> None:
    context = await _context(database)
    await database.write(lambda c: c.exec_driver_sql("DELETE FROM merchant WHERE name = 'Shop'"))
    now = clock.now()
    await at_once(database, *(merchants.ensure_default(context, now) for _ in range(4)))
    (made,) = await merchants.list_all(database)
    assert made.name == merchants.DEFAULT_NAME
    assert await wallets.list_all(context, made.id) == [], "the simulator's is not listed"
    await merchants.ensure_default(context, clock.now())
    assert len(await merchants.list_all(database)) == 1


async def test_a_name_is_taken_once(database: Database, clock: FakeClock) -> None:
    context = await _context(database)
    made = await at_once(
        database, *(merchants.create(context, "Twins", "eur", clock.now()) for _ in range(3))
    )
    refused = [each for each in made if isinstance(each, ConflictError)]
    assert [each.code for each in refused] == ["name_taken"] * 2
    assert (await merchants.find(database, "Twins")).currency == "EUR"
    for name in ("", " x", "x" * 101, "a\nb"):
        with pytest.raises(InvalidError):
            await merchants.create(context, name, "USD", clock.now())


async def test_finding_a_merchant(database: Database, clock: FakeClock) -> None:
    context = await _context(database)
    assert (await merchants.find(database, None)).name == "Shop"
    await merchants.create(context, "Second", "USD", clock.now())
    with pytest.raises(NotFoundError, match="Shop, Second"):
        await merchants.find(database, None)
    with pytest.raises(NotFoundError, match="Shop, Second"):
        await merchants.find(database, "Third")


async def test_origins_that_are_added_at_once_are_all_kept(shop: Shop) -> None:
    merchant = await merchants.find(shop.store, None)
    origins = [f"https://{name}.example" for name in "abcd"]
    await at_once(
        shop.store,
        *(merchants.allow_redirect(shop.store, merchant, origin) for origin in origins),
    )
    await merchants.allow_redirect(shop.store, merchant, "https://A.example")
    kept = (await merchants.find(shop.store, None)).redirect_origins
    assert sorted(kept) == origins
    for bad in ("http://shop.example", "https://", "https://shop.example/path", "shop.example"):
        with pytest.raises(InvalidError):
            await merchants.allow_redirect(shop.store, merchant, bad)


async def test_a_channel_and_its_secret(shop: Shop) -> None:
    vault = Vault(make_key())
    who = shop.principal.merchant_id
    async with opened(guarded("127.0.0.1")) as webhook:
        assert isinstance(webhook, WebhookChannel)
        channel_id, secret = await merchants.add_channel(
            shop.context, vault, webhook, who, "http://127.0.0.1:9/x", DEFAULT_EVENTS, 1
        )
        with pytest.raises(InvalidError):
            await merchants.add_channel(
                shop.context, vault, webhook, who, "ftp://127.0.0.1", DEFAULT_EVENTS, 1
            )
    assert secret.startswith(SECRET_PREFIX)
    (listed,) = await merchants.list_channels(shop.store, who)
    assert listed == await merchants.find_channel(shop.store, who, channel_id)
    assert (listed.events, listed.modes) == (frozenset(DEFAULT_EVENTS), frozenset(Mode))
    assert secret not in listed.secret
    assert vault.decrypt(listed.secret) == secret
    with pytest.raises(NotFoundError):
        await merchants.find_channel(shop.store, who + 1, channel_id)
