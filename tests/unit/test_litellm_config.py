"""LiteLLM's own files: what becomes of them, what is named, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ksi_tui import paths
from ksi_tui.commands.config import as_toml, shown, unset_keys
from ksi_tui.config import Config, ProviderSettings, load_config, validated
from ksi_tui.engine.errors import ConfigError

FILES = Path(__file__).parent / "litellm_configs"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "KSI_TUI_CONFIG", "LANGFUSE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "user.toml")


def of(name: str, **sections: Any) -> Config:
    """Return the settings that a file gives, with `sections` as the TOML would hold them."""
    engine = {"litellm_config": str(FILES / f"{name}.yaml"), **sections.pop("engine", {})}
    return Config.model_validate({"engine": engine, **sections})


def provider(config: Config, name: str) -> ProviderSettings:
    return next(each for each in config.providers if each.name == name)


def warned(config: Config) -> dict[str, str]:
    """Return what is named, by the key that it is about."""
    found = {}
    for line in config.warnings:
        file, number, key, said = line.split(":", 3)
        assert Path(file).parent == FILES
        assert int(number) > 0
        found[key.strip()] = said.strip()
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- real files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "providers", "default"),
    [
        ("one_model", ["openai:gpt-4o-mini"], "gpt-4o-mini"),
        (
            "load_balanced",
            ["azure:gpt-4o-eu", "azure:gpt-4o-us", "openai:gpt-4o", "anthropic:claude-sonnet-4-5"],
            "gpt-4o",
        ),
        ("wildcards", ["openai", "anthropic", "openrouter", "gpt-4o"], None),
        (
            "clouds",
            [
                "vertex_ai:gemini-2.5-pro",
                "bedrock:anthropic.claude-3-5-sonnet-20240620-v1:0",
                "azure:gpt-4o-ad",
            ],
            "gemini-pro",
        ),
        ("proxy", ["groq-fast", "openai:qwen-2.5", "openai:qwen-2.5-2"], "fast"),
        ("nightly", ["openai:gpt-4.1", "mistral:mistral-large-latest"], "primary"),
    ],
)
def test_each_deployment_becomes_a_provider_with_a_readable_name(
    name: str, providers: list[str], default: str | None
) -> None:
    config = of(name)
    assert [each.name for each in config.providers] == providers
    assert all(each.kind == "litellm" for each in config.providers)
    assert config.default_model == default


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("one_model", []),
        (
            "load_balanced",
            [
                "litellm_settings.success_callback",
                "litellm_settings.cache",
                "litellm_settings.cache_params",
                "router_settings.routing_strategy",
                "router_settings.enable_pre_call_checks",
                "router_settings.redis_host",
                "router_settings.redis_password",
                "model_list[1].litellm_params.weight",
            ],
        ),
        ("wildcards", []),
        ("clouds", ["model_list[3].model_info.mode"]),
        (
            "proxy",
            [
                "litellm_settings.callbacks",
                "litellm_settings.max_budget",
                "litellm_settings.json_logs",
                "guardrails",
                "general_settings.master_key",
                "general_settings.database_url",
                "general_settings.alerting",
                "general_settings.proxy_batch_write_at",
                "environment_variables.LANGFUSE_PUBLIC_KEY",
                "environment_variables.LANGFUSE_HOST",
                "model_list[0].litellm_params.max_retries",
                "model_list[0].litellm_params.tags",
                "model_list[0].model_info",
            ],
        ),
        ("nightly", []),
    ],
)
def test_whatever_cannot_be_done_is_named_with_its_place(name: str, keys: list[str]) -> None:
    assert sorted(warned(of(name))) == sorted(keys)


def test_a_deployment_keeps_everything_that_its_call_needs() -> None:
    eu, us, openai, claude = of("load_balanced").providers
    assert (eu.models, eu.model) == (("gpt-4o",), "azure/gpt-4o-eu")
    assert (eu.api_key_env, eu.rpm, eu.tpm) == ("AZURE_EU_KEY", 600, 100_000)
    assert eu.api_base == "https://eu.example.openai.azure.com/"
    assert eu.params == {
        "api_version": "2024-10-21",
        "base_model": "azure/gpt-4o",
        "drop_params": True,
    }
    assert (us.rpm, us.tpm) == (60, None)
    assert openai.params == {"organization": "os.environ/OPENAI_ORGANIZATION", "drop_params": True}
    assert openai.variables == ("OPENAI_API_KEY", "OPENAI_ORGANIZATION")
    assert claude.params == {"max_tokens": 4096, "temperature": 0.2, "drop_params": True}


def test_what_is_asked_for_by_being_off_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", ONE + "litellm_settings:\n  ssl_verify: false\n")
    (found,) = load_config(litellm_config=file).providers
    assert found.params["ssl_verify"] is False


def test_an_order_is_a_priority_and_what_has_none_comes_after_it() -> None:
    config = of("load_balanced")
    assert [each.priority for each in config.providers] == [3, 3, 2, 1]


def test_retries_clocks_and_routing_are_taken_over() -> None:
    config = of("load_balanced")
    assert config.retry.max_attempts == 2  # the router's own wins over the library's
    assert config.retry.initial_delay_s == 5
    assert config.engine.reply_timeout_s == 45
    assert config.engine.first_token_timeout_s == config.engine.idle_timeout_s == 20
    assert (config.circuit.fail_max, config.circuit.reset_timeout_s) == (3, 90)
    assert config.routing.aliases == {"gpt-4": "gpt-4o", "smart": "claude"}
    assert config.routing.fallbacks == {"gpt-4o": ("claude",)}
    assert config.routing.context_window_fallbacks == {"claude": ("gpt-4o",)}


def test_the_settings_file_wins_key_by_key() -> None:
    config = of(
        "load_balanced",
        retry={"max_attempts": 7},
        engine={"idle_timeout_s": 99},
        routing={"fallbacks": {"gpt-4o": ["gpt-4"]}},
    )
    assert (config.retry.max_attempts, config.retry.initial_delay_s) == (7, 5)
    assert (config.engine.idle_timeout_s, config.engine.first_token_timeout_s) == (99, 20)
    assert config.routing.fallbacks == {"gpt-4o": ("gpt-4",)}
    assert config.routing.aliases == {"gpt-4": "gpt-4o", "smart": "claude"}


def test_a_wildcard_is_a_pattern_that_serves_what_nobody_else_does() -> None:
    openai, house, rest, plain = of("wildcards").providers
    plain_names = ("gpt-*", "o1*", "o3*", "o4*")
    assert (openai.models, openai.model) == (("openai/*", *plain_names), "{model}")
    assert openai.catch_all
    assert (house.models, house.model, house.catch_all) == (
        ("house/*",),
        "anthropic/{match}",
        True,
    )
    assert (rest.models, rest.model, rest.catch_all) == (("*",), "openrouter/{match}", True)
    assert (plain.models, plain.model, plain.catch_all) == (("gpt-4o",), "{model}", False)


def test_references_to_the_environment_stay_references() -> None:
    config = of("clouds")
    vertex, bedrock, azure = config.providers
    assert vertex.params["vertex_credentials"] == "/etc/keys/vertex.json"
    assert bedrock.variables == (
        "CUSTOM_AWS_ACCESS_KEY_ID",
        "CUSTOM_AWS_SECRET_ACCESS_KEY",
        "CUSTOM_AWS_REGION",
        "GATEWAY_KEY",
    )
    assert azure.api_base == "os.environ/AZURE_API_BASE"
    unset = list(unset_keys(config, {"VERTEX_PROJECT": "p"}))
    assert len(unset) == 4 + 5
    assert any("GATEWAY_KEY" in line and "bedrock" in line for line in unset)


def test_a_deployments_own_clocks_prices_and_limits() -> None:
    config = of("proxy")
    fast = provider(config, "groq-fast")
    assert (fast.reply_timeout_s, fast.first_token_timeout_s, fast.idle_timeout_s) == (30, 5, 5)
    assert fast.max_concurrency == 8
    price = config.prices["llama-3.3-70b-versatile"]
    assert (round(price.input, 6), round(price.output, 6)) == (0.59, 0.79)
    bases = [each.api_base for each in config.providers[1:]]
    assert bases == ["http://localhost:8000/v1", "http://localhost:8001/v1"]
    assert config.routing.fallbacks == {"*": ("local",)}


def test_an_included_file_and_defaults_for_every_deployment() -> None:
    first, second = of("nightly").providers
    assert (first.max_concurrency, first.params) == (4, {"temperature": 0})
    assert (second.max_concurrency, second.params) == (2, {"temperature": 0.5})
    assert of("nightly").retry.max_attempts == 1


def test_secrets_of_a_file_are_neither_named_nor_shown() -> None:
    config = of("proxy")
    told = "\n".join(config.warnings) + as_toml(shown(config))
    for secret in ("sk-1234", "hidden-password", "pk-lf", "langfuse.example"):
        assert secret not in told


@pytest.mark.parametrize("name", ["one_model", "load_balanced", "wildcards", "proxy", "nightly"])
def test_what_is_shown_of_a_file_is_the_same_settings_without_it(name: str) -> None:
    config = of(name)
    read_back = validated(tomllib.loads(as_toml(shown(config))), "shown")
    assert read_back.engine.litellm_config is None
    without = config.engine.model_copy(update={"litellm_config": None})
    for section in ("providers", "routing", "retry", "circuit", "prices"):
        assert getattr(read_back, section) == getattr(config, section), section
    assert read_back.engine.reply_timeout_s == without.reply_timeout_s


# --- together with the settings file ----------------------------------------------------------


def test_own_providers_come_first_and_a_name_that_both_give_is_refused() -> None:
    own = {"name": "own", "models": ["m"]}
    config = of("one_model", providers=[own])
    assert [each.name for each in config.providers] == ["own", "openai:gpt-4o-mini"]
    with pytest.raises(ConfigError, match=r"one_model\.yaml: .*'openai:gpt-4o-mini' too; rename"):
        of("one_model", providers=[{**own, "name": "openai:gpt-4o-mini"}])


def test_the_option_names_a_file_in_place_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-0123456789")
    write(tmp_path / "ksi-tui.toml", '[engine]\nlitellm_config = "absent.yaml"\nworkers = 3\n')
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such LiteLLM configuration"):
        load_config()
    config = load_config(litellm_config=FILES / "load_balanced.yaml")
    assert config.engine.workers == 3
    assert len(config.providers) == 4  # and none that was found in the environment
    assert [record.message for record in caplog.records] == list(config.warnings)


def test_a_fallback_that_nobody_serves_is_named() -> None:
    config = of("one_model", routing={"fallbacks": {"gpt-4o-mini": ["gpt-9"]}})
    assert config.warnings == ("routing.fallbacks.gpt-4o-mini: no provider serves gpt-9",)


def test_yaml_is_loaded_only_where_such_a_file_is_named() -> None:
    program = (
        "import sys; from ksi_tui.config import Config; Config()\n"
        "assert 'yaml' not in sys.modules\n"
        f"Config.model_validate({{'engine': {{'litellm_config': {str(FILES / 'one_model.yaml')!r}"
        "}})\nassert 'yaml' in sys.modules and 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# --- what is refused ---------------------------------------------------------------------------

ONE = "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r":1: not valid YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2", r":2: not valid YAML: "),
        ("a: !!python/object:os.system 1", r":1: not valid YAML: could not determine"),
        ("- 1", r": must be a mapping with a model_list; found a list"),
        ("", r": must be a mapping with a model_list; found nothing"),
        ("modle_list: []", r": model_list has no chat model; found: modle_list"),
        ("model_list: 3", r":1: model_list: must be a list; found 3"),
        ("model_list:\n  - m", r":2: model_list\[0\]: must be a mapping; found a text"),
        (ONE + "    rpm: 3", r":5: model_list\[0\]\.rpm: unknown key; allowed here: model_name,"),
        ("model_list:\n  - litellm_params: {}", r":2: model_list\[0\]: model_name is missing"),
        ("model_list:\n  - model_name: m", r":2: model_list\[0\]: litellm_params is missing"),
        (
            "model_list:\n  - model_name: m\n    litellm_params: {rpm: 1}",
            r":3: model_list\[0\]\.litellm_params: model is missing",
        ),
        (ONE + "      rpm: 0", r":5: .*\.rpm: must be a whole number of at least 1; found 0"),
        (ONE + "      tpm: many", r":5: .*\.tpm: must be a whole number of at least 1; found a te"),
        (ONE + "      timeout: true", r":5: .*\.timeout: must be a number .*; found True"),
        (ONE + "      model: other", r":5: model: stands here twice"),
        (ONE + "      api_key: os.environ/", r":5: .*api_key: .* followed by a variable's name"),
        (ONE + "      stop: &a [*a]", r":5: contains itself"),
        (ONE.replace("openai/m", "openai/*"), r":4: .*its one \* stands for the one \* of"),
        (ONE + "router_settings: [1]", r":5: router_settings: must be a mapping; found a list"),
        (ONE + "router_settings: {num_retries: -1}", r":5: .*num_retries: must be .*; found -1"),
        (ONE + "router_settings:\n  fallbacks: {m: [n]}", r":6: .*fallbacks: must be a list"),
        (ONE + "router_settings:\n  fallbacks: [{m: [3]}]", r":6: .*m\[0\]: must be a text; fou"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    file = write(tmp_path / "bad.yaml", text)
    with pytest.raises(ConfigError, match=rf"bad\.yaml{message}"):
        load_config(litellm_config=file)


@pytest.mark.parametrize(
    "line",
    [
        "api_key: sk-very-secret",
        "aws_secret_access_key: sk-very-secret",
        'extra_headers: {Authorization: "Bearer sk-very-secret"}',
        'vertex_credentials: \'{"private_key": "sk-very-secret"}\'',
        "client_secret: [sk-very-secret]",
    ],
)
def test_a_key_in_plain_text_is_refused_and_never_repeated(tmp_path: Path, line: str) -> None:
    file = write(tmp_path / "k.yaml", f"{ONE}      {line}\n")
    with pytest.raises(ConfigError, match=r"k\.yaml:5: .*write os\.environ/NAME here") as caught:
        load_config(litellm_config=file)
    assert "sk-very-secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.yaml: not UTF-8 text \(byte 5\)"):
        load_config(litellm_config=file)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(litellm_config=tmp_path)


def test_a_server_without_a_key_is_not_sent_the_one_of_the_environment_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "k.yaml", f"{ONE}      api_base: http://localhost:1/v1\n")
    assert load_config(litellm_config=file).warnings == ()
    monkeypatch.setenv("OPENAI_API_KEY", "0123456789")
    (warning,) = load_config(litellm_config=file).warnings
    assert "no api_key" in warning
    assert "os.environ/OPENAI_API_KEY" in warning
