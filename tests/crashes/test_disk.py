"""The model of the disk: what may be there after a power cut, and what is."""

import random
from pathlib import Path

from tests.crashes.disk import SECTOR_BYTES, Disk, lay
from tests.crashes.recording import Kind, Record

CUTS = 300


def a_disk(*records: tuple[Kind, int, bytes]) -> Disk:
    """Return a disk with one file, whose name is safe, and what happened to it."""
    disk = Disk()
    for kind, at, content in [(Kind.CREATED, 0, b""), (Kind.FOLDER_SYNCED, 0, b""), *records]:
        disk.take(Record(kind, 0, at, content))
    return disk


def contents(disk: Disk) -> set[bytes | None]:
    """Return what cuts leave of the file; None where it is not there."""
    return {disk.cut(random.Random(number)).get("") for number in range(CUTS)}


A, B, C = (letter * SECTOR_BYTES for letter in (b"a", b"b", b"c"))
NOTHING = bytes(SECTOR_BYTES)


def test_what_was_synced_is_there() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A), (Kind.SYNCED, 0, b""))
    assert contents(disk) == {A}


def test_what_was_not_synced_is_dropped_kept_and_torn() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A + A), (Kind.SYNCED, 0, b""), (Kind.WRITTEN, 0, B + B))
    assert contents(disk) == {A + A, B + A, A + B, B + B}
    assert disk.least() == {"": A + A}
    assert disk.most() == {"": B + B}


def test_a_later_write_arrives_without_an_earlier_one() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A), (Kind.WRITTEN, SECTOR_BYTES, B))
    assert {NOTHING + B, A, A + B} <= contents(disk)


def test_a_length_arrives_without_what_it_holds() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A), (Kind.SYNCED, 0, b""), (Kind.WRITTEN, SECTOR_BYTES, B))
    assert contents(disk) == {A, A + NOTHING, A + B}


def test_a_sector_written_in_part_keeps_the_rest() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A), (Kind.SYNCED, 0, b""), (Kind.WRITTEN, 100, b"b" * 600))
    whole = A[:100] + b"b" * 600
    first, second = A[:100] + b"b" * 412, A + b"b" * 188
    assert contents(disk) == {A, first, second, whole, A + bytes(188), first + bytes(188)}


def test_a_file_is_cut_or_not_yet() -> None:
    disk = a_disk((Kind.WRITTEN, 0, A + B), (Kind.SYNCED, 0, b""), (Kind.CUT, SECTOR_BYTES, b""))
    assert contents(disk) == {A + B, A}


def test_a_name_is_safe_when_its_folder_is_synced() -> None:
    disk = Disk()
    for record in (
        Record(Kind.CREATED, 0, 0, b""),
        Record(Kind.WRITTEN, 0, 0, A),
        Record(Kind.SYNCED, 0, 0, b""),
    ):
        disk.take(record)
    assert contents(disk) == {None, A}
    disk.take(Record(Kind.FOLDER_SYNCED, 0, 0, b""))
    assert contents(disk) == {A}
    disk.take(Record(Kind.REMOVED, 0, 0, b""))
    disk.take(Record(Kind.CREATED, 1, 0, b""))
    assert contents(disk) == {None, A, b""}


def test_files_are_laid_alone(tmp_path: Path) -> None:
    (tmp_path / "shop.db-wal").write_bytes(A)
    lay({"": B}, tmp_path / "shop.db")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]
