"""The stream that keeps open pages fresh: what comes, when, and what it costs."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import UnavailableError
from tests.web.pay import Till, listening, main_of, state_of, text_of, till_of, version_of
from tests.web.world import World

BEAT_S = 10


@pytest.fixture
def till(small_world: World) -> Till:
    return till_of(small_world)


async def test_a_stream_says_hello_and_is_silent_while_nothing_happens(till: Till) -> None:
    token = await till.invoice()
    version = version_of(await till.main(token))
    async with listening(till, token, version) as listener:
        assert listener.status == 200
        assert listener.headers["content-type"] == "text/event-stream"
        assert listener.headers["cache-control"] == "no-store"
        assert listener.headers["x-accel-buffering"] == "no"
        hello = await listener.event(but="none")
        assert hello == {"retry": "2000", "id": version, "event": "beat", "data": "1"}
        await till.live.look()
        assert await listener.hears_nothing()


async def test_a_change_brings_the_whole_main(till: Till) -> None:
    token = await till.invoice()
    version = version_of(await till.main(token))
    async with listening(till, token, version) as listener:
        await till.pay(token)
        await till.pass_time(1)
        await till.live.look()
        told = await listener.event()
        assert told["event"] == "main"
        assert told["id"] == version_of(told["data"]) != version
        assert state_of(told["data"]) == "seen"
        assert main_of(told["data"]) == main_of((await till.get(token)).text)
        assert "test1" not in told["data"]
        states = []
        while "paid" not in states:
            await till.pass_time(2)
            await till.live.look()
            if not await listener.hears_nothing():
                states.append(state_of((await listener.event())["data"]))
        assert states[-1] == "paid"
        await till.live.look()
        assert await listener.hears_nothing()


async def test_an_old_page_gets_the_new_one_at_once(till: Till) -> None:
    token = await till.invoice()
    version = version_of(await till.main(token))
    await till.pay(token)
    await till.pass_time(1)
    now = version_of(await till.main(token))
    for known, last in ((version, None), (now, version), ("", None), ("<script>", None)):
        async with listening(till, token, known, last=last) as listener:
            assert state_of((await listener.event())["data"]) == "seen"
    # What was heard last counts, not what the page was loaded with.
    async with listening(till, token, version, last=now) as listener:
        await listener.event(but="none")
        assert await listener.hears_nothing()


async def test_who_comes_later_does_not_get_an_older_page(till: Till) -> None:
    token = await till.invoice()
    version = version_of(await till.main(token))
    async with listening(till, token, version) as first:
        await till.pay(token)
        await till.pass_time(1)
        now = version_of(await till.main(token))
        # The loop has not looked yet, but this browser has.
        async with listening(till, token, now) as second:
            await second.event(but="none")
            assert await second.hears_nothing()
            assert (await first.event())["id"] == now


async def test_each_new_block_is_told_while_confirmations_are_counted(till: Till) -> None:
    chain: Any = till.world.context.methods.chains["simulator"]
    chain.confirmations = Confirmations(4)
    token = await till.invoice()
    async with listening(till, token, version_of(await till.main(token))) as listener:
        await till.pay(token)
        counts = []
        for _ in range(8):
            await till.pass_time(2)
            await till.live.look()
            while not await listener.hears_nothing():
                text = text_of((await listener.event())["data"])
                counts += [n for n in range(4) if f"{n} of 4 confirmations." in text]
        assert counts == sorted(set(counts))
        assert {1, 2, 3} <= set(counts)


async def test_time_alone_changes_a_page(till: Till) -> None:
    token = await till.invoice()
    async with listening(till, token, version_of(await till.main(token))) as listener:
        texts: list[str] = []
        for _ in range(2):
            await till.pass_time(13.1 * 60 if not texts else 2 * 60)
            await till.live.look()
            texts.append((await listener.event())["data"])
        assert "Get a fresh price" in texts[0]
        assert state_of(texts[1]) == "ended"


async def test_a_chain_that_is_away_is_told(till: Till) -> None:
    token = await till.invoice()
    async with listening(till, token, version_of(await till.main(token))) as listener:
        await till.pass_time(61, blocks=False)
        await till.live.look()
        assert "We cannot see the Simulator network" in text_of((await listener.event())["data"])
        await till.pass_time(1)
        await till.live.look()
        assert "cannot see" not in text_of((await listener.event())["data"])


async def test_a_silent_stream_beats(till: Till) -> None:
    token = await till.invoice()
    async with listening(till, token, version_of(await till.main(token))) as listener:
        await listener.event(but="none")
        await till.pass_time(BEAT_S - 1)
        await till.live.look()
        assert await listener.hears_nothing()
        await till.pass_time(1)
        await till.live.look()
        assert await listener.event(but="none") == {"event": "beat", "data": "1"}
        # Also while the database is away: the page need not hang up and come again.
        till.world.store.is_down = True
        till.world.clock.advance(BEAT_S * 1_000)
        with pytest.raises(UnavailableError):
            await till.live.look()
        assert await listener.event(but="none") == {"event": "beat", "data": "1"}
        till.world.store.is_down = False


async def test_many_who_look_at_one_page_cost_one_rendering(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await till.invoice()
    version = version_of(await till.main(token))
    made: list[str] = []
    render = till.page.main

    def counting(*arguments: Any) -> str:
        made.append(render(*arguments))
        return made[-1]

    monkeypatch.setattr(till.live, "_render", counting)
    async with (
        listening(till, token, version) as first,
        listening(till, token, version) as second,
        listening(till, token, version, address="2001:db8::1") as third,
    ):
        made.clear()
        await till.pay(token)
        await till.pass_time(1)
        await till.live.look()
        told = [await each.event() for each in (first, second, third)]
        assert told[0] == told[1] == told[2]
        assert len(made) == 1


async def test_many_who_come_back_at_once_cost_one_rendering(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await till.invoice()
    old = version_of(await till.main(token))
    await till.pay(token)
    await till.pass_time(1)
    made: list[str] = []
    render = till.page.main

    def counting(*arguments: Any) -> str:
        made.append(render(*arguments))
        return made[-1]

    monkeypatch.setattr(till.live, "_render", counting)
    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(listening(till, token, old)) for _ in range(9)]
        for listener in listeners:
            assert state_of((await listener.event())["data"]) == "seen"
        assert len(made) == 1
        # Once all have it, it is no longer kept.
        await till.live.look()
        late = await stack.enter_async_context(listening(till, token, old))
        assert state_of((await late.event())["data"]) == "seen"
        for listener in listeners:
            assert await listener.hears_nothing()


async def test_streams_are_limited_and_freed(small_world: World) -> None:
    till = till_of(small_world, live={"streams_max": 3, "streams_per_address_max": 2})
    token = await till.invoice()
    async with listening(till, token), listening(till, token):
        async with listening(till, token) as refused:
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) > 0
        async with listening(till, token, address="198.51.100.1") as third:
            assert third.status == 200
            async with listening(till, token, address="198.51.100.2") as fourth:
                assert fourth.status == 429
        assert till.live.count == 2
    assert till.live.count == 0
    async with listening(till, token) as again:
        assert again.status == 200


async def test_a_share_token_that_opens_nothing_holds_no_place(small_world: World) -> None:
    till = till_of(small_world, live={"streams_per_address_max": 1})
    for _ in range(3):
        async with listening(till, "nobody") as listener:
            assert listener.status == 404
    small_world.store.is_down = True
    async with listening(till, "somebody") as listener:
        assert listener.status == 503
    small_world.store.is_down = False
    assert till.live.count == 0


async def test_a_server_that_stops_ends_its_streams(till: Till) -> None:
    token = await till.invoice()
    async with listening(till, token, version_of(await till.main(token))) as listener:
        await listener.event(but="none")
        till.live.close()
        with pytest.raises(EOFError):
            await listener.event()
        async with listening(till, token) as refused:
            assert refused.status == 429


async def test_the_loop_looks_when_it_is_woken(till: Till) -> None:
    token = await till.invoice()
    store = till.world.store
    loop = asyncio.create_task(till.live.run(store.listen("pages")))
    try:
        async with listening(till, token, version_of(await till.main(token))) as listener:
            await till.pay(token)
            # The watcher wakes the pages; nobody waits for the next second.
            await till.pass_time(1)
            assert state_of((await listener.event())["data"]) == "seen"
    finally:
        loop.cancel()


async def test_hostile_text_makes_no_event_of_its_own(till: Till) -> None:
    text = "\n\nevent: main\ndata: x\r\rid: 9\u2028\u2029\x85\x0bdata: y"
    token = await till.invoice(invoice_title=text, invoice_message=text)
    async with listening(till, token) as listener:
        told = await listener.event()
        assert told["event"] == "main"
        assert state_of(told["data"]) == "open" or state_of(told["data"]) == "choose"
        assert told["data"].rstrip().endswith("</main>")
        assert await listener.hears_nothing()
