"""Hostile text in every place that takes text, over the real program, judged by its own bytes.

The terminal may see the sequences of the screen's own making and printable text, nothing else:
whatever a prompt, a reply, an id, an error, a setting or metadata carries stays text.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.widgets.clean import UNSAFE
from tests.acceptance.conftest import BOUND_S, Machine, lines_of
from tests.acceptance.test_dashboard import Terminal, start
from tests.acceptance.test_lifetime import left_on, until

ACTS = (
    "\x1b[777;123t\x1b]0;evil title\x07\x1b]8;;http://evil\x07link\x1b]8;;\x07"
    "\x1b]52;c;ZXZpbA==\x07\x1bPq#0\x1b\\\x9b31m\x9d0;evil\x9c\x90q\x9c\x07\x08\x0e"
    "\u202edesrever\u2066\u200b\u2060\ufeff\U000e0041\u0301\u0302\u0303\u0304\u0305"
)
MARKUP = "[@click=app.quit]x[/nope][red]"
WIDE = "漢字👩‍👩‍👧e\u0301"
SAID = f"begin {ACTS}{MARKUP}{WIDE} end"
ID = f"{MARKUP}漢"
LONG = "L" * 1_000_000

# What a screen of ours may send: cursor, colours, modes, keyboard, synchronised output, queries.
_OURS = re.compile(
    r"\x1b\[[0-9;:]*[mHABCDGJKu]"
    r"|\x1b\[[?>=<][0-9;]*[hlu]|\x1b\[\?[0-9]+\$p|\x1b\[>[0-9;]*[qc]|\x1b\[[0-9]*[cnqt](?<!777;123t)"
    r"|\x1b\]0;[^\x00-\x1f\x7f-\x9f]*\x07"
    r"|\x1b\]22;[a-z-]*\x07"  # the shape of the mouse's pointer
    r"|\x1b[78=>]|[\r\n]"
)
_TITLE = re.compile(r"\x1b\]0;([^\x07]*)\x07")
BACK = ("\x1b", "Active")
WALK = (
    *(("3", "Providers"), ("\r", "overview > sim"), BACK),
    *(("i", "completed"), ("\r", "Timeline"), ("v", "request_id"), ("\x1b", "> requests"), BACK),
    *(("x", "> failed"), BACK, ("m", "> usage"), BACK, ("l", "> events"), BACK),
    *(("2", "Active"), ("\r", "Timeline"), BACK, ("?", "Every key"), BACK),
    *(("\x10", "Search"), ("held", "Open this session"), BACK),
    ("s", "Submit a prompt"),
)
"""One way over every screen and some dialogs: what is pressed, and what then is drawn anew."""


def wrong(written: bytes) -> list[str]:
    """Return what in a byte stream neither is ours nor mere text."""
    text = written.decode("utf-8", errors="surrogateescape")
    rest = _OURS.sub("", text)
    found = [repr(rest[max(0, m.start() - 20) : m.end() + 20]) for m in UNSAFE.finditer(rest)]
    titles = {title for title in _TITLE.findall(text) if "ksi" not in title[:12]}
    return [*dict.fromkeys(found), *titles]


def toml(text: str) -> str:
    """Return a text as TOML holds it, every character escaped."""
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def requests() -> list[dict[str, Any]]:
    """Requests that complete, fail, wait and hang, with hostile text wherever it may stand."""
    common: dict[str, Any] = {
        "agent_id": ID,
        "metadata": {"customer": SAID, "ticket": MARKUP},
    }
    chat = [{"role": "system", "content": SAID}, {"role": "user", "content": SAID}]
    asked: list[dict[str, Any]] = [
        {**common, "prompt": "first", "model": "sim/echo"},
        {**common, "prompt": SAID, "model": "sim/echo", "session_id": ID},
        {**common, "messages": chat, "model": "sim/echo", "session_id": ID},
        {**common, "prompt": LONG, "model": "sim/echo", "session_id": "long"},
        {**common, "prompt": SAID, "model": "sim/down", "max_attempts": 1, "request_id": f"d{ID}"},
        {
            **common,
            "prompt": SAID,
            "model": "sim/hang",
            "session_id": f"held {ID}",
            "conversation_lock": {"enabled": True, "timeout_s": 600},
        },
        {**common, "prompt": SAID, "model": "sim/hang", "session_id": f"held {ID}"},
    ]
    return asked


def filled(machine: Machine, requests: Sequence[dict[str, Any]], done: int, **more: Any) -> None:
    """Run requests until so many have ended, and leave the rest unfinished in the database."""
    machine.configure(grace_s=0.1, **more)
    process = machine.start("run", machine.file("in", requests), "--json")
    assert process.stdout is not None
    assert len(lines_of(process.stdout, done)) == done
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=BOUND_S)
    assert process.returncode == 130


def walk(terminal: Terminal) -> None:
    """Go the way, each step when the one before is on the screen."""
    for key, then in WALK:
        before = len(terminal.seen)
        terminal.press(key)
        found = partial(_drawn, terminal, before, then.encode())
        until(found, f"{key!r} never led to {then!r}")


def _drawn(terminal: Terminal, before: int, what: bytes) -> bool:
    return what in terminal.seen[before:]


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
def test_nothing_but_text_reaches_the_terminal(machine: Machine, size: tuple[int, int]) -> None:
    models = f'["sim/*", {toml(f"sim/{SAID}")}]'
    settings = (
        f'[[providers]]\nname = "sim"\nkind = "simulated"\nmodels = {models}\nmodel = "{{model}}"\n'
        f'[ui]\ntext = "always"\noperator = {toml(f"op{MARKUP}" + ACTS[:20])}\n'
    )
    filled(machine, requests(), 5, more=settings)
    terminal = Terminal(*size)
    process = start(machine, terminal)
    terminal.wait_for(b"first token")
    walk(terminal)
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    seen = terminal.everything()
    assert wrong(seen) == []
    assert MARKUP[:12].encode() in seen
    assert b"Traceback" not in seen
    assert left_on(seen) == set()


def test_hidden_texts_never_reach_the_terminal(machine: Machine) -> None:
    secret = "SECRETWORD"
    asked: list[dict[str, Any]] = [
        {"prompt": f"{secret} one", "model": "sim/echo", "session_id": "held-1"},
        {"prompt": f"{secret} two", "model": "sim/down", "max_attempts": 1},
        {"prompt": f"{secret} three", "model": "sim/hang", "session_id": "held-1"},
        {"prompt": f"{secret} four", "model": "sim/hang", "session_id": "held-1"},
    ]
    filled(machine, asked, 2, more='[ui]\ntext = "never"\n')
    terminal = Terminal(140, 45)
    process = start(machine, terminal)
    terminal.wait_for(b"held-1")
    walk(terminal)
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    seen = terminal.everything()
    assert b"held-1" in seen
    assert secret.encode() not in seen
    assert _files_with(machine.home, secret) <= {"in", "ksi.db", "ksi.db-wal", "responses"}


def _files_with(home: Path, secret: str) -> set[str]:
    """Return the names of files, or of the responses' folder, that hold a word."""
    holding = [f for f in home.rglob("*") if f.is_file() and secret.encode() in f.read_bytes()]
    return {"responses" if "responses" in file.parts else file.name for file in holding}


def test_ascii_is_an_option_of_the_command_and_holds_everywhere(machine: Machine) -> None:
    terminal = Terminal(140, 45)
    process = start(machine, terminal, "--ascii", "--demo")
    terminal.wait_for(b"sim-flaky", b"streaming")
    for key, then in (("i", "> requests"), BACK, ("?", "Every key"), BACK, ("\x10", "Search")):
        before = len(terminal.seen)
        terminal.press(key)
        until(partial(_drawn, terminal, before, then.encode()), then)
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 0
    assert terminal.everything().isascii()
