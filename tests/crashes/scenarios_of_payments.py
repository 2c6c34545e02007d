"""What becomes of invoices and their payments, and of the blocks that hold them."""

from counterfoil.core.errors import ConflictError
from counterfoil.services import checkout, wallets
from counterfoil.services.invoices import Created, cancel, earlier
from tests.crashes.given import (
    HOUR_S,
    deep,
    expired,
    half_paid,
    mined,
    nothing,
    ordered,
    paid,
    scenario,
    seen,
    shown,
    three_shown,
)
from tests.crashes.stage import Stage
from tests.services.shop import Shop, keyed
from tests.sim.chain import TOKEN

# --- invoices ----------------------------------------------------------------------------------


@scenario(nothing)
async def an_invoice_is_made(stage: Stage) -> None:
    await stage.order("A")


@scenario(nothing)
async def an_invoice_is_made_with_a_key_and_asked_for_again(stage: Stage) -> None:
    made = await stage.order("A", key="order-1")
    again = await stage.order("A", key="order-1")
    assert made == again

    async def ask(shop: Shop) -> Created | None:
        request = keyed(shop.principal, "order-1")
        assert request is not None
        return await earlier(shop.context, request)

    kept = await stage.do(ask)
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
