"""Amounts on shared addresses after a restore: no stranger is credited with what was lost."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from counterfoil.core import money
from counterfoil.core.errors import ConflictError
from counterfoil.core.invoice import Status
from counterfoil.core.matching import QUARANTINE_MS
from counterfoil.core.quote import LOCK_MS
from counterfoil.db import amounts
from counterfoil.db.engine import Database
from counterfoil.db.schema import chain
from counterfoil.services import upkeep
from counterfoil.services.quotes import choose
from tests.services.lost import back_up, restore
from tests.services.shop import MINUTE, SECOND, Shop
from tests.sim.chain import COIN

DAY = 24 * 60 * MINUTE


async def test_no_amount_is_asked_for_until_the_lost_ones_have_been_waited_for(
    stall: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    known = await stall.invoice()
    path = await back_up(stall, database, tmp_path)
    lost = await stall.quote(await stall.invoice("30.00"))
    restored = await restore(stall, path, elsewhere)
    await restored.look()
    # The payer of an invoice that is known keeps the amount, which nobody else was told.
    before = await stall.quote(known)
    await choose(restored.context, known.share_token, COIN.id, restored.clock.now())
    assert (await restored.quote(known)).amount_atomic == before.amount_atomic
    with pytest.raises(ConflictError) as refused:
        await restored.invoice("30.00")
    assert refused.value.code == "no_free_amount"
    # The lost invoice is paid in its last moment: nobody else is credited with that.
    restored.clock.advance(QUARANTINE_MS)
    restored.chain.pay(lost.address, lost.amount_atomic)
    await restored.look()
    assert await restored.inbox() == ["no_exact_amount"]
    # The day that passed was not watched, and does not count.
    with pytest.raises(ConflictError):
        await restored.invoice("30.00")
    await watch_for(restored, QUARANTINE_MS + LOCK_MS - MINUTE)
    with pytest.raises(ConflictError):
        await restored.invoice("30.00")
    await watch_for(restored, MINUTE)
    fresh = await restored.quote(await restored.invoice("30.00"))
    assert fresh.amount_atomic != lost.amount_atomic


async def watch_for(shop: Shop, duration_ms: int) -> None:
    """Let the chain be watched for a time, all but its last ten seconds at one go."""
    gained = {"watched_ms": chain.c.watched_ms + duration_ms - 10 * SECOND}
    await shop.store.write(lambda c: c.execute(sa.update(chain).values(gained)))
    await shop.look(10)


async def test_an_amount_that_may_have_become_anothers_credits_nobody(
    stall: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    """The lost server freed the amount after its quarantine, and asked a stranger for it."""
    early, late = await stall.invoice("25.00"), await stall.invoice("25.00")
    path = await back_up(stall, database, tmp_path)
    asked = {invoice.id: await stall.quote(invoice) for invoice in (early, late)}
    over_at = asked[early.id].lock_until + QUARANTINE_MS
    for invoice, at in ((early, over_at - 1), (late, over_at)):
        stall.clock.at = stall.chain.now = at
        stall.chain.pay(asked[invoice.id].address, asked[invoice.id].amount_atomic)
        stall.chain.mine()
    stall.clock.advance(DAY)
    restored = await restore(stall, path, elsewhere)
    await restored.look()
    assert await restored.status(early) is Status.PAID
    assert await restored.status(late) is Status.UNPAID
    assert await restored.inbox() == ["no_exact_amount"]
    amount = money.format_coin(asked[late.id].amount_atomic, COIN.decimals)
    destination_id = asked[late.id].destination_id
    holder = await restored.store.read(lambda c: amounts.holder_of(c, destination_id, amount))
    assert holder is None


async def test_an_amount_that_was_held_at_the_backup_was_nobody_elses_before_it(
    stall: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    """The chain was not watched, so the quarantine was over late: the backup shows it as held."""
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    stall.chain.now = stall.clock.advance(3 * DAY)
    await upkeep.sweep(stall.context, stall.clock.now())
    stall.chain.pay(quote.address, quote.amount_atomic)
    stall.chain.mine()
    stall.clock.advance(SECOND)
    path = await back_up(stall, database, tmp_path)
    stall.clock.advance(MINUTE)
    restored = await restore(stall, path, elsewhere)
    await restored.look()
    assert await restored.inbox() == []
    assert await restored.status(invoice) is Status.CONFIRMING
