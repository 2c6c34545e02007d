"""`counterfoil doctor`: one line for each thing, and what to do where it is wrong."""

import asyncio
import re
import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import Result

from counterfoil.app import rate_sources
from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Tick
from counterfoil.db.sqlite import Sqlite
from counterfoil.services import rates
from tests.cli.program import LITECOIN, Program
from tests.cli.simulated import order
from tests.test_app import KEY


def examined(done: Result) -> dict[str, tuple[str, str]]:
    """Return what the doctor says, by subject: the level and the sentence."""
    lines = [re.split(r" {2,}", line, maxsplit=2) for line in done.stdout.splitlines()]
    return {line[1]: (line[0], line[2]) for line in lines if len(line) == 3}


def test_the_doctor_before_the_first_start(tmp_path: Path) -> None:
    done = Program(tmp_path / "none").run("doctor")
    assert done.exit_code == 0
    found = examined(done)
    assert found["database"][0] == "ok"
    assert found["secret key"][1].startswith("There is none yet; the first start makes ")
    assert found["public URL"][0] == "note"
    assert not (tmp_path / "none").exists()


def test_the_doctor_on_a_good_installation(program: Program) -> None:
    program("key", "list")
    program.environment = {"COUNTERFOIL_PUBLIC_URL": "https://pay.example"}
    done = program.run("doctor")
    assert done.exit_code == 0
    assert done.stdout.endswith("\nNothing to mend.\n")
    found = examined(done)
    assert {level for level, _ in found.values()} == {"ok"}
    assert list(found) == [
        "settings",
        "data",
        "database",
        "books",
        "late money",
        "secret key",
        "simulator",
        "rates",
        "wallets",
        "public URL",
        "clock",
        "webhooks",
        "channels",
    ]
    assert found["settings"][1] == "COUNTERFOIL_PUBLIC_URL, --data"
    assert found["secret key"][1].endswith("and opens this database.")


def test_the_doctor_on_a_broken_setting(program: Program) -> None:
    program.environment = {"COUNTERFOIL_PUBLIC_ULR": "x"}
    done = program.run("doctor")
    assert done.exit_code == 1
    level, text = examined(done).pop("settings")
    assert level == "problem"
    assert text == (
        "COUNTERFOIL_PUBLIC_ULR is not a setting. Did you mean COUNTERFOIL_PUBLIC_URL? "
        "Nothing else can be looked at before that."
    )
    assert len(examined(done)) == 1


def test_the_doctor_on_a_wrong_secret_key(program: Program) -> None:
    program("key", "list")
    program.environment = {"COUNTERFOIL_SECRET_KEY": KEY}
    done = program.run("doctor")
    assert done.exit_code == 1
    assert done.stdout.endswith("\n1 to mend.\n")
    level, text = examined(done)["secret key"]
    assert level == "problem"
    assert text.startswith("The secret key does not open this database.")
    assert KEY not in done.output


def test_the_doctor_on_a_missing_schema(program: Program, empty_postgres_url: str) -> None:
    (program.folder / "counterfoil.db").unlink()
    (program.folder / "counterfoil.db").touch()
    level, text = examined(program.run("doctor"))["database"]
    assert (level, "`counterfoil migrate`" in text) == ("note", True)
    program.environment = {
        "COUNTERFOIL_DATABASE": empty_postgres_url,
        "COUNTERFOIL_SECRET_KEY": KEY,
    }
    done = program.run("doctor")
    assert done.exit_code == 1
    assert examined(done)["database"] == (
        "problem",
        "The database has no tables yet. Run `counterfoil migrate`, then start again.",
    )
    program("migrate")
    found = examined(program.run("doctor"))
    assert found["database"][0] == "ok"
    assert found["clock"][1].startswith("PostgreSQL's clock is ")


def test_the_doctor_without_a_database(program: Program) -> None:
    program.environment = {"COUNTERFOIL_DATABASE": "postgresql://me:hunter2@127.0.0.1:1/shop"}
    done = program.run("doctor")
    assert done.exit_code == 1
    found = examined(done)
    assert found["database"][0] == "problem"
    assert found["secret key"][0] == "problem"
    assert found["webhooks"][0] == "ok"
    assert "hunter2" not in done.output


def test_the_doctor_on_a_node_that_is_away(program: Program) -> None:
    program.environment = LITECOIN | {
        "COUNTERFOIL_PUBLIC_URL": "http://pay.example",
        "COUNTERFOIL_RATES__SOURCES": "none",
    }
    done = program.run("doctor")
    assert done.exit_code == 1
    found = examined(done)
    assert found["litecoin"][0] == "problem"
    assert found["litecoin"][1].endswith(
        "Look at the node, and at COUNTERFOIL_CHAINS__LITECOIN__RPC."
    )
    assert found["rates"] == (
        "problem",
        "There is no price of LTC. Set COUNTERFOIL_RATES__FIXED__LTC_USD, for example.",
    )
    assert found["public URL"][0] == "problem"
    assert "hunter2" not in done.output
    program.environment["COUNTERFOIL_RATES__FIXED__LTC_USD"] = "80.5"
    assert examined(program.run("doctor"))["rates"] == ("ok", "1 LTC = 80.5 USD (fixed)")


def test_the_doctor_on_an_allow_list_that_is_wrong(program: Program) -> None:
    program.environment = {"COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "http://a.example"}
    assert examined(program.run("doctor"))["webhooks"][0] == "problem"
    program.environment = {"COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "10.0.0.5"}
    assert "10.0.0.5" in examined(program.run("doctor"))["webhooks"][1]


@dataclass
class Source:
    """A source on which one can rely in a test; implements `core.ports.RateSource`."""

    name: str
    prices: Mapping[str, str]
    currencies: frozenset[str] = frozenset({"USD", "EUR"})
    every_s: int = 30

    async def fetch(self, now: int) -> Sequence[Tick]:
        if not self.prices:
            raise UnavailableError("rate_unavailable", f"{self.name.title()} cannot be reached.")
        return [
            Tick(self.name, "LTC", fiat, Decimal(price), now) for fiat, price in self.prices.items()
        ]


def test_the_doctor_on_live_rates(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"USD": "80.25", "EUR": "73.50"}
    sources = [Source("kraken", both), Source("ecb", both), Source("bitstamp", both)]
    monkeypatch.setattr(rate_sources, "live_sources", lambda *_: sources)
    program.environment = dict(LITECOIN)
    told = "1 LTC = 80.25 USD ({0}); 1 LTC = 73.50 EUR ({0})"
    everybody = told.format("bitstamp, ecb, kraken")
    assert examined(program.run("doctor"))["rates"] == ("ok", everybody)
    sources[0].prices = {}
    two = told.format("bitstamp, ecb")
    note = ("note", f"Kraken cannot be reached. The others say: {two}")
    assert examined(program.run("doctor"))["rates"] == note
    sources[2].prices = {"USD": "80.25"}
    level, text = examined(program.run("doctor"))["rates"]
    assert (level, text.partition(" Set ")[0]) == (
        "problem",
        "There is no price of LTC/EUR. Kraken cannot be reached.",
    )


async def test_the_doctor_says_when_prices_were_last_good(
    sqlite: Sqlite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rates.refresh(sqlite, [Source("kraken", {"USD": "80"})], 1_767_700_000_123)
    monkeypatch.setattr(rate_sources, "live_sources", lambda *_: [Source("kraken", {})])
    program = Program(tmp_path)
    program.environment = dict(LITECOIN)
    done = await asyncio.to_thread(program.run, "doctor")
    text = examined(done)["rates"][1]
    assert "The last ones came at 2026-01-06T11:46:40.123Z. Set COUNTERFOIL_" in text


def test_the_doctor_on_a_wallet_with_a_long_gap(program: Program) -> None:
    program("key", "list")
    with closing(sqlite3.connect(program.folder / "counterfoil.db")) as database:
        database.execute("INSERT INTO wallet VALUES (9, 1, 'LTC', 'xpub', 'key', 15, 1, NULL)")
        database.executemany(
            "INSERT INTO destination (merchant_id, key, address, kind, wallet_id, derivation_index,"
            " created_at) VALUES (1, ?, '', 'exclusive', 9, ?, 1)",
            [(f"{index:04x}", index) for index in range(15)],
        )
        database.commit()
    done = program.run("doctor")
    assert done.exit_code == 0
    level, text = examined(done)["wallets"]
    assert level == "note"
    assert text.startswith("Default, wallet 9 (LTC): 15 addresses in a row were shown and not paid")
    assert "to 100" in text
    listed = program.run("wallet", "list")
    assert listed.stdout.splitlines()[1].split()[:6] == ["9", "LTC", "xpub", "15", "15", "0"]
    assert listed.stderr.startswith("Wallet 9: 15 addresses in a row were shown and not paid")


def test_the_doctor_looks_through_the_books(program: Program) -> None:
    invoice_id = order(program, is_paid=True)
    assert examined(program.run("doctor"))["books"] == (
        "ok",
        "Each transfer (1 in all) is counted once, each log of events is whole.",
    )
    with closing(sqlite3.connect(program.folder / "counterfoil.db")) as database:
        database.execute("DELETE FROM payment")
        database.execute("UPDATE invoice SET status = 'Paid'")
        database.commit()
    done = program.run("doctor")
    assert done.exit_code == 1
    level, text = examined(done)["books"]
    assert level == "problem"
    assert "Transfers that are not counted once: 1. Invoices that are Paid without" in text
    assert text.endswith(f"{invoice_id}. This must never be: make a backup, and report it.")


def test_the_doctor_names_channels_that_hear_nothing(program: Program) -> None:
    for host in ("a.example", "b.example", "c.example"):
        program("channel", "add", "webhook", f"https://{host}/hook?token=hunter2")
    assert examined(program.run("doctor"))["channels"][0] == "ok"
    program("channel", "pause", "1")
    order(program, is_paid=True)
    with closing(sqlite3.connect(program.folder / "counterfoil.db")) as database:
        database.execute("UPDATE channel SET failing_since = 1767700000123 WHERE id = 2")
        database.execute("UPDATE delivery SET state = 'parked' WHERE channel_id = 3")
        (parked,) = database.execute("SELECT sum(channel_id = 3) FROM delivery").fetchone()
        database.commit()
    assert parked > 0

    def told() -> list[str]:
        done = program.run("doctor")
        assert done.exit_code == 0, "a note is no failure"
        assert "hunter2" not in done.output
        lines = done.stdout.splitlines()
        return [line for line in lines if line.startswith("note     channels    Default, channel")]

    paused, failing, given_up = told()
    assert re.search(r"channel 1: Paused 20[^ ]+Z: The merchant paused it\. `", paused)
    assert "channel 2: Failing since 2026-01-06T11:46:40.123Z. `" in failing
    assert f"channel 3: Deliveries that were given up: {parked}. `" in given_up
    assert given_up.endswith(
        "`counterfoil channel log 3` says what came back. Mend that, then "
        "`counterfoil channel resume 3` sends all that waits."
    )
    # What it says can be typed as it stands, also where there are several merchants.
    program("merchant", "create", "Other Shop")
    commands = [re.findall(r"`counterfoil ([^`]+ resume [^`]+)`", line)[0] for line in told()]
    assert commands[2] == "channel resume 3 --merchant Default"
    for command in commands:
        program(*shlex.split(command))
    assert examined(program.run("doctor"))["channels"][0] == "ok"
