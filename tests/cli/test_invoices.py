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
        said = "There is no such invoice. If it is of test money, say --test."
        assert program.refused("invoice", act, made) == said
        unknown = program.refused("invoice", act, "99", "--test")
        assert unknown == "There is no such invoice."


def test_a_refund_is_noted(program: Program) -> None:
    program("merchant", "create", "Shop")
    made = str(order(program, is_paid=True))
    given = ("--coin", "test", "--payment", "1", "--txid", "ab12", "--note", "Half of it.")
    assert program("invoice", "refund", made, "12.50", *given, "--test") == [
        f"Noted: 12.5 TEST of invoice {made} was sent back."
    ]
    assert program("invoice", "refund", made, "12.5", "--test") == [
        f"Noted: 12.50 USD of invoice {made} was sent back."
    ]
    _, coin, fiat = program("invoice", "refunds", made, "--test")
    assert coin.split()[2:] == ["12.5", "TEST", "1", "ab12", "Half", "of", "it."]
    assert fiat.split()[2:] == ["12.50", "USD"]
    assert program.refused("invoice", "refund", made, "1", "--payment", "9", "--test") == (
        "--payment names no payment of this invoice."
    )
    said = "There is no such invoice. If it is of test money, say --test."
    assert program.refused("invoice", "refunds", made) == said
    # A note is shown to others: it is as plain as one that comes over the API.
    noting = ("invoice", "refund", made, "1", "--test")
    assert program.refused(*noting, "--note", "\x1b[31mred") == (
        "note holds U+001B at position 1, which plain text may not hold; remove it."
    )
    # So Python has what is no UTF-8 on a command line.
    assert program.refused(*noting, "--txid", "a\udcff").startswith("txid holds U+DCFF")
    assert program.refused(*noting, "--txid", "x" * 201).startswith("txid may have at most 200")
