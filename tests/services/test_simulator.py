"""Test invoices, paid on the simulator's chain as a shop's programmer does it."""

import pytest

from counterfoil.chains.simulator import SimulatorChain
from counterfoil.core.access import Principal, Scope
from counterfoil.core.money import parse_fiat
from counterfoil.core.ports import Mode, Outcome
from counterfoil.core.quote import LOCK_MS
from counterfoil.db.engine import Database
from counterfoil.db.simulator import Ledger
from counterfoil.services import invoices, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.merchants import ensure_default, list_all
from counterfoil.services.quotes import choose
from counterfoil.services.simulator import simulate
from tests.conftest import FakeClock, FakeEntropy
from tests.services.shop import MINUTE


@pytest.mark.parametrize(
    ("outcome", "conditions"),
    [(Outcome.EXACT, []), (Outcome.OVER, ["overpaid"]), (Outcome.LATE, ["paid_late"])],
)
async def test_a_price_that_had_ended_is_made_anew_and_paid_in_time(
    database: Database, clock: FakeClock, outcome: Outcome, conditions: list[str]
) -> None:
    chain = SimulatorChain(Ledger(database), clock)
    context = Context(database, Methods([chain]), frozenset({"USD"}), FakeEntropy(), "")
    await watching.ensure_chains(context)
    await ensure_default(context, clock.now())
    (merchant,) = await list_all(database)
    watch = watching.Watch(context, chain, "test")
    await watch.look(clock.now())
    who = Principal(1, merchant.id, Mode.TEST, Scope.FULL)
    draft = invoices.Draft(parse_fiat("25", "USD"), "USD")
    made = await invoices.create(context, who, draft, clock.now())
    invoice = await invoices.get(context, who, made.id)
    await choose(context, invoice.share_token, "TEST", clock.now())
    clock.advance(LOCK_MS + 20 * MINUTE)
    await simulate(context, invoice, outcome, clock.now())
    for _ in range(10):
        clock.advance(5_000)
        while await watch.look(clock.now()):
            pass
    standing = (await invoices.get(context, who, made.id)).standing
    assert [condition.value for condition in standing.conditions] == conditions
