"""What paints into a browser: packets stay whole, and nobody who reads them is no fault."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import cast

import pytest

from ksi_tui import clipboard
from ksi_tui.app import KsiApp
from ksi_tui.widgets.browser_driver import BrowserDriver


@pytest.fixture
def driver() -> BrowserDriver:
    made = object.__new__(BrowserDriver)
    made.fileno = -1
    return made


def test_a_write_cut_short_by_a_signal_goes_on(
    driver: BrowserDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(_: int, data: memoryview) -> int:
        written.append(bytes(data[:3]))
        return min(3, len(data))

    monkeypatch.setattr(os, "write", write)
    assert driver._write_whole(b"D\0\0\0\5hello") == 10
    assert b"".join(written) == b"D\0\0\0\5hello"


def test_that_nobody_reads_any_more_is_no_fault(
    driver: BrowserDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", write)
    assert driver._write_whole(b"x") == 1


async def test_a_copy_goes_to_the_browser_and_not_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied: list[str] = []
    app = SimpleNamespace()  # what `copy` asks of an app
    vars(app).update(is_headless=False, is_web=True, copy_to_clipboard=copied.append)
    monkeypatch.setattr(clipboard, "tools", lambda _: [("cat",)])
    said = await KsiApp.copy(cast(KsiApp, app), "r-1")
    assert copied == ["r-1"]
    assert "offered to the terminal's clipboard" in said
