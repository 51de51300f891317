"""What is wrong with settings, in words: where it stands, what was found, what is allowed.

Words only; what is allowed is declared where the settings are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic_core import ErrorDetails

from ksi_tui.engine.payload_errors import MAX_PATH_CHARS, pattern_words, shortened, shown

if TYPE_CHECKING:
    from ksi_tui.config import ProviderSettings, RoutingSettings


def explained(
    error: ErrorDetails, keys_at: Callable[[tuple[int | str, ...]], Sequence[str]]
) -> str:
    """Return one line about one refused setting; `keys_at` says what is allowed at a place."""
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
    ).lstrip(".")
    where = shortened(where, MAX_PATH_CHARS)
    if error["type"] == "extra_forbidden":
        allowed = ", ".join(keys_at(error["loc"]))
        return f"{where}: unknown key{f'; allowed here: {allowed}' if allowed else ''}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        message = pattern_words(error)
    if error["type"] in ("value_error", "missing"):
        return f"{where}: {message}" if where else message
    return f"{where}: {message}; found {_shown(error['input'])}"


def _shown(value: Any) -> str:
    """Return what was found, whole tables by their kind: somewhere in one may stand a secret."""
    if isinstance(value, dict | list | tuple):
        return "a table" if isinstance(value, dict) else "a list"
    return shown(value)


def unserved(
    routing: RoutingSettings, providers: Sequence[ProviderSettings], default: str | None
) -> Iterator[str]:
    """Yield a line for every model that the settings name and that nobody serves."""
    patterns = [pattern for provider in providers for pattern in provider.models]
    tables = {
        "fallbacks": routing.fallbacks,
        "context_window_fallbacks": routing.context_window_fallbacks,
        "content_policy_fallbacks": routing.content_policy_fallbacks,
    }
    named = [] if default is None else [("engine.default_model", default)]
    named += [(f"routing.aliases.{alias}", target) for alias, target in routing.aliases.items()]
    named += [
        (f"routing.{table}.{model}", other)
        for table, entries in tables.items()
        for model, others in entries.items()
        for other in others
    ]
    for where, model in named:
        if model not in routing.aliases and not any(fnmatchcase(model, p) for p in patterns):
            yield f"{where}: no provider serves {model}"


def readable_filters(filters: dict[str, str]) -> dict[str, str]:
    """Return the filters of the settings; raises ValueError naming one that cannot be read."""
    from ksi_tui.engine.filter import FilterError, parse  # noqa: PLC0415 - few settings have any

    for name, text in filters.items():
        try:
            parse(text)
        except FilterError as error:
            where = f"{name}, at {error.position + 1}"
            raise ValueError(f"{where}: {error.message}") from None
    return filters
