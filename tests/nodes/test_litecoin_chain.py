from typing import Any

import pytest
from embit import base58
from embit.bip32 import HDKey
from embit.networks import NETWORKS

from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.utxo_network import Script
from tests.nodes.litecoind import Litecoind

pytestmark = pytest.mark.node

MANY = 500


# This node knows no tr().
@pytest.mark.parametrize("script", [each for each in Script if each is not Script.P2TR])
async def test_the_node_derives_the_same_addresses(litecoind: Litecoind, script: Script) -> None:
    chain = litecoin("regtest", litecoind.url)
    account = HDKey.from_seed(bytes(range(32)), version=NETWORKS["test"]["xprv"])
    account = account.derive("m/84h/1h/0h").to_public()
    assert base58.decode_check(account.to_base58())[:4] == NETWORKS["test"]["xpub"]
    text = script.format(f"{account.to_base58()}/0/*")
    descriptor = litecoind.rpc("getdescriptorinfo", text)["descriptor"]
    wallet = chain.parse_wallet(text)
    assert wallet == descriptor
    theirs: list[Any] = litecoind.rpc("deriveaddresses", descriptor, [0, MANY - 1])
    assert [chain.derive(wallet, index).address for index in range(MANY)] == theirs
    scripts = [litecoind.rpc("validateaddress", address)["scriptPubKey"] for address in theirs[:20]]
    assert [chain.derive(wallet, index).key.hex() for index in range(20)] == scripts
    await chain.close()
