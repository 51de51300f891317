"""Settings: which file applies, what is refused and how, and what is shown of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ksi_tui import paths
from ksi_tui.commands.config import as_toml, example, shown, unset_keys
from ksi_tui.config import (
    Config,
    ProviderSettings,
    config_file,
    found_providers,
    load_config,
    validated,
)
from ksi_tui.engine.errors import ConfigError

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*KEYS, "DEEPSEEK_API_KEY", "KSI_TUI_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "user.toml")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- defaults and discovery ----------------------------------------------------------------


def test_without_file_and_keys_the_simulated_provider_answers() -> None:
    config = load_config()
    assert config.simulated_only
    assert config.default_model == "sim/echo"
    assert [provider.name for provider in config.providers] == ["simulated"]


def test_keys_in_the_environment_bring_their_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    config = load_config()
    assert [provider.name for provider in config.providers] == ["openai", "anthropic"]
    assert config.default_model == "gpt-4o-mini"
    assert not config.simulated_only


def test_an_empty_key_is_no_key() -> None:
    providers, model = found_providers({"OPENAI_API_KEY": ""})
    assert (providers[0].name, model) == ("simulated", "sim/echo")


def test_the_order_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert config_file() is None
    user = write(tmp_path / "user.toml", "")
    assert config_file() == user
    here = write(Path("ksi-tui.toml"), "")
    assert config_file() == here
    named = write(tmp_path / "env.toml", "")
    monkeypatch.setenv("KSI_TUI_CONFIG", str(named))
    assert config_file() == named
    explicit = write(tmp_path / "explicit.toml", "")
    assert config_file(explicit) == explicit


def test_a_named_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such settings file"):
        config_file(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ({"models": ["gpt-4o"]}, "gpt-4o"),
        ({"models": ["claude-*"]}, "claude-haiku-4-5"),
        ({"models": ["llama-*"]}, None),
        ({"models": ["*"], "model": "openai/qwen"}, "qwen"),
        ({"kind": "simulated", "models": ["sim/*"], "model": "{model}"}, "sim/echo"),
        ({"kind": "simulated", "models": ["sim/*"]}, "sim/echo"),
        ({"kind": "simulated"}, "sim/echo"),
    ],
)
def test_the_default_model_is_the_first_providers_first(
    provider: dict[str, object], expected: str | None
) -> None:
    config = Config.model_validate({"providers": [{"name": "p", **provider}]})
    assert config.default_model == expected


def test_a_tilde_in_a_path_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config = validated({"engine": {"database": "~/ksi.db", "responses_dir": "~/r"}}, "x")
    assert config.engine.database_path == Path("/home/somebody/ksi.db")
    assert config.engine.responses_dir == Path("/home/somebody/r")


# --- errors name file, key, found and allowed ----------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\nworkers = 0", r"engine\.workers: .*greater than or equal to 1; found 0"),
        ("[engine]\nwrokers = 1", r"engine\.wrokers: unknown key; allowed here: database,"),
        ("wrokers = 1", r"wrokers: unknown key; allowed here: engine, retry,"),
        ("[engine]\nworkers = = 1", r"not valid TOML: .*line 2"),
        ("[engine]\ntimeout_s = inf", r"engine\.timeout_s: .*finite"),
        ('[[providers]]\nname = "a b"', r"providers\[0\]\.name: this is a name: .*; found 'a b'"),
        ('[[providers]]\nname = "a"\nmodel = "os.environ/M"', r"write the model's name"),
        ('[[providers]]\nname = "a"\nmodel = "{m}"', r"only the placeholder \{model\}"),
        ('[[providers]]\nname = "a"\nmodel = "{model.__class__}"', r"only the placeholder"),
        ('[[providers]]\nname = "a"\nmodel = "{model:>9999999999}"', r"only the placeholder"),
        ('[[providers]]\nname = "a"\nmodel = "{model!r}"', r"only the placeholder"),
        ('[[providers]]\nname = "a"\nmodel = "{"', r"only the placeholder"),
        ("[engine]\nretention_days = 1e300", r"engine\.retention_days: .*equal to 1000000000"),
        ("[engine]\nmax_queue_depth = 9007199254740992", r"engine\.max_queue_depth: .*less than"),
        ('[[providers]]\nname = "a"\nmodels = []', r"providers\[0\]\.models: .*at least 1"),
        ('[[providers]]\nname = "a"\n[[providers]]\nname = "a"', r"'a' is used twice"),
        ('[[providers]]\nname = "a"\nkind = "magic"', r"'litellm' or 'simulated'; found 'magic'"),
        ('[[providers]]\nname = "a"\ncircuit = { fail = 1 }', r"allowed here: fail_max,"),
        (
            '[[providers]]\nname = "a"\nparams = { api_version = 2024-10-21 }',
            r"providers\[0\]: params\.api_version: a date .* put it in quotes: '2024-10-21'",
        ),
        (
            '[[providers]]\nname = "a"\nparams = { stop = ["a", { at = 10:00:00 }] }',
            r"params\.stop\.1\.at: a date or time is no text; put it in quotes: '10:00:00'",
        ),
        ('[[providers]]\nname = "a"\nparams = { top_p = inf }', r"params\.top_p: inf is no num"),
        ('[ui]\ntext = "loud"', r"ui\.text: .*'on_open', 'always' or 'never'; found 'loud'"),
        ('[prices."m"]\ninput = -1', r"prices\.m\.input: .*greater than or equal to 0; found -1"),
        ("providers = 3", r"providers: .*found 3"),
        ('[engine]\ndatabase = "~nobody-here/ksi.db"', r"home folder of ~nobody-here is not known"),
        ("engine = 3", r"engine: .*found 3"),
    ],
)
def test_an_error_says_where_what_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    file = write(tmp_path / "bad.toml", text)
    with pytest.raises(ConfigError, match=rf"bad\.toml: .*{message}"):
        load_config(file)


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.toml", "[engine]\nworkers = 0\n[retry]\njitter = 2")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "engine.workers" in lines[0]
    assert "retry.jitter" in lines[1]


@pytest.mark.parametrize("name", ["api_key", "Authorization", "PASSWORD", "token"])
def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    file = write(
        tmp_path / "k.toml", f'[[providers]]\nname = "a"\nparams = {{ {name} = "sk-very-secret" }}'
    )
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        load_config(file)
    assert "sk-very-secret" not in str(caught.value)


def test_a_reference_to_the_environment_is_no_key() -> None:
    params = {"token": "os.environ/A_TOKEN"}
    config = Config.model_validate({"providers": [{"name": "a", "params": params}]})
    assert config.providers[0].variables == ("A_TOKEN",)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 5\)"):
        load_config(file)


# --- the example, and what is shown --------------------------------------------------------


def test_the_example_is_valid_and_changes_nothing() -> None:
    assert validated(tomllib.loads(example()), "example") == load_config()


def _uncommented(text: str) -> str:
    """Return the example with every setting that is commented out switched on."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        is_setting = bare.startswith("[") or (" = " in bare and bare[0].islower())
        lines.append(bare if is_setting else line)
    return "\n".join(lines)


def test_every_setting_that_the_example_shows_is_valid() -> None:
    data = tomllib.loads(_uncommented(example()))
    del data["engine"]["litellm_config"]  # names a file that is not there
    config = validated(data, "example")
    assert [provider.name for provider in config.providers] == ["openai", "local"]
    shown_keys = {key for provider in data["providers"] for key in provider}
    assert shown_keys == set(ProviderSettings.model_fields)
    assert config.prices["llama-3.3-70b"].output == 0.6


def test_the_example_shows_every_setting_with_its_default() -> None:
    data = tomllib.loads(_uncommented(example()))
    defaults = Config()
    for section in ("engine", "retry", "circuit", "routing", "ui"):
        model = getattr(defaults, section)
        assert set(data[section]) == set(type(model).model_fields), section
        for key, value in data[section].items():
            default = getattr(model, key)
            no_default = default is None or key in ("operator", "default_model", "keymap")
            no_default |= section == "routing"
            assert no_default or value == default, f"{section}.{key}"


FULL = {
    "engine": {
        "workers": 2,
        "database": "/x/ksi.db",
        "responses_dir": "/x/responses",
        "default_model": "a-1",
    },
    "retry": {"max_attempts": 7, "jitter": 0.25},
    "providers": [
        {"name": "a", "models": ["a-*"], "params": {"top_p": 0.5, "stop": ["x", 'y"z']}},
        {"name": "b", "models": ["b"], "circuit": {"fail_max": 2}, "priority": 2},
    ],
    "prices": {"a-1": {"input": 1.5, "output": 2}},
    "ui": {"operator": "op1", "keymap": {"request.cancel": "C"}, "ascii": True},
}


def test_what_is_shown_reads_back_as_the_same_settings() -> None:
    config = validated(FULL, "full")
    assert validated(tomllib.loads(as_toml(shown(config))), "shown") == config


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PROXY_KEY", "value-of-my-key")
    provider = {
        "name": "a",
        "api_base": "https://user:pass@host/v1?api_key=abc123&x=1",
        "api_key_env": "MY_PROXY_KEY",
        "params": {
            "extra_headers": {"Authorization": "Bearer abc", "x-api-key": "abc", "x-team": "t1"},
            "user": "is value-of-my-key",
            "max_tokens": 5,
        },
    }
    text = as_toml(shown(Config.model_validate({"providers": [provider]})))
    for secret in ("user:pass", "abc", "value-of-my-key"):
        assert secret not in text
    for kept in ("MY_PROXY_KEY", "host/v1", "x=1", "t1", "max_tokens"):
        assert kept in text


def test_a_provider_whose_variable_is_unset_is_named() -> None:
    config = Config.model_validate(
        {
            "providers": [
                {"name": "a", "api_key_env": "A_KEY"},
                {"name": "b", "api_key_env": "B_KEY"},
            ]
        }
    )
    lines = list(unset_keys(config, {"B_KEY": "set"}))
    assert len(lines) == 1
    assert "'a'" in lines[0]
    assert "A_KEY" in lines[0]


# --- the table of the contract -----------------------------------------------------------------

DEFAULTS: dict[str, dict[str, object]] = {
    "engine": {
        "database": None,
        "responses_dir": None,
        "workers": 1,
        "max_concurrency": 32,
        "timeout_s": 900,
        "first_token_timeout_s": 60,
        "idle_timeout_s": 60,
        "reply_timeout_s": 300,
        "max_queue_depth": 100_000,
        "max_session_depth": 10_000,
        "lock_timeout_s": 300,
        "session_idle_minutes": 60,
        "retention_days": 30,
        "on_broken_stream": "restart",
        "high_usage_tokens": 10_000,
        "shutdown_grace_s": 10,
        "litellm_config": None,
    },
    "retry": {
        "max_attempts": 3,
        "initial_delay_s": 2,
        "max_delay_s": 60,
        "multiplier": 2,
        "jitter": 0.1,
    },
    "circuit": {
        "fail_max": 5,
        "reset_timeout_s": 30,
        "max_reset_timeout_s": 300,
        "max_cooldown_s": 300,
        "failure_rate": None,
    },
    "ui": {"theme": None, "ascii": False, "refresh_hz": 10, "text": "on_open", "alert": None},
}


@pytest.mark.parametrize("section", list(DEFAULTS))
def test_the_defaults_are_those_of_the_contract(section: str) -> None:
    settings = getattr(Config(), section).model_dump()
    assert {key: settings[key] for key in DEFAULTS[section]} == DEFAULTS[section]


def test_a_providers_defaults_are_those_of_the_contract() -> None:
    settings = ProviderSettings(name="a").model_dump()
    assert settings.pop("models") == ("gpt-*",)
    told = {
        "name": "a",
        "kind": "litellm",
        "model": "openai/{model}",
        "priority": 1,
        "supports_streaming": True,
        "supports_mcp": False,
        "params": {},
        "catch_all": False,
    }
    unset = {key for key in settings if key not in told}
    assert {key: settings[key] for key in told} == told
    assert {key for key in unset if settings[key] is not None} == set()


def test_what_a_wrong_table_held_is_not_repeated(tmp_path: Path) -> None:
    file = write(
        tmp_path / "bad.toml", '[[providers]]\nname = "a"\nmodels = { key = "sk-very-secret" }'
    )
    with pytest.raises(ConfigError, match=r"providers\[0\]\.models: .*; found a table") as caught:
        load_config(file)
    assert "sk-very-secret" not in str(caught.value)


def test_a_circuit_of_its_own_is_shown_without_what_it_inherits() -> None:
    data = {
        "circuit": {"reset_timeout_s": 9},
        "providers": [{"name": "a", "circuit": {"fail_max": 2}}],
    }
    config = validated(data, "x")
    text = as_toml(shown(config))
    assert 'circuit = { "fail_max" = 2 }' in text
    again = validated(tomllib.loads(text), "shown")
    assert again.circuit_of(again.providers[0]) == config.circuit_of(config.providers[0])
    assert again.circuit_of(again.providers[0]).reset_timeout_s == 9


def test_a_model_that_routing_names_and_nobody_serves_is_named() -> None:
    data = {
        "engine": {"default_model": "zzz"},
        "providers": [{"name": "a", "models": ["gpt-*"]}],
        "routing": {
            "aliases": {"fast": "gpt-4o-mini", "odd": "nobody"},
            "fallbacks": {"gpt-4o": ["fast", "claude"]},
            "content_policy_fallbacks": {"*": ["other"]},
        },
    }
    assert validated(data, "x").warnings == (
        "engine.default_model: no provider serves zzz",
        "routing.aliases.odd: no provider serves nobody",
        "routing.fallbacks.gpt-4o: no provider serves claude",
        "routing.content_policy_fallbacks.*: no provider serves other",
    )


def test_a_variable_that_a_parameter_names_is_asked_for() -> None:
    params = {"extra_headers": {"x-key": "os.environ/GATEWAY_KEY"}, "user": "plain"}
    provider = {"name": "a", "api_base": "os.environ/BASE", "params": params}
    config = Config.model_validate({"providers": [provider]})
    lines = list(unset_keys(config, {"BASE": "http://x"}))
    assert len(lines) == 1
    assert "GATEWAY_KEY is not set" in lines[0]
