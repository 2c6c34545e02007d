"""Making a recording: a process under the recorder, and what stands in its record."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.house import ROOT

_SOURCE = Path(__file__).with_name("recorder.c")
_HEADER = struct.Struct("<BIQI")
_LIMIT_S = 120


class Kind(Enum):
    """What a record tells of; the values are the recorder's."""

    CREATED = "c"
    REMOVED = "r"
    WRITTEN = "w"
    CUT = "t"
    SYNCED = "s"
    FOLDER_SYNCED = "f"
    NOTED = "n"


@dataclass(frozen=True, slots=True)
class Record:
    """Something that happened: to which file, and where in it.

    `at` is the place of a write, the size that a file was cut to, or which of the names a file got.
    """

    kind: Kind
    file: int
    at: int
    content: bytes

    @property
    def note(self) -> tuple[str, Any]:
        """What the process noted: its kind, and what it is about."""
        kind, what = json.loads(self.content)
        return kind, what


@dataclass(frozen=True, slots=True)
class Recording:
    """All that a process did to a database, in order, and what was in the files at its end."""

    seed: int
    records: list[Record]
    left: dict[str, bytes]


def build_recorder(folder: Path) -> Path:
    """Compile the recorder; skips the test where there is no compiler for this system."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the recorder of power cuts needs Linux and a C compiler (cc)")
    library = folder / "recorder.so"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run([compiler, *flags, "-o", library, _SOURCE, "-ldl", "-lpthread"], check=True)
    return library


def record(recorder: Path, folder: Path, seed: int, steps: int, *extra: str) -> Recording:
    """Let a shop work under the recorder and return what it did."""
    database, record_file = folder / "shop.db", folder / "record"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.crashes.recorded_shop"),
            *(str(database), str(seed), str(steps), *extra),
        ],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": str(recorder),
            "RECORDED_DATABASE": str(database),
            "RECORD": str(record_file),
            # Sets of text have an order of their own in each process, unless told.
            "PYTHONHASHSEED": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = {path.name: path.read_bytes() for path in folder.glob("shop.db*")}
    return Recording(seed, list(_parse(record_file.read_bytes())), left)


def _parse(content: bytes) -> Iterator[Record]:
    place = 0
    while place < len(content):
        kind, file, at, size = _HEADER.unpack_from(content, place)
        place += _HEADER.size + size
        yield Record(Kind(chr(kind)), file, at, content[place - size : place])
