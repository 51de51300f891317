"""`--listen` of the real command: on serve, run and the dashboard, with tokens and without."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import BOUND_S, Machine, lines_of
from tests.acceptance.test_dashboard import Terminal, assert_left_as_it_was, start

URL = re.compile(r"http://[0-9.]+:[0-9]+")


def ask(url: str, data: Mapping[str, Any] | None = None, token: str = "") -> tuple[int, str]:
    """Return status and text of what is answered."""
    body = None if data is None else json.dumps(data).encode()
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers), timeout=BOUND_S
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def url_told(process: subprocess.Popen[str]) -> str:
    """Return the address that a command says it listens on."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := URL.search(line):
            return found[0]
    raise AssertionError("it ended and never said where it listens")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_serve_lets_in_who_has_a_token(machine: Machine) -> None:
    file = machine.home / "tokens.json"
    made = {
        role: machine.run("token", "new", "--role", role, "--tokens", file).out.strip()
        for role in ("view", "submit")
    }
    process = machine.start("serve", "--listen", "127.0.0.1:0", "--tokens", file)
    url = url_told(process)
    assert ask(f"{url}/metrics")[0] == 401
    status, metrics = ask(f"{url}/metrics", token=made["view"])
    assert status == 200
    assert "ksi_build_info" in metrics
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": "hello"}]}
    assert ask(f"{url}/v1/chat/completions", asked, made["view"])[0] == 403
    status, said = ask(f"{url}/v1/chat/completions", asked, made["submit"])
    assert status == 200
    assert json.loads(said)["choices"][0]["finish_reason"] == "stop"
    assert (
        machine.run("token", "revoke", json_ids(machine, file)["view"], "--tokens", file).code == 0
    )
    assert ask(f"{url}/metrics", token=made["view"])[0] == 401
    title = Path(f"/proc/{process.pid}/cmdline")
    shown = title.read_bytes() if title.exists() else b""
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=BOUND_S)
    assert process.returncode == 0
    log = "".join(each.read_text() for each in machine.home.glob("state/ksi-tui/logs/*"))
    assert "a request over the network" in log
    for token in made.values():
        secret = token[-20:]
        assert secret not in out + err + log
        assert secret.encode() not in shown


def json_ids(machine: Machine, file: Path) -> dict[str, str]:
    records = machine.run("token", "list", "--json", "--tokens", file).records
    return {record["role"]: record["id"] for record in records}


def test_run_serves_while_it_runs(machine: Machine) -> None:
    hanging = {"prompt": "a", "model": "sim/hang", "request_id": "hangs", "timeout_s": 3600}
    process = machine.start(
        "run", machine.file("in", [hanging]), "--listen", "127.0.0.1:0", "--json"
    )
    url = url_told(process)
    asked = {"prompt": "b", "model": "sim/echo", "request_id": "mine"}
    assert ask(f"{url}/events/completion:async", asked)[0] == 200
    watchdog = time.monotonic() + BOUND_S
    while ask(f"{url}/events/completion:cancel", {"request_id": "hangs"})[0] != 200:
        assert time.monotonic() < watchdog, "it never was there"
    assert process.stdout is not None
    (line,) = lines_of(process.stdout, 1)
    assert json.loads(line)["status"] == "cancelled"
    assert process.wait(BOUND_S) == 1
    with pytest.raises(OSError, match="refused"):
        ask(f"{url}/hello")


def test_the_dashboard_says_where_it_listens(machine: Machine) -> None:
    terminal = Terminal(140, 45)
    process = start(machine, terminal, "--listen", "127.0.0.1:0")
    terminal.wait_for(b"listening on http://127.0.0.1:", b"simulated")
    found = re.search(rb"http://127\.0\.0\.1:[0-9]+", terminal.seen)
    assert found is not None
    assert ask(f"{found[0].decode()}/healthz")[0] == 200
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)


def test_a_port_that_is_taken_ends_the_dashboard_with_words(machine: Machine, taken: int) -> None:
    terminal = Terminal(80, 24)
    process = start(machine, terminal, "--listen", f"127.0.0.1:{taken}")
    assert process.wait(BOUND_S) == 2
    assert f"port {taken} is taken".encode() in terminal.everything()
    assert not machine.database.exists()


@pytest.mark.parametrize("command", ["serve", "run"])
def test_a_port_that_is_taken_is_code_2(machine: Machine, taken: int, command: str) -> None:
    words = ["run", machine.file("in", ["a"])] if command == "run" else ["serve"]
    ended = machine.run(*words, "--listen", f"127.0.0.1:{taken}")
    assert ended.code == 2
    assert f"port {taken} is taken" in ended.err
    assert "Traceback" not in ended.err
    assert not machine.database.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serve", "--listen", "0.0.0.0:0"], "needs --tokens"),
        (["serve", "--listen", "4000"], "HOST:PORT"),
        (["serve", "--listen", "127.0.0.1:0", "--tokens", "none.json"], "no token file"),
        (["serve", "--tokens", "none.json"], "--tokens goes with --listen"),
        (["--listen", "127.0.0.1:0", "status"], "no engine runs in it"),
        (["status", "--listen", "127.0.0.1:0"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_listened_on_is_said(machine: Machine, words: list[str], told: str) -> None:
    ended = machine.run(*words)
    assert ended.code == 2
    assert told in ended.err
    assert not machine.database.exists()
