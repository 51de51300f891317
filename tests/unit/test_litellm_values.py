"""Values of LiteLLM's own files: what YAML makes of them, and what a call can carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui import paths
from ksi_tui.config import ProviderSettings, load_config
from ksi_tui.engine.errors import ConfigError

ONE = "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "KSI_TUI_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "user.toml")


def of(folder: Path, text: str) -> tuple[ProviderSettings, ...]:
    """Return the providers that a file gives."""
    file = folder / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(litellm_config=file).providers


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-10-21", "2024-10-21"),
        ("2024-10-21T08:00:00Z", "2024-10-21T08:00:00Z"),
        ("!!timestamp 2024-10-21", "2024-10-21"),
        ("2024-13-45", "2024-13-45"),
        ("[{since: 2024-10-21}]", [{"since": "2024-10-21"}]),
        ("{2024-10-21: a, 50256: -100}", {"2024-10-21": "a", 50256: -100}),
    ],
)
def test_a_date_is_the_text_that_it_is_written_as(tmp_path: Path, written: str, read: Any) -> None:
    (found,) = of(tmp_path, f"{ONE}      api_version: {written}\n")
    assert found.params == {"api_version": read}


def test_a_date_is_a_text_among_the_defaults_too(tmp_path: Path) -> None:
    more = "router_settings:\n  default_litellm_params: {api_version: 2024-10-21}\n"
    (found,) = of(tmp_path, ONE + more)
    assert found.params == {"api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("top_p: .nan", r"top_p: nan is no number that can be sent"),
        ("user: !!binary aGk=", r"user: a bytes cannot be sent; write a text or a number"),
        ("stop: [a, !!set {b}]", r"stop\[1\]: a set cannot be sent"),
        ("extra_body: {a: {!!binary aGk=: 1}}", r"extra_body\.a\..*: a key is a text; put it in q"),
    ],
)
def test_what_no_call_can_carry_is_refused_with_its_line(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"c\.yaml:5: model_list\[0\]\.litellm_params\.{message}"
    ):
        of(tmp_path, f"{ONE}      {line}\n")
