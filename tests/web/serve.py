"""Runs the world of these tests as a real server, for tools that want a port: `python -m` this.

It prints one line of JSON with the port and a full key of each mode, and serves until it is told to
stop.
"""

import asyncio
import json
import logging
import socket
import sys
import time
from pathlib import Path

import structlog
import uvicorn

from counterfoil.chains.litecoin import MAINNET
from counterfoil.core.ports import Mode
from counterfoil.db.sqlite import Sqlite
from counterfoil.web.direct import DirectHttp
from tests.chains.core_answers import tip
from tests.chains.rpc_server import RpcServer
from tests.conftest import FakeClock
from tests.web.world import World, open_world

LOOK_EVERY_S = 1.0


class RealClock(FakeClock):
    """The time of day."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def watch(world: World) -> None:
    while True:
        await world.look()
        await world.see_litecoin()
        await asyncio.sleep(LOOK_EVERY_S)


async def main(path: Path) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    store = Sqlite(path)
    await store.start()
    await store.migrate()
    unused = {"success": True, "unspents": []}
    node = RpcServer(tip() | {"getblockhash": MAINNET.genesis, "scantxoutset": unused})
    await node.start()
    # A tool that tries bad keys by the hundred must get an answer about the key.
    url = node.url("user:password@")
    world = await open_world(store, RealClock(), node=url, failures_per_minute=1_000_000)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        world.app, http=DirectHttp, lifespan="off", log_level="error", access_log=False
    )
    watcher = asyncio.create_task(watch(world))
    told = {"port": listener.getsockname()[1]} | {str(mode): world.key(mode=mode) for mode in Mode}
    print(json.dumps(told), flush=True)
    await uvicorn.Server(config).serve([listener])
    watcher.cancel()
    await world.close()
    await node.stop()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
