"""Whether a node hears anything from other nodes: one that does not answers as ever."""

from dataclasses import dataclass

# A node answers before it has heard from its peers of the newest blocks.
SETTLES_S = 120
# Each peer says something every two minutes, at least that it is there.
SILENT_S = 180


@dataclass(slots=True)
class Hearing:
    """What a node has received from others, in bytes, by its own clock, in milliseconds.

    How long it had been silent before we asked is not known, at first and after a while without a
    look: it counts as heard from the first byte on that comes soon after.
    """

    has_heard: bool = False
    _received: int | None = None
    _asked_at: int = 0
    _grew_at: int = 0
    # When it was heard again after it had been silent for long.
    _back_at: int | None = None

    def note(self, received: int, at_ms: int) -> None:
        """Take note of how much has been received by now."""
        if at_ms - self._asked_at > SILENT_S * 1_000:
            self.has_heard, self._received, self._back_at = False, None, None
        self._asked_at = at_ms
        if self._received == received:
            return
        if self._received is not None:
            self.has_heard = True
            if at_ms - self._grew_at > SILENT_S * 1_000:
                self._back_at = at_ms
        self._received, self._grew_at = received, at_ms

    def trouble(self, at_ms: int) -> str | None:
        """Return what is wrong now: it hears nobody, or has not for long and may lack blocks."""
        silent_s = (at_ms - self._grew_at) // 1_000
        if silent_s > SILENT_S:
            return f"The node has heard nothing from any other node for {silent_s // 60} minutes."
        if self._back_at is not None and 0 <= at_ms - self._back_at < SETTLES_S * 1_000:
            return "The node hears other nodes again, and may not have heard of all blocks yet."
        return None
