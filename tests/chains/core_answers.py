"""Answers of a node of the Bitcoin Core family, as the methods that we call give them."""

from typing import Any

from tests.chains.rpc_server import FaultError

P2WPKH = "0014751e76e8199196d454941c45d1b3a323f1433bd6"
P2TR = "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
ABSENT = FaultError(-5, "No such mempool or blockchain transaction")


def hash_of(number: int) -> str:
    return f"{number:064x}"


def tip() -> dict[str, Any]:
    return {
        "getblockchaininfo": {
            "chain": "regtest",
            "blocks": 7,
            "headers": 7,
            "bestblockhash": hash_of(7),
            "initialblockdownload": False,
        },
        "uptime": 900,
        "getnettotals": {"totalbytesrecv": 5_000, "timemillis": 1_700_000_100_000},
        "getnetworkinfo": {"version": 210201, "localrelay": True, "connections": 8},
        "getblockheader": {"hash": hash_of(7), "height": 7, "time": 1_700_000_000},
    }


def listed(*txids: str) -> dict[str, Any]:
    """Return what a node says of its mempool."""
    return {"getrawmempool": [*txids], "getmempoolinfo": {"loaded": True, "size": len(txids)}}


def output(n: int, value: object, script: str, kind: str = "witness_v0_keyhash") -> dict[str, Any]:
    return {"value": value, "n": n, "scriptPubKey": {"hex": script, "type": kind}}


def spend(number: int, vout: int) -> dict[str, Any]:
    return {"txid": hash_of(number), "vout": vout, "scriptSig": {"asm": "", "hex": ""}}


def block() -> dict[str, Any]:
    """Return a block as getblock 2 gives it: with new coin, payments, data, and MWEB's parts."""
    commitment = output(1, 0.0, "6a24aa21a9ed" + "00" * 32, "nulldata")
    paid_data = output(2, 0.5, "6a0474657374", "nulldata")
    return {
        "hash": hash_of(100),
        "height": 50,
        "previousblockhash": hash_of(99),
        "time": 1_700_000_150,
        "tx": [
            {
                "txid": hash_of(1),
                "vin": [{"coinbase": "0132", "sequence": 4294967295}],
                "vout": [output(0, 12.50008500, P2WPKH), commitment],
            },
            {
                "txid": hash_of(2),
                "vin": [spend(901, 0), spend(902, 17)],
                "vout": [
                    output(0, 0.00000001, P2TR, "witness_v1_taproot"),
                    output(1, 83999999.99999999, P2WPKH),
                    paid_data,
                    output(3, 1, "51" * 10_001, "nonstandard"),
                    output(4, 0, P2WPKH),
                ],
            },
            {
                "txid": hash_of(3),
                # Newer nodes leave `ismweb` out.
                "vin": [
                    spend(903, 1),
                    {"ismweb": True, "output_id": hash_of(77)},
                    {"output_id": hash_of(79)},
                ],
                "vout": [
                    output(0, 3.5, "5920" + "11" * 32, "witness_mweb_pegin") | {"ismweb": False},
                    {"ismweb": True, "output_id": hash_of(78)},
                    {"output_id": hash_of(80)},
                ],
            },
            {
                "txid": hash_of(4),
                "vin": [spend(3, 0)],
                "vout": [
                    output(0, 62.5, "5820" + "22" * 32, "witness_mweb_hogaddr"),
                    output(1, 2.5, P2WPKH),
                ],
            },
        ],
    }


def unconfirmed(txid: str) -> dict[str, Any]:
    return {"txid": txid, "vin": [spend(901, 0)], "vout": [output(0, 0.25, P2WPKH)]}
