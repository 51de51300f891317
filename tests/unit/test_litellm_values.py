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


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ONE + "litellm_settings: {request_timeout: 6000000000}",
            r"5: litellm_settings\.request_timeout: must be a number of at most 1,000,000,000; "
            r"found 6000000000",
        ),
        (ONE + "router_settings: {retry_after: 1e+10}", r"5: .*retry_after: must .* at most 1,"),
        (ONE + "router_settings: {cooldown_time: .inf}", r"5: .*cooldown_time: .*; found inf"),
        (
            ONE + "router_settings:\n  num_retries: 9007199254740992",
            r"6: .*num_retries: .* at most",
        ),
        (ONE + "      rpm: 1e300", r"5: .*litellm_params\.rpm: must be a whole number of at most"),
        (ONE + "      rpm: .inf", r"5: .*litellm_params\.rpm: .*; found inf"),
        pytest.param(
            ONE + f"      rpm: 0x{'f' * 5_000}",
            r"5: .*rpm: .*; found a number too long to tell",
            id="a number of 5,000 digits",
        ),
        (ONE + "      order: 1000000000", r"5: .*order: .* at most 999,999,999; found 1000000000"),
        (ONE + "      input_cost_per_token: 2000", r"5: .*_token: must .* at most 1,000; found 2"),
    ],
)
def test_what_is_too_much_is_blamed_on_the_file_that_says_it(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "ksi-tui.toml").write_text("[engine]\nworkers = 1\n")
    with pytest.raises(ConfigError, match=rf"^\S*c\.yaml:{message}"):
        of(tmp_path, text)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ('providers = ["sim"]', r"^ksi-tui\.toml: providers\[0\]: .*; found 'sim'"),
        ("providers = [3]", r"^ksi-tui\.toml: providers\[0\]: .*; found 3"),
        ('[[providers]]\nname = ["a"]', r"^ksi-tui\.toml: providers\[0\]\.name: .*; found a list"),
        ("[[providers]]\nname = { a = 1 }", r"^ksi-tui\.toml: providers\[0\]\.name: .*a table"),
    ],
)
def test_what_is_no_provider_is_refused_as_without_such_a_file(
    tmp_path: Path, listed: str, message: str
) -> None:
    (tmp_path / "ksi-tui.toml").write_text(f"{listed}\n")
    with pytest.raises(ConfigError, match=message):
        of(tmp_path, ONE)


# --- the environment ----------------------------------------------------------------------------


def test_what_names_and_bounds_a_deployment_comes_from_the_environment_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"MODEL": "azure/gpt-4o", "NAME": "fast", "LIMIT": "60", "CLOCK": "7.5", "NEXT": "q"}
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    text = (
        "model_list:\n  - model_name: os.environ/NAME\n    litellm_params:\n"
        "      model: os.environ/MODEL\n      rpm: os.environ/LIMIT\n"
        "      timeout: os.environ/CLOCK\n      order: os.environ/LIMIT\n"
        "      input_cost_per_token: os.environ/CLOCK\n      output_cost_per_token: 1\n"
        "    model_info: {base_model: os.environ/MODEL}\n"
        "  - {model_name: q, litellm_params: {model: openai/q}}\n"
        "router_settings:\n  timeout: os.environ/LIMIT\n  fallbacks: [{fast: os.environ/NEXT}]\n"
    )
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    config = load_config(litellm_config=file)
    found, _ = config.providers
    assert (found.name, found.models, found.model) == ("azure:gpt-4o", ("fast",), "azure/gpt-4o")
    assert (found.rpm, found.reply_timeout_s, found.priority) == (60, 7.5, 60)
    assert found.params == {"base_model": "azure/gpt-4o"}
    assert config.engine.reply_timeout_s == 60
    assert config.routing.fallbacks == {"fast": ("q",)}
    assert config.prices["gpt-4o"].input == 7_500_000
    assert config.warnings == ()


def test_a_wildcard_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", "openrouter/*")
    (found,) = of(
        tmp_path, ONE.replace("openai/m", "os.environ/MODEL").replace("name: m", "name: h/*")
    )
    assert (found.models, found.model, found.catch_all) == (("h/*",), "openrouter/{match}", True)


def test_what_only_a_call_needs_stays_a_reference(tmp_path: Path) -> None:
    names = ("api_base", "api_version", "organization", "azure_ad_token", "extra_headers")
    values = [f"      {name}: os.environ/{name.upper()}" for name in names[:-1]]
    values.append("      extra_headers: {x: os.environ/EXTRA_HEADERS}")
    (found,) = of(tmp_path, ONE + "\n".join(values))
    assert found.variables == tuple(name.upper() for name in names)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model: os.environ/UNSET", r"model: the environment variable UNSET is not set"),
        ("model: os.environ/EMPTY", r"model: the environment variable EMPTY is not set"),
        ("model: os.environ/", r"model: os\.environ/ has to be followed by a variable's name"),
        ("model: os.environ/MY_KEY", r"model: the environment variable MY_KEY is named like a se"),
        ("rpm: os.environ/UNSET", r"rpm: the environment variable UNSET is not set"),
        ("rpm: os.environ/TEXT", r"rpm: must be a whole number of at least 1; found a text"),
        ("timeout: os.environ/", r"timeout: os\.environ/ has to be followed by a variable's na"),
        ("api_base: os.environ/", r"api_base: os\.environ/ has to be followed by a variable's"),
        ("extra_body: {a: os.environ/}", r"extra_body\.a: os\.environ/ has to be followed by a"),
    ],
)
def test_what_the_environment_does_not_hold_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    for variable, value in {"EMPTY": "", "MY_KEY": "sk-secret", "TEXT": "sk-secret"}.items():
        monkeypatch.setenv(variable, value)
    text = "model_list:\n  - model_name: m\n    litellm_params:\n"
    text += f"      {line}\n" + ("" if line.startswith("model") else "      model: openai/m\n")
    expected = rf"c\.yaml:4: model_list\[0\]\.litellm_params\.{message}"
    with pytest.raises(ConfigError, match=expected) as caught:
        of(tmp_path, text)
    assert "sk-secret" not in str(caught.value)
