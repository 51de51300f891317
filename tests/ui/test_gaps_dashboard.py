"""What the dashboard's command tells the app: how this engine is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.commands.dashboard import _name


@pytest.mark.parametrize(
    ("file", "name"),
    [(Path("work.toml"), "ksi-tui work"), (Path("ksi-tui.toml"), "ksi-tui"), (None, "ksi-tui")],
)
def test_it_is_called_after_its_settings_where_those_have_a_name(
    file: Path | None, name: str
) -> None:
    assert _name(file) == name
