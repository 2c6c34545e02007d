import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import structlog

from tests.cli.program import Program


@pytest.fixture
def program(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Program]:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "counterfoil.db")
    yield Program(folder)
    structlog.reset_defaults()


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    """An endpoint in a thread: it keeps what it is sent in `.seen`, and answers with `.status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.seen.append((dict(self.headers), body))  # type: ignore[attr-defined]  # ours
            self.send_response(self.server.answer)  # type: ignore[attr-defined]  # ours
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"hm")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]  # as above
        server.answer = 200  # type: ignore[attr-defined]  # as above
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
