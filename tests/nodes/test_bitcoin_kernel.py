"""What Bitcoin Core's own code says of blocks, and what our mempool makes of it."""

import time
from decimal import Decimal

import pytest
from embit.bip32 import HDKey
from embit.networks import NETWORKS
from embit.script import Witness, address_to_scriptpubkey
from embit.transaction import Transaction

from counterfoil.chains.bitcoin import bitcoin
from counterfoil.core.ports import History
from tests.nodes.bitcoin_kernel.blocks import HEADER_BYTES, make_block, subsidy_sats
from tests.nodes.bitcoin_kernel.node import FEE_SATS, KernelNode
from tests.nodes.bitcoin_kernel.wallet import Unspent
from tests.nodes.litecoind import RpcFaultError

pytestmark = pytest.mark.node

KINDS = ["bech32", "bech32m"]
SPENT = "bad-txns-inputs-missingorspent"


@pytest.fixture
def node(bitcoin_kernel: KernelNode) -> KernelNode:
    return bitcoin_kernel


def coin_of(node: KernelNode, kind: str) -> Unspent:
    """Return a coin of the wallet that is in a block, on a script of a kind."""
    address = node.new_address(kind)
    txid = node.send(address, Decimal(1))
    node.mine(1)
    script = address_to_scriptpubkey(address).data
    return next(each for each in node.unspent() if (each.txid, each.script) == (txid, script))


def spend(node: KernelNode, coin: Unspent, fee_sats: int = FEE_SATS) -> str:
    """Return a transaction that moves a coin to a new address."""
    return node.wallet.pay([coin], {node.new_address(): coin.sats - fee_sats})


def with_a_wrong_signature(text: str) -> str:
    """Return a transaction whose first signature has one bit changed."""
    tx = Transaction.parse(bytes.fromhex(text))
    signature, *rest = tx.vin[0].witness.items
    changed = signature[:20] + bytes([signature[20] ^ 1]) + signature[21:]
    tx.vin[0].witness = Witness([changed, *rest])
    raw: bytes = tx.serialize()
    return raw.hex()


def refused_in_a_block(node: KernelNode, *transactions: str) -> str:
    """Return why the kernel takes no block with these transactions."""
    tip = node.rpc("getbestblockhash")
    with pytest.raises(RpcFaultError) as refusal:
        node.mine_only(*transactions)
    assert node.rpc("getbestblockhash") == tip
    return str(refusal.value).removeprefix("TestBlockValidity failed: ")


def refused_by_the_mempool(node: KernelNode, transaction: str) -> str:
    """Return why a transaction may not wait for a block."""
    before = node.rpc("getrawmempool")
    with pytest.raises(RpcFaultError) as refusal:
        node.rpc("sendrawtransaction", transaction)
    assert node.rpc("getrawmempool") == before
    return str(refusal.value)


# --- consensus, which is Core's ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_must_be_right(node: KernelNode, kind: str) -> None:
    good = spend(node, coin_of(node, kind))
    bad = with_a_wrong_signature(good)
    assert refused_in_a_block(node, bad).startswith("block-script-verify-flag-failed")
    assert refused_by_the_mempool(node, bad).startswith("mempool-script-verify-flag-failed")
    block = node.mine_only(good)
    assert len(node.rpc("getblock", block)["tx"]) == 2


def test_a_coin_is_spent_once(node: KernelNode) -> None:
    coin = coin_of(node, "bech32")
    first, second = spend(node, coin), spend(node, coin, 10 * FEE_SATS)
    assert refused_in_a_block(node, first, second).startswith(SPENT)
    node.mine_only(first)
    assert refused_in_a_block(node, second).startswith(SPENT)
    assert refused_by_the_mempool(node, second) == SPENT
    assert refused_by_the_mempool(node, first) == "Transaction outputs already in utxo set"


def test_outputs_are_not_more_than_inputs(node: KernelNode) -> None:
    more = spend(node, coin_of(node, "bech32m"), fee_sats=-1)
    assert refused_in_a_block(node, more).startswith("bad-txns-in-belowout")
    assert refused_by_the_mempool(node, more) == "bad-txns-in-belowout"


def test_new_coin_is_not_more_than_the_subsidy(node: KernelNode) -> None:
    script = address_to_scriptpubkey(node.new_address())
    parent = node.rpc("getblockheader", node.rpc("getbestblockhash"))
    height = parent["height"] + 1
    sats = subsidy_sats(height)
    at = max(int(time.time()), parent["time"] + 1)
    too_much = make_block(parent["hash"], height, at, script, sats + 1, [])
    assert node.rpc("submitblock", too_much.hex()).startswith("bad-cb-amount")
    assert node.rpc("getblockcount") == height - 1
    right = make_block(parent["hash"], height, at, script, sats, [])
    assert node.rpc("submitblock", right.hex()) is None
    assert node.rpc("getblockcount") == height


def test_new_coin_has_to_ripen(node: KernelNode) -> None:
    [block] = node.mine(1)
    coinbase = node.rpc("getblock", block, 2)["tx"][0]
    script = bytes.fromhex(coinbase["vout"][0]["scriptPubKey"]["hex"])
    sats = int(coinbase["vout"][0]["value"] * 10**8)
    early = spend(node, Unspent(coinbase["txid"], 0, sats, script))
    assert refused_in_a_block(node, early).startswith("bad-txns-premature-spend-of-coinbase")
    assert refused_by_the_mempool(node, early) == "bad-txns-premature-spend-of-coinbase"


def test_a_block_is_work(node: KernelNode) -> None:
    script = address_to_scriptpubkey(node.new_address())
    parent = node.rpc("getblockheader", node.rpc("getbestblockhash"))
    height = parent["height"] + 1
    worked = make_block(parent["hash"], height, parent["time"] + 1, script, 0, [])
    answers = set()
    # Half of all nonces will do.
    for nonce in range(20):
        header = worked[: HEADER_BYTES - 4] + nonce.to_bytes(4, "little")
        answers.add(node.rpc("submitblock", (header + worked[HEADER_BYTES:]).hex()))
    assert {answer.split(",")[0] for answer in answers if answer} == {"high-hash"}


def test_a_branch_with_a_bad_block_never_wins(node: KernelNode) -> None:
    bad = with_a_wrong_signature(spend(node, coin_of(node, "bech32m")))
    [parent, tip] = node.mine(2)
    with pytest.raises(RpcFaultError, match="block-script-verify-flag-failed"):
        node.branch(parent, 5, bad)
    assert node.rpc("getbestblockhash") == tip


# --- the mempool, which is ours ------------------------------------------------------------------


def test_what_is_replaced_goes_with_its_children(node: KernelNode) -> None:
    coin = coin_of(node, "bech32m")
    address = node.new_address()
    first = node.rpc("sendrawtransaction", node.wallet.pay([coin], {address: 50_000_000}))
    assert refused_by_the_mempool(node, spend(node, coin)) == "insufficient fee"
    script = address_to_scriptpubkey(address).data
    change = Unspent(first, 0, 50_000_000, script)
    child = node.rpc("sendrawtransaction", spend(node, change))
    assert node.rpc("getrawmempool") == [first, child]

    rival = node.wallet.pay([coin], {address: 10_000_000})
    second = node.rpc("sendrawtransaction", rival)
    assert node.rpc("getrawmempool") == [second]
    node.mine(1)
    assert node.rpc("getrawmempool") == []


def test_a_block_with_a_rival_clears_what_it_makes_void(node: KernelNode) -> None:
    coin = coin_of(node, "bech32")
    address = node.new_address()
    paid = node.rpc("sendrawtransaction", node.wallet.pay([coin], {address: 50_000_000}))
    script = address_to_scriptpubkey(address).data
    child = node.rpc("sendrawtransaction", spend(node, Unspent(paid, 0, 50_000_000, script)))
    other = node.send(node.new_address(), Decimal(1))
    assert node.rpc("getrawmempool") == [paid, child, other]
    node.mine_only(spend(node, coin))
    assert node.rpc("getrawmempool") == [other]
    node.mine(1)


def test_a_chain_of_payments_fits_in_one_block(node: KernelNode) -> None:
    address = node.new_address("bech32m")
    parent = node.send(address, Decimal(1))
    script = address_to_scriptpubkey(address).data
    child = node.rpc("sendrawtransaction", spend(node, Unspent(parent, 0, 10**8, script)))
    [block] = node.mine(1)
    assert node.rpc("getblock", block)["tx"][1:] == [parent, child]


def test_too_small_a_fee_is_refused(node: KernelNode) -> None:
    assert refused_by_the_mempool(node, spend(node, coin_of(node, "bech32"), 5)) == (
        "min relay fee not met"
    )


def test_a_payment_is_taken_away_and_brought_back(node: KernelNode) -> None:
    txid = node.send(node.new_address("bech32m"), Decimal(1))
    first, last = node.mine(2)
    node.replace_blocks(first, node.rival(txid, node.new_address(), Decimal(1)))
    assert node.rpc("getrawmempool") == []
    with pytest.raises(RpcFaultError, match="No such mempool or blockchain transaction"):
        node.rpc("getrawtransaction", txid)
    node.branch(last, 2)
    verbose = 1
    assert node.rpc("getrawtransaction", txid, verbose)["confirmations"] == 4
    # The rival that paid for a while has no coin to come back with.
    assert node.rpc("getrawmempool") == []


def test_what_was_killed_has_its_chain_and_an_empty_mempool(node: KernelNode) -> None:
    node.mine(1)
    txid = node.send(node.new_address(), Decimal(1))
    chain = node.rpc("getblockchaininfo")
    assert node.rpc("getrawmempool") == [txid]
    node.kill()
    node.start()
    assert node.rpc("getrawmempool") == []
    assert node.rpc("uptime") < 10
    assert node.rpc("getblockchaininfo") == chain
    again = node.send(node.new_address(), Decimal(1))
    [block] = node.mine(1)
    assert node.rpc("getblock", block)["tx"][1:] == [again]


# --- looking for scripts, in Core's words -------------------------------------------------------


def test_the_scans_find_what_is_there_and_what_was(node: KernelNode) -> None:
    coin = coin_of(node, "bech32m")
    wanted = [f"raw({coin.script.hex()})"]
    [found] = node.rpc("scantxoutset", "start", wanted)["unspents"]
    assert (found["txid"], found["vout"], found["amount"]) == (coin.txid, coin.vout, 1)
    paid = node.rpc("getbestblockhash")
    assert node.rpc("scanblocks", "start", wanted)["relevant_blocks"] == [paid]

    node.rpc("sendrawtransaction", spend(node, coin))
    [spent] = node.mine(1)
    assert node.rpc("scantxoutset", "start", wanted)["unspents"] == []
    assert node.rpc("scanblocks", "start", wanted)["relevant_blocks"] == [paid, spent]


async def test_a_wallet_was_used_also_where_its_coin_is_gone(node: KernelNode) -> None:
    account = HDKey.from_seed(bytes(range(32)), version=NETWORKS["regtest"]["xprv"])
    account = account.derive("m/86h/1h/0h")
    index = 7
    address = node.wallet.take(account.derive([0, index]).key, "bech32m")
    chain = bitcoin("regtest", node.url)
    wallet = chain.parse_wallet(f"tr({account.to_public().to_base58()}/0/*)")
    assert chain.derive(wallet, index).address == address
    told: list[int] = []
    assert await chain.history(wallet, 0, told.append) == History(0, is_whole=True)

    txid = node.send(address, Decimal(1))
    node.mine(1)
    script = address_to_scriptpubkey(address).data
    node.rpc("sendrawtransaction", spend(node, Unspent(txid, 0, 10**8, script)))
    node.mine(1)
    assert await chain.history(wallet, 0, told.append) == History(index + 1, is_whole=True)
    await chain.close()
