"""Which addresses of a wallet were used, as a real litecoind tells it."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from embit.bip32 import HDKey
from embit.networks import NETWORKS

from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.ports import History
from tests.nodes.litecoind import Litecoind

pytestmark = pytest.mark.node


@pytest.fixture
async def chain(litecoind: Litecoind) -> AsyncIterator[UtxoChain]:
    made = litecoin("regtest", litecoind.url, None, None)
    yield made
    await made.close()


def account(seed: int) -> HDKey:
    """Return an account that nobody has used."""
    root = HDKey.from_seed(bytes([seed]) * 32, version=NETWORKS["test"]["xprv"])
    return root.derive("m/84h/1h/0h")


def pay(litecoind: Litecoind, chain: UtxoChain, wallet: str, *indexes: int) -> None:
    for index in indexes:
        litecoind.send(chain.derive(wallet, index).address, Decimal("0.01"))
    litecoind.mine(1)


def spend(litecoind: Litecoind, key: HDKey, address: str, index: int) -> None:
    """Let the node spend what lies on a receive address, whose private key it is given."""
    litecoind.rpc("importprivkey", key.derive([0, index]).key.wif(NETWORKS["test"]))
    (coin,) = litecoind.rpc("listunspent", 1, 9_999, [address])
    outputs = {litecoind.new_address(): coin["amount"] - Decimal("0.001")}
    raw = litecoind.rpc("createrawtransaction", [{k: coin[k] for k in ("txid", "vout")}], outputs)
    signed = litecoind.rpc("signrawtransactionwithwallet", raw)
    litecoind.rpc("sendrawtransaction", signed["hex"])
    litecoind.mine(1)


async def look(chain: UtxoChain, wallet: str, start: int = 0) -> History:
    return await chain.history(wallet, start, lambda _percent: None)


async def test_addresses_that_hold_coin_are_used(chain: UtxoChain, litecoind: Litecoind) -> None:
    wallet = chain.parse_wallet(account(1).to_public().to_base58())
    assert await look(chain, wallet) == History(0, is_whole=False)
    pay(litecoind, chain, wallet, 0, 3, 19)
    assert await look(chain, wallet) == History(20, is_whole=False)
    # The end of a round, and the beginning of the next one.
    pay(litecoind, chain, wallet, 95, 110)
    assert (await look(chain, wallet)).next_index == 111
    # Further than any wallet looks ahead: only who begins there finds it.
    pay(litecoind, chain, wallet, 340)
    assert (await look(chain, wallet)).next_index == 111
    assert (await look(chain, wallet, 320)).next_index == 341


async def test_addresses_that_were_emptied_look_unused_and_it_says_so(
    chain: UtxoChain, litecoind: Litecoind
) -> None:
    key = account(2)
    wallet = chain.parse_wallet(key.to_public().to_base58())
    pay(litecoind, chain, wallet, 0, 1, 2)
    assert (await look(chain, wallet)).next_index == 3
    spend(litecoind, key, chain.derive(wallet, 2).address, 2)
    assert await look(chain, wallet) == History(2, is_whole=False)


@pytest.mark.parametrize("form", ["wpkh({})", "sh(wpkh({}))", "pkh({})", "tr({})"])
async def test_every_kind_of_wallet_can_be_looked_for(
    chain: UtxoChain, litecoind: Litecoind, form: str
) -> None:
    key = account(3).to_public().to_base58()
    wallet = chain.parse_wallet(form.format(f"{key}/0/*"))
    pay(litecoind, chain, wallet, 4)
    assert (await look(chain, wallet)).next_index == 5
