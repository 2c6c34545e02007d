"""The product as its users run it: the `counterfoil` command, a server process, and HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.nodes.litecoind import free_port

COMMAND = Path(sys.executable).with_name("counterfoil")
START_LIMIT_S = 90.0


class Served:
    """A data folder, its settings, and the server processes on it."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COUNTERFOIL_DATA": str(folder),
            "COUNTERFOIL_PUBLIC_URL": self.url,
            "COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS": "127.0.0.1",
            **{f"COUNTERFOIL_{name}": value for name, value in settings.items()},
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command; what it prints is in the answer."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def last_line(self, *arguments: str) -> str:
        """Run a command and return the last line it prints: where keys and secrets stand alone."""
        return self.run(*arguments).stdout.strip().splitlines()[-1].strip()

    def start(self, role: str = "all") -> subprocess.Popen[bytes]:
        """Start a server process and return when it is live."""
        output = (self.folder / "serve.log").open("ab")
        process = subprocess.Popen(
            [COMMAND, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--role", role],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        output.close()
        self.processes.append(process)
        if role != "worker":
            self._wait_until_live(process)
        return process

    def _wait_until_live(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                if httpx2.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def log(self) -> str:
        """Return what the server processes wrote."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def last_words(self) -> str:
        """Return the end of what they wrote, without the requests that were answered."""
        lines = [line for line in self.log().splitlines() if '"event":"request"' not in line]
        return "\n".join(lines[-20:])

    def kill(self) -> None:
        """End the server processes as a power cut would."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def stop(self) -> None:
        """End every server process as an operator would."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=30)

    def client(self, key: str) -> httpx2.Client:
        """Return an HTTP client that carries a key."""
        return httpx2.Client(
            base_url=self.url, headers={"Authorization": key}, trust_env=False, timeout=30
        )

    def wait_for_status(self, key: str, invoice_id: int, wanted: str, limit_s: float) -> float:
        """Return after how many seconds an invoice had a status; fails after `limit_s`."""
        began = time.monotonic()
        seen = "?"
        with self.client(key) as client:
            while time.monotonic() - began < limit_s:
                seen = client.get(f"/api/invoice/{invoice_id}").json()["invoice"]["status"]
                if seen == wanted:
                    return time.monotonic() - began
                time.sleep(0.05)
        raise AssertionError(
            f"the invoice is {seen}, not {wanted}, after {limit_s} s\n{self.log()}"
        )


def wait_until_chain_is_read(
    served: Served, height: int, limit_s: float = 15.0, name: str = "litecoin"
) -> None:
    """Return when the server has read a chain up to a height and says that it is ready."""
    deadline = time.monotonic() + limit_s
    body: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answer = httpx2.get(f"{served.url}/readyz", trust_env=False)
        body = answer.json()
        chains = {chain["name"]: chain for chain in body["chains"]}
        if answer.status_code == 200 and (chains[name]["height"] or 0) >= height:
            return
        time.sleep(0.1)
    raise AssertionError(f"not ready: {body}")
