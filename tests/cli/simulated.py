"""Test invoices of a command line's installation, paid on the simulator and seen by a watcher."""

from decimal import Decimal

from counterfoil.app.parts import Installation
from counterfoil.cli.session import Session
from counterfoil.core.access import Principal, Scope
from counterfoil.core.ports import Mode, Outcome
from counterfoil.services import invoices, simulator
from counterfoil.services.invoices import Draft
from counterfoil.services.watching import Watch, ensure_chains
from tests.cli.program import Program

TESTER = Principal(1, 1, Mode.TEST, Scope.FULL)


def order(program: Program, *, is_paid: bool) -> int:
    """Make a test invoice, have it paid and seen if so wished, and return its id."""

    async def work(here: Installation) -> int:
        context, now = here.context, here.clock.now()
        made = await invoices.create(context, TESTER, Draft(Decimal("25.00"), "USD"), now)
        if is_paid:
            await ensure_chains(context)
            watch = Watch(context, context.methods.chains["simulator"], "test")
            while await watch.look(now):
                pass
            found = await invoices.get(context, TESTER, made.id)
            await simulator.simulate(context, found, Outcome.EXACT, now)
            while await watch.look(now):
                pass
        return made.id

    return Session(program.folder, None).run(work)
