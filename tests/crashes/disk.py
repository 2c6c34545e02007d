"""What a disk may hold after a power cut, told from the record of what was written to it.

What was synced is there. Of what was written to a file since its last sync, each sector has arrived
or has not, whatever was written before or after it: so writes are dropped, reordered and torn. A
file's length may have arrived without what it holds, and reads as zeros then. A name that was given
or taken since the folder's last sync may be as it was at any moment in between.

A sector that is written in part keeps the rest: SQLite relies on that (its "powersafe overwrite").
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.crashes.recording import Kind, Record

SECTOR_BYTES = 512
# The names, in the recorder's order.
SUFFIXES = ("", "-wal", "-journal")
# Of a hundred sectors so many have arrived: often none or all but a few, for these are the cases in
# which most of a commit looks well.
_ARRIVED_PERCENT = (0, 10, 50, 90, 97, 100)

Image = dict[str, bytes]


@dataclass
class _File:
    """What is safe of a file, and what has been done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    # Bytes at a place, or a size that it was cut to.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for at, content in self.pending:
            _apply(self.safe, at, content)
        self.pending = []

    def after(self, arrived_percent: int, chance: random.Random) -> bytes:
        """Return what may be there when so many sectors of a hundred have arrived."""
        image = bytearray(self.safe)
        length = len(image)
        for at, content in self.pending:
            length = max(length, at + len(content)) if content is not None else at
            for place, piece in _sectors(at, content):
                if chance.randrange(100) < arrived_percent:
                    _apply(image, place, piece)
        if len(image) < length and chance.randrange(2):
            image += bytes(length - len(image))
        return bytes(image)


def _apply(image: bytearray, at: int, content: bytes | None) -> None:
    if content is None:
        del image[at:]
        return
    # What lies between the old end and the write is a hole.
    image += bytes(max(0, at - len(image)))
    image[at : at + len(content)] = content


def _sectors(at: int, content: bytes | None) -> list[tuple[int, bytes | None]]:
    """Cut a write where the sectors of the disk end."""
    if content is None:
        return [(at, None)]
    pieces: list[tuple[int, bytes | None]] = []
    place = 0
    while place < len(content):
        size = SECTOR_BYTES - (at + place) % SECTOR_BYTES
        pieces.append((at + place, content[place : place + size]))
        place += size
    return pieces


class Disk:
    """The files of one database, as a record makes them."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        # For each name the file behind it: as it is safely, and as it has been since.
        self._names: list[list[int | None]] = [[None] for _ in SUFFIXES]

    def take(self, record: Record) -> None:
        """Let something happen."""
        match record.kind:
            case Kind.CREATED:
                self._files[record.file] = _File()
                self._names[record.at].append(record.file)
            case Kind.REMOVED:
                self._names[record.at].append(None)
            case Kind.WRITTEN:
                self._files[record.file].pending.append((record.at, record.content))
            case Kind.CUT:
                self._files[record.file].pending.append((record.at, None))
            case Kind.SYNCED:
                self._files[record.file].sync()
            case Kind.FOLDER_SYNCED:
                self._names = [known[-1:] for known in self._names]
            case Kind.NOTED:
                pass

    def cut(self, chance: random.Random) -> Image:
        """Return what may be there when the power is cut now."""
        arrived_percent = chance.choice(_ARRIVED_PERCENT)
        return {
            suffix: self._files[file].after(arrived_percent, chance)
            for suffix, known in zip(SUFFIXES, self._names, strict=True)
            if (file := chance.choice(known)) is not None
        }

    def least(self) -> Image:
        """Return what is there in any case."""
        return self._all(0, 0)

    def most(self) -> Image:
        """Return what is there when all has arrived."""
        return self._all(100, -1)

    def _all(self, arrived_percent: int, name: int) -> Image:
        return {
            suffix: self._files[file].after(arrived_percent, random.Random(0))
            for suffix, known in zip(SUFFIXES, self._names, strict=True)
            if (file := known[name]) is not None
        }


def lay(image: Image, path: Path) -> None:
    """Write a database's files, and nothing else, into its folder."""
    for old in path.parent.iterdir():
        old.unlink()
    for suffix, content in image.items():
        path.with_name(path.name + suffix).write_bytes(content)
