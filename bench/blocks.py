"""How long it takes to find which of a block's 4,000 outputs are among 1,000,000 of ours.

Measured around the function that the watcher calls, on a connection of the store, in its thread.
"""

import asyncio
import hashlib
import random
import time
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from bench.passes import timed_ms
from counterfoil.db import merchants, quotes
from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import destination
from counterfoil.db.sqlite import Sqlite
from tests.postgres_server import PostgresServer

DESTINATIONS = 1_000_000
OUTPUTS = 4_000
OURS = 40
TIMES = 7
_CHUNK = 20_000


def run(folder: Path, server: PostgresServer) -> dict[str, float]:
    """Return the medians in milliseconds, by the kind of database."""
    folder.mkdir()
    database = asyncio.run(server.create())
    stores: dict[str, Database] = {
        "sqlite": Sqlite(folder / "blocks.db"),
        "pg": Postgres(server.url(database)),
    }
    return {name: round(asyncio.run(_measure(each)), 1) for name, each in stores.items()}


async def _measure(store: Database) -> float:
    await store.start()
    try:
        await store.migrate()
        await store.write(_fill)
        block = [_key(n) for n in range(0, DESTINATIONS, DESTINATIONS // OURS)]
        block += [_key(-n) for n in range(1, OUTPUTS - OURS + 1)]
        random.Random(0).shuffle(block)

        def match(connection: sa.Connection) -> float:
            found = quotes.match_destinations(connection, block)
            assert len(found) == OURS, "it finds what is there and nothing else"
            return median(
                timed_ms(lambda: quotes.match_destinations(connection, block), time.perf_counter)
                for _ in range(TIMES)
            )

        return await store.read(match)
    finally:
        await store.close()


def _key(number: int) -> bytes:
    return b"\x00\x14" + hashlib.sha1(str(number).encode(), usedforsecurity=False).digest()


def _fill(connection: sa.Connection) -> None:
    merchant_id = merchants.insert(connection, "bench", "USD", 0)
    for start in range(0, DESTINATIONS, _CHUNK):
        rows = [
            {
                "merchant_id": merchant_id,
                "key": _key(n).hex(),
                "address": f"ltc1{_key(n).hex()}",
                "kind": "exclusive",
                "created_at": 0,
            }
            for n in range(start, start + _CHUNK)
        ]
        connection.execute(sa.insert(destination), rows)
    if connection.dialect.name == "postgresql":
        # What autovacuum does by itself within a minute.
        connection.execute(sa.text("ANALYZE destination"))
