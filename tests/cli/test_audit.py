"""What was done by hand, as the command line shows it."""

import re

from tests.cli.program import Program
from tests.cli.simulated import order


def test_acts_are_listed_with_who_did_them_and_to_what(program: Program) -> None:
    program("merchant", "create", "Shop")
    program("merchant", "tolerance", "0.5")
    one, other = order(program, is_paid=True), order(program, is_paid=False)
    program("inbox", "detach", "1", "--test")
    program("inbox", "attach", "1", str(other), "--value", "25.00", "--test")
    program("invoice", "mark", str(one), "--test")
    _, *acts = program("audit", "--test")
    mark, attach, detach = (re.split(" {2,}", line)[1:] for line in acts)
    assert mark[:4] == ["cli", "mark", str(one), "3"]
    assert attach[:4] == ["cli", "attach", str(other), "2"]
    assert attach[-1] == "fiat_value=25.00"
    assert detach[:4] == ["cli", "detach", str(one), "1"]
    assert re.fullmatch("[0-9a-f]{64}", detach[-1])
    assert detach[-1] == attach[-2]
    _, *of_other = program("audit", "--test", "--invoice", str(other))
    assert [line.split() for line in of_other] == [acts[1].split()]
    _, *last = program("audit", "--test", "--limit", "1")
    assert [line.split() for line in last] == [acts[0].split()]
    _, live = program("audit")
    assert re.split(" {2,}", live)[1:3] == ["cli", "tolerance"]
    assert live.endswith("percent=0.5")
    program("merchant", "create", "Other")
    assert program("audit", "--test", "--merchant", "Other")[1:] == []
