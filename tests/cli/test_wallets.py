"""The commands about wallets, without a node: it is not asked, or does not answer."""

import json

import pytest
from typer.testing import CliRunner

from counterfoil.cli.program import app
from tests.cli.program import LITECOIN, VECTORS, Program

ADDRESS = "rltc1q6rz28mcfaxtmd6v789l9rrlrusdprr9puuzgkg"
SPENDABLE = json.loads((VECTORS / "spendable.json").read_text(encoding="utf-8"))
WALLET = json.loads((VECTORS / "wallets.json").read_text(encoding="utf-8"))["regtest"][0]
FIRST = [each["address"] for each in WALLET["addresses"][:3]]
KEY = WALLET["texts"][0]
PHRASE = "abandon " * 11 + "about"


@pytest.fixture
def program(program: Program) -> Program:
    program.environment = dict(LITECOIN)
    return program


def add(program: Program, *arguments: str) -> list[str]:
    return program("wallet", "add", "LTC", "--next-index", "0", *arguments)


def test_a_wallet_of_an_extended_key(program: Program) -> None:
    lines = add(program, "--xpub", KEY)
    assert lines[0].startswith("Compare: ")
    assert lines[-3:] == FIRST
    header, line = program("wallet", "list")
    assert header.split()[:2] == ["ID", "METHOD"]
    assert line.split()[:6] == ["2", "LTC", "xpub", "0", "0", "0"]
    assert line.endswith(WALLET["canonical"])
    assert program.refused("wallet", "add", "LTC", "--xpub", KEY) == (
        "This merchant has a LTC wallet already; remove it first."
    )


def test_a_wallet_of_a_descriptor_is_the_same(program: Program) -> None:
    assert add(program, "--descriptor", WALLET["canonical"])[-3:] == FIRST
    program("merchant", "create", "Other")
    message = program.refused("wallet", "add", "LTC", "--xpub", KEY, "--merchant", "Other")
    assert message.startswith("This wallet is in use on this server")


def test_a_wallet_of_an_address(program: Program) -> None:
    assert program("wallet", "add", "ltc", "--address", ADDRESS.upper()) == [ADDRESS]
    assert program("wallet", "list")[1].split()[:3] == ["2", "LTC", "address"]
    assert program.refused("wallet", "add", "LTC", "--address", ADDRESS, "--next-index", "1") == (
        "One address for all has no next_index; leave it out."
    )


def test_a_wallet_that_is_read_from_stdin(program: Program) -> None:
    arguments = ["wallet", "add", "LTC", "--xpub", "-", "--next-index", "4"]
    done = CliRunner().invoke(
        app,
        ["--data", str(program.folder), *arguments],
        input=f"{KEY}\n",
        env=program.environment,
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == FIRST
    assert done.stderr == (
        "The first invoice gets address number 4, counted from 0: no node was asked which were "
        "used before.\n"
    )


def test_removing_and_adding_again(program: Program) -> None:
    add(program, "--xpub", KEY)
    assert program("wallet", "remove", "2") == ["Wallet 2 is removed. Its addresses stay watched."]
    assert program("wallet", "list")[1:] == []
    assert program.refused("wallet", "remove", "2") == "This merchant has no such wallet."
    # Not the simulator's either.
    assert program.refused("wallet", "remove", "1") == "This merchant has no such wallet."
    add(program, "--xpub", KEY)
    assert program("wallet", "list")[1].split()[0] == "2"


def test_a_node_that_does_not_answer(program: Program) -> None:
    done = program.run("wallet", "add", "LTC", "--xpub", KEY)
    assert done.exit_code == 1
    assert "--next-index" in done.stderr
    assert "hunter2" not in done.stderr
    assert KEY not in done.output
    assert program("wallet", "list")[1:] == []


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        *(("--xpub", each["text"]) for each in SPENDABLE),
        *(("--descriptor", each["text"]) for each in SPENDABLE[::5]),
        ("--descriptor", PHRASE),
        *(("--address", each["text"]) for each in SPENDABLE[::5]),
        ("--address", PHRASE),
    ],
)
def test_what_can_spend_is_refused_and_not_repeated(
    program: Program, option: str, secret: str
) -> None:
    done = program.run("wallet", "add", "LTC", option, secret)
    assert done.exit_code == 1
    if option != "--address":
        assert "This can spend the money of a wallet" in done.stderr
    assert not any(word in done.output for word in secret.split() if len(word) > 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["LTC", "--xpub", *PHRASE.split()],
        ["LTC", "--descriptor", *PHRASE.split(), "--next-index", "0"],
        ["LTC", *PHRASE.split()],
        PHRASE.split(),
        ["LTC", PHRASE],
        [PHRASE, "--xpub", PHRASE],
    ],
)
def test_a_phrase_in_the_wrong_place_is_not_repeated(
    program: Program, arguments: list[str]
) -> None:
    done = program.run("wallet", "add", *arguments)
    assert done.exit_code != 0
    assert "abandon" not in done.output
    assert program("wallet", "list")[1:] == []


def test_a_wallet_without_a_chain(program: Program) -> None:
    program.environment = {}
    message = program.refused("wallet", "add", "LTC", "--xpub", "x")
    assert "COUNTERFOIL_CHAINS__LITECOIN__RPC=" in message
    program.environment = dict(LITECOIN)
    message = program.refused("wallet", "add", "BTC", "--xpub", "x")
    assert message.endswith("t takes: LTC.")
