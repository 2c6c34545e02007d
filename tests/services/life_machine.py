"""One invoice, and all that payers, the chain, the clock and the merchant may do to it."""

import asyncio
from collections.abc import Awaitable
from contextlib import ExitStack
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import sqlalchemy as sa
import structlog.testing
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import CounterfoilError
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Mode, Transaction
from counterfoil.db import merchants
from counterfoil.db.schema import chain_transaction, inbox, payment, transfer
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import inbox as by_hand
from counterfoil.services import marks, rates
from counterfoil.services.audit import with_key
from counterfoil.services.invoices import Draft, cancel, create
from counterfoil.services.quotes import choose
from tests.conftest import FakeClock
from tests.core.lives import MINUTE_MS
from tests.services.life_model import Model, Sent
from tests.services.shop import open_shop
from tests.sim.chain import COIN
from tests.sim.process import ram
from tests.sim.server import empty_database, share_compiled_statements

T = TypeVar("T")
SHARES = st.sampled_from([100, 100, 100, 50, 99, 200])
PLACES = st.integers(0, 7)
PRICES = st.sampled_from(["50", "99.5", "100", "200"])


class InvoiceLife(RuleBasedStateMachine):
    """One invoice of a real shop, on SQLite and a chain in memory, and the model beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.open.enter_context(structlog.testing.capture_logs())
        self.folder = self.open.enter_context(TemporaryDirectory(dir=ram()))
        self.runner = self.open.enter_context(asyncio.Runner())
        self.price = Decimal(100)
        self.told: list[str] = []

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.open.close()

    # --- what there is at the beginning -------------------------------------------------------

    @initialize(
        due_in=st.sampled_from([None, 10, 60]),
        tolerance=st.sampled_from([0, 1]),
        wallet=st.sampled_from(["xpub", "w1stall"]),
        late_money=st.sampled_from(LateMoney),
    )
    def order(self, due_in: int | None, tolerance: int, wallet: str, late_money: LateMoney) -> None:
        path = Path(self.folder) / "shop.db"
        path.write_bytes(empty_database())
        store = Sqlite(path, inline=True)
        self.open.callback(lambda: self.run(store.close()))
        share_compiled_statements(store._engine)  # noqa: SLF001  # each life makes a store
        self.run(store.start())
        clock = FakeClock()
        self.shop = self.run(open_shop(store, clock, wallet=wallet))
        shop = self.shop
        merchant_id = shop.principal.merchant_id
        self.run(store.write(lambda c: merchants.set_late_money(c, merchant_id, late_money)))
        shop.principal = Principal(1, merchant_id, Mode.LIVE, Scope.FULL, Decimal(tolerance))
        self.who = with_key(shop.principal)
        due_at = None if due_in is None else clock.now() + due_in * MINUTE_MS
        draft = Draft(Decimal("25.00"), "USD", due_at=due_at)
        made = self.run(create(shop.context, shop.principal, draft, clock.now()))
        self.invoice_id, self.token = made.id, made.share_token
        self.model = Model(
            Decimal("25.00"),
            Decimal("0.25") * tolerance,
            due_at,
            is_shared=wallet == "w1stall",
            is_holding=late_money is LateMoney.HOLD,
        )
        # The node has run since before all this, however many days a life takes.
        shop.chain.node_up_s = 10**8
        shop.chain.mine(9)
        self.look()
        self.show()

    # --- what is done to both -----------------------------------------------------------------

    def look(self, seconds: float = 1, *, blocks: int = 1) -> None:
        """Let the watcher see what the chain has become, and the clock what is due.

        Of several new blocks each is told of before the next one is read.
        """
        self.run(self.shop.look(seconds))
        self.run(self.shop.tick())
        chain, now = self.shop.chain, self.shop.clock.now()
        whole = chain.blocks
        for unread in reversed(range(1, blocks)):
            chain.blocks = whole[:-unread]
            self.model.watch(chain, now)
            self.told += self.model.tell(self.model.judge(now))
        chain.blocks = whole
        self.model.watch(chain, now)
        self.read_quotes()

    def read_quotes(self) -> None:
        """Take what the payer has been asked for as it is."""
        found = self.run(self.shop.read(self.invoice_id))
        self.model.quotes = self.run(self.shop.quotes(found))

    def attempt(self, act: Awaitable[object]) -> bool:
        """Do something; return whether the server did not refuse."""
        try:
            self.run(act)
        except CounterfoilError:
            return False
        return True

    def see(self, sent: Transaction, *, arrived_at: int | None = None) -> None:
        """Look, and let the model match what has come to the invoice's address."""
        quotes = self.model.quotes
        ours = [t for t in sent.transfers if t.destination.decode() == quotes[0].address]
        first = self.first_of(sent, sum(each.amount_atomic for each in ours))
        self.look()
        at, price = arrived_at or self.shop.clock.now(), Fraction(self.price) / 10**COIN.decimals
        if first is not None:
            at, price = first.arrived_at, first.arrival_value / first.amount
        new = [
            Sent(sent, each.index, each.amount_atomic, at, price * each.amount_atomic)
            for each in ours
        ]
        later, self.model.quotes = self.model.quotes, quotes
        for one in new:
            self.model.match(one)
        self.model.quotes = later
        self.model.sent += new
        self.model.watch(self.shop.chain, self.shop.clock.now())

    def first_of(self, sent: Transaction, amount: int) -> Sent | None:
        """Return what a transaction pays once more, as one with a higher fee does.

        Its payer is no later for it.
        """
        replaced: dict[str, list[Sent]] = {}
        for one in self.model.sent:
            if not (one.is_gone or one.depth or one.transaction.txid == sent.txid):
                replaced.setdefault(one.transaction.txid, []).append(one)
        same = [
            parts[0]
            for parts in replaced.values()
            if not set(sent.spends).isdisjoint(parts[0].transaction.spends)
            and amount == sum(part.amount for part in parts)
        ]
        return min(same, key=lambda one: one.arrived_at, default=None)

    # --- payers -------------------------------------------------------------------------------

    @rule()
    def show(self) -> None:
        shop = self.shop
        self.attempt(choose(shop.context, self.token, COIN.id, shop.clock.now()))
        self.read_quotes()

    def outputs(self, *paid: tuple[int, int]) -> list[tuple[str, int]]:
        """Return what is sent: shares of quotes in per cent, by the quotes' places from the end."""
        quotes = [self.model.quotes[-1 - place % len(self.model.quotes)] for place, _ in paid]
        return [(q.address, q.amount_atomic * paid[i][1] // 100) for i, q in enumerate(quotes)]

    @rule(paid=st.lists(st.tuples(PLACES, SHARES), min_size=1, max_size=2))
    def pay(self, paid: list[tuple[int, int]]) -> None:
        self.see(self.shop.chain.broadcast(*self.outputs(*paid)))

    @rule(place=PLACES, share=SHARES)
    def pay_into_a_block(self, place: int, share: int) -> None:
        """It was mined before anybody saw it, so it came when its block did."""
        sent = self.shop.chain.broadcast(*self.outputs((place, share)))
        # Later than the page that the payer was shown, if only just.
        mined_at = self.shop.chain.now = self.shop.clock.advance(1)
        self.shop.chain.mine()
        self.see(sent, arrived_at=mined_at)

    def some(self, place: int, *, waiting: bool) -> Sent | None:
        """Return one of the transfers that wait for a block, or that are nowhere."""
        chain = self.shop.chain
        mined = {t.txid for block in chain.blocks for t in block.transactions}
        found = [
            one
            for one in self.model.sent
            if one.transaction.txid not in mined and (one.transaction.txid in chain.pool) == waiting
        ]
        return found[place % len(found)] if found else None

    @rule(place=PLACES, is_back=st.booleans())
    def replace(self, *, place: int, is_back: bool) -> None:
        """The payer spends the coins again, for the invoice or for something else."""
        victim = self.some(place, waiting=True)
        if victim is not None:
            outputs = [("w1elsewhere", 1_000)] if is_back else self.outputs((0, 100))
            self.see(self.shop.chain.broadcast(*outputs, spends=victim.transaction.spends))

    @rule(place=PLACES, minutes=st.sampled_from([1, 5, 16]), price=PRICES)
    def raise_the_fee(self, place: int, minutes: int, price: str) -> None:
        """The payer waits in vain for a block, and sends the same with a higher fee."""
        victim = self.some(place, waiting=True)
        if victim is not None:
            self.look(minutes * 60)
            # The wait has an end of its own: the invoice may expire before the fee is raised.
            self.agrees()
            self.move_price(price)
            sent = victim.transaction
            same = [(each.destination.decode(), each.amount_atomic) for each in sent.transfers]
            self.see(self.shop.chain.broadcast(*same, spends=sent.spends))

    @rule(place=PLACES)
    def drop(self, place: int) -> None:
        victim = self.some(place, waiting=True)
        if victim is not None:
            self.shop.chain.drop(victim.transaction)
            self.look()

    @rule(place=PLACES)
    def send_again(self, place: int) -> None:
        lost = self.some(place, waiting=False)
        if lost is None:
            return
        spent = {s for b in self.shop.chain.blocks for t in b.transactions for s in t.spends}
        if spent.isdisjoint(lost.transaction.spends):
            self.shop.chain.receive(lost.transaction)
            self.look()

    # --- the chain, the clock, the price ------------------------------------------------------

    @rule(count=st.sampled_from([1, 1, 2]), is_empty=st.booleans())
    def mine(self, *, count: int, is_empty: bool) -> None:
        self.shop.chain.mine(count, empty=is_empty)
        self.look(blocks=count)

    @rule(depth=st.integers(1, 4), keep=st.booleans())
    def reorg(self, *, depth: int, keep: bool) -> None:
        self.shop.chain.reorg(depth, keep=keep)
        self.look()

    @rule(minutes=st.sampled_from([1, 5, 16, 31, 25 * 60]))
    def wait(self, minutes: int) -> None:
        self.look(minutes * 60)

    @rule(minutes=st.sampled_from([1, 16, 61]))
    def be_blind(self, minutes: int) -> None:
        """The node is away for a while: what it would say is known only afterwards."""
        self.shop.chain.is_away = True
        self.run(self.shop.look(minutes * 60))
        self.run(self.shop.tick())
        self.agrees()
        self.shop.chain.is_away = False
        self.look()

    @rule(price=PRICES)
    def move_price(self, price: str) -> None:
        self.price = Decimal(price)
        prices = {("COIN", "USD"): self.price}
        self.run(rates.refresh(self.shop.store, [FixedRates(prices)], self.shop.clock.now()))

    # --- the merchant -------------------------------------------------------------------------

    @rule()
    def cancel(self) -> None:
        shop, now = self.shop, self.shop.clock.now()
        before = self.model.cancelled_at
        self.model.cancelled_at = before or now
        is_allowed = self.model.judge(now).status not in ("Confirming", "Paid")
        is_done = self.attempt(cancel(shop.context, shop.principal, self.invoice_id, now))
        assert is_done == is_allowed
        if not is_done:
            self.model.cancelled_at = before

    @rule()
    def mark(self) -> None:
        now = self.shop.clock.now()
        is_allowed = self.model.marked_at is not None or self.model.judge(now).status != "Paid"
        act = marks.mark(self.shop.context, self.who, self.invoice_id, now)
        assert self.attempt(act) == is_allowed
        if is_allowed:
            self.model.marked_at = self.model.marked_at or now
        self.read_quotes()

    @rule()
    def unmark(self) -> None:
        act = marks.unmark(self.shop.context, self.who, self.invoice_id, self.shop.clock.now())
        assert self.attempt(act)
        self.model.marked_at = None
        self.read_quotes()

    def one_that(self, place: int, *, is_credited: bool) -> Sent | None:
        found = [one for one in self.model.sent if one.is_credited == is_credited]
        return found[place % len(found)] if found else None

    def id_of(self, table: sa.Table, one: Sent) -> int:
        """Return the id of a transfer's payment, or of its item in the inbox."""
        statement = (
            sa.select(sa.func.max(table.c.id))
            .join(transfer, transfer.c.id == table.c.transfer_id)
            .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
            .where(chain_transaction.c.txid == one.transaction.txid, transfer.c.place == one.place)
        )
        found: int = self.run(self.shop.store.read(lambda c: c.execute(statement).scalar_one()))
        return found

    @rule(place=PLACES)
    def detach(self, place: int) -> None:
        one = self.one_that(place, is_credited=True)
        if one is not None:
            now = self.shop.clock.now()
            act = by_hand.detach(self.shop.context, self.who, self.id_of(payment, one), now)
            assert self.attempt(act)
            one.quote_id = one.typed = one.final_at = None
            self.read_quotes()

    @rule(place=PLACES, value=st.sampled_from([None, None, "5.00", "25.00"]))
    def attach(self, place: int, value: str | None) -> None:
        one = self.one_that(place, is_credited=False)
        if one is not None:
            now, item_id = self.shop.clock.now(), self.id_of(inbox, one)
            one.quote_id = self.model.price(one) if value is None else None
            one.typed = None if value is None else Fraction(value)
            one.is_stray = one.is_held = False
            act = by_hand.attach(self.shop.context, self.who, item_id, self.invoice_id, value, now)
            assert self.attempt(act)
            self.read_quotes()

    @rule(place=PLACES)
    def ignore(self, place: int) -> None:
        one = self.one_that(place, is_credited=False)
        if one is not None:
            now, item_id = self.shop.clock.now(), self.id_of(inbox, one)
            assert self.attempt(by_hand.ignore(self.shop.context, self.who, item_id, now))
            one.is_stray = False
            self.run(self.shop.tick())

    # --- what must be true --------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        now = self.shop.clock.now()
        verdict = self.model.judge(now)
        found = self.run(self.shop.read(self.invoice_id)).standing
        told = self.run(self.shop.events(self.run(self.shop.read(self.invoice_id))))
        self.told += self.model.tell(verdict)
        assert (found.status.value, [c.value for c in found.conditions]) == (
            verdict.status,
            verdict.exceptions,
        )
        assert (found.seen, found.final) == (verdict.seen, verdict.final)
        assert told == self.told
