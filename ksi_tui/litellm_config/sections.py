"""`litellm_settings`, `router_settings` and the rest: taken over where we have the same, or named.

Nothing is dropped in silence: every setting that asks for something and has no counterpart
becomes a warning with its place. One that switches something off asks for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ksi_tui.litellm_config.document import Document, Path_

_LOGS = "not used: ksi-tui keeps its own log (--log-level)"
_SERVICES = "not used: nothing is sent to other services; `ksi-tui usage` has tokens and cost"
_PROXY = "not used: ksi-tui is no proxy, and nobody calls it with a key"
_CACHE = "not used: answers are not cached"
_REDIS = "not used: limits are this engine's own, shared with no other process"
_RETRIES = "not used: what is retried follows from the kind of the error"
_ELSE = "not used: ksi-tui has nothing like it"

_REASONS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("redis", "cache_kwargs"), _REDIS),
    (("cache", "caching"), _CACHE),
    (("retry_policy", "model_group_retry_policy", "allowed_fails_policy"), _RETRIES),
    (("set_verbose", "debug_level", "json_logs", "log_", "detailed_debug"), _LOGS),
    (("database_", "store_", "disable_spend"), "not used: state is kept in engine.database"),
    (("alert",), "not used: [ui] alert runs a command when the verdict changes"),
    (("master_key", "proxy_", "user_api_key", "custom_auth", "enable_jwt", "ui_"), _PROXY),
    (("max_budget", "budget", "max_parallel_requests", "provider_budget"), "not used: no budgets"),
    (("guardrail",), "not used: there are no guardrails"),
)
_TOP: Final = {
    "guardrails": "not used: there are no guardrails",
    "mcp_servers": "not used: MCP servers are named by the request (extra_body.ksi)",
    "credential_list": "not used: credentials are not looked up by name; use api_key",
    "callback_settings": _SERVICES,
}


@dataclass(slots=True, kw_only=True)
class Sections:
    """What the sections of all files gave, in the words of our own settings."""

    engine: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, Any] = field(default_factory=dict)
    circuit: dict[str, Any] = field(default_factory=dict)
    routing: dict[str, dict[str, Any]] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    max_concurrency: int | None = None


_Take = Callable[[Document, Path_, Any, Sections], None]


def read_sections(document: Document, found: Sections) -> None:
    """Add what a file says outside its model list."""
    for name, value in document.data.items():
        match name:
            case "model_list" | "include":
                continue
            case "litellm_settings":
                _section(document, name, value, _LITELLM, found)
            case "router_settings" | "general_settings" | "environment_variables":
                continue
            case _:
                if value:
                    document.warn((str(name),), _TOP.get(str(name), _ELSE))
    # The router's own settings win over the library's, whichever comes first in the file.
    _section(document, "router_settings", document.data.get("router_settings"), _ROUTER, found)
    _section(document, "general_settings", document.data.get("general_settings"), {}, found)
    _environment(document)


def _section(
    document: Document, name: str, value: Any, takes: Mapping[str, _Take], found: Sections
) -> None:
    table = document.table((name,), value)
    for key in sorted(table, key=lambda key: key == "stream_timeout"):  # it wins over timeout
        path, said = (name, key), table[key]
        if said is None or said in ([], {}, ""):
            continue
        if said is False and key != "ssl_verify":  # it asks for something by being off
            continue
        if key in takes:
            takes[key](document, path, said, found)
        else:
            document.warn(path, _reason(key))


def _reason(key: str) -> str:
    if "callback" in key or key.startswith("langfuse"):
        return _SERVICES
    return next((reason for starts, reason in _REASONS if key.startswith(starts)), _ELSE)


def _environment(document: Document) -> None:
    """Name the variables that a file would set: the environment is not changed from a file."""
    section = "environment_variables"
    for name in document.table((section,), document.data.get(section)):
        if name not in os.environ:
            document.warn((section, name), "not set from a file; set it where ksi-tui is started")


# --- what has a counterpart ------------------------------------------------------------------


def _retries(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.retry["max_attempts"] = int(document.number(path, said, 0, whole=True)) + 1


def _first_delay(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.retry["initial_delay_s"] = document.number(path, said, 0)


def _timeout(document: Document, path: Path_, said: Any, found: Sections) -> None:
    seconds = document.number(path, said, 0.001)
    found.engine["reply_timeout_s"] = seconds
    for clock in ("first_token_timeout_s", "idle_timeout_s"):
        found.engine[clock] = seconds


def _stream_timeout(document: Document, path: Path_, said: Any, found: Sections) -> None:
    seconds = document.number(path, said, 0.001)
    found.engine |= {"first_token_timeout_s": seconds, "idle_timeout_s": seconds}


def _allowed_fails(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.circuit["fail_max"] = int(document.number(path, said, 0, whole=True)) + 1


def _cooldown(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.circuit["reset_timeout_s"] = document.number(path, said, 0.001)


def _strategy(document: Document, path: Path_, said: Any, _: Sections) -> None:
    if said != "least-busy":
        document.warn(path, "of deployments with the same order the least busy goes first instead")


def _pre_call_checks(document: Document, path: Path_, _: Any, __: Sections) -> None:
    document.warn(
        path,
        "not used: that a request is too long is learnt from the provider, and "
        "context_window_fallbacks apply then",
    )


def _param(name: str) -> _Take:
    def take(_: Document, __: Path_, said: Any, found: Sections) -> None:
        found.params[name] = said

    return take


def _default_params(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.params |= document.table(path, said)


def _concurrency(document: Document, path: Path_, said: Any, found: Sections) -> None:
    found.max_concurrency = int(document.number(path, said, 1, whole=True))


def _fallbacks(table: str) -> _Take:
    def take(document: Document, path: Path_, said: Any, found: Sections) -> None:
        for index, each in enumerate(document.listed(path, said)):
            for model, others in document.table((*path, index), each).items():
                at = (*path, index, model)
                names = [_model(document, (*at, i), o) for i, o in enumerate(_many(others))]
                found.routing.setdefault(table, {})[model] = tuple(names)

    return take


def _default_fallbacks(document: Document, path: Path_, said: Any, found: Sections) -> None:
    names = [_model(document, (*path, i), other) for i, other in enumerate(_many(said))]
    found.routing.setdefault("fallbacks", {})["*"] = tuple(names)


def _aliases(document: Document, path: Path_, said: Any, found: Sections) -> None:
    for alias, target in document.table(path, said).items():
        found.routing.setdefault("aliases", {})[alias] = _model(document, (*path, alias), target)


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _model(document: Document, path: Path_, value: Any) -> str:
    """Return a model's name, which may come as a mapping with more for the call."""
    if not isinstance(value, dict):
        return document.text(path, value)
    more = [str(key) for key in value if key not in ("model", "hidden")]
    if more:
        document.warn(path, f"only its model is used; not {', '.join(more)}")
    return document.text((*path, "model"), value.get("model"))


_BOTH: Final[Mapping[str, _Take]] = {
    "num_retries": _retries,
    "fallbacks": _fallbacks("fallbacks"),
    "default_fallbacks": _default_fallbacks,
    "context_window_fallbacks": _fallbacks("context_window_fallbacks"),
    "content_policy_fallbacks": _fallbacks("content_policy_fallbacks"),
    "allowed_fails": _allowed_fails,
    "cooldown_time": _cooldown,
}
_LITELLM: Final[Mapping[str, _Take]] = {
    **_BOTH,
    "request_timeout": _timeout,
    "drop_params": _param("drop_params"),
    "ssl_verify": _param("ssl_verify"),
}
_ROUTER: Final[Mapping[str, _Take]] = {
    **_BOTH,
    "timeout": _timeout,
    "stream_timeout": _stream_timeout,
    "retry_after": _first_delay,
    "routing_strategy": _strategy,
    "model_group_alias": _aliases,
    "enable_pre_call_checks": _pre_call_checks,
    "default_litellm_params": _default_params,
    "default_max_parallel_requests": _concurrency,
}
