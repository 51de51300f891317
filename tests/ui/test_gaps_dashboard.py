"""What the dashboard's command tells the app: its name, and where a provider would be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui import paths
from ksi_tui.commands.dashboard import _hint, _name
from ksi_tui.config import Config


@pytest.mark.parametrize(
    ("file", "name"), [("work.toml", "ksi-tui work"), ("ksi-tui.toml", "ksi-tui")]
)
def test_it_is_called_after_its_settings_where_those_have_a_name(
    tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / file).touch()
    assert _name(tmp_path / file) == name


def test_where_to_name_a_provider_is_said_while_there_is_none() -> None:
    simulated = Config.model_validate({"providers": [{"kind": "simulated", "name": "s"}]})
    assert _hint(simulated) == str(paths.user_config_file())
    real = {"kind": "litellm", "name": "a", "models": ["m"]}
    assert _hint(Config.model_validate({"providers": [real]})) == ""
