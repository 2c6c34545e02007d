"""Delivers events: claims what is due, sends it, and records what came of it.

Sending happens outside of any transaction. A courier that dies after sending and before recording
leaves a lease that runs out, and the event is sent again with the same id: at least once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from counterfoil.core.ports import Bell, Channel, Clock, Entropy, Message, Store
from counterfoil.services import outbox
from counterfoil.services.outbox import Delivery, Made

_POLL_S = 1.0
_AT_ONCE_MAX = 256
# One slow endpoint may keep this many deliveries waiting, and nobody else's.
_PER_CHANNEL_MAX = 16
_JITTER_STEPS = 1_000
# How long those that are on their way may take once the courier is told to stop.
_FINISH_S = 3.0

_log = structlog.get_logger("counterfoil.courier")


class Courier:
    """Sends what is due, several deliveries at a time."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, Channel],
        unseal: Callable[[str], str],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """Take the channels by kind; `unseal` opens a stored secret."""
        self._store = store
        self._channels = channels
        self._unseal = unseal
        self._clock = clock
        self._entropy = entropy
        # What is on its way, and to which channel.
        self._sending: dict[asyncio.Task[None], int] = {}
        # What has been sent and waits for the commit before it to end.
        self._made: list[Made] = []
        self._recording = asyncio.Lock()

    async def run(self, bell: Bell) -> None:
        """Deliver for ever; `bell` rings when there is something new in the outbox."""
        try:
            while True:
                if not await self.send_due():
                    await bell.wait(_POLL_S)
        finally:
            # What was sent and not yet recorded would be sent again after the next start.
            if self._sending:
                await asyncio.wait(self._sending, timeout=_FINISH_S)
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def send_due(self) -> int:
        """Claim what is due and begin to send it; return how much was claimed."""
        room = _AT_ONCE_MAX - len(self._sending)
        if room <= 0:
            return 0
        claimed = await outbox.claim(
            self._store,
            self._clock.now(),
            limit=room,
            per_channel=_PER_CHANNEL_MAX,
            sending=Counter(self._sending.values()),
        )
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery))
            self._sending[task] = delivery.channel_id
            task.add_done_callback(self._ended)
        return len(claimed)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let go of a delivery; one that broke off is tried again when its lease has run out."""
        del self._sending[task]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("delivery_broke_off", exc_info=error)
        # There is room now, and the next event of the same invoice has waited for this one.
        self._store.wake("outbox")

    async def finish(self) -> None:
        """Return when nothing is on its way."""
        while self._sending:
            await asyncio.gather(*self._sending)

    async def _deliver(self, delivery: Delivery) -> None:
        message = Message(
            event_id=str(delivery.event_id),
            body=delivery.body,
            target=delivery.target,
            secret=self._unseal(delivery.secret),
            sent_at=self._clock.now(),
        )
        attempt = await self._channels[delivery.kind].send(message)
        self._made.append(Made(delivery, attempt, self._entropy.below(_JITTER_STEPS)))
        async with self._recording:
            made, self._made = self._made, []
            # Whoever had the lock before may have recorded this one together with its own.
            if made:
                await outbox.record(self._store, made, self._clock.now())
