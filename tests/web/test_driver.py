"""What paints into a browser: packets stay whole, and nobody who reads them is no fault."""

from __future__ import annotations

import os

import pytest

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
