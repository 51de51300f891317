"""A marked key and a marked token go through everything that serves, and are found nowhere."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ksi_tui.screens.dialog import GUARD_S
from tests.acceptance.conftest import BOUND_S, Machine, lines_of
from tests.acceptance.test_dashboard import Terminal, start
from tests.acceptance.test_lifetime import until
from tests.acceptance.test_listen import ask, url_told

KEY = "sk-MARKED-0123456789abcdefghijklmnop"
PLAIN_KEY = "MARKED-too-in-a-variable-with-an-innocent-name"
SETTINGS = """
[[providers]]
name = "quoting"
kind = "litellm"
models = ["gpt-*"]
model = "openai/{{model}}"
api_base = "{base}/echo_key/v1"
api_key_env = "MARKED_PLAINLY"

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


_SAVED_WITHIN_S = 8
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
STEPS = (
    ("i", "overview > requests"),
    ("\r", "> r-1"),
    ("v", '"request_id"'),  # the raw record
    ("x", "> failed"),
    ("m", "> usage"),
    ("l", "> events"),
    (":", "Search"),
    ("incident bundle", "Save an incident bundle"),
    ("\r", "[ Save the bundle ]"),
)
"""What is pressed, one after the other, and what is painted then."""


def _pressed(terminal: Terminal, keys: str, there: str) -> None:
    """Press keys and wait until what they lead to is painted."""
    so_far = len(terminal.seen)

    def painted() -> str:
        return COLOURS.sub("", terminal.seen[so_far:].decode(errors="replace"))

    def arrived() -> bool:
        if keys == "\r":  # of no avail as long as there is no row
            terminal.press(keys)
            time.sleep(GUARD_S)
        return there in painted()

    if keys != "\r":
        terminal.press(keys)
    until(arrived, f"{keys!r} did not lead to {there!r}")


def _saved(terminal: Terminal, incidents: Path, wanted: int) -> bool:
    """Press enter, and return whether as many bundles are there after a while.

    It is not pressed again soon: what is slow to save one would then save two.
    """
    time.sleep(GUARD_S)  # an enter that comes sooner is none, by design
    terminal.press("\r")
    again = time.monotonic() + _SAVED_WITHIN_S
    while (there := len(list(incidents.glob("*.ksi.zip")))) < wanted:
        if time.monotonic() > again:
            break
        time.sleep(0.02)
    return there >= wanted


def _looked_at(machine: Machine) -> tuple[list[str], list[Path]]:
    """Look at every screen from elsewhere, save bundles; return what was seen, and those.

    Whoever attaches need not have the keys, so nothing there could know them.
    """
    terminal = Terminal(140, 45)
    keyless = {name: value for name, value in machine.environ.items() if "MARKED" not in name}
    process = start(dataclasses.replace(machine, environ=keyless), terminal, "attach")
    terminal.wait_for(b"detach", b"quoting")
    titles = _titles()
    for keys, there in STEPS:
        _pressed(terminal, keys, there)
    incidents = machine.home / "state" / "ksi-tui" / "incidents"
    # Back to the last button: from the first field, and from none where it is not focused yet.
    for number, keys in enumerate(["\x1b[Z", "\x1b[Z\x1b[Z\x1b[C\t\t"], start=1):
        terminal.press(keys)  # without texts; with them
        until(partial(_saved, terminal, incidents, number), "it never saved a bundle")
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    seen = terminal.everything().decode(errors="replace")
    return [titles, seen], sorted(incidents.glob("*.ksi.zip"))


def _browsed(machine: Machine) -> list[str]:
    """Return what `web` shows and says, and what its processes are called."""
    process = machine.start("web", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    said = process.stderr.readline()
    key = (machine.home / "state" / "ksi-tui" / "web.key").read_text().strip()
    url = said.partition("http://")[2].partition("/")[0]
    with urllib.request.urlopen(f"http://{url}/{key}/", timeout=BOUND_S) as answer:
        page = answer.read().decode()
    told = [said, page, _titles()]
    process.send_signal(signal.SIGTERM)
    told += process.communicate(timeout=BOUND_S)
    assert key not in "".join([said, *told[2:]]), "the address's own key is for the page alone"
    return told


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
    machine.environ |= {"MARKED_KEY": KEY, "MARKED_PLAINLY": PLAIN_KEY}
    tokens = machine.home / "tokens.json"
    token = machine.run("token", "new", "--role", "operate", "--tokens", tokens).out.strip()
    level = ("--log-level", "debug")
    process = machine.start(*level, "serve", "--listen", "127.0.0.1:0", "--tokens", tokens)
    url = url_told(process)
    tail = machine.start("tail", "--json", "--count", "40")
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
    seen, bundles = _looked_at(machine)
    told += [*seen, *_browsed(machine)]
    tail.send_signal(signal.SIGINT)
    told += tail.communicate(timeout=BOUND_S)
    for words in (["config", "show"], ["usage", "--json"], ["results", "--json"], ["status"]):
        ended = machine.run(*level, *words)
        told += [ended.out, ended.err]
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
    assert len(bundles) == 2
    for bundle in bundles:
        with zipfile.ZipFile(bundle) as parts:
            told += [parts.read(name).decode() for name in parts.namelist()]
    for secret in (KEY, PLAIN_KEY, token):
        for shape in (secret, json.dumps(secret)[1:-1], secret[-16:]):
            assert not [text for text in told if shape in text]
    open_to_others = [path.name for path in files if path.stat().st_mode & 0o077]
    assert open_to_others == ["ksi-tui.toml"], "which this test wrote"
