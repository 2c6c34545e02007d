"""`counterfoil ledger export`: the same entries as CSV and as JSON, with no formula in them."""

import asyncio
import csv
import json
import re

import pytest

from counterfoil.app.parts import opened
from counterfoil.cli.ledger import parse_time
from counterfoil.core.errors import InvalidError
from counterfoil.services.ledger import COLUMNS
from counterfoil.settings import load
from tests.cli.program import Program
from tests.cli.test_repairs import look, pay, pay_unseen

PERIOD = ("--from", "2020-01-01", "--to", "2100-01-01")


def test_a_payment_in_either_form(program: Program) -> None:
    invoice_id, txid = asyncio.run(pay_unseen(program, order_id="=HYPERLINK(1)"))
    program("rescan", "TEST", "--from", "1")
    lines = program("ledger", "export", *PERIOD, "--test")
    (row,) = csv.DictReader(lines)
    assert tuple(row) == COLUMNS
    assert (row["txid"], row["invoice_id"]) == (txid, str(invoice_id))
    assert (row["amount"], row["quote_value"], row["confirmation_value"]) == (
        "25",
        "25.00",
        "25.00",
    )
    assert (row["quote_rate"], row["quote_rate_sources"]) == ("1", "simulator")
    # A sheet would run it; the JSON has it as it is.
    assert row["order_id"] == "'=HYPERLINK(1)"
    said = json.loads("\n".join(program("ledger", "export", *PERIOD, "--test", "--format", "json")))
    assert said["entries"] == [{**row, "order_id": "=HYPERLINK(1)"}]
    assert said["totals"] == {"TEST": {"credited_atomic": "2500000000", "inbox_atomic": "0"}}


def test_live_and_test_money_are_apart(program: Program) -> None:
    asyncio.run(pay_unseen(program))
    program("rescan", "TEST", "--from", "1")
    assert program("ledger", "export", *PERIOD) == [",".join(COLUMNS)]
    said = json.loads("\n".join(program("ledger", "export", *PERIOD, "--format", "json")))
    assert said == {"totals": {}, "entries": []}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("1969-12-31T23:59:59.999", -1),
    ],
)
def test_a_time_is_utc_where_it_names_no_zone(text: str, at: int) -> None:
    assert parse_time("from", text) == at


def test_no_cell_is_a_formula_whatever_ends_it(program: Program) -> None:
    asyncio.run(pay_unseen(program, order_id='A;=HYPERLINK(1),@B\t+C|-D;"=E;F'))
    program("rescan", "TEST", "--from", "1")
    lines = program("ledger", "export", *PERIOD, "--test")
    for ends in ",;\t|":
        cells = [cell for row in csv.reader(lines, delimiter=ends) for cell in row]
        assert "A" in "".join(cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


async def pay_seen(program: Program) -> None:
    async with opened(load({}, {"data": program.folder})) as here:
        await pay(here)
        await look(here)


def test_what_is_in_no_block_yet_is_told_of(program: Program) -> None:
    asyncio.run(pay_seen(program))
    done = program.run("ledger", "export", *PERIOD, "--test")
    assert len(done.stdout.splitlines()) == 1
    said = "1 transfer is in no block yet and not listed: export this period again.\n"
    assert done.stderr == said


def test_a_period_ends_after_it_begins(program: Program) -> None:
    said = program.refused("ledger", "export", "--from", "2026-01-02", "--to", "2026-01-02")
    assert said == "--to must be later than --from: it is the first time that is left out."


def test_what_is_no_time_is_refused(program: Program) -> None:
    with pytest.raises(InvalidError):
        parse_time("to", "yesterday")
    said = program.refused("ledger", "export", "--from", "2026-02-30", "--to", "2026-03-01")
    assert re.match(r"--from must be a date such as 2026-01-31", said)
