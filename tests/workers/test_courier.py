"""The courier with real webhooks to real sockets, on both databases."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
import structlog

from counterfoil.channels.webhook import WebhookChannel
from counterfoil.core.invoice import EventType
from counterfoil.core.ports import Channel
from counterfoil.core.signing import sign_body
from counterfoil.db.deliveries import DELIVERED
from counterfoil.db.schema import attempt, delivery
from counterfoil.db.schema import channel as channel_table
from counterfoil.workers import courier as courier_module
from counterfoil.workers.courier import Courier
from tests.channels.receivers import SECRET, Receiver, break_off, hang, reply
from tests.conftest import FakeEntropy
from tests.services.shop import Shop


def a_courier(
    shop: Shop, webhook: WebhookChannel, sealed: Mapping[str, str] | None = None
) -> Courier:
    """Return a courier that opens only the secrets it is given."""
    channels: Mapping[str, Channel] = {"webhook": webhook}
    opens = {"sealed": SECRET} if sealed is None else sealed
    return Courier(shop.store, channels, lambda text: opens[text], shop.clock, FakeEntropy())


@asynccontextmanager
async def running(shop: Shop, courier: Courier) -> AsyncIterator[asyncio.Task[None]]:
    """Let a courier deliver until the block is left."""
    task = asyncio.create_task(courier.run(shop.store.listen("outbox")))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def listen(shop: Shop, receiver: Receiver, *wanted: EventType) -> int:
    """Add a channel that ends at a receiver."""
    channel_id = await shop.listen(*wanted)
    await shop.store.write(
        lambda c: c.execute(
            sa.update(channel_table)
            .where(channel_table.c.id == channel_id)
            .values(target=receiver.url)
        )
    )
    return channel_id


async def end_leases(shop: Shop) -> None:
    await shop.store.write(
        lambda c: c.execute(
            sa.update(delivery).where(delivery.c.lease_until.is_not(None)).values(lease_until=0)
        )
    )


async def all_delivered(shop: Shop, timeout_s: float = 10.0) -> None:
    """Return when nothing waits any more."""
    statement = sa.select(sa.func.count()).where(delivery.c.state != DELIVERED)
    bell = shop.store.listen("outbox")
    async with asyncio.timeout(timeout_s):
        while await shop.store.read(lambda c: c.execute(statement).scalar_one()):
            await bell.wait(0.05)


def heard(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


async def test_a_paid_invoice_is_told(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    async with running(shop, a_courier(shop, channel)):
        shop.chain.pay(quote.address, quote.amount_atomic)
        await shop.look()
        shop.chain.mine(2)
        await shop.look()
        await all_delivered(shop)
    bodies = [json.loads(request.body) for request in receiver.requests]
    assert [body["event"] for body in bodies] == ["payment_detected", "payment_confirmed"]
    for request in receiver.requests:
        assert request.headers["signature"] == sign_body(SECRET, request.body)


async def test_a_burst_arrives_and_each_invoice_keeps_its_order(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    orders = [await shop.order() for _ in range(10)]
    async with running(shop, a_courier(shop, channel)):
        for _ in range(2):
            await asyncio.gather(*(shop.tell(order) for order in orders))
        shop.store.wake("outbox")
        await all_delivered(shop)
    told = [json.loads(request.body) for request in receiver.requests]
    assert Counter(body["invoice_id"] for body in told) == {str(order): 2 for order in orders}
    for order in orders:
        seqs = [int(body["seq"]) for body in told if body["invoice_id"] == str(order)]
        assert seqs == sorted(seqs)
    assert len(set(heard(receiver))) == 20, "nothing was sent twice"


async def test_a_slow_endpoint_takes_its_places_and_no_more(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    async with Receiver(hang) as slow:
        await listen(shop, slow, EventType.DETECTED)
        await listen(shop, receiver, EventType.CONFIRMED)
        for kind in (EventType.DETECTED, EventType.CONFIRMED):
            for _ in range(20):
                await shop.tell(await shop.order(), kind)
        async with running(shop, a_courier(shop, channel)):
            await receiver.wait_for(20)
            await slow.wait_for(16)
            await asyncio.sleep(0.1)
            assert len(slow.requests) == 16


async def test_a_courier_that_is_killed_is_followed_by_another(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    told = str(await shop.tell(await shop.order()))
    receiver.answer = hang
    killed = a_courier(shop, channel)
    assert await killed.send_due() == 1
    await receiver.wait_for(1)
    # It was heard, and the process ends before that is written down.
    on_its_way = list(killed._sending)  # noqa: SLF001  # the end of a process asks nobody
    for task in on_its_way:
        task.cancel()
    await asyncio.gather(*on_its_way, return_exceptions=True)
    receiver.answer = reply()
    follower = a_courier(shop, channel)
    assert await follower.send_due() == 0, "the dead one's lease has not run out"
    await end_leases(shop)
    assert await follower.send_due() == 1
    await follower.finish()
    assert heard(receiver) == [told, told]
    await all_delivered(shop)


async def test_stopping_finishes_what_is_on_its_way(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    await shop.tell(await shop.order())
    go_on = asyncio.Event()

    async def answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(reply())
        await writer.drain()

    receiver.answer = answer_late
    async with running(shop, a_courier(shop, channel)) as task:
        await receiver.wait_for(1)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, return_exceptions=True)
    await all_delivered(shop, timeout_s=0.1)


async def test_stopping_does_not_wait_for_ever(
    shop: Shop,
    channel: WebhookChannel,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier_module, "_FINISH_S", 0.1)
    await listen(shop, receiver)
    await shop.tell(await shop.order())
    receiver.answer = hang
    before = asyncio.all_tasks()
    async with asyncio.timeout(5), running(shop, a_courier(shop, channel)):
        await receiver.wait_for(1)
    left = asyncio.all_tasks() - before
    assert not [task for task in left if "_deliver" in repr(task)]


async def test_a_delivery_that_cannot_be_sent_holds_up_no_other(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    """One channel's secret opens with a key that is not ours any more."""
    broken = await listen(shop, receiver, EventType.DETECTED)
    await listen(shop, receiver, EventType.CONFIRMED)
    await shop.store.write(
        lambda c: c.execute(
            sa.update(channel_table).where(channel_table.c.id == broken).values(secret="?")
        )
    )
    for kind in (EventType.DETECTED, EventType.CONFIRMED):
        await shop.tell(await shop.order(), kind)
    with structlog.testing.capture_logs() as logged:
        async with running(shop, a_courier(shop, channel)):
            await receiver.wait_for(1)
            await asyncio.sleep(0.1)
    assert len(receiver.requests) == 1
    assert [line["event"] for line in logged] == ["delivery_broke_off"], "and it is not hammered"


async def test_two_processes_share_the_work(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    told = [str(await shop.tell(await shop.order())) for _ in range(12)]
    one, two = a_courier(shop, channel), a_courier(shop, channel)
    async with running(shop, one), running(shop, two):
        await all_delivered(shop)
    assert sorted(heard(receiver)) == sorted(told)


async def test_every_attempt_is_listed(
    shop: Shop, channel: WebhookChannel, receiver: Receiver
) -> None:
    await listen(shop, receiver)
    await shop.tell(await shop.order())
    courier = a_courier(shop, channel)
    for answer in (break_off(), reply(503, body=b"busy"), reply(204)):
        receiver.answer = answer
        assert await courier.send_due() == 1
        await courier.finish()
        shop.clock.advance(60_000)
    assert await courier.send_due() == 0
    statement = sa.select(attempt.c.answer, attempt.c.status, attempt.c.excerpt)
    made = await shop.store.read(lambda c: c.execute(statement.order_by(attempt.c.id)).all())
    assert [tuple(row) for row in made] == [
        ("retry", None, ""),
        ("retry", 503, "busy"),
        ("delivered", 204, ""),
    ]
