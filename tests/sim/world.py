"""A world made from one number: a shop, its payers, a chain, a network, and all that goes wrong.

One seed makes one world, always the same.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal

import sqlalchemy as sa

from counterfoil.core import events
from counterfoil.core.ports import Transaction
from counterfoil.db import invoices, quotes
from counterfoil.db.schema import quote
from counterfoil.services import claims, inbox, marks, rescans, upkeep, watching
from counterfoil.services import outbox as telling
from counterfoil.services.invoices import Draft, cancel, create
from counterfoil.services.quotes import choose
from tests.sim.chain import OTHER_TOKEN, Shape
from tests.sim.server import SECOND, Server
from tests.sim.steps import Intent

STEPS = 32
DEEPEST = 300
DEEP_EVERY = 25
MINUTE = 60_000


@dataclass
class World(Server):
    """One world and what happens in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tokens: list[str] = []
        self.shown: list[quotes.Quote] = []
        self.paid: list[Transaction] = []
        self._is_disturbed = False
        self._set_back_ms = 0

    async def live(self) -> None:
        """Let the world run, then let everything that was broken be mended."""
        self.tally.worlds = 1
        await self.begin()
        acts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, self._order),
            (14, self._pay),
            (4, self._rival),
            (3, self._drop),
            (12, self._mine),
            (17, self._reorg),
            (6, self._pass_time),
            (8, self._act_by_hand),
            (2, self._move_price),
            (2, self._claim),
            (2, self._read_again),
            (4, self._break_node),
            (2, self._move_clock),
            (2, self._cancel),
            (4, self._break_receiver),
        ]
        weights = [weight for weight, _ in acts]
        if self.seed % DEEP_EVERY == 0:
            await self._grow_tall()
        for _ in range(STEPS):
            count = self.chance.randint(1, 3)
            for _, act in self.chance.choices(acts, weights, k=count):
                # The node notes by a clock that is right when it takes a transaction in.
                self.chain.now = self.clock.now()
                await act()
            await self._work()
            self.steps.check()
        await self._heal()
        self.steps.check()
        self.tally.posts = self.receiver.posts

    async def _work(self) -> None:
        """Let the loops of the server run once each, in any order, or not at all.

        A push of the node makes a look come sooner: one that is missing, or repeated, is a look
        less or more.
        """
        loops = [
            self._look,
            self._deliver,
            self._tick,
        ]
        loops += self.chance.choice([[], [], [self._look], [self._sweep]])
        self.chance.shuffle(loops)
        for loop in loops:
            if self.chance.randrange(4):
                await self._risk(loop)
        self.clock.advance(self.chance.randrange(1, 5 * SECOND))

    async def _tick(self) -> None:
        await self.due_dates.assess(self.clock.now())

    async def _sweep(self) -> None:
        await upkeep.sweep(self.context, self.clock.now())

    async def _grow_tall(self) -> None:
        """Let so many blocks come that a reorg may be as deep as they ever are."""
        self.chain.now = self.clock.now()
        self.chain.mine(DEEPEST)
        await self._look()

    async def _order(self) -> None:
        due_in = self.chance.choice([None, None, 10 * MINUTE, 60 * MINUTE])
        amount = Decimal(self.chance.choice(["5.00", "25.00", "25.00", "99.99"]))

        async def order() -> None:
            now = self.clock.now()
            draft = Draft(amount, "USD", due_at=None if due_in is None else now + due_in)
            made = await create(self.context, self.principal, draft, now)
            self.tokens.append(made.share_token)

        await self._risk(order)
        await self._show()
        if self.chance.randrange(2):
            await self._pay()

    async def _show(self) -> None:
        """Open the pay page of some invoice, so that a payer sees an amount."""
        if not self.tokens:
            return
        token = self.chance.choice(self.tokens[-4:])
        await self._risk(lambda: choose(self.context, token, self.method.id, self.clock.now()))
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        assert found is not None
        known = await self.store.read(lambda c: quotes.list_of_invoice(c, found.id))
        if not known:
            return
        shown = known[-1]
        if self.shape is Shape.TAGS and self.chance.randrange(2):
            # No family with tags is here yet: what it will write with its quote is written now.
            shown = replace(shown, tag=f"tag-{shown.id}")
            named = sa.update(quote).where(quote.c.id == shown.id).values(tag=shown.tag)
            await self.store.write(lambda c: c.execute(named))
        self.shown.append(shown)

    async def _pay(self) -> None:
        if not self.shown:
            return
        count = self.chance.choice([1, 1, 1, 2])
        # Most pay what they have just been shown, and some what was shown long ago.
        among = [self.chance.choice([1, 1, 6, len(self.shown)]) for _ in range(count)]
        asked = [self.chance.choice(self.shown[-last:]) for last in among]
        self._send(asked, [self.chance.choice([100, 100, 100, 100, 50, 150, 99]) for _ in asked])

    def _send(
        self, asked: list[quotes.Quote], percents: list[int], spends: tuple[str, ...] = ()
    ) -> None:
        """Pay a share of what quotes ask for, and write down for whom that is meant."""
        is_other = self.shape is Shape.LOGS and self.chance.randrange(12) == 0
        # Exchanges drop the tag now and then.
        tags = tuple(q.tag if self.chance.randrange(5) else None for q in asked)
        outputs = [
            (q.address, max(q.amount_atomic * share // 100, 1))
            for q, share in zip(asked, percents, strict=True)
        ]
        method = OTHER_TOKEN.id if is_other else self.method.id
        sent = self.chain.broadcast(*outputs, spends=spends, method=method, tags=tags)
        self.paid.append(sent)
        self.tally.payments += len(asked)
        for q, paid, share in zip(asked, sent.transfers, percents, strict=True):
            is_named = paid.tag is not None and paid.tag == q.tag
            self.intents[sent.txid, paid.index] = Intent(
                q.invoice_id, is_told=not is_other and (is_named or share == 100)
            )

    async def _rival(self) -> None:
        """Spend the coins of an unconfirmed payment again, back to its payer, to us, or alike."""
        waiting = [t for t in self.paid if t.txid in self.chain.pool]
        if not waiting:
            return
        victim = self.chance.choice(waiting)
        match self.chance.randrange(3):
            case 0:
                elsewhere = ("w1elsewhere", 1_000)
                self.paid.append(self.chain.broadcast(elsewhere, spends=victim.spends))
            case 1:
                self._send([self.chance.choice(self.shown)], [100], victim.spends)
            case _:
                self._raise_fee(victim)

    def _raise_fee(self, first: Transaction) -> None:
        """Pay the same once more, as somebody does for whom it takes too long."""
        raised = self.chain.raise_fee(first)
        self.paid.append(raised)
        self.first_of[raised.txid] = first.txid
        self.tally.payments += len(raised.transfers)
        for each in raised.transfers:
            if (first.txid, each.index) in self.intents:
                self.intents[raised.txid, each.index] = self.intents[first.txid, each.index]

    async def _drop(self) -> None:
        waiting = [t for t in self.paid if t.txid in self.chain.pool]
        if waiting:
            dropped = self.chance.choice(waiting)
            self.chain.drop(dropped)
            if self.chance.randrange(2):
                self.steps.unsettle()
                self.clock.advance(40 * MINUTE)
                await self._risk(self._look)
                self.clock.advance(40 * MINUTE)
                await self._risk(self._look)

    async def _mine(self) -> None:
        self.chain.now = self.clock.now() + self.skew
        self.chain.mine(self.chance.choice([1, 1, 2, 3]), empty=self.chance.randrange(6) == 0)

    async def _reorg(self) -> None:
        deepest = min(self.chain.height, self.chance.choice([1, 1, 2, 3, 6, 12, DEEPEST]))
        if deepest < 1:
            return
        self.chain.now = self.clock.now() + self.skew
        self.chain.reorg(
            self.chance.randint(1, deepest),
            keep=self.chance.randrange(2) == 0,
            extra=self.chance.choice([0, 1, 1, 2]),
        )
        self.tally.reorgs += 1

    async def _pass_time(self) -> None:
        """Let time pass in which, as the chain stands still too, nothing happens."""
        self.clock.advance(
            self.chance.choice([SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, 20 * MINUTE, 150 * MINUTE])
        )

    async def _break_node(self) -> None:
        chain, draw = self.chain, self.chance.choice
        chain.is_away = self.chance.randrange(4) == 0
        chain.is_synced = self.chance.randrange(6) > 0
        chain.lag = min(draw([0, 0, 1, 3]), chain.height)
        chain.may_lag = self.chance.randrange(6) == 0
        chain.trouble = draw([None, None, None, None, None, "The node hears nobody."])
        chain.node_up_s = draw([60, 100_000, 100_000])
        chain.stale_percent = draw([0, 0, 15, 100])
        chain.empty_percent = draw([0, 0, 0, 15])
        chain.silent_percent = draw([0, 0, 0, 15])
        chain.meanwhile = draw([None, self._meanwhile, self._meanwhile])

    async def _meanwhile(self) -> None:
        """Let something happen while the watcher waits for its node."""
        if self._is_disturbed or self.chance.randrange(25):
            return
        self._is_disturbed = True
        try:
            kind = self.chance.randrange(4)
            if kind == 0:
                self.chain.mine()
            elif kind == 1:
                await self._reorg()
            elif kind == 2:
                await self._pay()
            else:
                await self._take_over()
        finally:
            self._is_disturbed = False

    async def _take_over(self) -> None:
        """Let the watcher sleep beyond its lease, and another one do its work."""
        self.clock.advance(16 * SECOND)
        if self.chance.randrange(2):
            await self._reorg()
        for watch in self.watches:
            with suppress(watching.LeaseLostError):
                if watch._fence is None:
                    self.steps.note_look()
                    await watch.look(self.clock.now())

    async def _move_clock(self) -> None:
        """Set our clock back, or the miners' wrong by much."""
        if self.chance.randrange(2):
            back_ms = self.chance.choice([1, SECOND, 90 * SECOND, 9 * MINUTE, 25 * MINUTE])
            # At a shared address what is older than its price by two minutes does not pay it.
            most_ms = 2 * MINUTE if self.is_shared else 30 * MINUTE
            if self._set_back_ms + back_ms <= most_ms:
                self._set_back_ms += back_ms
                # What has expired so far did so by the clock as it was.
                self.steps.check()
                self.clock.advance(-back_ms)
                self.steps.note_set_back()
                # What sets a clock wrong, as a power cut, may take the network too.
                self.chain.is_away = self.chain.is_away or self.chance.randrange(2) == 0
                # The server's own clock ticks each second.
                await self._risk(self._tick)
                await self._show()
        else:
            self.skew = self.chance.choice([0, -60 * MINUTE, 90 * MINUTE])

    async def _break_receiver(self) -> None:
        self.receiver.trouble_percent = self.chance.choice([0, 30, 100])
        if self.chance.randrange(2):
            self.receiver.release()
        if self.chance.randrange(3) == 0:
            now = self.clock.now()
            await self._risk(lambda: telling.resume(self.store, 1, now))

    async def _cancel(self) -> None:
        if not self.tokens:
            return
        token = self.chance.choice(self.tokens)
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        if found is not None:
            await self._risk(
                lambda: cancel(self.context, self.principal, found.id, self.clock.now())
            )

    async def _move_price(self) -> None:
        """Let the coin's price jump, or move so little that a late payment is worth the same."""
        price = Decimal(self.chance.choice(["50", "97", "99.5", "100", "100.5", "103", "200"]))
        await self._risk(lambda: self._set_price(price))

    async def _claim(self) -> None:
        """Let a payer, or somebody who lies, name a transaction as the payment of an invoice."""
        if self.tokens and self.paid:
            token, sent = self.chance.choice(self.tokens[-6:]), self.chance.choice(self.paid[-6:])
            now = self.clock.now()
            await self._risk(lambda: claims.claim(self.context, token, sent.txid, now))

    async def _read_again(self) -> None:
        """Let the operator have the last blocks read again, as after an outage."""
        first = max(self.chain.height - self.chance.randrange(12), 0)
        await self._risk(lambda: rescans.ask(self.context, self.chain, first, self.clock.now()))

    async def _act_by_hand(self) -> None:
        """Let the merchant do something with an invoice, a payment or a transfer of the inbox."""
        if not self.tokens:
            return
        token = self.chance.choice(self.tokens[-6:])
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        assert found is not None
        context, who, now = self.context, self.merchant, self.clock.now()
        items = [row[0] for row in self.steps.rows("SELECT id FROM inbox ORDER BY id")]
        paid = [row[0] for row in self.steps.rows(_CREDITED)]
        item_id = self.chance.choice(items) if items else 0
        payment_id = self.chance.choice(paid) if paid else 0
        value = self.chance.choice([None, None, "5.00", "24.99"])
        acts: list[Callable[[], Awaitable[object]]] = [
            lambda: (marks.unmark if found.marked_at else marks.mark)(context, who, found.id, now),
            lambda: inbox.attach(context, who, item_id, found.id, value, now),
            lambda: inbox.attach(context, who, item_id, found.id, value, now),
            lambda: inbox.detach(context, who, payment_id, now),
            lambda: inbox.ignore(context, who, item_id, now),
        ]
        await self._risk(self.chance.choice(acts))

    async def _heal(self) -> None:
        """Mend the node, the network and the receiver, and let all that waits be done."""
        self.chain.heal()
        self.skew = 0
        self.receiver.trouble_percent = 0
        self.receiver.release()
        self.clock.advance(16 * SECOND)
        self.chain.now = self.clock.now()
        self.chain.mine(self.chain.confirmations.base + 2)
        for _ in range(3):
            self.chain.now = self.clock.now()
            self.chain.mine()
            await self._look()
            await self._tick()
            self.clock.advance(40 * MINUTE)
        await telling.resume(self.store, 1, self.clock.now())
        for event_id in self.receiver.list_missing():
            at, _, number = event_id.partition("-")
            missing = events.EventID(int(at), int(number))
            assert await telling.redeliver(self.store, 1, missing, self.clock.now())
        while await self.courier.send_due():
            await self.courier.finish()


_CREDITED = "SELECT id FROM payment WHERE detached_at IS NULL ORDER BY id"
