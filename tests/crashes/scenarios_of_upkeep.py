"""Telling, what an operator does, shared addresses, what grows old, and who watches."""

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from counterfoil.core.access import Scope
from counterfoil.core.errors import ConflictError
from counterfoil.core.invoice import EventType
from counterfoil.core.matching import QUARANTINE_MS
from counterfoil.core.ports import Answer, Attempt, Mode
from counterfoil.db.copies import Copy
from counterfoil.db.outbox import list_channels
from counterfoil.db.schema import chain
from counterfoil.db.vault import Vault, make_key
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import keys, merchants, outbox, rates, wallets
from counterfoil.services.watching import LeaseLostError, Watch
from tests.crashes.given import (
    HOUR_S,
    nothing,
    paid,
    scenario,
    seen,
    shown,
    stall,
    stall_shown,
    three_shown,
    to_tell,
)
from tests.crashes.stage import Stage
from tests.services.shop import PRICES, Shop, end_lease
from tests.sim.chain import COIN

VAULT = Vault(make_key())


# --- telling -----------------------------------------------------------------------------------


@scenario(to_tell)
async def events_are_told(stage: Stage) -> None:
    await stage.deliver()


def _answers(answer: Answer, status: int) -> list[Attempt]:
    return [Attempt(answer, status, 1, "", None)]


@scenario(to_tell)
async def an_endpoint_fails_and_hears_it_later(stage: Stage) -> None:
    stage.outside.ear.answers = _answers(Answer.RETRY, 500)
    await stage.deliver()
    stage.pass_time(10)
    await stage.deliver()


@scenario(to_tell)
async def an_endpoint_is_gone_and_resumed(stage: Stage) -> None:
    stage.outside.ear.answers = _answers(Answer.GONE, 410)
    await stage.deliver()
    await stage.do(lambda shop: outbox.resume(shop.store, 1, shop.clock.now()))
    await stage.deliver()


@scenario(paid)
async def an_event_is_told_again(stage: Stage) -> None:
    async def again(shop: Shop) -> None:
        (last, *_) = await outbox.list_sent(shop.store, 1, 1)
        await outbox.redeliver(shop.store, 1, last.event_id, shop.clock.now())

    await stage.do(again)
    await stage.deliver()


@scenario(shown)
async def an_endpoint_is_added(stage: Stage) -> None:
    target = "https://shop.example/second"

    async def add(shop: Shop) -> None:
        merchant_id = shop.principal.merchant_id
        known = await shop.store.read(lambda c: list_channels(c, merchant_id))
        if all(each.target != target for each in known):
            every = tuple(EventType)
            await merchants.add_channel(
                *(shop.context, VAULT, stage.outside.ear, merchant_id, target, every),
                shop.clock.now(),
            )

    await stage.do(add)
    await stage.pay("A")
    await stage.look()
    await stage.deliver()


# --- what the operator does --------------------------------------------------------------------


@scenario(nothing)
async def a_key_is_replaced(stage: Stage) -> None:
    async def make(shop: Shop) -> None:
        merchant_id, now = shop.principal.merchant_id, shop.clock.now()
        await keys.create(
            *(shop.store, shop.context.entropy, merchant_id, Mode.LIVE, Scope.FULL), now
        )

    async def revoke(shop: Shop) -> None:
        """Revoke all but the last: whose answer was lost, nobody knows it."""
        merchant_id = shop.principal.merchant_id
        in_use = [k for k in await keys.list_all(shop.store, merchant_id) if k.revoked_at is None]
        for each in sorted(in_use, key=lambda key: key.id)[:-1]:
            await keys.revoke(shop.store, merchant_id, each.id, shop.clock.now())

    await stage.do(make)
    await stage.do(make)
    await stage.do(revoke)


@scenario(nothing)
async def a_merchant_is_added(stage: Stage) -> None:
    async def add(shop: Shop) -> None:
        try:
            await merchants.create(shop.context, "Second", "USD", shop.clock.now())
        except ConflictError:
            return

    await stage.do(add)


@scenario(shown)
async def a_wallet_is_removed_and_added_again(stage: Stage) -> None:
    async def remove(shop: Shop) -> None:
        merchant_id = shop.principal.merchant_id
        for each in await wallets.list_all(shop.context, merchant_id):
            await wallets.remove(shop.context, merchant_id, each.id, shop.clock.now())

    async def add(shop: Shop) -> None:
        merchant_id = shop.principal.merchant_id
        if not await wallets.list_all(shop.context, merchant_id):
            await wallets.add(shop.context, merchant_id, COIN.id, xpub="xpub", now=shop.clock.now())

    await stage.do(remove)
    await stage.do(add)
    await stage.order("B")
    await stage.show("B")


# --- a shared address --------------------------------------------------------------------------


@scenario(stall)
async def an_amount_is_given_out_on_a_shared_address(stage: Stage) -> None:
    await stage.show("A")


@scenario(stall_shown)
async def an_exact_amount_is_paid_on_a_shared_address(stage: Stage) -> None:
    await stage.pay("B")
    stage.mine(2)
    await stage.look()


@scenario(stall_shown)
async def another_amount_goes_to_the_inbox(stage: Stage) -> None:
    await stage.pay("A", 99)
    await stage.look()


@scenario(stall_shown)
async def an_amount_comes_out_of_quarantine(stage: Stage) -> None:
    await stage.look(16 * 60)
    await stage.sweep()

    # A day in which the chain was watched.
    def watch(connection: sa.Connection) -> None:
        connection.execute(sa.update(chain).values(watched_ms=chain.c.watched_ms + QUARANTINE_MS))

    await stage.do(lambda shop: shop.store.write(watch))
    await stage.sweep()


# --- upkeep ------------------------------------------------------------------------------------


@scenario(nothing)
async def rates_are_refreshed(stage: Stage) -> None:
    dearer = {pair: price + 1 for pair, price in PRICES.items()}
    stage.pass_time(60)
    await stage.do(lambda shop: rates.refresh(shop.store, [FixedRates(dearer)], shop.clock.now()))


@scenario(paid)
async def old_rows_are_swept(stage: Stage) -> None:
    await stage.order("B", key="old")
    stage.pass_time(91 * 24 * HOUR_S)
    await stage.order("C", key="young")
    stage.outside.is_swept = True
    await stage.sweep()


@scenario(shown)
async def a_backup_is_made_while_a_payment_comes(stage: Stage) -> None:
    with TemporaryDirectory() as folder:

        async def back_up(shop: Shop) -> tuple[int, int]:
            path = Path(folder) / f"{stage.outside.acts}-{time.monotonic_ns()}"
            path.touch()
            await shop.store.copy_to(path)  # type: ignore[attr-defined]  # it is a Database
            with Copy(path, is_new=True) as made:
                made.finish(shop.clock.now())
            with Copy(path) as made:
                made.check()
                return made.count()

        await stage.pay("A")
        before = await stage.do(back_up)
        await stage.look()
        after = await stage.do(back_up)
        assert (before, after) == ((1, 0), (1, 1))


# --- leases ------------------------------------------------------------------------------------


@scenario(seen)
async def another_watcher_takes_over(stage: Stage) -> None:
    stage.mine(2)
    await stage.do(lambda shop: shop.watch.release())
    await stage.do(lambda shop: Watch(shop.context, shop.chain, "another").look(shop.clock.now()))


@scenario(seen)
async def a_watcher_wakes_up_after_its_lease(stage: Stage) -> None:
    async def wake(shop: Shop) -> None:
        await shop.watch.look(shop.clock.now())
        await end_lease(shop)
        other = Watch(shop.context, shop.chain, "another")
        await other.look(shop.clock.now())
        # It still believes that it watches, and sees what the other one has recorded.
        with suppress(LeaseLostError):
            await shop.watch.look(shop.clock.now())
        await other.release()

    stage.mine(2)
    await stage.do(wake)


@scenario(three_shown)
async def a_watcher_reads_on_from_its_cursor(stage: Stage) -> None:
    for name in "ABC":
        await stage.pay(name)
        stage.mine(2)
    await stage.look(HOUR_S / 2)
