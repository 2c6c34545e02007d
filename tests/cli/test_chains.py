"""`counterfoil chain`: how chains stand, and switching one off for good."""

import sqlite3
from contextlib import closing

import pytest

from tests.cli.program import LITECOIN, Program
from tests.cli.test_doctor import examined


@pytest.fixture
def switched_off(program: Program) -> Program:
    """A shop that took Litecoin once, and has one payment of which nothing more was heard."""
    program("key", "list")
    with closing(sqlite3.connect(program.folder / "counterfoil.db")) as database:
        database.execute(
            "INSERT INTO chain (name, network, watched_at, watched_ms, checked_at) "
            "VALUES ('litecoin', 'litecoin-regtest', 1767700000123, 5000, 1767700000123)"
        )
        database.execute("INSERT INTO header VALUES ('litecoin', 812, 'aa', 1767700000000)")
        database.commit()
    return program


def test_a_chain_is_retired(switched_off: Program) -> None:
    listed = switched_off("chain", "list")
    assert listed[0].split() == ["CHAIN", "STATE", "BLOCK", "SEEN", "UP", "TO", "OPEN", "PAYMENTS"]
    assert listed[1].split() == ["litecoin", "off", "812", "2026-01-06T11:46:40.123Z", "0"]
    done = switched_off.run("doctor")
    assert done.exit_code == 1
    level, text = examined(done)["litecoin"]
    assert level == "problem"
    assert "`counterfoil chain retire litecoin`" in text
    assert switched_off("chain", "retire", "litecoin") == [
        "litecoin is retired. Invoices that asked for it expire when they are due.",
        "Should you switch it on again, watching goes on where it stopped.",
    ]
    assert switched_off("chain", "list")[1].split()[1] == "retired"
    assert switched_off.run("doctor").exit_code == 0


def test_what_cannot_be_retired(switched_off: Program) -> None:
    told = switched_off.refused("chain", "retire", "dogecoin")
    assert told == "This database has never watched a chain called dogecoin; it knows: litecoin."
    switched_off.environment = dict(LITECOIN)
    told = switched_off.refused("chain", "retire", "litecoin")
    assert told.startswith("The chain litecoin is switched on. Take chains.litecoin out")
