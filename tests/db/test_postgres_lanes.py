"""The connections of the two hot statements: what shares a statement, and what gets lost."""

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from counterfoil.core.errors import UnavailableError
from counterfoil.core.ports import Mode
from counterfoil.db import postgres_lanes
from counterfoil.db.invoices import COLUMNS
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import invoice
from tests.crashes.line import Line
from tests.db.rows import add_lease, add_merchant, invoice_row, lease_names
from tests.postgres_server import PostgresServer, name_of

WAIT_S = 10.0


async def until_it_works(store: Postgres, row: dict[str, Any]) -> int:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await store.insert_invoice(row)
            except UnavailableError:
                await asyncio.sleep(0.01)


# --- invoices that share a statement ----------------------------------------------------------


async def test_texts_of_any_kind_come_back_as_they_were(postgres: Postgres) -> None:
    merchant_id = await postgres.write(add_merchant)
    texts = ["\\", '"', "\t\n\x01\x7f", "\\u0041", '{"a": ["b", null]}', "null", "\u2028\U0001f34d"]
    ids = await asyncio.gather(
        *(
            postgres.insert_invoice(
                invoice_row(merchant_id, f"token {n}", memo=text, metadata=text)
            )
            for n, text in enumerate(texts)
        )
    )
    found = [await postgres.find_invoice(each, merchant_id, Mode.LIVE) for each in ids]
    memo, metadata = (COLUMNS.index(name) for name in ("memo", "metadata"))
    assert [row and (row[memo], row[metadata]) for row in found] == [(text, text) for text in texts]


async def test_a_row_that_cannot_be_written_is_the_fault_of_one_alone(postgres: Postgres) -> None:
    merchant_id = await postgres.write(add_merchant)
    rows = [invoice_row(merchant_id, f"token {n}") for n in range(10)]
    rows[2]["memo"] = "no text of PostgreSQL holds a \0"
    rows[5]["memo"] = "half a character: \ud83c"
    rows[7]["due_at"] = 2**63
    outcomes = await asyncio.gather(
        *(postgres.insert_invoice(row) for row in rows), return_exceptions=True
    )
    assert [n for n, each in enumerate(outcomes) if isinstance(each, BaseException)] == [2, 5, 7]


async def test_a_lane_outlives_whatever_a_batch_dies_of(
    postgres_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_lanes, "_BATCH_MAX", 1)
    merchant_id = await postgres.write(add_merchant)
    tries: list[int] = []

    async def connect() -> asyncpg.Connection:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        return await asyncpg.connect(postgres_url)

    lane = postgres_lanes.InsertLane(connect)
    asked = [asyncio.create_task(lane.ask(invoice_row(merchant_id, f"{n}"))) for n in range(3)]
    # Closing waits for those behind it, too.
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        await lane.close()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in outcomes] == [UnavailableError, int, int]


# --- lost connections -------------------------------------------------------------------------


async def test_inserts_come_back_after_the_server_has_hung_up(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    merchant_id = await postgres.write(add_merchant)
    await postgres.insert_invoice(invoice_row(merchant_id, "before"))
    assert await postgres_server.hang_up(name_of(postgres_url)) >= 2
    assert await until_it_works(postgres, invoice_row(merchant_id, "after")) > 0
    await postgres.write(partial(add_lease, name="after"))
    assert await postgres.read(lease_names) == {"after"}


async def test_an_invoice_is_found_though_the_server_has_hung_up(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    merchant_id = await postgres.write(add_merchant)
    invoice_id = await postgres.insert_invoice(invoice_row(merchant_id, "token"))
    assert await postgres.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None
    await postgres_server.hang_up(name_of(postgres_url))
    assert await postgres.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None


async def test_a_find_without_a_server_is_told(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    await postgres_server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    with pytest.raises(UnavailableError):
        await postgres.find_invoice(1, 1, Mode.LIVE)
    await postgres_server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert await postgres.find_invoice(1, 1, Mode.LIVE) is None


async def test_inserts_outlive_a_server_that_hangs_up_at_any_moment(
    postgres: Postgres, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """What was answered is stored, nobody waits for ever, and the next one gets through."""
    chance = random.Random(0)
    merchant_id = await postgres.write(add_merchant)
    answered: dict[int, str] = {}

    async def insert(token: str) -> None:
        await asyncio.sleep(chance.random() * 0.01)
        with suppress(UnavailableError):
            answered[await postgres.insert_invoice(invoice_row(merchant_id, token))] = token

    async with asyncio.timeout(60):
        for n in range(25):
            inserts = [asyncio.create_task(insert(f"{n}-{each}")) for each in range(6)]
            await asyncio.sleep(chance.random() * 0.008)
            await postgres_server.hang_up(name_of(postgres_url))
            await asyncio.gather(*inserts)
    await until_it_works(postgres, invoice_row(merchant_id, "after"))
    stored = await postgres.read(
        lambda connection: connection.execute(sa.select(invoice.c.id, invoice.c.share_token)).all()
    )
    assert answered.items() <= {(row.id, row.share_token) for row in stored}


async def test_a_lane_gives_up_a_server_that_says_nothing_more(
    postgres_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_lanes, "_ANSWER_S", 0.3)
    merchant_id = await postgres.write(add_merchant)
    address = sa.make_url(postgres_url)
    line = Line(address.port or 0)
    await line.open()
    url = address.set(port=line.port).render_as_string(hide_password=False)
    store = Postgres(f"{url}?sslmode=disable")
    await store.start()
    row = partial(invoice_row, merchant_id)
    invoice_id = await store.insert_invoice(row("before"))
    speaks = asyncio.Event()
    line.arm(None, speaks.wait)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(UnavailableError):
            await store.insert_invoice(row("during"))
        with pytest.raises(UnavailableError):
            await store.find_invoice(invoice_id, merchant_id, Mode.LIVE)
        speaks.set()
        assert await until_it_works(store, row("after")) > invoice_id
        assert await store.find_invoice(invoice_id, merchant_id, Mode.LIVE) is not None
        # Nor does one keep a server from ending.
        speaks.clear()
        last = asyncio.create_task(store.insert_invoice(row("last")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        with pytest.raises(UnavailableError):
            await last
        await closing
    speaks.set()
    await line.close()
