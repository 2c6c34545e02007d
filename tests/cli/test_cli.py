"""The command line: what it prints, and how it refuses."""

import os
import re
import subprocess
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import cast

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from counterfoil.cli.program import app
from counterfoil.core import access, signing
from tests.cli.program import COUNTERFOIL, Program

# --- the program -------------------------------------------------------------------------------


def test_the_program_is_installed() -> None:
    done = subprocess.run([COUNTERFOIL, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"counterfoil \d+\.\d+\.\d+\n", done.stdout)


def test_help_lists_the_commands() -> None:
    done = CliRunner().invoke(app, ["--help"])
    for name in (
        *("serve", "demo", "doctor", "migrate", "pay", "secret-key", "explain", "rescan", "ledger"),
        *("merchant", "key", "wallet", "channel", "chain"),
    ):
        assert f" {name} " in done.output


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def test_help_loses_no_word() -> None:
    """What stands in brackets and begins with a small letter would be taken for a colour."""
    every = list(commands(cast("TyperGroup", typer.main.get_command(app))))
    assert len(every) > 30
    for path in every:
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0
        assert not re.search(r" \.", shown.output), path


def test_what_it_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    subprocess.run(
        [COUNTERFOIL, "--data", tmp_path / "a" / "b", "key", "list"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    made = [tmp_path / "a" / "b", *(tmp_path / "a" / "b").iterdir()]
    assert {path.name for path in made} == {"b", "counterfoil.db", "secret.key"}
    assert {path.stat().st_mode & 0o077 for path in made} == {0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["key", "create"],
        ["key", "create", "--scope", "everything"],
        ["key", "revoke", "x"],
        ["wallet", "add", "LTC"],
        ["wallet", "add", "LTC", "--xpub", "a", "--address", "b"],
        ["wallet", "add", "LTC", "--xpub", "a", "--descriptor", "b"],
        ["wallet", "add", "LTC", "--xpub", "a", "--next-index", "x"],
        ["wallet", "remove", "x"],
        ["channel", "redeliver", "1", "x"],
        ["channel", "redeliver", "1", "1-x"],
        ["pay", "1", "--outcome", "never"],
    ],
)
def test_wrong_usage_exits_with_2(program: Program, arguments: list[str]) -> None:
    program.refused(*arguments, code=2)


def test_a_wrong_setting_is_told_in_a_sentence(program: Program) -> None:
    program.environment = {"COUNTERFOIL_PORT": "x"}
    assert program.refused("key", "list") == (
        "COUNTERFOIL_PORT must be a whole number from 0 to 65535."
    )


def test_settings_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.toml").write_text("prot = 1", encoding="utf-8")
    done = CliRunner().invoke(app, ["--config", "other.toml", "key", "list"])
    assert done.exit_code == 1
    assert done.stderr == "Error: prot in other.toml is not a setting. Did you mean port?\n"


def test_a_file_that_is_no_database(program: Program) -> None:
    (program.folder / "counterfoil.db").write_bytes(b"no database at all" * 100)
    assert program.refused("key", "list").endswith("cannot be opened: file is not a database.")


# --- merchants and keys ------------------------------------------------------------------------


def test_merchants(program: Program) -> None:
    assert program("merchant", "create", "Shop", "--currency", "eur") == ["Merchant Shop is there."]
    assert program.refused("merchant", "create", "Shop") == (
        "There is a merchant with the name Shop already."
    )
    assert "ISO 4217" in program.refused("merchant", "create", "B", "--currency", "XYZ")
    # The only merchant needs no name.
    program("key", "create", "--scope", "read")
    program("merchant", "create", "Café")
    assert program.refused("key", "create", "--scope", "read") == (
        "There are several merchants; name one with --merchant. They are: Shop, Café."
    )
    assert program.refused("key", "list", "--merchant", "shop") == (
        "There is no merchant shop. There are: Shop, Café."
    )
    program("key", "list", "--merchant", "Café")
    header, shop, cafe = program("merchant", "list")
    assert header.split()[:3] == ["ID", "NAME", "CURRENCY"]
    assert shop.split()[:3] == ["1", "Shop", "EUR"]
    assert cafe.split()[1:3] == ["Café", "USD"]


def test_redirects(program: Program) -> None:
    (said,) = program("merchant", "allow-redirect", "https://Shop.example")
    assert said == "Invoices of Default may send their payers to https://shop.example."
    assert program("merchant", "list")[1].endswith("https://shop.example")
    assert "https://" in program.refused("merchant", "allow-redirect", "http://shop.example")


def test_confirmations_of_a_merchant(program: Program) -> None:
    done = program.run("merchant", "confirmations", "TEST", "0, 3 from 100")
    assert done.stdout == (
        "Payments of TEST to Default that come from now on are final at: 0, 3 from 100.\n"
    )
    assert "can be taken back" in done.stderr
    (said,) = program("merchant", "confirmations", "TEST", "default")
    assert said == "Payments of TEST to Default that come from now on are final at: 2."
    told = program.refused("merchant", "confirmations", "TEST", "1001")
    assert told.startswith("Confirmations are a number from 0 to 1,000")
    assert "takes: TEST" in program.refused("merchant", "confirmations", "XMR", "1")


def test_a_tolerance(program: Program) -> None:
    (said,) = program("merchant", "tolerance", "0.50")
    assert said == "New invoices of Default are paid in full if at most 0.5 % is missing."
    assert "  0.5 %" in program("merchant", "list")[1]
    assert program.refused("merchant", "tolerance", "11") == (
        "A tolerance is a number of per cent from 0 to 10, such as 0.5."
    )


def test_late_money(program: Program) -> None:
    assert "  accept" in program("merchant", "list")[1]
    (said,) = program("merchant", "late-money", "hold")
    assert said == "Money that comes late to Default is seen, and waits for you."
    assert "  hold" in program("merchant", "list")[1]
    (said,) = program("merchant", "late-money", "accept")
    assert said == "Money that comes late to Default counts."


def test_keys(program: Program) -> None:
    said, test_key = program("key", "create", "--scope", "automate", "--test")
    assert said.startswith("A test key of Default with the scope Automate payments.")
    assert access.is_well_formed(test_key)
    assert test_key.startswith("cf_test_")
    live_key = program("key", "create", "--scope", "full")[-1]
    assert live_key.startswith("cf_live_")
    lines = program("key", "list")
    assert [line.split()[:4] for line in lines[1:]] == [
        ["1", f"{test_key[:12]}...", "test", "automate"],
        ["2", f"{live_key[:12]}...", "live", "full"],
    ]
    assert test_key not in "".join(lines)
    assert program("key", "revoke", "1") == ["Key 1 is revoked."]
    assert "revoked 20" in program("key", "list")[1]
    assert program.refused("key", "revoke", "1") == "This merchant has no key 1 in use."
    assert program.refused("key", "revoke", "7") == "This merchant has no key 7 in use."


def test_a_key_of_another_merchant_cannot_be_revoked(program: Program) -> None:
    program("merchant", "create", "A")
    program("merchant", "create", "B")
    program("key", "create", "--scope", "read", "--merchant", "A")
    program.refused("key", "revoke", "1", "--merchant", "B")
    program("key", "revoke", "1", "--merchant", "A")


# --- channels ----------------------------------------------------------------------------------


def test_channels(program: Program) -> None:
    heard, _, secret = program("channel", "add", "webhook", "https://shop.example/hook")
    assert heard == "Channel 1 hears payment_detected, payment_confirmed, payment_failed."
    assert secret.startswith(signing.SECRET_PREFIX)
    chosen = "payment_confirmed, invoice_expired,payment_confirmed"
    heard, *_ = program("channel", "add", "webhook", "https://b.example", "--events", chosen)
    assert heard == "Channel 2 hears payment_confirmed, invoice_expired."
    heard, *_ = program("channel", "add", "webhook", "https://c.example", "--events", "all")
    assert "inbox_received" in heard
    lines = program("channel", "list")
    assert lines[1].split()[:3] == ["1", "webhook", "https://shop.example/hook"]
    assert lines[1].endswith("fine")
    assert secret not in "".join(lines)
    assert program("channel", "pause", "1") == ["Channel 1 is paused."]
    assert "The merchant paused it." in program("channel", "list")[1]
    assert program("channel", "resume", "1") == ["Channel 1 is sent to again; 0 waiting."]
    assert program("channel", "list")[1].endswith("fine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["webhook", "shop.example"], "A webhook URL must begin with https:// or http://."),
        (["webhook", "http://127.0.0.1:5000"], "COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS"),
        (["mail", "a@b.example"], "There is no channel of the kind mail. There is: webhook."),
        (["webhook", "https://a.example", "--events", "paid"], "paid is not an event."),
        (["webhook", "https://a.example", "--events", ","], "--events names none"),
    ],
)
def test_a_channel_that_cannot_be(program: Program, arguments: list[str], message: str) -> None:
    assert message in program.refused("channel", "add", *arguments)
    assert len(program("channel", "list")) == 1


@pytest.mark.parametrize("command", ["test", "log", "pause", "resume"])
def test_a_channel_that_is_not_there(program: Program, command: str) -> None:
    assert program.refused("channel", command, "7") == "This merchant has no channel 7."
    program("merchant", "create", "B")
    program("channel", "add", "webhook", "https://a.example", "--merchant", "B")
    assert program.refused("channel", command, "1", "--merchant", "Default").endswith("channel 1.")


def test_a_test_event(program: Program, receiver: HTTPServer) -> None:
    program.environment = {"COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "127.0.0.1"}
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    secret = program("channel", "add", "webhook", url)[-1]
    status, answer = program("channel", "test", "1")
    assert re.fullmatch(r"HTTP 200 after \d+ ms", status)
    assert answer == "hm"
    ((headers, body),) = receiver.seen  # type: ignore[attr-defined]  # see the fixture
    assert body == b'{"event":"test","invoice_id":"","status":"","payment_id":"","test":true}'
    assert headers["signature"] == signing.sign_body(secret, body)
    # It leaves no trace in the log, which is of events alone.
    assert len(program("channel", "log", "1")) == 1


def test_a_test_event_that_is_refused(program: Program, receiver: HTTPServer) -> None:
    program.environment = {"COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "127.0.0.1"}
    receiver.answer = 500  # type: ignore[attr-defined]  # see the fixture
    program("channel", "add", "webhook", f"http://127.0.0.1:{receiver.server_port}/hook")
    assert program.refused("channel", "test", "1") == "The endpoint answered with HTTP 500."


# --- paying ------------------------------------------------------------------------------------


def test_paying_what_is_not_there(program: Program) -> None:
    for invoice in ("1", "abc", "https://a.example/pay-invoice?share_token=abc"):
        assert program.refused("pay", invoice) == "There is no such invoice."


def test_migrating(tmp_path: Path) -> None:
    program = Program(tmp_path / "new")
    assert program("migrate") == [
        f"The schema of the SQLite file {tmp_path}/new/counterfoil.db is this version's."
    ]
    program("migrate")


def test_a_new_secret_key(program: Program) -> None:
    (made,) = program("secret-key")
    program.environment = {"COUNTERFOIL_SECRET_KEY": made}
    program("key", "list")
