from collections.abc import AsyncIterator

import pytest

from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.utxo import UtxoChain
from tests.chains.rpc_server import RpcServer


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    running = RpcServer()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def chain(server: RpcServer) -> AsyncIterator[UtxoChain]:
    made = litecoin("regtest", server.url("user:password@"))
    yield made
    await made.close()
