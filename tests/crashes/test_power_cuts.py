"""Power cuts under the real SQLite store: what was acknowledged is there, and nothing in part.

A shop works under a recorder that notes whatever goes to the disk. Then the disk is made again as
it may be after a cut at any point, and the real store opens it.
"""

import hashlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import CounterfoilError
from counterfoil.core.ports import Mode
from counterfoil.db.sqlite import Sqlite
from counterfoil.services import merchants
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, create, get
from tests.conftest import START_AT, FakeEntropy
from tests.crashes.disk import Disk, Image, lay
from tests.crashes.recorded_shop import opened, visible
from tests.crashes.recording import Kind, Record, Recording, build_recorder, record
from tests.crashes.whole import list_halves
from tests.sim.chain import WorldChain
from tests.sim.process import ram
from tests.sim.server import share_compiled_statements

CUTS_OF_A_RUN = 250
RUNS = 8
# So long that the log is copied into the file several times while the shop works.
STEPS = 400
SEED, SHORT = 0, 120


@dataclass(frozen=True)
class Cut:
    """A power cut: where in the recording, what was acknowledged before it, and what it left."""

    seed: int
    number: int
    after: int
    acknowledged: list[tuple[str, Any]]
    left: Image
    # The states that a whole database may be in: with what was synced, with all that was written.
    least: Image
    most: Image

    def __str__(self) -> str:
        return f"seed {self.seed}, cut {self.number} (after record {self.after})"


def draw_cuts(recording: Recording, count: int) -> Iterator[Cut]:
    """Yield power cuts, the same ones for the same seed, in the order of the recording."""
    chance = random.Random(recording.seed)
    records = recording.records
    places = [place for place, each in enumerate(records) if each.kind is not Kind.NOTED]
    # Just before a sync all of a commit is still on its way.
    before_syncs = [p - 1 for p in places if records[p].kind is Kind.SYNCED]
    drawn = sorted(chance.choice(chance.choice([places, before_syncs])) for _ in range(count))
    disk, acknowledged, at = Disk(), [], 0
    for number, place in enumerate(drawn):
        for each in records[at : place + 1]:
            disk.take(each)
            if each.kind is Kind.NOTED:
                acknowledged.append(each.note)
        at = place + 1
        left = disk.cut(chance)
        yield Cut(
            recording.seed, number, place, list(acknowledged), left, disk.least(), disk.most()
        )


def digest_of(image: Image, path: Path) -> str:
    """Return what SQLite itself finds in some files, as a digest of all rows of all tables."""
    lay(image, path)
    found = hashlib.sha256()
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    for (name,) in names.fetchall():
        found.update(name.encode())
        for row in connection.execute(f'SELECT * FROM "{name}"'):  # noqa: S608  # our own tables
            found.update(repr(row).encode())
    connection.close()
    return found.hexdigest()


async def faults_after(cut: Cut, path: Path) -> list[str]:
    """Return what is wrong with what the real store finds after a cut."""
    try:
        found = digest_of(cut.left, path)
        is_whole = any(digest_of(each, path) == found for each in (cut.least, cut.most))
        lay(cut.left, path)
        faults = await faults_of_store(path, cut.acknowledged)
    except _UNREADABLE as error:
        return [f"it cannot be read: {error}"]
    return faults if is_whole else [*faults, "the database is between two commits"]


_UNREADABLE = (sqlite3.DatabaseError, sa.exc.DatabaseError, CounterfoilError)


async def faults_of_store(path: Path, acknowledged: list[tuple[str, Any]]) -> list[str]:
    """Open the real store as a server does at its start, look at it, and go on with it."""
    store = await opened(path)
    share_compiled_statements(store._engine)
    try:
        await store.check_schema()
        faults = await store.read(lambda connection: list_lost(connection, acknowledged))
        faults += await store.read(list_halves)
        await go_on(store)
        return faults + await store.read(list_damage)
    finally:
        await store.close()


def list_damage(connection: sa.Connection) -> list[str]:
    """Return what SQLite's own checks find."""
    verdict = connection.execute(sa.text("PRAGMA integrity_check")).scalars().all()
    orphans = connection.execute(sa.text("PRAGMA foreign_key_check")).all()
    return [f"damaged: {each}" for each in (*verdict, *orphans) if each != "ok"]


_ROWS = {
    "merchant": "SELECT id FROM merchant",
    "invoice": "SELECT id, share_token, order_id, fiat_amount FROM invoice",
    "shown": "SELECT id, invoice_id, amount_atomic FROM quote",
    "cancelled": "SELECT id FROM invoice WHERE cancelled_at IS NOT NULL",
}


def list_lost(connection: sa.Connection, acknowledged: list[tuple[str, Any]]) -> list[str]:
    """Return what was acknowledged and is not there."""
    lost = []
    for kind, statement in _ROWS.items():
        there = {tuple(row) for row in connection.exec_driver_sql(statement)}
        told = {tuple(what) for each, what in acknowledged if each == kind}
        lost += [f"lost: {kind} {what}" for what in sorted(told - there)]
    # Each figure only ever grows, so the last ones are the ones to keep.
    seen = [what for kind, what in acknowledged if kind == "seen"][-1:]
    found = visible(connection)
    return lost + [
        f"lost: {name} was {figure} and is {found[name]}"
        for figures in seen
        for name, figure in figures.items()
        if found[name] < figure
    ]


async def go_on(store: Sqlite) -> None:
    """Do what a server does next: another merchant, and an invoice."""
    context = Context(
        store, Methods([WorldChain()]), frozenset({"USD"}), FakeEntropy(99), "https://pay.example"
    )
    merchant_id = await merchants.create(context, "Next", "USD", START_AT)
    who = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
    made = await create(context, who, Draft(Decimal("1.00"), "USD"), START_AT)
    assert (await get(context, who, made.id)).share_token == made.share_token


async def cut_power(recording: Recording, count: int) -> list[str]:
    """Cut the power so many times in a recording; return what was found, cut by cut."""
    found = []
    with TemporaryDirectory(dir=ram()) as folder:
        for cut in draw_cuts(recording, count):
            faults = await faults_after(cut, Path(folder) / "shop.db")
            found += [f"{cut}: {fault}" for fault in faults]
    return found


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def recording(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A short day, for the tests that need no more."""
    return record(recorder, tmp_path_factory.mktemp("recording"), SEED, SHORT)


async def test_nothing_acknowledged_is_lost(recording: Recording) -> None:
    assert await cut_power(recording, 100) == []


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_in_two_thousand_cuts(
    recorder: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    kinds: Counter[Kind] = Counter()
    faults = []
    for seed in range(1, RUNS + 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        recording = record(recorder, folder, seed, STEPS)
        kinds.update(each.kind for each in recording.records)
        faults += await cut_power(recording, CUTS_OF_A_RUN)
    print(
        f"{RUNS * CUTS_OF_A_RUN} power cuts in {RUNS} runs with {kinds[Kind.SYNCED]} syncs and "
        f"{kinds[Kind.NOTED]} acknowledgements: {len(faults)} faults, "
        f"{time.monotonic() - began:.0f} s"
    )
    assert faults == []


# --- that a loss would be found ----------------------------------------------------------------


@pytest.mark.parametrize("synchronous", ["NORMAL", pytest.param("OFF", marks=pytest.mark.long)])
async def test_a_store_that_does_not_wait_for_the_disk_is_found_out(
    recorder: Path, tmp_path: Path, synchronous: str
) -> None:
    recording = record(recorder, tmp_path, SEED, 30, synchronous)
    found = await cut_power(recording, 10)
    assert any("lost: invoice" in each for each in found), found[:10]


def answered_early(records: Sequence[Record]) -> list[Record]:
    """Move the answers to those who ordered before the sync that they waited for."""
    early = list(records)
    for place, each in enumerate(records):
        if each.kind is Kind.NOTED and each.note[0] == "invoice":
            commit = next(p for p in range(place, 0, -1) if early[p].kind is Kind.SYNCED)
            early.insert(commit, early.pop(place))
    return early


def folder_never_synced(records: Sequence[Record]) -> list[Record]:
    return [each for each in records if each.kind is not Kind.FOLDER_SYNCED]


@pytest.mark.parametrize(
    "spoil", [answered_early, pytest.param(folder_never_synced, marks=pytest.mark.long)]
)
async def test_a_promise_before_the_disk_has_it_is_found_out(
    recording: Recording, spoil: Callable[[Sequence[Record]], list[Record]]
) -> None:
    spoiled = replace(recording, records=spoil(recording.records))
    found = await cut_power(spoiled, 30)
    assert any("lost: invoice" in each for each in found), found[:10]


# --- the recording itself ----------------------------------------------------------------------


def test_the_recorder_misses_nothing(recording: Recording) -> None:
    assert recording.records[-1].note == ("closed", [])
    disk = Disk()
    for each in recording.records:
        disk.take(each)
    made = {f"shop.db{suffix}": content for suffix, content in disk.most().items()}
    assert made == recording.left


@pytest.mark.long
def test_the_same_seed_does_the_same(recorder: Path, tmp_path: Path, recording: Recording) -> None:
    # The bytes differ: SQLite salts the checksums of its log by chance of its own.
    again = record(recorder, tmp_path, SEED, SHORT)
    assert shape(again) == shape(recording)


def shape(recording: Recording) -> list[tuple[object, ...]]:
    """Return what was done where, without the bytes."""
    return [(r.kind, r.file, r.at, len(r.content)) for r in recording.records]
