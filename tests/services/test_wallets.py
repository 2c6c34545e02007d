"""Wallets, on both databases: who may add which, where they go on, and what stays when they go."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.core.errors import (
    ConflictError,
    CounterfoilError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from counterfoil.core.invoice import Status
from counterfoil.db import merchants as db_merchants
from counterfoil.db import quotes as db_quotes
from counterfoil.db.engine import Database
from counterfoil.db.schema import wallet
from counterfoil.services import checkout, merchants, quotes, wallets
from counterfoil.services.context import Methods
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, Shop, at_once, open_shop
from tests.sim.chain import COIN, WorldChain

PRICE = 25_000_000
GAP = wallets.GAP_WARNED_OF


async def add(shop: Shop, **given: Any) -> wallets.AddedWallet:
    who = shop.principal.merchant_id
    return await wallets.add(shop.context, who, "coin", now=shop.clock.now(), **given)


async def remove(shop: Shop) -> int:
    """Remove the one wallet in use and return its id."""
    (known,) = await wallets.list_all(shop.context, shop.principal.merchant_id)
    await wallets.remove(shop.context, shop.principal.merchant_id, known.id, shop.clock.now())
    return known.id


async def only(shop: Shop) -> wallets.ListedWallet:
    (known,) = await wallets.list_all(shop.context, shop.principal.merchant_id)
    return known


async def refused(shop: Shop, **given: Any) -> str:
    """Return the code of why a wallet is not taken."""
    with pytest.raises(CounterfoilError) as error:
        await add(shop, **given)
    return error.value.code


async def address_of_new_invoice(shop: Shop) -> str:
    return (await shop.quote(await shop.invoice())).address


def derived(shop: Shop, key: str, *indexes: int) -> tuple[str, ...]:
    return tuple(shop.chain.derive(key, index).address for index in indexes)


async def other_shop(shop: Shop) -> Shop:
    """Return a second merchant on the same server."""
    return await open_shop(shop.store, shop.clock, wallet=None, name="Other", chain=shop.chain)


@pytest.fixture
async def bare(database: Database, clock: FakeClock) -> Shop:
    return await open_shop(database, clock, wallet=None)


# --- who may add which ------------------------------------------------------------------------


async def test_a_method_has_one_wallet_also_if_several_come_at_once(bare: Shop) -> None:
    made = await at_once(
        bare.store,
        *(add(bare, xpub=f"xpub{n}") for n in range(2)),
        *(add(bare, address=f"w1place{n}") for n in range(2)),
    )
    codes = [each.code for each in made if isinstance(each, ConflictError)]
    assert codes == ["wallet_exists"] * 3
    assert (await only(bare)).method == COIN.id


async def test_one_extended_key_serves_one_merchant_also_if_both_come_at_once(bare: Shop) -> None:
    other = await other_shop(bare)
    made = await at_once(bare.store, add(bare, xpub="xpub"), add(other, xpub="xpub"))
    codes = [each.code for each in made if isinstance(each, ConflictError)]
    assert codes == ["wallet_in_use"]


async def test_a_removed_key_is_still_its_merchants(shop: Shop) -> None:
    await remove(shop)
    assert await refused(await other_shop(shop), xpub="xpub") == "wallet_in_use"
    assert (await add(shop, xpub="xpub")).wallet.method == COIN.id


async def test_a_key_of_one_coin_is_not_used_for_another(shop: Shop) -> None:
    second = replace(COIN, id="SECOND", symbol="SECOND", chain="second")
    chain = WorldChain("second", "test:second", (second,))
    shop.context = replace(shop.context, methods=Methods([shop.chain, chain]))
    with pytest.raises(ConflictError) as error:
        await wallets.add(shop.context, shop.principal.merchant_id, "SECOND", xpub="xpub", now=1)
    assert error.value.code == "wallet_in_use"


async def test_an_address_that_serves_somebody_is_no_wallet(shop: Shop) -> None:
    taken = await address_of_new_invoice(shop)
    other = await other_shop(shop)
    assert await refused(other, address=taken) == "address_in_use"
    assert await refused(other, address=derived(shop, "xpub", 7)[0]) == "address_in_use"
    await remove(shop)
    assert await refused(shop, address=taken) == "address_in_use"


async def test_a_coin_with_several_networks_must_be_named(bare: Shop) -> None:
    both = [
        WorldChain(
            name, f"test:{name}", (replace(COIN, id=f"USD-{name}", symbol="USD", chain=name),)
        )
        for name in ("A", "B")
    ]
    bare.context = replace(bare.context, methods=Methods(both))
    with pytest.raises(InvalidError, match="one of USD-A, USD-B") as error:
        await wallets.add(bare.context, bare.principal.merchant_id, "usd", xpub="x", now=1)
    assert error.value.code == "ambiguous_method"


# --- where it begins --------------------------------------------------------------------------


async def test_the_owner_is_shown_addresses_to_compare(bare: Shop) -> None:
    added = await add(bare, xpub="mine")
    assert added.wallet.addresses == derived(bare, "mine", 0, 1, 2)
    assert added.wallet.next_index == 0
    # They are the first that payers see.
    assert await address_of_new_invoice(bare) == added.wallet.addresses[0]


async def test_addresses_that_were_used_before_are_not_shown(bare: Shop) -> None:
    for address in derived(bare, "mine", 0, 4, 23):
        bare.chain.pay(address, 1_000)
    bare.chain.mine()
    # Behind a gap that no wallet looks across.
    bare.chain.pay(derived(bare, "mine", 44)[0], 1_000)
    bare.chain.mine()
    told: list[int] = []
    added = await add(bare, xpub="mine", told=told.append)
    assert added.history is not None
    assert added.history.is_whole
    assert added.wallet.next_index == 24
    assert added.wallet.addresses == derived(bare, "mine", 0, 1, 2), "to compare, used or not"
    assert told == [100]
    assert (await address_of_new_invoice(bare),) == derived(bare, "mine", 24)


@pytest.mark.parametrize("trouble", ["away", "syncing", "another network"])
async def test_a_node_that_does_not_tell_is_not_guessed_for(bare: Shop, trouble: str) -> None:
    bare.chain.is_away = trouble == "away"
    bare.chain.is_synced = trouble != "syncing"
    if trouble == "another network":
        bare.chain.configured_genesis = "00" * 32
    with pytest.raises(UnavailableError, match="--next-index") as error:
        await add(bare, xpub="mine")
    assert error.value.code == "history_unavailable"
    assert await wallets.list_all(bare.context, bare.principal.merchant_id) == []
    # Whoever knows it says so, and one address needs no history.
    added = await add(bare, xpub="mine", next_index=9)
    assert added.history is None
    assert added.wallet.next_index == 9
    await remove(bare)
    assert (await add(bare, address="w1place")).wallet.next_index == 0


@pytest.mark.parametrize("index", [-1, wallets.INDEX_MAX + 1])
async def test_an_index_that_no_wallet_has(bare: Shop, index: int) -> None:
    assert await refused(bare, xpub="mine", next_index=index) == "invalid_number"
    assert await refused(bare, address="w1place", next_index=0) == "invalid_number"


# --- removing, and adding again ----------------------------------------------------------------


async def test_a_removed_wallet_is_offered_no_more_and_still_credits(shop: Shop) -> None:
    paid, asked = await shop.invoice(), await shop.invoice()
    address = (await shop.quote(paid)).address
    await remove(shop)
    assert await wallets.list_all(shop.context, shop.principal.merchant_id) == []
    for invoice in (asked, await shop.read(await shop.order())):
        with pytest.raises(NotFoundError) as error:
            await quotes.choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
        assert error.value.code == "method_not_offered"
    shop.chain.pay(address, PRICE)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(paid) is Status.PAID
    assert await shop.status(asked) is Status.UNPAID


async def test_the_page_keeps_the_price_of_a_removed_wallet_until_it_ends(shop: Shop) -> None:
    invoice = await shop.invoice()
    await remove(shop)
    seen = await checkout.view(shop.context, invoice.share_token, shop.clock.now())
    assert seen.price is not None
    assert seen.price.address == (await shop.quote(invoice)).address
    assert seen.offers == ()
    await shop.look(20 * 60)
    seen = await checkout.view(shop.context, invoice.share_token, shop.clock.now())
    assert (seen.price, seen.offers) == (None, ())


async def test_adding_it_again_goes_on_behind_what_was_shown(shop: Shop) -> None:
    shown = [await address_of_new_invoice(shop) for _ in range(3)]
    wallet_id = await remove(shop)
    for start in (None, 0, 2):
        again = await add(shop, xpub="xpub", next_index=start)
        assert again.wallet.id == wallet_id
        assert again.wallet.next_index == len(shown)
        shown.append(await address_of_new_invoice(shop))
        await remove(shop)
    # What was used elsewhere meanwhile is looked for from there on.
    shop.chain.pay(derived(shop, "xpub", 10)[0], 1_000)
    shop.chain.mine()
    assert (await add(shop, xpub="xpub")).wallet.next_index == 11
    shown.append(await address_of_new_invoice(shop))
    assert tuple(shown) == derived(shop, "xpub", 0, 1, 2, 3, 4, 5, 11)


async def test_an_index_that_was_passed_meanwhile_is_not_gone_back_to(shop: Shop) -> None:
    """Addresses may be shown while the node is asked, until the wallet is removed elsewhere."""
    who = shop.principal.merchant_id
    for _ in range(3):
        await address_of_new_invoice(shop)
    await remove(shop)
    again = await shop.store.write(
        lambda c: db_merchants.put_wallet(
            c, merchant_id=who, method="COIN", kind="xpub", value="xpub", next_index=1, now=1
        )
    )
    assert again is not None
    assert again.next_index == 3


async def test_adding_it_again_twice_at_once(shop: Shop) -> None:
    await address_of_new_invoice(shop)
    await remove(shop)
    made = await at_once(shop.store, *(add(shop, xpub="xpub") for _ in range(4)))
    codes = [each.code for each in made if isinstance(each, ConflictError)]
    assert codes == ["wallet_exists"] * 3
    assert (await only(shop)).next_index == 1


async def test_an_address_is_taken_into_use_again(bare: Shop) -> None:
    await add(bare, address="w1place")
    first = await remove(bare)
    await add(bare, address="W1PLACE")
    assert (await only(bare)).id == first
    assert (await bare.quote(await bare.invoice())).address == "w1place"


async def test_an_open_invoice_moves_to_the_wallet_that_replaces(shop: Shop) -> None:
    invoice = await shop.invoice()
    old = await shop.quote(invoice)
    await remove(shop)
    await add(shop, xpub="second")
    await quotes.choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
    new = await shop.quote(invoice)
    assert (new.address,) == derived(shop, "second", 0)
    # A wallet that stays gives an invoice no second address.
    await quotes.choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
    assert (await shop.quote(invoice)).address == new.address
    # Whichever of them is paid, it is the same invoice.
    shop.chain.pay(old.address, PRICE)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID


async def test_the_rest_is_not_asked_for_on_a_removed_wallet(shop: Shop) -> None:
    invoice = await shop.invoice()
    address = (await shop.quote(invoice)).address
    await remove(shop)
    shop.chain.pay(address, PRICE // 2)
    await shop.look()
    (quote,) = await shop.quotes(invoice)
    assert quote.lock_until <= shop.clock.now(), "nor is the whole asked for any longer"
    await add(shop, xpub="xpub")
    await quotes.choose(shop.context, invoice.share_token, COIN.id, shop.clock.now())
    assert (await shop.quote(invoice)).address == address


async def test_only_ones_own_wallets_can_be_removed(shop: Shop) -> None:
    other = await other_shop(shop)
    mine = (await only(shop)).id
    await merchants.create(shop.context, "Third", "USD", 1)
    simulated = await shop.store.read(
        lambda c: c.execute(sa.select(wallet.c.id).where(wallet.c.method == "TEST")).scalar_one()
    )
    third = (await merchants.find(shop.store, "Third")).id
    for merchant_id, wallet_id in ((other.principal.merchant_id, mine), (third, simulated)):
        with pytest.raises(NotFoundError):
            await wallets.remove(shop.context, merchant_id, wallet_id, 1)
    await remove(shop)
    with pytest.raises(NotFoundError):
        await wallets.remove(shop.context, shop.principal.merchant_id, mine, 1)


async def test_what_was_rolled_back_takes_no_address(shop: Shop) -> None:
    invoice = await shop.read(await shop.order())

    def write(connection: sa.Connection) -> None:
        quotes.open_quote(connection, shop.context, invoice, COIN, shop.clock.now())
        raise ConflictError("planted", "The transaction ends here.")

    with pytest.raises(ConflictError):
        await shop.store.write(write)
    assert (await only(shop)).next_index == 0
    assert (
        await shop.store.read(
            lambda c: db_quotes.find_destination(c, shop.chain.derive("xpub", 0).key)
        )
        is None
    )
    assert (await address_of_new_invoice(shop),) == derived(shop, "xpub", 0)


async def test_invoices_that_are_opened_at_once_get_an_address_each(shop: Shop) -> None:
    orders = [await shop.read(await shop.order()) for _ in range(8)]
    now = shop.clock.now()
    await at_once(
        shop.store,
        *(quotes.choose(shop.context, each.share_token, COIN.id, now) for each in orders),
    )
    shown = {(await shop.quote(each)).address for each in orders}
    assert shown == set(derived(shop, "xpub", *range(8)))


# --- what is told -----------------------------------------------------------------------------


async def test_changes_are_logged_with_a_fingerprint_and_without_the_key(bare: Shop) -> None:
    key = "xpub-that-nobody-may-read-in-a-log"
    with capture_logs() as lines:
        await add(bare, xpub=key)
        await remove(bare)
    assert [line["event"] for line in lines] == ["wallet_added", "wallet_removed"]
    assert {line["fingerprint"] for line in lines} == {wallets.fingerprint(key)}
    assert key not in repr(lines)


async def test_a_hint_is_not_the_key(bare: Shop) -> None:
    await add(bare, xpub="xpub" + "k" * 100 + "tail")
    assert (await only(bare)).hint == "xpubkkkkkkkkkkkkkkkk...tail"
    await remove(bare)
    await add(bare, address="w1place")
    assert (await only(bare)).hint == "w1place"


async def test_a_coin_that_is_switched_off_has_no_addresses_to_compare(shop: Shop) -> None:
    assert len((await only(shop)).addresses) == wallets.ADDRESSES_TO_COMPARE
    shop.context = replace(shop.context, methods=Methods([]))
    assert (await only(shop)).addresses == ()


async def test_a_gap_is_told_from_fifteen_on(shop: Shop) -> None:
    addresses = [await address_of_new_invoice(shop) for _ in range(GAP - 1)]
    assert (await only(shop)).use.gap == GAP - 1
    assert (await only(shop)).warning is None
    assert await wallets.list_gaps(shop.store) == []
    addresses.append(await address_of_new_invoice(shop))
    listed = await only(shop)
    assert (listed.use.shown, listed.use.paid, listed.use.gap) == (GAP, 0, GAP)
    assert listed.warning == (
        "15 addresses in a row were shown and not paid, and most wallets look only 20 ahead: "
        "set the gap limit of yours to 100, or it may not show what is paid next."
    )
    (gap,) = await wallets.list_gaps(shop.store)
    assert (gap.merchant, gap.wallet_id, gap.method) == ("Shop", listed.id, COIN.id)
    assert gap.warning == listed.warning
    # In the mempool it does not count yet; in a block it parts the run in two.
    shop.chain.pay(addresses[5], PRICE)
    await shop.look()
    assert (await only(shop)).use.paid == 0
    shop.chain.mine()
    await shop.look()
    assert (await only(shop)).use == replace(listed.use, paid=1, gap=9)
    assert await wallets.list_gaps(shop.store) == []


async def test_the_longest_gap_is_told_wherever_it_is(shop: Shop) -> None:
    addresses = [await address_of_new_invoice(shop) for _ in range(12)]
    for paid, gap in (([8], 8), ([1], 6), ([1, 11], 6), ([3], 4)):
        for index in paid:
            shop.chain.pay(addresses[index], PRICE)
        shop.chain.mine()
        await shop.look()
        assert (await only(shop)).use.gap == gap


@pytest.mark.parametrize(("gap", "limit"), [(15, 100), (49, 100), (50, 200), (120, 300)])
def test_a_gap_limit_is_good_for_twice_the_gap(gap: int, limit: int) -> None:
    assert wallets.gap_limit(gap) == limit
    assert limit >= 2 * gap


async def test_a_month_old_address_of_a_removed_wallet_goes_to_its_invoice(shop: Shop) -> None:
    invoice = await shop.invoice()
    address = (await shop.quote(invoice)).address
    await remove(shop)
    await shop.look(30 * 24 * 60 * MINUTE / 1_000)
    shop.chain.pay(address, PRICE)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
