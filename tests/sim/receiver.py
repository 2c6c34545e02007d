"""The shop at the other end: it hears events, and its network and its server misbehave."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from counterfoil.core.ports import Answer, Attempt, Message


@dataclass
class Receiver:
    """Implements `core.ports.Channel`; keeps what it heard, in the order in which it heard it."""

    chance: random.Random
    trouble_percent: int = 0
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    posts: int = 0
    kind: str = "webhook"

    def parse_target(self, text: str) -> str:
        return text

    async def send(self, message: Message) -> Attempt:
        self.posts += 1
        fails = self.chance.randrange(100) < self.trouble_percent
        # The worst kind: it was heard, but the answer was lost on the way back.
        is_heard = not fails or self.chance.randrange(2) == 0
        if is_heard:
            self.heard.append((message.event_id, json.loads(message.body)))
        if fails:
            kind = self.chance.choice([Answer.RETRY, Answer.RETRY, Answer.REFUSED])
            return Attempt(kind, 500, 1, "", None)
        return Attempt(Answer.DELIVERED, 200, 1, "", None)

    async def close(self) -> None:
        return
