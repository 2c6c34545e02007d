"""Creation against what the database holds (twins, addresses, wallets), and cancelling."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import ConflictError, CounterfoilError, InvalidError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.db.engine import Database
from counterfoil.db.schema import destination
from counterfoil.db.schema import invoice as invoice_table
from counterfoil.services import merchants, observations, upkeep, wallets
from counterfoil.services.invoices import Created, Draft, cancel, create, earlier
from counterfoil.services.quotes import choose
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, Shop, at_once, keyed, open_shop
from tests.sim.chain import COIN

DAY_MS = 24 * 60 * MINUTE


async def make(shop: Shop, key: str | None = None, **fields: Any) -> Created:
    body = fields.pop("body", b"{}")
    draft = Draft(Decimal("25.00"), "USD", **fields)
    request = keyed(shop.principal, key, body)
    return await create(shop.context, shop.principal, draft, shop.clock.now(), request)


async def refused(shop: Shop, **fields: Any) -> tuple[str, str | None]:
    """Return the code and the field of what is wrong."""
    with pytest.raises(CounterfoilError) as error:
        await make(shop, **fields)
    return error.value.code, error.value.field


async def count(shop: Shop, table: sa.Table) -> int:
    statement = sa.select(sa.func.count()).select_from(table)
    return await shop.store.read(lambda c: c.execute(statement).scalar_one())


async def rival(shop: Shop, wallet: str | None = None) -> Shop:
    """Return another merchant on the same server."""
    other = await open_shop(shop.store, shop.clock, wallet=None, name="Rival", chain=shop.chain)
    # One server has one source of chance.
    other.context = replace(other.context, entropy=shop.context.entropy)
    if wallet is not None:
        await give_wallet(other, wallet)
    return other


async def give_wallet(shop: Shop, wallet: str) -> None:
    is_address = wallet.startswith("w1")
    await wallets.add(
        shop.context,
        shop.principal.merchant_id,
        COIN.id,
        xpub=None if is_address else wallet,
        address=wallet if is_address else None,
        now=shop.clock.now(),
    )


# --- twins -------------------------------------------------------------------------------------


async def test_twins_at_once_make_one_invoice(shop: Shop) -> None:
    made = await at_once(shop.store, *(make(shop, "key") for _ in range(6)))
    assert len({(each.id, each.share_token, each.created_at) for each in made}) == 1
    assert await count(shop, invoice_table) == 1


async def test_another_body_is_refused_also_at_once(shop: Shop) -> None:
    made = await at_once(shop.store, make(shop, "key", body=b"1"), make(shop, "key", body=b"2"))
    (conflict,) = [each for each in made if isinstance(each, ConflictError)]
    assert conflict.code == "idempotency_mismatch"
    assert await count(shop, invoice_table) == 1


async def test_errors_are_not_kept(shop: Shop) -> None:
    assert await refused(shop, key="key", redirect_url="https://elsewhere.example/") == (
        "origin_not_listed",
        "redirect_url",
    )
    assert (await make(shop, "key")).id == (await make(shop, "key")).id


async def test_a_key_is_kept_for_a_day_and_belongs_to_its_mode(shop: Shop) -> None:
    first = await make(shop, "key")
    tester = Principal(2, shop.principal.merchant_id, Mode.TEST, Scope.FULL)
    for who, kept in ((shop.principal, first), (tester, None)):
        request = keyed(who, "key", b"{}")
        assert request is not None
        assert await earlier(shop.context, request) == kept
    shop.clock.advance(DAY_MS + 1)
    await upkeep.sweep(shop.context, shop.clock.now())
    assert (await make(shop, "key")).id != first.id


# --- addresses ---------------------------------------------------------------------------------


async def test_an_address_belongs_to_the_first_merchant(shop: Shop) -> None:
    given: dict[str, Any] = {"wallet_address": "w1mine", "coin_symbol": "coin"}
    await make(shop, **given)
    await make(shop, **given)
    other = await rival(shop)
    assert await refused(other, **given) == ("address_in_use", "wallet_address")
    # Another spelling is the same place.
    assert await refused(other, wallet_address="W1MINE", coin_symbol="COIN") == (
        "address_in_use",
        "wallet_address",
    )


async def test_an_address_is_answered_in_its_usual_spelling(shop: Shop) -> None:
    kept = await shop.invoice(wallet_address="W1MINE", coin_symbol="COIN")
    assert kept.wallet_address == (await shop.quote(kept)).address == "w1mine"


async def test_two_merchants_ask_for_one_address_at_once(shop: Shop) -> None:
    other = await rival(shop)
    given: dict[str, Any] = {"wallet_address": "w1both", "coin_symbol": "COIN"}
    made = await at_once(shop.store, *(make(each, **given) for each in (shop, other, shop, other)))
    assert sum(isinstance(each, ConflictError) for each in made) == 2
    assert sum(isinstance(each, Created) for each in made) == 2


async def test_an_address_that_was_made_for_one_invoice_is_not_shared(shop: Shop) -> None:
    shown = (await shop.quote(await shop.invoice())).address
    for asking in (shop, await rival(shop)):
        assert await refused(asking, wallet_address=shown, coin_symbol="COIN") == (
            "address_in_use",
            "wallet_address",
        )


async def test_an_address_that_a_wallet_will_hand_out_is_not_shared(shop: Shop) -> None:
    coming = shop.chain.derive("xpub", 7).address
    before = await count(shop, destination)
    for asking in (shop, await rival(shop)):
        code, _ = await refused(asking, wallet_address=coming, coin_symbol="COIN")
        assert code == "address_in_use"
    assert await count(shop, destination) == before, "what was refused is not claimed either"


async def test_a_wallet_passes_over_addresses_that_are_shared_already(database: Database) -> None:
    shop = await open_shop(database, FakeClock(), wallet=None)
    addresses = [shop.chain.derive("late", index).address for index in range(4)]
    await make(shop, wallet_address=addresses[0], coin_symbol="COIN")
    other = await rival(shop)
    await make(other, wallet_address=addresses[2], coin_symbol="COIN")
    await give_wallet(shop, "late")
    shown = [(await shop.quote(await shop.invoice())).address for _ in range(2)]
    assert shown == [addresses[1], addresses[3]]


async def test_a_wallet_passes_over_an_address_that_was_far_ahead(shop: Shop) -> None:
    """No look ahead is far enough for somebody who knows the wallet: the claim decides."""
    far = {"wallet_address": shop.chain.derive("xpub", 21).address, "coin_symbol": "COIN"}
    await make(shop, **far)
    shown = [(await shop.quote(await shop.invoice())).address for _ in range(5)]
    # What was taken once is not refused because the wallet has come near it.
    await make(shop, **far)
    shown += [(await shop.quote(await shop.invoice())).address for _ in range(18)]
    assert far["wallet_address"] not in shown
    assert len(set(shown)) == len(shown)


async def test_an_address_is_shared_or_shown_but_never_both(shop: Shop) -> None:
    """Somebody names the next address just while the wallet hands it out."""
    for index in range(5):
        coming = shop.chain.derive("xpub", index).address
        order = (await make(shop)).share_token
        _, claimed = await at_once(
            shop.store,
            choose(shop.context, order, COIN.id, shop.clock.now()),
            make(shop, wallet_address=coming, coin_symbol="COIN"),
        )
        assert isinstance(claimed, ConflictError)
    kinds = sa.select(destination.c.kind)
    assert await shop.store.read(lambda c: set(c.execute(kinds).scalars())) == {"exclusive"}


# --- coins and redirects -----------------------------------------------------------------------


async def test_a_coin_needs_a_wallet(shop: Shop) -> None:
    assert (await shop.read((await make(shop, coin_symbol="coin")).id)).coin_symbol == "COIN"
    other = await rival(shop)
    assert await refused(other, coin_symbol="COIN") == ("no_wallet", "coin_symbol")
    assert await refused(other, coin_symbol="NONE") == ("unknown_coin", "coin_symbol")
    assert await refused(other, wallet_address="w1x") == ("missing", "coin_symbol")
    # A test invoice is paid with the simulator's coin, whatever it names.
    other.principal = Principal(9, other.principal.merchant_id, Mode.TEST, Scope.FULL)
    await make(other, coin_symbol="COIN")
    await make(other, wallet_address="w1mine", coin_symbol="COIN")
    assert await count(other, destination) == 0, "it is checked, never claimed"


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/thanks?order=1",
        "https://shop.example",
        "https://SHOP.example/#top",
        "https://shop.example?x=1",
    ],
)
async def test_a_listed_origin(shop: Shop, url: str) -> None:
    merchant = await merchants.find(shop.store, None)
    await merchants.allow_redirect(shop.store, merchant, "https://shop.example")
    assert (await shop.read((await make(shop, redirect_url=url)).id)).redirect_url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/",
        "http://shop.example/",
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://shop.example:8443/",
        "https://shop.example\\@evil.example/",
    ],
)
async def test_an_origin_that_is_not_listed(shop: Shop, url: str) -> None:
    merchant = await merchants.find(shop.store, None)
    await merchants.allow_redirect(shop.store, merchant, "https://shop.example")
    assert await refused(shop, redirect_url=url) == ("origin_not_listed", "redirect_url")


async def test_all_that_is_wrong_is_told_at_once(shop: Shop) -> None:
    draft = Draft(Decimal(1), "CZK", wallet_address="nonsense", coin_symbol="COIN", coins=("X",))
    with pytest.raises(InvalidError) as error:
        await create(shop.context, shop.principal, draft, shop.clock.now())
    assert [(p.field, p.code) for p in error.value.problems] == [
        ("fiat_currency", "unsupported_currency"),
        ("wallet_address", "invalid_address"),
        ("coins", "unknown_coin"),
    ]


# --- cancelling --------------------------------------------------------------------------------


async def test_money_that_was_seen_and_not_yet_assessed_stops_a_cancelling(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    mempool, head = await shop.chain.mempool((), ()), await shop.chain.head()
    now = shop.clock.now()
    # The watcher has written down what it saw, and not yet asked what it means.
    await shop.store.write(
        lambda c: observations.record_mempool(
            c, shop.context, shop.chain, mempool, head, is_tip_fresh=True, seen_at={}, now=now
        )
    )
    assert await shop.status(invoice) is Status.UNPAID
    with pytest.raises(ConflictError) as error:
        await cancel(shop.context, shop.principal, invoice.id, now)
    assert error.value.code == "invoice_has_money"
    assert (await shop.read(invoice.id)).cancelled_at is None
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    assert await shop.events(invoice) == ["payment_detected"]


async def test_cancelling_twice_is_told_once(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice()
    now = shop.clock.now()
    await at_once(
        shop.store, *(cancel(shop.context, shop.principal, invoice.id, now) for _ in range(4))
    )
    assert await shop.status(invoice) is Status.CANCELLED
    assert await shop.events(invoice) == ["invoice_cancelled"]
