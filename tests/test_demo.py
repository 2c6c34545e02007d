"""The demo, as somebody runs it who has just cloned the repository."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx2

from counterfoil.core import signing
from tests.cli.program import COUNTERFOIL

LIMIT_S = 90


def run(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the demo in an empty home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [COUNTERFOIL, "demo", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, f"{pattern} is not in:\n{text}"
    return match[1]


def test_once(tmp_path: Path) -> None:
    with run(tmp_path, "--once") as process:
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert err == ""
    invoice = json.loads(found(r"(?s)(^\{\n.*?^\}$)", out))
    assert invoice["success"] is True
    pay_url = invoice["invoice"]["pay_url"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/pay-invoice\?share_token=[\w-]{22}", pay_url)
    assert re.findall(r"^ *[\d.]+ s {2}(\w+)$", out, re.MULTILINE) == [
        "Unpaid",
        "Confirming",
        "Paid",
    ]
    body = found(r'^(\{"event":"payment_confirmed".*\})$', out)
    told = json.loads(body)
    assert told["invoice_id"] == str(invoice["invoice"]["id"])
    assert (told["status"], told["test"]) == ("Paid", True)
    assert "signature verified" in out
    assert found(r"^test key +(cf_test_\w{38})$", out)
    assert found(r"^webhook secret +(whsec_\S{44})$", out).startswith(signing.SECRET_PREFIX)
    assert f"pay page        {pay_url}" in out
    assert "Next, in another terminal:\n  curl " in out
    # It leaves nothing behind.
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert list((tmp_path / "home").iterdir()) == []


def test_it_goes_on_serving(tmp_path: Path) -> None:
    with run(tmp_path) as process:
        assert process.stdout is not None
        out = ""
        for line in process.stdout:
            out += line
            if line.startswith("Serving until Ctrl-C"):
                break
        key = found(r"^test key +(\S+)$", out)
        url = found(r"^pay page +(http://[^/]+)", out)
        answer = httpx2.post(
            f"{url}/api/invoice",
            headers={"Authorization": key},
            json={"amount": 3, "fiat_currency": "EUR"},
            trust_env=False,
        )
        invoice_id = answer.json()["invoice"]["id"]
        pay = found(r"^  \S+ (--data \S+ pay) ID --outcome over$", out).split()
        subprocess.run(
            [COUNTERFOIL, *pay, str(invoice_id), "--outcome", "over"], cwd=tmp_path, check=True
        )
        confirmed = f'webhook: {{"event":"payment_confirmed","invoice_id":"{invoice_id}",'
        assert any(line.startswith(confirmed) for line in process.stdout)
        second, second_err = run(tmp_path).communicate(timeout=LIMIT_S)
        assert "Another `counterfoil serve` is running" in second_err
        assert not second
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (tmp_path / "counterfoil-data" / "demo" / "counterfoil.db").exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run(tmp_path, "--once", "--port", str(port)) as process:
            out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"Error: Nothing can listen on 127.0.0.1:{port}: Address already in use.")
