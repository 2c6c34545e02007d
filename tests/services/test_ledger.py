"""The ledger: its sums are those of the transfers, and each payment keeps what it was worth."""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.events import iso
from counterfoil.core.ports import Mode
from counterfoil.db.schema import chain_transaction, transfer
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import ledger, rates
from counterfoil.services.ledger import Ledger
from tests.services.moves import attach, credited_ids, detach
from tests.services.shop import MINUTE, Shop, open_shop
from tests.sim.chain import COIN

FOREVER = 1 << 52


async def read(shop: Shop, start: int = 0, end: int = FOREVER, mode: Mode = Mode.LIVE) -> Ledger:
    return await ledger.read(shop.context, shop.principal.merchant_id, mode, start, end)


async def fix(shop: Shop, price: str) -> None:
    """Let the coin cost something else from now on."""
    fixed = FixedRates({("COIN", "USD"): Decimal(price)})
    await rates.refresh(shop.store, [fixed], shop.clock.now())


async def mined_sum(shop: Shop) -> int:
    """Return what came in blocks, added up from the transfers themselves."""
    statement = (
        sa.select(transfer.c.amount_atomic)
        .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
        .where(chain_transaction.c.block_height.is_not(None))
    )
    amounts: list[Any] = await shop.store.read(lambda c: list(c.execute(statement).scalars()))
    return sum(map(int, amounts))


async def test_the_sums_are_those_of_the_chain_to_the_last_unit(stall: Shop) -> None:
    first, second = await stall.invoice("10.00"), await stall.invoice("33.33")
    asked = [await stall.quote(invoice) for invoice in (first, second)]
    sent = [asked[0].amount_atomic, asked[1].amount_atomic, asked[1].amount_atomic - 3, 12_345_678]
    for amount in sent:
        stall.chain.pay(asked[0].address, amount)
    stall.chain.mine(2)
    await stall.look()
    # Neither what is unconfirmed nor what was replaced has come.
    stall.chain.pay(asked[0].address, 999)
    await stall.look()
    lost = stall.chain.pay(asked[0].address, 55_555)
    await stall.look()
    stall.chain.pay("w1else", 5, spends=lost.spends)
    await stall.look()
    found = await read(stall)
    rows, waiting = found.rows, found.unconfirmed
    assert waiting == 1
    assert sum(int(row["amount_atomic"]) for row in rows) == sum(sent)
    assert await mined_sum(stall) == sum(sent)
    assert found.credited_atomic == {COIN.id: sum(sent[:2])}
    assert found.inbox_atomic == {COIN.id: sum(sent[2:])}
    assert [(row["state"], row["inbox_reason"]) for row in rows] == [
        ("final", ""),
        ("final", ""),
        ("inbox", "no_exact_amount"),
        ("inbox", "no_exact_amount"),
    ]
    # One transaction that pays twice is two rows.
    stall.chain.broadcast((asked[0].address, 7), (asked[0].address, 8))
    stall.chain.mine()
    await stall.look()
    assert sum((await read(stall)).inbox_atomic.values()) == await mined_sum(stall) - sum(sent[:2])


async def test_what_was_moved_by_hand_is_there_once(shop: Shop) -> None:
    first, second = await shop.invoice("10.00"), await shop.invoice("10.00")
    quote = await shop.quote(first)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    (payment_id,) = await credited_ids(shop, first)
    item_id = await detach(shop, payment_id)
    found = await read(shop)
    assert (found.credited_atomic, found.inbox_atomic) == ({}, {COIN.id: quote.amount_atomic})
    await attach(shop, item_id, second)
    found = await read(shop)
    assert (found.credited_atomic, found.inbox_atomic) == ({COIN.id: quote.amount_atomic}, {})
    assert [row["invoice_id"] for row in found.rows] == [str(second.id)]


async def test_a_payment_keeps_its_worth_at_the_quote_on_arrival_and_when_final(
    shop: Shop,
) -> None:
    invoice = await shop.invoice("25.00", order_id="A-7")
    quote = await shop.quote(invoice)
    await fix(shop, "80.5")
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    arrived_at = shop.clock.now()
    await fix(shop, "120")
    shop.chain.mine()
    await shop.look()
    (row,) = (await read(shop)).rows
    assert (row["state"], row["confirmations"], row["confirmed_at"]) == ("confirming", "1", "")
    assert row["confirmation_value"] == row["confirmation_rate"] == ""
    shop.chain.mine()
    await shop.look(MINUTE // 1_000)
    final_at = shop.clock.now()
    # What was recorded stays, whatever the coin costs later.
    await fix(shop, "1")
    shop.chain.mine()
    await shop.look()
    (row,) = (await read(shop)).rows
    assert (row["state"], row["order_id"], row["fiat_currency"]) == ("final", "A-7", "USD")
    assert (row["amount"], row["amount_atomic"]) == ("0.25", "25000000")
    assert row["confirmed_at"] == iso(final_at)
    evidence = [
        [row[f"{moment}_{name}"] for name in ("value", "rate", "rate_sources", "rate_at")]
        for moment in ("quote", "arrival", "confirmation")
    ]
    assert evidence == [
        ["25.00", "100", "fixed", iso(quote.rate_at)],
        ["20.12", "80.5", "fixed", iso(arrived_at)],
        ["30.00", "120", "fixed", iso(final_at)],
    ]


async def test_without_a_rate_nothing_is_made_up(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    await rates.refresh(shop.store, [FixedRates({})], shop.clock.now())
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    (row,) = (await read(shop)).rows
    assert (row["state"], row["quote_value"]) == ("final", "25.00")
    assert row["arrival_value"] == row["arrival_rate"] == row["confirmation_rate_at"] == ""
    assert row["confirmed_at"] != ""


async def test_a_period_has_its_first_moment_and_not_its_last(shop: Shop) -> None:
    times = []
    for _ in range(3):
        quote = await shop.quote(await shop.invoice())
        shop.chain.pay(quote.address, quote.amount_atomic)
        await shop.look(60)
        times.append(shop.clock.now())
    shop.chain.mine()
    await shop.look()
    (row,) = (await read(shop, times[1], times[2])).rows
    assert row["first_seen_at"] == iso(times[1])


async def test_nobody_elses_money_is_in_it(shop: Shop) -> None:
    other = await open_shop(shop.store, shop.clock, wallet="other", name="Other", chain=shop.chain)
    quote = await shop.quote(await other.invoice())
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    await shop.look(20)
    assert len((await read(other)).rows) == 1
    assert (await read(shop)).rows == []
    assert (await read(other, mode=Mode.TEST)).rows == []


async def test_what_a_reorg_took_back_has_not_come(shop: Shop) -> None:
    quote = await shop.quote(await shop.invoice())
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    assert len((await read(shop)).rows) == 1
    shop.chain.reorg(2, keep=False)
    await shop.look()
    assert (await read(shop)).rows == []
    shop.chain.mine()
    await shop.look()
    # It is less deep than it was, and its evidence is that of the first time.
    (row,) = (await read(shop)).rows
    assert (row["state"], row["confirmation_value"]) == ("confirming", "25.00")
