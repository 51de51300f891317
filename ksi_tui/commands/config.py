"""`ksi-tui config`: write an example, validate, show, and say which file applies."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ksi_tui import paths
from ksi_tui.commands.output import say, write
from ksi_tui.commands.settings import settings
from ksi_tui.config import Config, config_file
from ksi_tui.engine.errors import ConfigError
from ksi_tui.exits import OK
from ksi_tui.provider_params import ENV_REFERENCE
from ksi_tui.redaction import redacted_data, secrets_of


def execute(options: argparse.Namespace) -> int:
    """Perform the action that was asked for."""
    match options.action:
        case "init":
            _init(options.target, options.config)
        case "check":
            _check(options)
        case "show":
            config = settings(options)
            write(_origin(config) + as_toml(shown(config)))
        case "path":
            write(f"{_applying(options.config)}\n")
    return OK


def example() -> str:
    """Return the commented example, which is valid as it stands."""
    return files("ksi_tui.commands").joinpath("example.toml").read_text(encoding="utf-8")


def _init(target: str | None, explicit: Path | None) -> None:
    if target == "-":
        write(example())
        return
    file = Path(target) if target else explicit or paths.user_config_file()
    if target is None and explicit is None:
        paths.private_dir(file.parent)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{file} is already there; it was not touched") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    with open(handle, "w", encoding="utf-8") as out:
        out.write(example())
    write(f"wrote {file}\n")
    if config_file_or_none(explicit) != file:
        say(f"it applies with --config {file} or KSI_TUI_CONFIG={file}")


def config_file_or_none(explicit: Path | None) -> Path | None:
    """As `config_file`, without a complaint about one that is named and missing."""
    try:
        return config_file(explicit)
    except ConfigError:
        return None


def _applying(explicit: Path | None) -> str:
    file = config_file(explicit)
    if file is None:
        return f"none; the defaults apply ({paths.user_config_file()} would be read)"
    return str(file.absolute())


def _check(options: argparse.Namespace) -> None:
    config = settings(options)
    file = config_file(options.config)
    if any(provider.kind == "simulated" for provider in config.providers):
        _check_simulated(config)
    for line in (*config.warnings, *unset_keys(config, os.environ)):
        say(f"warning: {line}")
    names = ", ".join(provider.name for provider in config.providers)
    write(
        f"{file or 'the defaults'}: valid\n"
        f"{_read_too(config)}"
        f"providers: {names}\n"
        f"default model: {config.default_model or 'none; each request has to name one'}\n"
        f"database: {config.engine.database_path}\n"
    )


def _check_simulated(config: Config) -> None:
    from ksi_tui.engine.providers.simulated import SimulatedProvider  # noqa: PLC0415 - for few

    for provider in config.providers:
        if provider.kind == "simulated":
            SimulatedProvider(provider)  # looks at its `params` itself


def _read_too(config: Config) -> str:
    file = config.engine.litellm_config
    return f"{file}: read too; warnings: {len(config.warnings)}\n" if file else ""


def unset_keys(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield, for every variable that a provider needs and that is not set, a line that says so."""
    for provider in config.providers:
        for variable in provider.variables:
            if not environ.get(variable):
                yield (
                    f"provider {provider.name!r}: the environment variable "
                    f"{variable} is not set, so its calls will be refused"
                )


def shown(config: Config) -> dict[str, Any]:
    """Return the effective settings as plain data, secrets hidden, unset ones left out.

    What came from a LiteLLM file stands there as if it were written here; its path does not.
    """
    data = config.model_dump(mode="json", exclude_none=True, exclude={"engine": {"litellm_config"}})
    for provider, plain in zip(data["providers"], config.providers, strict=True):
        if plain.circuit is not None:  # what it inherits would be its own when read back
            provider["circuit"] = plain.circuit.model_dump(exclude_unset=True, exclude_none=True)
    data["engine"] |= {
        "database": str(config.engine.database_path),
        "responses_dir": str(config.engine.responses_path),
    }
    if config.default_model is not None:
        data["engine"] |= {"default_model": config.default_model}
    hidden: dict[str, Any] = redacted_data(data, secrets_of(os.environ))
    for provider, plain in zip(hidden["providers"], config.providers, strict=True):
        if plain.api_key_env:
            provider["api_key_env"] = plain.api_key_env
        if plain.params:
            provider["params"] = _with_references(plain.params, provider["params"])
    hidden["ui"]["keymap"] = dict(config.ui.keymap)
    return hidden


def _with_references(plain: Any, hidden: Any) -> Any:
    """Return what is shown of parameters, with the names of variables, which are no secrets."""
    if isinstance(plain, Mapping) and isinstance(hidden, Mapping):
        return {key: _with_references(plain[key], hidden[key]) for key in plain}
    return plain if isinstance(plain, str) and plain.startswith(ENV_REFERENCE) else hidden


def _origin(config: Config) -> str:
    """Return, as a comment, where settings come from that are not in the settings file."""
    file = config.engine.litellm_config
    return f"# with the models and settings of {file}, as they are understood\n\n" if file else ""


def as_toml(data: Mapping[str, Any]) -> str:
    """Return plain data of tables, lists of tables and values as TOML."""
    lines: list[str] = []
    for name, section in data.items():
        if isinstance(section, list):
            for entry in section:
                lines += [f"[[{name}]]", *_pairs(entry), ""]
        elif section and all(isinstance(entry, Mapping) for entry in section.values()):
            for key, entry in section.items():
                if entry:
                    lines += [f"[{name}.{_key(key)}]", *_pairs(entry), ""]
        elif section:
            lines += [f"[{name}]", *_pairs(section), ""]
    return "\n".join(lines)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    """Return a key bare where TOML takes it bare, else quoted."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
