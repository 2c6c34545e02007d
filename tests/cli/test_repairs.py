"""`counterfoil rescan`, on the simulator's chain and without a server."""

import asyncio
import re
import shlex
from typing import Any

import sqlalchemy as sa

from counterfoil.app.parts import Installation, opened
from counterfoil.core.access import Principal, Scope
from counterfoil.core.money import parse_fiat
from counterfoil.core.ports import Mode, Outcome
from counterfoil.db import loops, simulator
from counterfoil.services import invoices, merchants, watching
from counterfoil.services import simulator as simulating
from counterfoil.services.watching import Watch
from counterfoil.settings import load
from tests.cli.program import Program


async def look(here: Installation) -> None:
    """Let the simulator be watched for a moment."""
    await watching.ensure_chains(here.context)
    watch = Watch(here.context, here.context.methods.chains["simulator"], "serve")
    await watch.look(here.clock.now())
    await watch.release()


async def pay(
    here: Installation,
    merchant_name: str | None = None,
    outcome: Outcome = Outcome.EXACT,
    **fields: Any,
) -> tuple[int, str]:
    """Make a test invoice and pay it; nobody has looked yet."""
    context, now = here.context, here.clock.now()
    await look(here)
    merchant = await merchants.find(here.database, merchant_name)
    who = Principal(1, merchant.id, Mode.TEST, Scope.FULL)
    draft = invoices.Draft(parse_fiat("25", "USD"), "USD", **fields)
    made = await invoices.create(context, who, draft, now)
    invoice = await invoices.get(context, who, made.id)
    return made.id, await simulating.simulate(context, invoice, outcome, now)


async def pay_unseen(program: Program, **fields: Any) -> tuple[int, str]:
    """Pay a test invoice in a block that the cursor passes without looking."""
    async with opened(load({}, {"data": program.folder})) as here:
        invoice_id, txid = await pay(here, **fields)
        now = here.clock.now()

        def skip(connection: sa.Connection) -> None:
            simulator.mine(connection, now, 3)
            tip = simulator.get_block(connection, simulator.get_tip(connection).hash)
            assert tip is not None
            loops.add_header(connection, "simulator", tip)

        await here.database.write(skip)
        return invoice_id, txid


def test_what_was_missed_is_told_and_credited_once(program: Program) -> None:
    invoice_id, txid = asyncio.run(pay_unseen(program))
    first, last = program("rescan", "test", "--from", "1")
    assert first == f"25 TEST in transaction {txid}, block 1, is credited to invoice {invoice_id}"
    assert last == "3 blocks of simulator read again from 1 on: 1 payment that was missed."
    again = program("rescan", "TEST", "--from", "3")
    assert again[0].startswith("1 block of simulator read again from 3 on: nothing that was missed")


def test_a_chain_that_was_never_read(program: Program) -> None:
    said = program.refused("rescan", "TEST", "--from", "0")
    assert said == ("The chain simulator has not been read yet; start `counterfoil serve` first.")


def test_a_height_beyond_the_cursor(program: Program) -> None:
    asyncio.run(pay_unseen(program))
    said = program.refused("rescan", "TEST", "--from", "1000")
    assert re.fullmatch(
        r"simulator has been read up to block 3: --from must be .* that one\.", said
    )


def test_a_coin_that_nobody_takes(program: Program) -> None:
    said = program.refused("rescan", "DOGE", "--from", "0")
    assert said == "method names no coin that this server takes; it takes: TEST."


def test_an_invoice_is_explained_before_and_after_the_repair(program: Program) -> None:
    invoice_id, txid = asyncio.run(pay_unseen(program))
    said = program("explain", str(invoice_id), "--txid", txid)
    assert said[0] == f"Invoice {invoice_id} over 25.00 USD is Unpaid."
    assert "No payment of it was seen." in said
    assert (
        f"Transaction {txid} is in block 1 with 3 confirmations, says the node of simulator."
        in said
    )
    advice = said[said.index("What to do:") + 1 :]
    assert advice == [
        "- Run `counterfoil rescan TEST --from 1`: that block was passed without it.",
        "- Until then ask for no other payment, and make no new invoice.",
    ]
    program("rescan", "TEST", "--from", "1")
    again = program("explain", str(invoice_id), "--txid", txid)
    assert again[-1] == "- It is paid: there is nothing to do."


def test_an_unknown_invoice_is_not_explained(program: Program) -> None:
    twice = "https://pay.example/pay-invoice?share_token=a&share_token=b"
    for text in ("77", "9007199254740992", "9" * 5_000, twice):
        assert program.refused("explain", text) == "There is no such invoice."


def test_an_empty_txid_is_none(program: Program) -> None:
    invoice_id, _ = asyncio.run(pay_unseen(program))
    assert program("explain", str(invoice_id), "--txid", "") == program("explain", str(invoice_id))


async def pay_too_much(program: Program, merchant: str) -> int:
    """Pay a test invoice of a merchant and a half, and let that be final."""
    async with opened(load({}, {"data": program.folder})) as here:
        invoice_id, _ = await pay(here, merchant, Outcome.OVER)
        for _ in range(4):
            await look(here)
            await here.database.write(lambda c: simulator.mine(c, here.clock.now(), 1))
        await look(here)
        return invoice_id


def test_the_commands_of_an_explanation_run_as_they_are_printed(program: Program) -> None:
    name = "Tom's & Co"
    program("merchant", "create", name)
    program("merchant", "create", "Another")
    invoice_id = asyncio.run(pay_too_much(program, name))
    todo = program("explain", str(invoice_id))[-1]
    assert todo.startswith("- It is paid, and 12.50 USD too much came: ")
    command = re.findall("`counterfoil (.*?)`", todo)[0]
    assert program(*shlex.split(command)) == [
        f"Noted: 12.50 USD of invoice {invoice_id} was sent back."
    ]
    assert program("explain", str(invoice_id))[-1] == (
        "- It is paid, and 12.50 USD too much came; as much is noted as sent back: there is "
        "nothing to do."
    )
