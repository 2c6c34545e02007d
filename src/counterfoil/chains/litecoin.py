"""Litecoin: the facts of its networks, as Litecoin Core 0.21 has them in its chain parameters."""

from dataclasses import replace
from decimal import Decimal
from functools import partial

from counterfoil.chains.utxo import open_network
from counterfoil.chains.utxo_network import (
    MAIN_KEYS,
    TEST_KEYS,
    KeyVersion,
    Script,
    UtxoNetwork,
)
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.ports import Method

LTC = Method(
    id="LTC",
    symbol="LTC",
    name="Litecoin",
    chain="litecoin",
    decimals=8,
    step_atomic=1,
    # Above the dust limit of every script at the node's usual relay fee.
    least_atomic=10_000,
)
MOST_ATOMIC = 84_000_000 * 10**8

# Litecoin's own prefixes, beside those that its wallets share with Bitcoin's.
LTUB = KeyVersion(bytes.fromhex("019da462"), "Ltub", None)
MTUB = KeyVersion(bytes.fromhex("01b26ef6"), "Mtub", Script.P2SH_P2WPKH)
TTUB = KeyVersion(bytes.fromhex("0436f6e1"), "ttub", None)

MAINNET = UtxoNetwork(
    chain="litecoin",
    coin="Litecoin",
    network="mainnet",
    genesis="12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2",
    method=LTC,
    most_atomic=MOST_ATOMIC,
    bech32_hrp="ltc",
    mweb_hrp="ltcmweb",
    p2pkh_version=0x30,
    p2sh_versions=(0x32, 0x05),
    has_taproot=True,
    address_hint="ltc1, L, M or 3",
    key_versions=(*MAIN_KEYS, LTUB, MTUB),
    link_scheme="litecoin",
    explorer="https://litecoinspace.org/tx/{txid}",
    block_interval_s=150,
    # A block of Litecoin's costs far less to rewrite than one of Bitcoin's.
    confirmations=Confirmations(3, ((Decimal(10), 12),)),
)
TESTNET = replace(
    MAINNET,
    network="testnet",
    genesis="4966625a4b2851d9fdee139e56211a0d88575f59ed816ff5e6a63deb4e3e29a0",
    bech32_hrp="tltc",
    mweb_hrp="tmweb",
    p2pkh_version=0x6F,
    p2sh_versions=(0x3A, 0xC4),
    address_hint="tltc1, m, n, Q or 2",
    key_versions=(*TEST_KEYS, TTUB),
    explorer="https://litecoinspace.org/testnet/tx/{txid}",
)
REGTEST = replace(
    TESTNET,
    network="regtest",
    genesis="530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9",
    bech32_hrp="rltc",
    address_hint="rltc1, m, n, Q or 2",
    explorer=None,
    block_interval_s=None,
)
NETWORKS = {facts.network: facts for facts in (MAINNET, TESTNET, REGTEST)}

litecoin = partial(open_network, NETWORKS)
