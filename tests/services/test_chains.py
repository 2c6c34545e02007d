"""Chains that are switched off for good, and what then becomes of invoices."""

from dataclasses import replace

import pytest

from counterfoil.core.errors import ConflictError, NotFoundError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.services import chains, upkeep, watching
from counterfoil.services.context import Context, Methods
from tests.services.shop import MINUTE, Shop
from tests.sim.chain import COIN, WorldChain


def without_chains(shop: Shop) -> Context:
    """Return the context of a server whose settings name no chain any more."""
    return replace(shop.context, methods=Methods([]))


async def test_the_wait_for_a_chain_that_is_switched_off_can_be_ended(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice(due_at=shop.clock.now() + 10 * MINUTE)
    off = without_chains(shop)
    shop.clock.advance(11 * MINUTE)
    await upkeep.DueDates(off).assess(shop.clock.now())
    assert await shop.status(invoice) is Status.UNPAID, "its payer may have paid"
    known = await chains.retire(off, shop.chain.name, shop.clock.now())
    assert known.state.retired_at == shop.clock.now()
    assert not known.is_on
    await upkeep.DueDates(off).assess(shop.clock.now())
    assert await shop.status(invoice) is Status.EXPIRED
    assert await shop.events(invoice) == ["invoice_expired"]


async def test_a_chain_that_is_on_again_gives_what_was_paid_meanwhile(shop: Shop) -> None:
    invoice = await shop.invoice(due_at=shop.clock.now() + 10 * MINUTE)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = shop.clock.now() + MINUTE
    shop.chain.mine()
    shop.clock.advance(11 * MINUTE)
    await chains.retire(without_chains(shop), shop.chain.name, shop.clock.now())
    await shop.tick()
    assert await shop.status(invoice) is Status.EXPIRED
    await watching.ensure_chains(shop.context)
    (known,) = await chains.list_all(shop.context)
    assert known.state.retired_at is None
    assert known.is_on
    shop.chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []


async def test_a_chain_that_is_watched_is_not_retired(shop: Shop) -> None:
    name = shop.chain.name
    with pytest.raises(ConflictError, match=f"Take chains.{name} out of the settings"):
        await chains.retire(shop.context, name, shop.clock.now() + 10 * MINUTE)
    # Another server still has it in its settings.
    with pytest.raises(ConflictError, match="was watched until a moment ago"):
        await chains.retire(without_chains(shop), name, shop.clock.now())
    with pytest.raises(NotFoundError, match=f"called dogecoin; it knows: {name}"):
        await chains.retire(shop.context, "dogecoin", shop.clock.now())


async def test_the_chain_of_test_mode_stays(shop: Shop) -> None:
    test_coin = replace(COIN, mode=Mode.TEST)
    chain = WorldChain(methods=(test_coin,))
    context = replace(shop.context, methods=Methods([chain]))
    with pytest.raises(ConflictError, match="belongs to test mode"):
        await chains.retire(context, chain.name, shop.clock.now() + 10 * MINUTE)


async def test_open_payments_are_told(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (known,) = await chains.list_all(shop.context)
    assert known.open_payments == 1
    shop.chain.mine(2)
    await shop.look()
    (known,) = await chains.list_all(shop.context)
    assert known.open_payments == 0
