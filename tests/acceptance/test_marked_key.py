"""A marked key and a marked token go through everything that serves, and are found nowhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_S, Machine, lines_of
from tests.acceptance.test_listen import ask, url_told

KEY = "sk-MARKED-0123456789abcdefghijklmnop"
SETTINGS = """
[[providers]]
name = "quoting"
kind = "litellm"
models = ["gpt-*"]
model = "openai/{{model}}"
api_base = "{base}/echo_key/v1"
api_key_env = "MARKED_KEY"

[[providers]]
name = "good"
kind = "litellm"
models = ["gpt-*"]
model = "openai/{{model}}"
api_base = "{base}/ok/v1"
api_key_env = "MARKED_KEY"
"""
LOOKING = {
    "completion:status": {},
    "completion:provider_status": {},
    "completion:retry_status": {},
    "completion:request_status": {"request_id": "r-1"},
    "completion:session_status": {"session_id": "mine"},
    "completion:results": {},
    "completion:requests": {},
    "completion:models": {},
    "completion:preview": {"prompt": "x", "model": "gpt-4o"},
    "completion:token_usage": {},
    "completion:series": {},
    "checkpoint:collect": {},
    "system:journal": {},
}

PAGES = ("/snapshot", "/metrics", "/openapi.json", "/hello", "/readyz", "/v1/models")


@pytest.fixture
def server() -> Iterator[str]:
    """Yield the address of a misbehaving server, up to the mode."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.servers.misbehaving", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    yield process.stdout.readline().partition("/<mode>")[0]
    process.terminate()
    process.wait(BOUND_S)
    process.stdout.close()


def _titles() -> str:
    """Return the command lines and names of every process that this user may see."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "comm"):
            try:
                found.append((folder / name).read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc (Linux)")
@pytest.mark.usefixtures("warm_workers")
def test_a_marked_key_is_in_no_file_log_reply_event_metric_or_title(
    machine: Machine, server: str
) -> None:
    machine.configure(more=SETTINGS.format(base=server))
    machine.environ["MARKED_KEY"] = KEY
    tokens = machine.home / "tokens.json"
    token = machine.run("token", "new", "--role", "operate", "--tokens", tokens).out.strip()
    process = machine.start("serve", "--listen", "127.0.0.1:0", "--tokens", tokens)
    url = url_told(process)
    tail = machine.start("tail", "--json", "--count", "1", "completion:result")
    assert tail.stdout is not None
    (first,) = lines_of(tail.stdout, 1)

    told = [first]
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "user": "a"}
    stolen = {"prompt": "x", "extra_body": {"api_key": KEY}}
    named = {**asked, "metadata": {"ksi_session": "mine"}}
    status, answer = ask(f"{url}/v1/chat/completions", named, token)
    told.append(answer)
    assert status == 200, answer
    assert ask(f"{url}/events/completion:async", stolen, token)[0] == 400
    told.append(ask(f"{url}/events/completion:async", stolen, token)[1])
    told += [ask(f"{url}/events/{name}", data, token)[1] for name, data in LOOKING.items()]
    told += [ask(f"{url}{path}", token=token)[1] for path in PAGES]
    told.append(_titles())
    out, err = tail.communicate(timeout=BOUND_S)
    told += [out, err, machine.run("config", "show").out, machine.run("usage", "--json").out]
    process.send_signal(signal.SIGTERM)
    told += process.communicate(timeout=BOUND_S)
    assert process.returncode == 0

    assert "Incorrect API key provided: (hidden)" in "".join(told), (
        "the quoted key was told, hidden"
    )
    files = [path for path in machine.home.rglob("*") if path.is_file()]
    assert {"ksi.db", "ksi-tui.log", "tokens.json"} <= {path.name for path in files}
    assert any(path.suffix == ".jsonl" for path in files), "the answer is on disk too"
    told += [path.read_bytes().decode("latin-1") for path in files]
    for secret in (KEY, token):
        for shape in (secret, json.dumps(secret)[1:-1], secret[-16:]):
            assert not [text for text in told if shape in text]
    open_to_others = [path.name for path in files if path.stat().st_mode & 0o077]
    assert open_to_others == ["ksi-tui.toml"], "which this test wrote"
