"""The form in a real terminal: a paste is text, and one's own editor comes and goes."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_dashboard import Terminal, assert_left_as_it_was, start

START, END = "\x1b[200~", "\x1b[201~"


@pytest.fixture
def terminal() -> Terminal:
    return Terminal(140, 45)


def test_a_paste_with_escape_bytes_presses_no_key(machine: Machine, terminal: Terminal) -> None:
    process = start(machine, terminal)
    terminal.wait_for(b"Nothing is running")
    terminal.press("s")
    terminal.wait_for(b"Submit a prompt")
    hostile = f"one\x1b\x1b[\rtwo\x1b{'x' * 40}\x1b[Aq\x1b]52;c;eA==\x07\r{END}\rq\x1b\rlast words"
    terminal.press(f"{START}{hostile}{END}")
    terminal.wait_for(b"last words")
    process.terminate()
    assert process.wait(BOUND_S) == 0
    seen = assert_left_as_it_was(terminal)
    assert b"\x1b]52" not in seen
    counts = json.loads(machine.run("status", "--json").out)["status_counts"]
    assert sum(counts.values()) == 0, "nothing was sent"


def test_the_own_editor_has_the_terminal_and_gives_it_back(
    machine: Machine, terminal: Terminal
) -> None:
    editor = machine.home / "editor"
    editor.write_text(
        '#!/bin/sh\ntest -t 0 && test -t 1 && printf "in the editor"\nls -l "$1" > '
        f'{machine.home}/seen\nprintf " and more" >> "$1"\n'
    )
    editor.chmod(0o700)
    machine.environ["EDITOR"] = str(editor)
    process = start(machine, terminal)
    terminal.wait_for(b"Nothing is running")
    terminal.press("s")
    terminal.wait_for(b"Submit a prompt")
    terminal.press("hello")
    terminal.wait_for(b"hello")
    terminal.press("\x07")
    terminal.wait_for(b"in the editor", b"and more")
    terminal.press("\r")
    terminal.wait_for("√ completed".encode())
    assert (machine.home / "seen").read_text().startswith("-rw-------")
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    (result,) = machine.run("results", "--json").records
    assert result["status"] == "completed"
    assert "hello and more" in result["text"]
    kept = machine.home / "state" / "ksi-tui" / "prompts.jsonl"
    assert json.loads(kept.read_text())["prompt"] == "hello and more"
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600


def test_the_prompt_of_yesterday_is_there(machine: Machine) -> None:
    for keys, seen in (("hello once", b"hello once"), ("\x1b[A", b"hello once")):
        terminal = Terminal(80, 24)
        process = start(machine, terminal)
        terminal.wait_for(b"Providers", b"OK")
        terminal.press("s")
        terminal.wait_for(b"Submit a prompt")
        terminal.press(keys)
        terminal.wait_for(seen)
        terminal.press("\r")
        terminal.wait_for("√ completed".encode())
        terminal.press("q")
        assert process.wait(BOUND_S) == 0
        assert_left_as_it_was(terminal)
    texts = [record["text"] for record in machine.run("results", "--json").records]
    assert len(texts) == 2
    assert texts[0] == texts[1]


def test_a_demo_keeps_no_prompts(machine: Machine, terminal: Terminal) -> None:
    process = start(machine, terminal, "--demo")
    terminal.wait_for(b"sim-flaky")
    terminal.press("s")
    terminal.wait_for(b"Submit a prompt")
    terminal.press("secret words\r")
    terminal.wait_for(b"Timeline")
    process.terminate()
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    assert not list(Path(machine.home).rglob("prompts.jsonl"))
