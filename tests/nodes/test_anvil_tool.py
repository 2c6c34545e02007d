import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.nodes.litecoind import free_port

pytestmark = pytest.mark.node

START_LIMIT_S = 20
CHAIN_ID = 31_337


def chain_id_at(port: int) -> int:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}", body.encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as response:
        return int(json.loads(response.read())["result"], 16)


def test_anvil_starts_and_answers(anvil_program: Path) -> None:
    port = free_port()
    node = subprocess.Popen(
        [anvil_program, "--host", "127.0.0.1", "--port", str(port), "--silent"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        found = None
        while found is None and time.monotonic() < deadline and node.poll() is None:
            try:
                found = chain_id_at(port)
            except OSError:
                time.sleep(0.05)
        assert found == CHAIN_ID
    finally:
        node.terminate()
        node.wait(10)
