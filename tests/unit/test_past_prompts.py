"""Earlier prompts come back tomorrow, from a file that only their writer can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ksi_tui import past_prompts
from ksi_tui.past_prompts import LARGEST, MOST, PastPrompt, PastPrompts


def filled(file: Path, *prompts: str) -> PastPrompts:
    past = PastPrompts(file)
    for prompt in prompts:
        past.add(PastPrompt(prompt=prompt))
    return past


def read(file: Path) -> list[str]:
    past = PastPrompts(file)
    past.load()
    return [each.prompt for each in past.kept]


def test_they_are_there_tomorrow_each_once_at_its_latest_place(tmp_path: Path) -> None:
    file = tmp_path / "state" / "prompts.jsonl"
    filled(file, "one", "two\nlines", "one")
    past = PastPrompts(file)
    past.add(PastPrompt(prompt="three", system="be short"))
    assert read(file) == ["two\nlines", "one", "three"]
    past.load()
    assert past.kept[-1].system == "be short"


def test_only_their_writer_can_read_them(tmp_path: Path) -> None:
    file = tmp_path / "state" / "prompts.jsonl"
    old = os.umask(0)
    try:
        filled(file, "secret")
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    filled(file, "more")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_their_number_and_the_file_stay_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_prompts, "MAX_BYTES", 20_000)
    file = tmp_path / "prompts.jsonl"
    past = filled(file, *(f"{number} {'x' * 300}" for number in range(MOST + 50)))
    assert len(past.kept) == MOST
    assert file.stat().st_size <= 20_500
    assert read(file)[-1].startswith(f"{MOST + 49} ")
    assert [*tmp_path.iterdir()] == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_too_long_or_empty_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    past = filled(file, "x" * (LARGEST + 1), "  \n ", "kept")
    assert [each.prompt for each in past.kept] == ["kept"]
    assert read(file) == ["kept"]


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    filled(file, "good")
    with file.open("ab") as damaged:
        damaged.write(b'\xff\n{"prompt": \n[]\n{"other": 1}\n7\n')
    filled(file, "after")
    assert read(file) == ["good", "after"]


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    past = PastPrompts()
    past.add(PastPrompt(prompt="here"))
    past.load()
    assert [each.prompt for each in past.kept] == ["here"]
    assert [*tmp_path.iterdir()] == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target, file = tmp_path / "target", tmp_path / "prompts.jsonl"
    target.write_text("")
    file.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        filled(file, "x")
    assert target.read_text() == ""
