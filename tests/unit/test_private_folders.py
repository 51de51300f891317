"""What is written is its owner's alone, whatever the umask is and however open a folder was."""

from __future__ import annotations

import logging
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksi_tui import cli, logs, paths


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a state folder that anybody may enter, as somebody else has made it."""
    folder = tmp_path / "state" / "ksi-tui"
    (folder / "responses").mkdir(parents=True)
    (folder / "ksi.db").touch()
    for each in (folder, *folder.iterdir()):
        each.chmod(0o777)
    monkeypatch.setattr(paths, "state_dir", lambda: folder)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "config" / "ksi-tui.toml")
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level, os.umask(0))
    on_sigterm = signal.getsignal(signal.SIGTERM)
    yield folder
    signal.signal(signal.SIGTERM, on_sigterm)
    os.umask(before[2])
    for handler in set(root.handlers) - set(before[0]):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[1])


def open_to_others(folder: Path) -> set[str]:
    """Return what of a folder others could enter, read or write."""
    return {
        str(path.relative_to(folder))
        for path in (folder, *folder.rglob("*"))
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    }


def test_all_that_commands_write_is_private(state: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("hello\n")
    assert cli.main(["run", "in"]) == 0
    assert cli.main(["token", "new", "--role", "view"]) == 0
    assert cli.main(["config", "init"]) == 0
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"ksi.db", "ksi.db.lock", "tokens.json", "ksi-tui.toml", "ksi-tui.log"} <= names
    assert any(name.endswith(".jsonl") for name in names)
    assert open_to_others(state) == set()
    assert open_to_others(tmp_path / "config") == set()
    told = logs.path().read_text()
    for folder in (state, state / "responses"):
        assert f"others could enter the folder {folder}; no longer" in told


def test_a_folder_of_ones_own_is_left_as_it_is_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, mode in (("open", 0o777), ("shared", 0o1777), ("seen", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(mode)
        for _ in range(2):
            assert paths.private_dir(folder) == folder
        assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert [record.getMessage() for record in caplog.records] == [
        f"others may write in the folder {tmp_path / 'open'}, and take away what is kept there"
    ]
