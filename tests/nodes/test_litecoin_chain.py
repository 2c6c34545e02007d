from typing import Any

import pytest
from embit import base58
from embit.bip32 import HDKey
from embit.networks import NETWORKS

from counterfoil.chains.litecoin import litecoin
from tests.nodes.litecoind import Litecoind

pytestmark = pytest.mark.node

MANY = 500


async def test_the_node_derives_the_same_addresses(litecoind: Litecoind) -> None:
    chain = litecoin("regtest", litecoind.url, 6, None)
    account = HDKey.from_seed(bytes(range(32)), version=NETWORKS["test"]["xprv"])
    account = account.derive("m/84h/1h/0h").to_public()
    assert base58.decode_check(account.to_base58())[:4] == NETWORKS["test"]["xpub"]
    wallet = chain.parse_wallet(account.to_base58())
    descriptor = litecoind.rpc("getdescriptorinfo", f"wpkh({account.to_base58()}/0/*)")
    theirs: list[Any] = litecoind.rpc("deriveaddresses", descriptor["descriptor"], [0, MANY - 1])
    assert [chain.derive(wallet, index).address for index in range(MANY)] == theirs
    scripts = [litecoind.rpc("validateaddress", address)["scriptPubKey"] for address in theirs[:20]]
    assert [chain.derive(wallet, index).key.hex() for index in range(20)] == scripts
    await chain.close()
