"""The commands about the inbox, on test money of the simulator."""

import re
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


def test_a_payment_is_moved_to_another_invoice(program: Program) -> None:
    program("merchant", "create", "Shop")
    wrong, right = order(program, is_paid=True), order(program, is_paid=False)
    (line,) = program("inbox", "detach", "1", "--test")
    assert line == f"Invoice {wrong} is Unpaid; the transfer is number 1 in the inbox."
    header, line = program("inbox", "list", "--test")
    assert re.split(" {2,}", header) == [
        "ID",
        "CAME",
        "AMOUNT",
        "STATE",
        "TXID",
        "WHY",
        "MEANT FOR",
    ]
    cells = re.split(" {2,}", line)
    assert (cells[0], cells[2]) == ("1", "25 TEST")
    assert cells[-2:] == [
        "It was credited to an invoice and taken off it by hand.",
        f"the amount of INV {wrong}",
    ]
    assert program("inbox", "list")[1:] == [], "it is test money"
    assert program.refused("inbox", "attach", "1", str(right)) == (
        "There is no such transfer in the inbox; it may have been credited meanwhile."
    )
    (line,) = program("inbox", "ignore", "1", "--test")
    assert program("inbox", "list", "--test")[1:] == []
    assert len(program("inbox", "list", "--test", "--ignored")) == 2
    assert program.refused("inbox", "attach", "1", str(right), "--value", "a", "--test") == (
        "fiat_value must be a decimal number such as 25.00."
    )
    (line,) = program("inbox", "attach", "1", str(right), "--value", "25", "--test")
    assert line == f"Invoice {right} is Confirming, with the new payment 2."
    program("merchant", "create", "Other")
    program.refused("inbox", "detach", "2", "--test", "--merchant", "Other")
