"""How an engine is called, on its screen and at its door."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.settings_file import display_name


@pytest.mark.parametrize(
    ("file", "name"),
    [(Path("work.toml"), "ksi-tui work"), (Path("ksi-tui.toml"), "ksi-tui"), (None, "ksi-tui")],
)
def test_it_is_called_after_its_settings_where_those_have_a_name(
    file: Path | None, name: str
) -> None:
    assert display_name(file) == name
