"""What stands between the server and its node, and makes the node as bad as a test likes."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.nodes.litecoind import PASSWORD, USER, Litecoind

# A fault gets one call ("method", parameters) and the node's true answer, and returns another one.
Fault = Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]


class DroppedError(Exception):
    """The connection is cut instead of an answer."""


class Between:
    """A JSON-RPC server on loopback that hands every call on to a litecoind and back."""

    def __init__(self, node: Litecoind) -> None:
        self.fault: Fault | None = None
        self._node = node
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                between._answer(self, self.rfile.read(length))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def playing(self, fault: Fault) -> Iterator[None]:
        """Let the node have a fault for a while."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        status, answer = self._ask_node(handler, body)
        fault = self.fault
        if fault is not None:
            asked = json.loads(body)
            true = json.loads(answer, parse_float=Decimal)
            try:
                if isinstance(asked, list):
                    told: Any = [
                        fault(call["method"], call["params"], each)
                        for call, each in zip(asked, true, strict=True)
                    ]
                else:
                    told = fault(asked["method"], asked["params"], true)
            except DroppedError:
                handler.close_connection = True
                return
            status = 200 if isinstance(told, list) or told.get("error") is None else 500
            answer = json.dumps(told, default=float).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _ask_node(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._node.port}",
            body,
            {"Authorization": handler.headers["Authorization"], "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
