"""The shop at the other end: it hears events, and its network and its server misbehave."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from counterfoil.core.ports import Answer, Attempt, Message

_TIMEOUT_MS = 20_000


@dataclass
class Receiver:
    """Implements `core.ports.Channel`; keeps what it heard, in the order in which it heard it."""

    chance: random.Random
    trouble_percent: int = 0
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    # What it said it had heard, and had not: for once, nobody but itself is to blame.
    lied: set[str] = field(default_factory=set)
    posts: int = 0
    kind: str = "webhook"
    # Is told of every event when it is first heard.
    on_first: Callable[[str], None] = lambda _: None
    _known: set[str] = field(default_factory=set)
    _hanging: list[asyncio.Event] = field(default_factory=list)

    def parse_target(self, text: str) -> str:
        return text

    async def send(self, message: Message) -> Attempt:
        self.posts += 1
        if self.chance.randrange(100) >= self.trouble_percent:
            self._hear(message)
            return Attempt(Answer.DELIVERED, 200, 1, "", None)
        trouble = self.chance.choice(
            [self._drop, self._drop, self._refuse, self._redirect, self._hang, self._lie, self._end]
        )
        return await trouble(message)

    def _hear(self, message: Message) -> None:
        self.heard.append((message.event_id, json.loads(message.body)))
        if message.event_id not in self._known:
            self._known.add(message.event_id)
            self.on_first(message.event_id)

    async def _drop(self, message: Message) -> Attempt:
        """Break off: before it was heard or, the worst kind, when only the answer was lost."""
        if self.chance.randrange(2):
            self._hear(message)
        return Attempt(Answer.RETRY, None, 1, "", "The connection was closed.")

    async def _refuse(self, message: Message) -> Attempt:
        return Attempt(Answer.REFUSED, 404, 1, "No such page.", None)

    async def _redirect(self, message: Message) -> Attempt:
        return Attempt(Answer.RETRY, 302, 1, "", "It redirects, and redirects are not followed.")

    async def _hang(self, message: Message) -> Attempt:
        """Answer nothing for as long as the world likes, heard or not."""
        if self.chance.randrange(2):
            self._hear(message)
        released = asyncio.Event()
        self._hanging.append(released)
        await released.wait()
        return Attempt(Answer.RETRY, None, _TIMEOUT_MS, "", "There was no answer in time.")

    async def _lie(self, message: Message) -> Attempt:
        """Say that it was heard, and forget it."""
        self.lied.add(message.event_id)
        return Attempt(Answer.DELIVERED, 200, 1, "", None)

    async def _end(self, message: Message) -> Attempt:
        """Want to hear no more at all."""
        return Attempt(Answer.GONE, 410, 1, "", None)

    def list_missing(self) -> list[str]:
        """Return what it claimed to have heard and has not, as a shop finds it in its books."""
        return sorted(self.lied - self._known)

    def release(self) -> None:
        """Let those end that hang."""
        for each in self._hanging:
            each.set()
        self._hanging = []

    async def close(self) -> None:
        return
