"""The commands about the inbox, on test money of the simulator."""

import re

import pytest

from tests.cli.program import Program
from tests.cli.simulated import order


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
        "There is no such transfer in the inbox; it may have been credited meanwhile. "
        "If it is of test money, say --test."
    )
    (line,) = program("inbox", "ignore", "1", "--test")
    assert program("inbox", "list", "--test")[1:] == []
    assert len(program("inbox", "list", "--test", "--ignored")) == 2
    assert program.refused("inbox", "attach", "1", str(right), "--value", "a", "--test") == (
        "--value must be a decimal number such as 25.00."
    )
    (line,) = program("inbox", "attach", "1", str(right), "--value", "25", "--test")
    assert line == f"Invoice {right} is Confirming, with the new payment 2."
    program("merchant", "create", "Other")
    program.refused("inbox", "detach", "2", "--test", "--merchant", "Other")


def test_a_list_that_is_cut_says_so(program: Program) -> None:
    program("merchant", "create", "Shop")
    for number in ("1", "2"):
        order(program, is_paid=True)
        program("inbox", "detach", number, "--test")
    for command in (("inbox", "list"), ("audit",)):
        cut = program.run(*command, "--test", "--limit", "1")
        assert len(cut.stdout.splitlines()) == 2
        assert cut.stderr == "There are more: --limit 5 shows up to 5.\n"
        whole = program.run(*command, "--test", "--limit", "2")
        assert (len(whole.stdout.splitlines()), whole.stderr) == (3, "")


@pytest.mark.parametrize(
    "command",
    [
        ("inbox", "attach", "{}", "1"),
        ("inbox", "attach", "1", "{}"),
        ("inbox", "detach", "{}"),
        ("inbox", "ignore", "{}"),
        ("invoice", "mark", "{}"),
        ("invoice", "refund", "1", "1", "--payment", "{}"),
        ("audit", "--invoice", "{}"),
        ("channel", "log", "{}"),
        ("key", "revoke", "{}"),
        ("wallet", "remove", "{}"),
    ],
)
@pytest.mark.parametrize("no_id", ["0", "9007199254740992", "9" * 5_000])
def test_what_can_be_no_id_is_refused(
    program: Program, command: tuple[str, ...], no_id: str
) -> None:
    program.refused(*(word.format(no_id) for word in command), code=2)
