"""`ksi-tui open` in a terminal: a bundle is shown and left; what is none is one line and code 2."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from ksi_tui.codec import plain
from ksi_tui.incident.bundle import write_bundle
from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_dashboard import Terminal, assert_left_as_it_was, start
from tests.ui.scripted import busy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "one.ksi.zip"
    about = {"name": "prod-eu"}
    lists = {"frames": [plain(busy()), plain(busy())]}
    write_bundle(path, about=about, settings={}, answers={}, lists=lists)
    return path


def test_a_bundle_is_shown_without_engine_and_left_by_q(machine: Machine, bundle: Path) -> None:
    terminal = Terminal(140, 45)
    process = start(machine, terminal, "open", str(bundle))
    terminal.wait_for(b"prod-eu", b"RECORDED 2026-11-22, 2 of 2", b"openai")
    terminal.press(",")
    terminal.wait_for(b"1 of 2")
    terminal.press("q")
    assert process.wait(BOUND_S) == 0
    assert_left_as_it_was(terminal)
    assert not machine.database.exists()


def broken(bundle: Path, how: str) -> Path:
    if how == "junk":
        bundle.write_bytes(b"no zip at all")
    elif how == "cut":
        bundle.write_bytes(bundle.read_bytes()[:-200])
    else:
        with zipfile.ZipFile(bundle) as packed:
            parts = {name: packed.read(name) for name in packed.namelist()}
        parts["records.jsonl"] = json.dumps({"request_id": "\x1b]0;x\x07", "attempts": 5}).encode()
        with zipfile.ZipFile(bundle, "w") as packed:
            for name, content in parts.items():
                packed.writestr(name, content)
    return bundle


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("junk", "no incident bundle, or a damaged one"),
        ("cut", "no incident bundle, or a damaged one"),
        ("shape", "records.jsonl, line 1.session_id is missing"),
    ],
)
def test_a_broken_one_is_one_line_and_code_2(
    machine: Machine, bundle: Path, how: str, said: str
) -> None:
    path = broken(bundle, how)
    terminal = Terminal(80, 24)
    process = start(machine, terminal, "open", str(path))
    assert process.wait(BOUND_S) == 2
    lines = [line for line in terminal.everything().decode().splitlines() if line.strip()]
    assert lines == [f"ksi-tui: {path}: {said}"]
    ended = machine.run("open", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"ksi-tui: {path}: {said}\n"
    missing = machine.run("open", "nowhere.zip")
    assert missing.code == 2
    assert missing.err == "ksi-tui: nowhere.zip: cannot be read: No such file or directory\n"


def test_help_says_how_to_step(machine: Machine) -> None:
    ended = machine.run("open", "--help")
    assert ended.code == 0
    assert ", and . step through time" in " ".join(ended.out.split())
