"""The line between a process and its PostgreSQL server, which can be cut at any statement.

It stands between the two as a server on loopback and reads the protocol just so far that it knows
where a statement ends. It is cut before a statement reaches the server or, the worst moment for a
COMMIT, when the server has done it and its answer is on its way. A cut ends all connections, as the
death of the process would, and lets none through until it is mended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_PARSE, _EXECUTE, _QUERY, _SYNC, _READY = b"P", b"E", b"Q", b"S", b"Z"
_LISTEN = b"LISTEN "
_HEADER_BYTES = 5


@dataclass
class Line:
    """One line, to the server at a port of loopback."""

    server_port: int
    # Statements so far, each of which is two moments: before it and after it.
    moments: int = 0
    # The moment at which the line is cut.
    cut_at: int | None = None
    is_cut: bool = False
    on_moment: Callable[[], Awaitable[object]] | None = None
    port: int = 0
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Let go of all connections."""
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks)

    def arm(
        self, cut_at: int | None, on_moment: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Count from here, and cut at a moment; `on_moment` looks at each while all waits."""
        self.moments, self.cut_at, self.on_moment = 0, cut_at, on_moment

    def cut(self) -> None:
        """End all connections on both sides."""
        self.is_cut = True
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut, self.cut_at = False, None

    async def passes(self) -> bool:
        """Come to the next moment; tell whether it passes, or the line is cut at it."""
        self.moments += 1
        if self.on_moment is not None:
            await self.on_moment()
        if self.moments == self.cut_at:
            self.cut()
        return not self.is_cut

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
        ends = {writer, back}
        if self.is_cut:
            for end in ends:
                end.transport.abort()
            return
        self._ends |= ends
        talk = _Talk(self, reader, writer, there, back)
        # The task of a connection's callback is nobody's: these two are waited for at the end.
        pumps = [asyncio.create_task(talk.ask()), asyncio.create_task(talk.answer())]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.transport.abort()
        await asyncio.wait(pumps)
        self._tasks.difference_update(pumps)
        self._ends -= ends


@dataclass
class _Talk:
    """One connection through the line."""

    line: Line
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    there: asyncio.StreamReader
    back: asyncio.StreamWriter
    # Whether a statement is on its way; what the server says of it is kept until it is all there.
    is_asking: bool = False
    # Whether it carries nothing but hints, which come and go at any time and change nothing.
    is_of_hints: bool = False

    async def ask(self) -> None:
        """Carry what the process says, statement by statement."""
        try:
            # The first message has no type.
            size = await self.reader.readexactly(4)
            rest = await self.reader.readexactly(int.from_bytes(size, "big") - 4)
            self.back.write(size + rest)
            waiting, is_statement = bytearray(), False
            while True:
                kind, message = await _read(self.reader)
                waiting += message
                is_statement |= kind in (_EXECUTE, _QUERY)
                self.is_of_hints |= kind == _PARSE and _LISTEN in message
                if is_statement and kind in (_SYNC, _QUERY) and not self.is_of_hints:
                    if not await self.line.passes():
                        return
                    self.is_asking = True
                if kind in (_SYNC, _QUERY) or not is_statement:
                    self.back.write(bytes(waiting))
                    waiting, is_statement = bytearray(), False
        except (OSError, asyncio.IncompleteReadError):
            return

    async def answer(self) -> None:
        """Carry what the server says, once a statement's answer is whole."""
        waiting = bytearray()
        try:
            while True:
                kind, message = await _read(self.there)
                waiting += message
                if self.is_asking and kind == _READY:
                    self.is_asking = False
                    if not await self.line.passes():
                        return
                if not self.is_asking:
                    self.writer.write(bytes(waiting))
                    waiting = bytearray()
        except (OSError, asyncio.IncompleteReadError):
            return


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the type of the next message, and all of it."""
    head = await reader.readexactly(_HEADER_BYTES)
    rest = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
    return head[:1], head + rest
