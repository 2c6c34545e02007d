"""What is done to an invoice by hand, at the command line."""

from tests.cli.program import Program
from tests.cli.simulated import order


def test_an_invoice_is_marked_and_unmarked(program: Program) -> None:
    program("merchant", "create", "Shop")
    made = str(order(program, is_paid=False))
    assert program("invoice", "mark", made, "--test") == [
        f"Invoice {made} is Paid, settled by hand."
    ]
    assert program("invoice", "unmark", made, "--test") == [f"Invoice {made} is Unpaid."]
    for act in ("mark", "unmark"):
        assert program.refused("invoice", act, made) == "There is no such invoice."
