"""One invoice that is asked for in two coins, on two chains: what the one means for the other."""

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from counterfoil.core.invoice import Status
from counterfoil.db.engine import Database
from counterfoil.db.invoices import Invoice
from counterfoil.db.quotes import Quote
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, wallets, watching
from counterfoil.services.context import Methods
from counterfoil.services.quotes import choose
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, Shop, open_shop
from tests.sim.chain import COIN, WorldChain

OTHER = replace(COIN, id="OTHER", symbol="OTHER", name="Another coin", chain="elsewhere")


@dataclass
class Market:
    """A shop that takes a second coin too, on a chain of its own."""

    shop: Shop
    chain: WorldChain
    watch: watching.Watch

    async def order(self, amount: str = "25.00", due_at: int | None = None) -> Invoice:
        """Make an invoice and ask for it in both coins."""
        invoice = await self.shop.invoice(amount, due_at=due_at)
        await self.choose(invoice, OTHER.id)
        return invoice

    async def choose(self, invoice: Invoice, method: str) -> None:
        shop = self.shop
        await choose(shop.context, invoice.share_token, method, shop.clock.now())

    async def quotes(self, invoice: Invoice) -> tuple[Quote, Quote]:
        """Return the last price in the shop's coin, and the last one in the other."""
        last = {quote.method: quote for quote in await self.shop.quotes(invoice)}
        return last[COIN.id], last[OTHER.id]

    async def look(self, seconds: float = 1) -> None:
        """Let time pass, and both chains be read."""
        await self.shop.look(seconds)
        self.chain.now = self.shop.clock.now()
        while await self.watch.look(self.shop.clock.now()):
            pass
        await self.shop.tick()


@pytest.fixture
async def market(database: Database, clock: FakeClock) -> Market:
    shop = await open_shop(database, clock)
    chain = WorldChain(name="elsewhere", network="test:elsewhere", methods=(OTHER,))
    shop.context = replace(shop.context, methods=Methods([shop.chain, chain]))
    shop.watch = watching.Watch(shop.context, shop.chain, "Shop")
    await watching.ensure_chains(shop.context)
    prices = {(symbol, "USD"): Decimal(100) for symbol in ("COIN", "OTHER")}
    await rates.refresh(database, [FixedRates(prices)], clock.now())
    merchant_id = shop.principal.merchant_id
    await wallets.add(
        shop.context, merchant_id, OTHER.id, xpub="another", address=None, now=clock.now()
    )
    made = Market(shop, chain, watching.Watch(shop.context, chain, "Shop"))
    await made.look()
    return made


async def test_it_expires_once_every_chain_was_watched_past_its_end(market: Market) -> None:
    invoice = await market.order(due_at=market.shop.clock.now() + 10 * MINUTE)
    market.chain.is_away = True
    await market.look(20 * 60)
    assert await market.shop.status(invoice) is Status.UNPAID, "it may have been paid there"
    # Nor does it when something else makes it be looked at.
    quote, _ = await market.quotes(invoice)
    sent = market.shop.chain.pay(quote.address, 1_000)
    await market.look()
    market.shop.chain.broadcast(("w1elsewhere", 1), spends=sent.spends)
    await market.look()
    assert await market.shop.status(invoice) is Status.UNPAID
    market.chain.is_away = False
    await market.look()
    assert await market.shop.status(invoice) is Status.EXPIRED


async def test_what_two_chains_call_alike_are_two_things(market: Market) -> None:
    """An account and its nonce are the same on both: neither payment is the rival of the other."""
    market.chain.pay("w1else", 1)
    invoice = await market.order()
    one, other = await market.quotes(invoice)
    sent = market.shop.chain.pay(one.address, one.amount_atomic // 2)
    twin = market.chain.pay(other.address, other.amount_atomic // 2, spends=sent.spends)
    assert twin.txid != sent.txid
    await market.look()
    assert await market.shop.status(invoice) is Status.CONFIRMING
    market.shop.chain.mine(2)
    market.chain.mine(2)
    await market.look()
    assert await market.shop.status(invoice) is Status.PAID


async def test_a_part_in_one_coin_leaves_the_rest_to_be_paid_in_either(market: Market) -> None:
    invoice = await market.order()
    one, other = await market.quotes(invoice)
    market.shop.chain.pay(one.address, one.amount_atomic * 2 // 5)
    await market.look()
    for old, new in zip((one, other), await market.quotes(invoice), strict=True):
        assert (new.fiat, new.amount_atomic) == (Decimal("15.00"), old.amount_atomic * 3 // 5)
    ended = {quote.id: quote.lock_until for quote in await market.shop.quotes(invoice)}
    assert max(ended[one.id], ended[other.id]) <= market.shop.clock.now()


async def test_when_the_part_is_replaced_both_ask_for_the_whole_again(market: Market) -> None:
    invoice = await market.order()
    one, _ = await market.quotes(invoice)
    sent = market.shop.chain.pay(one.address, one.amount_atomic * 2 // 5)
    await market.look()
    market.shop.chain.broadcast(("w1elsewhere", 1), spends=sent.spends)
    await market.look()
    assert [quote.fiat for quote in await market.quotes(invoice)] == 2 * [Decimal("25.00")]


async def test_a_new_price_in_one_coin_leaves_that_in_the_other(market: Market) -> None:
    invoice = await market.order()
    one, other = await market.quotes(invoice)
    await market.look(5 * 60)
    await market.choose(invoice, COIN.id)
    locks = {quote.id: quote.lock_until for quote in await market.shop.quotes(invoice)}
    assert locks[one.id] < one.lock_until
    assert locks[other.id] == other.lock_until
