"""Bitcoin: the facts of its networks, as Bitcoin Core has them in its chain parameters.

There are two public testnets. Testnet 4 (BIP 94) is the one in use; testnet 3, which Core still
calls `testnet` alone, goes out of use, so neither is named without its number here.
"""

from dataclasses import replace
from decimal import Decimal
from functools import partial

from counterfoil.chains.utxo import open_network
from counterfoil.chains.utxo_network import MAIN_KEYS, TEST_KEYS, UtxoNetwork
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.ports import Method

BTC = Method(
    id="BTC",
    symbol="BTC",
    name="Bitcoin",
    chain="bitcoin",
    decimals=8,
    step_atomic=1,
    # The dust limit of P2PKH at the node's usual relay fee, the highest of all scripts.
    least_atomic=546,
)
MOST_ATOMIC = 21_000_000 * 10**8

MAINNET = UtxoNetwork(
    chain="bitcoin",
    coin="Bitcoin",
    network="mainnet",
    genesis="000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    method=BTC,
    most_atomic=MOST_ATOMIC,
    bech32_hrp="bc",
    mweb_hrp=None,
    p2pkh_version=0x00,
    p2sh_versions=(0x05,),
    has_taproot=True,
    address_hint="bc1, 1 or 3",
    key_versions=MAIN_KEYS,
    link_scheme="bitcoin",
    explorer="https://mempool.space/tx/{txid}",
    block_interval_s=600,
    # More from about a thousand dollars on, and more again from a hundred thousand.
    confirmations=Confirmations(1, ((Decimal("0.01"), 3), (Decimal(1), 6))),
)
TESTNET4 = replace(
    MAINNET,
    network="testnet4",
    genesis="00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    bech32_hrp="tb",
    p2pkh_version=0x6F,
    p2sh_versions=(0xC4,),
    address_hint="tb1, m, n or 2",
    key_versions=TEST_KEYS,
    explorer="https://mempool.space/testnet4/tx/{txid}",
)
TESTNET3 = replace(
    TESTNET4,
    network="testnet3",
    genesis="000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
    explorer="https://mempool.space/testnet/tx/{txid}",
)
SIGNET = replace(
    TESTNET4,
    network="signet",
    genesis="00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    explorer="https://mempool.space/signet/tx/{txid}",
)
REGTEST = replace(
    TESTNET4,
    network="regtest",
    genesis="0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
    bech32_hrp="bcrt",
    address_hint="bcrt1, m, n or 2",
    explorer=None,
    block_interval_s=None,
)
NETWORKS = {facts.network: facts for facts in (MAINNET, TESTNET4, TESTNET3, SIGNET, REGTEST)}

bitcoin = partial(open_network, NETWORKS)
