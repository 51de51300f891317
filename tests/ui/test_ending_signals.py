"""Signals and the dashboard's end: while it is built, while it stands, while its engine drains."""

from __future__ import annotations

import logging
import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ksi_tui.app import KsiApp
from ksi_tui.lifetime import _Ending
from ksi_tui.ui_settings import FirstUi
from tests.ui.scripted import ScriptedClient, busy


async def test_who_leaves_while_the_first_screen_is_built_sees_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = ScriptedClient(busy())
    app = KsiApp(client.connect, ui=FirstUi(operator="op1"), name="ksi-tui")
    overview = app.get_default_screen

    def left_meanwhile() -> Any:
        app.leave()
        return overview()

    monkeypatch.setattr(app, "get_default_screen", left_meanwhile)
    await app.run_async(headless=True)
    await app.close_engine()
    assert app.return_code == 0
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(os, "_exit", lambda code: done.append(f"exit {code}"))
    return done


def ending(did: list[str], **more: Any) -> _Ending:
    app = SimpleNamespace(
        leave=lambda: did.append("leave"), hurry=lambda: did.append("hurry"), handed_over=False
    )
    vars(app).update(more)
    return _Ending(cast(KsiApp, app))


def test_however_often_it_is_asked_the_terminal_is_given_back_first(did: list[str]) -> None:
    signals = ending(did)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signals.on_signal(number)
    assert did == ["leave"] * 3


def test_once_it_has_left_one_more_hurries_the_drain_and_another_ends_it(
    did: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    signals = ending(did)
    signals.left(runs_on=True)
    assert "ctrl+c interrupts it" in capsys.readouterr().err
    signals.on_signal(signal.SIGHUP)  # a terminal that goes may tell it twice
    signals.on_signal(signal.SIGTERM)
    signals.on_signal(signal.SIGINT)
    assert did == ["leave", "hurry", "exit 130"]


def test_with_nothing_in_flight_nothing_is_said(
    did: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ending(did).left(runs_on=False)
    assert capsys.readouterr().err == ""


def test_ctrl_c_in_an_editor_is_the_editors(did: list[str]) -> None:
    ending(did, handed_over=True).on_signal(signal.SIGINT)
    assert did == []
