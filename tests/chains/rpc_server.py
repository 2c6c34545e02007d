"""A JSON-RPC server on loopback that answers what a test tells it to, however wrong."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Answers = dict[str, Any]


class FaultError(Exception):
    """An error that the node answers with: RPC code and words."""

    def __init__(self, code: object, words: object = "no") -> None:
        super().__init__(code, words)
        self.code = code
        self.words = words


@dataclass
class RpcServer:
    """Answers of a node, by method: a value, a FaultError, or a function of the parameters.

    With `raw`, every request is answered with these bytes, or with what it returns for the request;
    `is_stalling` keeps the connection open after that. `refused` are methods that are not in the
    user's whitelist. `requests` and `heads` are what arrived.
    """

    answers: Answers = field(default_factory=dict)
    raw: bytes | Callable[[Any], bytes] | None = None
    is_stalling: bool = False
    refused: frozenset[str] = frozenset()
    requests: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    port: int = 0
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Begin to listen on a free port."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection and stop listening."""
        for writer in list(self.writers):
            writer.transport.abort()
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()
            self.server = None

    def url(self, credentials: str = "") -> str:
        """Return where it listens."""
        return f"http://{credentials}127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        """Return the methods that were asked for, in their order."""
        flat: list[Any] = []
        for request in self.requests:
            flat += request if isinstance(request, list) else [request]
        return [each["method"] for each in flat]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                length = next(
                    int(line.partition(":")[2])
                    for line in head.decode().splitlines()
                    if line.lower().startswith("content-length:")
                )
                request = json.loads(await reader.readexactly(length))
                self.requests.append(request)
                writer.write(self.response(request))
                await writer.drain()
                if self.raw is not None and not self.is_stalling:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    def response(self, request: Any) -> bytes:
        """Return the bytes that answer a request."""
        if self.raw is not None:
            return self.raw if isinstance(self.raw, bytes) else self.raw(request)
        calls = request if isinstance(request, list) else [request]
        if any(call["method"] in self.refused for call in calls):
            return http(b"", 403)
        if isinstance(request, list):
            return http(json.dumps([self.answer(each) for each in request]).encode())
        answer = self.answer(request)
        return http(json.dumps(answer).encode(), 200 if answer["error"] is None else 500)

    def answer(self, request: Any) -> Any:
        """Return the answer to one call, in the form that Core 0.21 has."""
        planned = self.answers.get(request["method"], FaultError(-32601, "Method not found"))
        try:
            result = planned(*request["params"]) if callable(planned) else planned
            if isinstance(result, FaultError):
                raise result
        except FaultError as fault:
            error = {"code": fault.code, "message": fault.words}
            return {"result": None, "error": error, "id": request["id"]}
        return {"result": result, "error": None, "id": request["id"]}


def http(body: bytes, status: int = 200, *headers: str) -> bytes:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status} Because", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
