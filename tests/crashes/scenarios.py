"""Scenarios of everything that a server does, in which it may die at any moment.

Each has what is given, which happens before, and what it plays. The world's part (a payment, a
block, an hour) happens once; the server's part is done again by whoever asks for it.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
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
from counterfoil.services import checkout, keys, merchants, outbox, rates, wallets
from counterfoil.services.invoices import cancel, earlier
from counterfoil.services.watching import LeaseLostError, Watch
from tests.crashes.stage import Stage
from tests.services.shop import PRICES, SECOND, Shop, end_lease
from tests.sim.chain import COIN, TOKEN

Play = Callable[[Stage], Awaitable[None]]
HOUR_S = 3_600
VAULT = Vault(make_key())


@dataclass(frozen=True)
class Scenario:
    """What is given, and what is played."""

    name: str
    given: Play
    play: Play


SCENARIOS: list[Scenario] = []


def scenario(given: Play) -> Callable[[Play], Play]:
    """Add a scenario, which is called what its function is."""

    def add(play: Play) -> Play:
        SCENARIOS.append(Scenario(play.__name__, given, play))
        return play

    return add


# --- what is given -----------------------------------------------------------------------------


async def nothing(_: Stage) -> None:
    return


async def ordered(stage: Stage) -> None:
    await stage.order("A", due_at=stage.outside.clock.now() + HOUR_S * SECOND)


async def shown(stage: Stage) -> None:
    await ordered(stage)
    await stage.show("A")


async def three_shown(stage: Stage) -> None:
    await shown(stage)
    for name in "BC":
        await stage.order(name, due_at=stage.outside.clock.now() + HOUR_S * SECOND)
        await stage.show(name)


async def seen(stage: Stage) -> None:
    await shown(stage)
    await stage.pay("A")
    await stage.look()


async def mined(stage: Stage) -> None:
    await seen(stage)
    stage.mine()
    await stage.look()


async def paid(stage: Stage) -> None:
    await mined(stage)
    stage.mine()
    await stage.look()
    await stage.deliver()


async def half_paid(stage: Stage) -> None:
    await shown(stage)
    await stage.pay("A", 40)
    stage.mine(2)
    await stage.look()


async def expired(stage: Stage) -> None:
    await shown(stage)
    await stage.look(HOUR_S + 1)
    await stage.tick()


async def deep(stage: Stage) -> None:
    """Two invoices are paid in different blocks, with more on top."""
    await paid(stage)
    await stage.order("B", "99.00")
    await stage.show("B")
    await stage.pay("B")
    stage.mine(3)
    await stage.look()


async def stall(stage: Stage) -> None:
    """The shop has one address for all, where the amount tells who paid."""

    async def change(shop: Shop) -> None:
        merchant_id, now = shop.principal.merchant_id, shop.clock.now()
        (wallet,) = await wallets.list_all(shop.context, merchant_id)
        await wallets.remove(shop.context, merchant_id, wallet.id, now)
        await wallets.add(shop.context, merchant_id, COIN.id, address="w1stall", now=now)

    await stage.do(change)
    await stage.order("A", "250.00", due_at=stage.outside.clock.now() + HOUR_S * SECOND)


async def stall_shown(stage: Stage) -> None:
    await stall(stage)
    await stage.order("B", "250.00")
    await stage.show("A")
    await stage.show("B")


async def to_tell(stage: Stage) -> None:
    """Two events wait for the courier."""
    await shown(stage)
    await stage.pay("A")
    await stage.look()
    stage.mine(2)
    await stage.look()


# --- invoices ----------------------------------------------------------------------------------


@scenario(nothing)
async def an_invoice_is_made(stage: Stage) -> None:
    await stage.order("A")


@scenario(nothing)
async def an_invoice_is_made_with_a_key_and_asked_for_again(stage: Stage) -> None:
    made = await stage.order("A", key="order-1")
    again = await stage.order("A", key="order-1")
    assert made == again
    kept = await stage.do(lambda shop: earlier(shop.context, shop.principal, "order-1", b""))
    assert kept == made


@scenario(nothing)
async def an_invoice_is_made_for_an_address(stage: Stage) -> None:
    await stage.order("A", coin_symbol="COIN", wallet_address="w1given")
    await stage.show("A")


@scenario(ordered)
async def a_price_is_asked_for(stage: Stage) -> None:
    await stage.show("A")


@scenario(ordered)
async def the_page_is_opened(stage: Stage) -> None:
    token = stage.outside.orders["A"].share_token
    await stage.do(lambda shop: checkout.view(shop.context, token, shop.clock.now()))


@scenario(shown)
async def a_price_is_refreshed(stage: Stage) -> None:
    token = stage.outside.orders["A"].share_token
    await stage.look(16 * 60)
    await stage.do(lambda shop: checkout.reprice(shop.context, token, shop.clock.now()))
    await stage.pay("A")
    await stage.look()


@scenario(shown)
async def the_payer_switches_to_another_coin(stage: Stage) -> None:
    async def add(shop: Shop) -> None:
        try:
            await wallets.add(
                shop.context,
                shop.principal.merchant_id,
                TOKEN.id,
                xpub="ypub",
                now=shop.clock.now(),
            )
        except ConflictError:
            return

    await stage.do(add)
    await stage.show("A", TOKEN)
    await stage.look()


async def _cancel(stage: Stage) -> None:
    async def give_up(shop: Shop) -> None:
        made = stage.outside.orders["A"]
        try:
            await cancel(shop.context, shop.principal, made.id, shop.clock.now())
        except ConflictError:
            return

    await stage.do(give_up)


@scenario(shown)
async def an_invoice_is_cancelled(stage: Stage) -> None:
    await _cancel(stage)
    await stage.deliver()


@scenario(shown)
async def an_invoice_is_cancelled_while_a_payment_is_on_its_way(stage: Stage) -> None:
    await stage.pay("A")
    await _cancel(stage)
    await stage.look()
    await _cancel(stage)


@scenario(shown)
async def an_invoice_expires(stage: Stage) -> None:
    await stage.look(HOUR_S + 1)
    await stage.tick()


@scenario(three_shown)
async def several_invoices_expire(stage: Stage) -> None:
    await stage.look(HOUR_S + 1)
    await stage.tick()


# --- payments ----------------------------------------------------------------------------------


@scenario(shown)
async def a_payment_is_seen(stage: Stage) -> None:
    await stage.pay("A")
    await stage.look()


@scenario(seen)
async def a_payment_is_mined(stage: Stage) -> None:
    stage.mine()
    await stage.look()


@scenario(mined)
async def a_payment_is_confirmed(stage: Stage) -> None:
    stage.mine()
    await stage.look()


@scenario(shown)
async def a_payment_is_found_deep_at_once(stage: Stage) -> None:
    await stage.pay("A")
    stage.mine(2)
    await stage.look()


@scenario(shown)
async def an_invoice_is_underpaid(stage: Stage) -> None:
    await stage.pay("A", 40)
    stage.mine(2)
    await stage.look()


@scenario(half_paid)
async def the_rest_is_paid(stage: Stage) -> None:
    await stage.pay("A")
    await stage.look()
    stage.mine(2)
    await stage.look()


@scenario(shown)
async def an_invoice_is_overpaid(stage: Stage) -> None:
    await stage.pay("A", 150)
    stage.mine(2)
    await stage.look()


@scenario(shown)
async def two_payments_come_at_once(stage: Stage) -> None:
    await stage.pay("A", 50)
    await stage.pay("A", 50)
    stage.mine(2)
    await stage.look()


@scenario(shown)
async def one_transaction_pays_two_invoices(stage: Stage) -> None:
    await stage.order("B", "99.00")
    await stage.show("B")
    outputs = [await stage.asked(name) for name in "AB"]
    stage.outside.chain.broadcast(*((each.address, each.amount_atomic) for each in outputs))
    stage.mine(2)
    await stage.look()


@scenario(expired)
async def a_payment_comes_late(stage: Stage) -> None:
    await stage.pay("A")
    await stage.look()
    stage.mine(2)
    await stage.look()


@scenario(seen)
async def a_payment_is_replaced(stage: Stage) -> None:
    stage.outside.chain.pay("w1elsewhere", 1_000, stage.outside.sent["A"].spends)
    await stage.look()
    stage.mine(2)
    await stage.look()


@scenario(seen)
async def a_payment_is_replaced_by_another_one_to_us(stage: Stage) -> None:
    await stage.pay("A", 100, stage.outside.sent["A"].spends)
    await stage.look()
    stage.mine(2)
    await stage.look()


@scenario(seen)
async def a_payment_is_dropped_and_comes_back(stage: Stage) -> None:
    payment = stage.outside.sent["A"]
    stage.outside.chain.drop(payment)
    await stage.look()
    await stage.look(HOUR_S / 2 + 60)
    stage.outside.chain.receive(payment)
    await stage.look()


@scenario(nothing)
async def the_merchant_moves_own_money(stage: Stage) -> None:
    for name in "AB":
        await stage.order(name, "10.00")
        await stage.show(name)
    await stage.pay("A")
    stage.mine()
    await stage.look()
    await stage.pay("B", 100, (f"{stage.outside.sent['A'].txid}:0",))
    await stage.look()


# --- reorgs ------------------------------------------------------------------------------------


@scenario(mined)
async def a_reorg_before_it_is_paid(stage: Stage) -> None:
    stage.outside.chain.reorg(1, keep=False)
    await stage.look()


@scenario(paid)
async def a_reorg_after_it_was_paid_keeps_the_payment(stage: Stage) -> None:
    stage.outside.chain.reorg(2, keep=True)
    await stage.look()


@scenario(paid)
async def a_reorg_after_it_was_paid_loses_the_payment(stage: Stage) -> None:
    stage.outside.chain.reorg(2, keep=False)
    await stage.look()
    await stage.deliver()


@scenario(paid)
async def a_reorg_takes_the_payment_for_good(stage: Stage) -> None:
    stage.outside.chain.reorg(2, keep=False)
    stage.outside.chain.pay("w1elsewhere", 1_000, stage.outside.sent["A"].spends)
    stage.mine(2)
    await stage.look()


@scenario(deep)
async def the_watcher_walks_back_over_five_blocks(stage: Stage) -> None:
    stage.outside.chain.reorg(5, keep=False)
    await stage.look()
    stage.mine(2)
    await stage.look()


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
    # Only the order of an hour ago stays: nothing else was told of less than 90 days ago.
    stage.pass_time(91 * 24 * HOUR_S)
    await stage.order("B", key="young")
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
