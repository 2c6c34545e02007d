"""How long it takes from a payment to the webhook that tells of it, on loopback.

A test invoice is paid with the simulator's coin: that is stored and rings the watcher's bell. The
clock starts when the first payment is answered, which is when the bell has rung, and stops when the
server of a shop has the last webhook in full.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median

import httpx2

from bench.servers import Servers

ALONE = 60
BURST = 20
BURSTS = 5
LIMIT_S = 30.0


class Shop:
    """A server that notes when it was told of which invoice."""

    def __init__(self) -> None:
        self.told_at: dict[str, float] = {}
        self.told = asyncio.Event()
        self._connections: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the webhooks of one connection."""
        self._connections.append(writer)
        while head := await self._head(reader):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            event = json.loads(await reader.readexactly(length))
            self.told_at.setdefault(event["invoice_id"], time.perf_counter())
            self.told.set()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def close(self) -> None:
        """Hang up."""
        for each in self._connections:
            each.close()
            await each.wait_closed()

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def wait_for(self, invoice_ids: list[str]) -> None:
        """Return when it was told of all of them."""
        async with asyncio.timeout(LIMIT_S):
            while not all(each in self.told_at for each in invoice_ids):
                self.told.clear()
                await self.told.wait()


def run(servers: Servers) -> dict[str, float]:
    """Return the milliseconds of single payments and of a burst of them."""
    return asyncio.run(_measure(servers))


async def _measure(servers: Servers) -> dict[str, float]:
    shop = Shop()
    listening = await asyncio.start_server(shop.answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]

    def prepare() -> tuple[str, str]:
        served, _ = servers.start("telling")
        served.run("channel", "add", "webhook", f"http://127.0.0.1:{port}/")
        key = served.last_line("key", "create", "--test", "--scope", "automate")
        return served.url, key

    url, key = await asyncio.to_thread(prepare)
    async with httpx2.AsyncClient(
        base_url=url, headers={"Authorization": key}, trust_env=False, timeout=LIMIT_S
    ) as client:

        async def make() -> str:
            answer = await client.post("/api/invoice", json={"amount": 5, "fiat_currency": "USD"})
            return str(answer.raise_for_status().json()["invoice"]["id"])

        async def pay(invoice_id: str) -> float:
            path = f"/api/invoice/{invoice_id}/simulate"
            (await client.post(path, json={"outcome": "exact"})).raise_for_status()
            return time.perf_counter()

        alone = sorted([await _told_ms(shop, [await make()], pay) for _ in range(ALONE)])
        bursts = [
            await _told_ms(shop, [await make() for _ in range(BURST)], pay) for _ in range(BURSTS)
        ]
    listening.close()
    await shop.close()
    return {
        "p50_ms": round(median(alone), 1),
        "p99_ms": round(alone[-1 - len(alone) // 100], 1),
        f"burst_of_{BURST}_ms": round(median(bursts), 1),
    }


async def _told_ms(
    shop: Shop, invoice_ids: list[str], pay: Callable[[str], Awaitable[float]]
) -> float:
    """Return how long it takes from paying some invoices until the shop was told of them all."""
    rung_at = min(await asyncio.gather(*(pay(each) for each in invoice_ids)))
    await shop.wait_for(invoice_ids)
    return (max(shop.told_at[each] for each in invoice_ids) - rung_at) * 1_000
