"""What a merchant does with the inbox, for the tests of it."""

import json
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import audit, payment
from counterfoil.services import inbox
from counterfoil.services.audit import Actor, with_key
from counterfoil.services.inbox import Listed
from tests.services.shop import Shop


def actor(shop: Shop) -> Actor:
    return with_key(shop.principal)


async def listed(shop: Shop, *, is_ignored: bool = False, who: Actor | None = None) -> list[Listed]:
    page, _ = await inbox.list_page(
        shop.context, who or actor(shop), is_ignored=is_ignored, after=None, limit=50
    )
    return page


async def attach(shop: Shop, item_id: int, invoice: Invoice, value: str | None = None) -> int:
    _, made = await inbox.attach(
        shop.context, actor(shop), item_id, invoice.id, value, shop.clock.now()
    )
    return made.payment.id


async def detach(shop: Shop, payment_id: int) -> int:
    _, item_id = await inbox.detach(shop.context, actor(shop), payment_id, shop.clock.now())
    return item_id


async def stray(stall: Shop, invoice: Invoice, share: Fraction = Fraction(996, 1000)) -> int:
    """Pay a share of an invoice's price, and return where that lies in the inbox."""
    quote = await stall.quote(invoice)
    stall.chain.pay(quote.address, int(quote.amount_atomic * share))
    await stall.look()
    return (await listed(stall))[0].item.id


async def credited_ids(shop: Shop, invoice: Invoice) -> list[int]:
    statement = sa.select(payment.c.id).where(
        payment.c.invoice_id == invoice.id, payment.c.detached_at.is_(None)
    )
    return await shop.store.read(lambda c: list(c.execute(statement).scalars()))


async def deeds(shop: Shop) -> list[tuple[Any, ...]]:
    statement = sa.select(audit).order_by(audit.c.id)
    rows = await shop.store.read(lambda c: c.execute(statement).mappings().all())
    return [
        (row["who"], row["act"], row["invoice_id"], row["payment_id"], json.loads(row["details"]))
        for row in rows
    ]
