"""Settings: one TOML file, validated once, frozen afterwards.

`Config.model_validate` takes what the TOML would hold; `load_config` finds and reads
the file. Nothing here opens a database or calls a provider. Keys never pass through
here: a provider names the environment variable that holds its key.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from ksi_tui import paths
from ksi_tui.config_errors import explained, readable_filters, unserved
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.payload_errors import shown
from ksi_tui.known_providers import KEY_NAMES, KEY_VARIABLES
from ksi_tui.names import NAME_PATTERN
from ksi_tui.provider_params import references, unsendable
from ksi_tui.settings_file import config_file, read_toml
from ksi_tui.ui_settings import LEAST_HZ, MOST_HZ, login_name

__all__ = ["Config", "config_file", "load_config"]

_log = logging.getLogger(__name__)
_MOST_TOLD: Final = 50
"""Faults of one file that are told at once."""

MOST: Final = 10**9
"""No time, rate or price is larger: what is reckoned from it stays a number, and a date a date."""
Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**53)]


HomePath = Annotated[Path, AfterValidator(paths.from_home)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]
Filters = Annotated[dict[Name, str], AfterValidator(readable_filters)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class EngineSettings(_Section):
    """`[engine]`: limits and clocks; times in seconds."""

    database: HomePath | None = None
    responses_dir: HomePath | None = None
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    max_concurrency: Count = 32
    default_model: str | None = None
    timeout_s: Positive = 900
    first_token_timeout_s: Positive = 60
    idle_timeout_s: Positive = 60
    reply_timeout_s: Positive = 300
    max_queue_depth: Count = 100_000
    max_session_depth: Count = 10_000
    lock_timeout_s: Positive = 300
    session_idle_minutes: Positive = 60
    retention_days: Positive = 30
    on_broken_stream: Literal["restart", "fail"] = "restart"
    high_usage_tokens: Count = 10_000
    shutdown_grace_s: NotNegative = 10
    litellm_config: HomePath | None = None

    @property
    def database_path(self) -> Path:
        """The database file, by default in the platform's state folder."""
        return self.database or paths.state_dir() / "ksi.db"

    @property
    def responses_path(self) -> Path:
        """The folder of response files, by default in the platform's state folder."""
        return self.responses_dir or paths.state_dir() / "responses"


class RetrySettings(_Section):
    """`[retry]`: exponential backoff with jitter."""

    max_attempts: Count = 3
    initial_delay_s: NotNegative = 2
    max_delay_s: NotNegative = 60
    multiplier: Annotated[float, Field(ge=1, le=MOST, allow_inf_nan=False)] = 2
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.1


class CircuitSettings(_Section):
    """`[circuit]`, or a provider's own `circuit`."""

    fail_max: Count = 5
    reset_timeout_s: Positive = 30
    max_reset_timeout_s: Positive = 300
    max_cooldown_s: Positive = 300
    failure_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    window_s: Positive = 60
    min_calls: Count = 20


class ProviderSettings(_Section):
    """One `[[providers]]` entry. `priority` 1 is tried before 2.

    A simulated one serves `sim/*` under these very names where nothing else is said.
    `rpm` and `tpm` are calls and tokens in any 60 s; a clock replaces that of `[engine]`.
    `catch_all`: serves only models that no other provider's patterns match.
    `os.environ/NAME` in `api_base` or `params` stands for that variable's value.
    """

    name: Name
    kind: Literal["litellm", "simulated"] = "litellm"
    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("gpt-*",)
    model: Annotated[str, Field(min_length=1)] = "openai/{model}"
    api_base: str | None = None
    api_key_env: str | None = None
    priority: Annotated[int, Field(ge=-MOST, le=MOST)] = 1
    max_concurrency: Count | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    first_token_timeout_s: Positive | None = None
    idle_timeout_s: Positive | None = None
    reply_timeout_s: Positive | None = None
    catch_all: bool = False
    supports_streaming: bool = True
    supports_mcp: bool = False
    params: dict[str, Any] = Field(default_factory=dict)
    circuit: CircuitSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _simulated_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("kind") == "simulated":
            return {"models": ["sim/*"], "model": "{model}", **data}
        return data

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        if references(self.model):
            raise ValueError(
                f"model = {shown(self.model)}: only api_base and params are read from the "
                "environment; write the model's name"
            )
        if not _names_a_model(self.model):
            raise ValueError(
                f"model = {shown(self.model)}: only the placeholder {{model}}, and {{match}} for "
                "what the * of its pattern stands for, are allowed"
            )
        for name, value in self.params.items():
            secret = name.lower() in KEY_NAMES
            if secret and not references(value):
                raise ValueError(
                    f"params.{name.lower()}: keys come from the environment only; use api_key_env"
                )
        if (found := unsendable(self.params)) is not None:
            way, said = found
            raise ValueError(f"params.{'.'.join(map(str, way))}: {said}")
        return self

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that a call of it needs."""
        key = [self.api_key_env] if self.api_key_env else []
        return tuple(dict.fromkeys([*key, *references(self.api_base), *references(self.params)]))


class RoutingSettings(_Section):
    """`[routing]`: models that answer in place of others.

    `fallbacks` are tried in order when nobody can answer the model itself; those of `"*"`
    serve every model without. The last two are for requests too long or against the policy.
    """

    aliases: dict[str, str] = Field(default_factory=dict)
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    context_window_fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    content_policy_fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class PriceSettings(_Section):
    """`[prices."model"]`: dollars per million tokens of each bucket."""

    input: NotNegative
    cache_read: NotNegative | None = None
    cache_write: NotNegative | None = None
    output: NotNegative
    reasoning: NotNegative | None = None


class UiSettings(_Section):
    """`[ui]`: how the dashboard looks and what it records."""

    theme: str | None = None
    keymap: dict[str, str] = Field(default_factory=dict)
    ascii: bool = False
    refresh_hz: Annotated[float, Field(ge=LEAST_HZ, le=MOST_HZ)] = 10
    operator: Annotated[str, Field(min_length=1, max_length=64)] = Field(default_factory=login_name)
    text: Literal["on_open", "always", "never"] = "on_open"
    bell: bool = True
    read_only: bool = False
    alert: str | None = None
    filters: Filters = Field(default_factory=dict)


def _names_a_model(form: str) -> bool:
    """Return whether nothing but the two placeholders stands in a form, and those bare.

    A width would be one to be filled up, an attribute a look inside of the program.
    """
    try:
        parts = list(Formatter().parse(form))
    except ValueError:
        return False
    return all(
        name is None or (name in ("model", "match") and not width and conversion is None)
        for _, name, width, conversion in parts
    )


SIMULATED = ProviderSettings(name="simulated", kind="simulated", models=("sim/*",), model="{model}")


def found_providers(environ: Mapping[str, str]) -> tuple[tuple[ProviderSettings, ...], str]:
    """Return the providers whose keys are in the environment, and a default model.

    Without any key: the simulated provider and `sim/echo`, so that a first run works anywhere.
    """
    found = [
        (
            ProviderSettings(
                name=name, models=models, model=f"{name}/{{model}}", api_key_env=variable
            ),
            default,
        )
        for name, variable, models, default in KEY_VARIABLES
        if environ.get(variable)
    ]
    if not found:
        return (SIMULATED,), "sim/echo"
    return tuple(provider for provider, _ in found), found[0][1]


def _first_model(provider: ProviderSettings) -> str | None:
    """Return a model name that the provider serves, None when its patterns do not tell one."""
    first = provider.models[0]
    if not any(mark in first for mark in "*?["):
        return first
    if provider.kind == "simulated":
        return "sim/echo"
    if "{model}" not in provider.model:
        return provider.model.rpartition("/")[2]
    for _, _, models, default in KEY_VARIABLES:
        if first in models:
            return default
    return None


class Config(_Section):
    """All settings. No `providers` means those found in the environment, else the simulated one."""

    engine: EngineSettings = Field(default_factory=EngineSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    circuit: CircuitSettings = Field(default_factory=CircuitSettings)
    providers: tuple[ProviderSettings, ...] = ()
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    ui: UiSettings = Field(default_factory=UiSettings)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _with_litellm_config(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        engine = data.get("engine") if isinstance(data, Mapping) else None
        named = engine.get("litellm_config") if isinstance(engine, Mapping) else None
        if not isinstance(named, str | Path) or not str(named):
            return handler(data)
        from ksi_tui.litellm_config import read_litellm_config  # noqa: PLC0415 - only if named

        found = read_litellm_config(paths.from_home(Path(named)))
        config = handler(found.under(data))
        config._warnings = found.warnings
        return config

    @model_validator(mode="before")
    @classmethod
    def _find_providers(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and not data.get("providers"):
            providers, default = found_providers(os.environ)
            engine = dict(data.get("engine") or {}) if _is_table(data.get("engine")) else None
            if engine is not None:
                engine.setdefault("default_model", default)
                return {**data, "providers": providers, "engine": engine}
            return {**data, "providers": providers}
        return data

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [provider.name for provider in self.providers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"providers: the name {name!r} is used twice; names are unique")
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the settings ask for that cannot be done, each with its place."""
        return (*self._warnings, *unserved(self.routing, self.providers, self.engine.default_model))

    @property
    def default_model(self) -> str | None:
        """The model of a request that names none: the setting, else the first provider's first.

        None when the setting is missing and the first provider's patterns do not tell a name.
        """
        return self.engine.default_model or _first_model(self.providers[0])

    @property
    def simulated_only(self) -> bool:
        """Whether no provider reaches a network."""
        return all(provider.kind == "simulated" for provider in self.providers)

    def circuit_of(self, provider: ProviderSettings) -> CircuitSettings:
        """Return the common circuit settings with what the provider sets for itself."""
        if (own := provider.circuit) is None:
            return self.circuit
        return self.circuit.model_copy(
            update={key: getattr(own, key) for key in own.model_fields_set}
        )


def _is_table(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def load_config(path: Path | str | None = None, litellm_config: Path | str | None = None) -> Config:
    """Read and validate the settings file that applies (`config_file`); without one, the defaults.

    `litellm_config` takes the place of `engine.litellm_config`. What cannot be done is logged.
    Raises ConfigError that names the file, the line or key, what was found and what is allowed.
    """
    file = config_file(Path(path) if path is not None else None)
    data = {} if file is None else read_toml(file)
    if litellm_config is not None and _is_table(data.get("engine")):
        data["engine"] = {**(data.get("engine") or {}), "litellm_config": str(litellm_config)}
    config = validated(data, "the defaults" if file is None else str(file))
    for warning in config.warnings:
        _log.warning(warning)
    return config


def validated(data: Mapping[str, Any], source: str) -> Config:
    """Return the settings that `data` holds; ConfigError names `source` and every wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [explained(item, _section_keys) for item in error.errors(include_url=False)]
        told = [f"{source}: {line}" for line in lines[:_MOST_TOLD]]
        if len(lines) > _MOST_TOLD:
            told.append(f"{source}: and {len(lines) - _MOST_TOLD:,} faults more")
        raise ConfigError("\n".join(told)) from None


_SECTIONS: dict[str, type[BaseModel]] = {
    "engine": EngineSettings,
    "retry": RetrySettings,
    "circuit": CircuitSettings,
    "providers": ProviderSettings,
    "routing": RoutingSettings,
    "prices": PriceSettings,
    "ui": UiSettings,
}


def _section_keys(loc: tuple[int | str, ...]) -> list[str]:
    if len(loc) == 1:
        return list(Config.model_fields)
    section = "circuit" if "circuit" in loc[:-1] else str(loc[0])
    model = _SECTIONS.get(section)
    return list(model.model_fields) if model else []
