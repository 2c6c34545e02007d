"""A process that looks like Bitcoin Core on regtest from where an RPC client stands.

    python -m tests.nodes.bitcoin_kernel FOLDER PORT USER PASSWORD

Core's are the rules of consensus: blocks, scripts, signatures, the choice among branches
(libbitcoinkernel, see `chain`). Ours are JSON-RPC over HTTP (here), what the calls answer (`rpc`),
the mempool's policy (`mempool`) and the making of blocks (`blocks`). There is no network between
nodes and no wallet.
"""

import base64
import hmac
import json
import sys
import threading
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from tests.nodes.bitcoin_kernel.chain import KernelChain
from tests.nodes.bitcoin_kernel.rpc import NO_METHOD, Calls, RpcError

INVALID_REQUEST = -32600
PARSE_ERROR = -32700
# What Core answers with for a request of JSON-RPC 1; from 2.0 on errors come with 200.
STATUSES = {
    INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    NO_METHOD: HTTPStatus.NOT_FOUND,
}
# Amounts are numbers of JSON, exact to the last decimal.
_write = msgspec.json.Encoder(decimal_format="number").encode


class Server(ThreadingHTTPServer):
    """The HTTP side of one node, which does one call at a time."""

    daemon_threads = True

    def __init__(self, port: int, credentials: str, calls: Calls) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._calls = calls
        self._lock = threading.Lock()

    def answer(self, body: bytes) -> tuple[HTTPStatus, Any]:
        """Return the answer to a request, or to a batch of them."""
        try:
            asked = json.loads(body, parse_float=Decimal)
        except ValueError:
            asked = None
        if isinstance(asked, list):
            return HTTPStatus.OK, [self._call(each)[1] for each in asked]
        if not isinstance(asked, dict):
            error = {"code": PARSE_ERROR, "message": "Parse error"}
            fault = {"result": None, "error": error, "id": None}
            return HTTPStatus.INTERNAL_SERVER_ERROR, fault
        return self._call(asked)

    def _call(self, asked: Any) -> tuple[HTTPStatus, dict[str, Any]]:
        number, is_second = asked.get("id"), asked.get("jsonrpc") == "2.0"
        try:
            with self._lock:
                result = self._calls.call(asked["method"], asked.get("params", []))
        except RpcError as error:
            fault = {"code": error.code, "message": str(error)}
            if is_second:
                return HTTPStatus.OK, {"jsonrpc": "2.0", "error": fault, "id": number}
            status = STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            return status, {"result": None, "error": fault, "id": number}
        if is_second:
            return HTTPStatus.OK, {"jsonrpc": "2.0", "result": result, "id": number}
        return HTTPStatus.OK, {"result": result, "error": None, "id": number}


class Handler(BaseHTTPRequestHandler):
    """One connection, over which requests come one after the other."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        theirs = self.headers.get("Authorization", "")
        if not hmac.compare_digest(theirs.encode(), self.server.authorization.encode()):
            self._send(HTTPStatus.UNAUTHORIZED, b"")
            return
        status, answer = self.server.answer(body)
        self._send(status, _write(answer))

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="jsonrpc"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Say nothing."""


if __name__ == "__main__":
    folder, port, user, password = sys.argv[1:]
    calls = Calls(KernelChain(Path(folder)))
    Server(int(port), f"{user}:{password}", calls).serve_forever()
