"""Refund notes: what is kept of them, and that they change nothing else."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import InvalidError, NotFoundError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode
from counterfoil.db.schema import audit
from counterfoil.services import inbox, merchants, refunds
from counterfoil.services.audit import at_terminal, with_key
from counterfoil.services.refunds import Draft
from tests.services.shop import Shop


async def test_who_asks_again_notes_one_transaction_once(shop: Shop) -> None:
    invoice, who = await shop.invoice("25.00"), with_key(shop.principal)
    sent = Draft("0.25", "COIN", "ab" * 32, "All of it.")
    _, first = await refunds.add(shop.context, who, invoice.id, sent, shop.clock.now())
    others = [
        replace(sent, amount="0.1"),
        replace(sent, txid="cd" * 32),
        replace(sent, note="The rest."),
        # Without a transaction the same may well have been sent twice.
        replace(sent, txid=""),
        replace(sent, txid=""),
    ]
    for each in (sent, *others, sent):
        await refunds.add(shop.context, who, invoice.id, each, shop.clock.advance(1_000))
    _, kept = await refunds.list_all(shop.context, who, invoice.id)
    assert kept[0] == first
    assert len(kept) == 1 + len(others)
    deeds = sa.select(sa.func.count()).select_from(audit)
    assert await shop.store.read(lambda c: c.execute(deeds).scalar_one()) == len(kept)


async def test_of_many_who_ask_at_once_one_note_is_kept(shop: Shop) -> None:
    invoice, who, now = await shop.invoice("25.00"), with_key(shop.principal), shop.clock.now()
    sent = Draft("0.25", "COIN", "ab" * 32)
    await asyncio.gather(*(refunds.add(shop.context, who, invoice.id, sent, now) for _ in range(6)))
    _, kept = await refunds.list_all(shop.context, who, invoice.id)
    assert len(kept) == 1


async def test_a_note_is_kept_and_changes_nothing(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.invoice("25.00")
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    before, told = await shop.read(invoice.id), await shop.bodies()
    who, now = with_key(shop.principal), shop.clock.advance(1_000)
    coin = Draft("0.250", "coin", "ab" * 32, "All of it.\nSorry.", 1)
    await refunds.add(shop.context, who, invoice.id, coin, now)
    await refunds.add(shop.context, who, invoice.id, Draft("1.5"), now)
    _, kept = await refunds.list_all(shop.context, who, invoice.id)
    assert [refunds.describe(invoice, each) for each in kept] == [
        {
            "id": 1,
            "amount": "0.25",
            "method": "COIN",
            "fiat_currency": None,
            "payment_id": 1,
            "txid": "ab" * 32,
            "note": "All of it.\nSorry.",
            "created_at": "2026-01-06T11:46:43.123Z",
        },
        {
            "id": 2,
            "amount": "1.50",
            "method": None,
            "fiat_currency": "USD",
            "payment_id": None,
            "txid": "",
            "note": "",
            "created_at": "2026-01-06T11:46:43.123Z",
        },
    ]
    assert await shop.read(invoice.id) == before
    assert await shop.bodies() == told
    assert before.standing.status is Status.PAID
    rows = await shop.store.read(lambda c: c.execute(sa.select(audit)).all())
    assert [(row.who, row.act, row.invoice_id, row.payment_id, row.details) for row in rows] == [
        ("key 1", "refund", invoice.id, 1, '{"refund_id": "1"}'),
        ("key 1", "refund", invoice.id, None, '{"refund_id": "2"}'),
    ]


async def test_a_payment_that_was_taken_off_may_be_given_back(shop: Shop) -> None:
    invoice, other = await shop.invoice(), await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    who, now = with_key(shop.principal), shop.clock.now()
    await inbox.detach(shop.context, who, 1, now)
    draft = Draft("0.25", "COIN", payment_id=1)
    await refunds.add(shop.context, who, invoice.id, draft, now)
    with pytest.raises(InvalidError) as refused:
        await refunds.add(shop.context, who, other.id, draft, now)
    assert (refused.value.code, refused.value.field) == ("unknown_payment", "payment_id")


async def test_nobody_notes_anything_on_somebody_elses_invoice(shop: Shop) -> None:
    invoice = await shop.invoice()
    now = shop.clock.now()
    stranger_id = await merchants.create(shop.context, "Stranger", "USD", now)
    for who in (
        at_terminal(stranger_id, Mode.LIVE),
        at_terminal(shop.principal.merchant_id, Mode.TEST),
    ):
        with pytest.raises(NotFoundError):
            await refunds.add(shop.context, who, invoice.id, Draft("1.00"), now)
        with pytest.raises(NotFoundError):
            await refunds.list_all(shop.context, who, invoice.id)
    _, kept = await refunds.list_all(shop.context, with_key(shop.principal), invoice.id)
    assert kept == []
