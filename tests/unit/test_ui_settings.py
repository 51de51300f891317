"""The first look at `[ui]`: what TOML says plainly is taken, all else is left to the validation."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.config import UiSettings, validated
from ksi_tui.ui_settings import FirstUi, first_ui

PLAIN: dict[str, Any] = {
    "theme": "ksi-light",
    "keymap": {"submit": "S"},
    "ascii": True,
    "refresh_hz": 4,
    "operator": "op7",
    "text": "never",
    "filters": {},
    "bell": False,
    "read_only": True,
    "alert": "notify-send ksi",
}


def test_it_knows_every_setting_and_takes_what_the_validation_takes() -> None:
    assert set(PLAIN) == set(UiSettings.model_fields)
    first = first_ui(PLAIN)
    assert first is not None
    assert vars(first) == validated({"ui": PLAIN}, "test").ui.model_dump()


def test_its_defaults_are_those_of_the_settings() -> None:
    assert vars(FirstUi()) == UiSettings().model_dump()
    assert first_ui({}) == FirstUi()


@pytest.mark.parametrize(
    "table",
    [
        {"theme": 1},
        {"keymap": {"submit": 1}},
        {"ascii": "yes"},
        {"refresh_hz": 31},
        {"refresh_hz": True},
        {"operator": ""},
        {"text": "sometimes"},
        {"colour": "red"},
        {"filters": {"stuck": "status:waiting"}},
        {"read_only": "yes"},
        ["a list"],
    ],
)
def test_anything_else_needs_the_validation(table: Any) -> None:
    assert first_ui(table) is None
