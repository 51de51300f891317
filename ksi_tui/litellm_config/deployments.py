"""`model_list`: each deployment becomes a provider.

What a deployment says of routing becomes a setting of ours or is named; everything else in
`litellm_params` is a parameter of the call and goes along as it stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from ksi_tui.config import MOST, ProviderSettings
from ksi_tui.known_providers import KEY_VARIABLES
from ksi_tui.litellm_config.document import Document, Path_
from ksi_tui.provider_params import ENV_REFERENCE, unsendable
from ksi_tui.redaction import looks_secret

_ENTRY_KEYS: Final = ("model_name", "litellm_params", "model_info")
_CHAT: Final = ("chat", "completion", "responses")
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
_MACHINE_MADE: Final = re.compile(r"^[0-9a-f-]{32,}$")
_NOT_A_SECRET: Final = ("_file", "_path", "_ref", "_uri", "_url")

_NUMBERS: Final = {"rpm": "rpm", "tpm": "tpm", "max_parallel_requests": "max_concurrency"}
"""Whole numbers of a deployment that are settings of a provider, and what ours are called."""

_PRICES: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
}

_DEAREST: Final = MOST // 10**6
"""Dollars per token: [prices] has them per million."""

_NOT_DONE: Final = {
    "weight": "not used: of deployments with the same order the least busy goes first",
    "tags": "not used: requests are not routed by tags",
    "tag_regex": "not used: requests are not routed by tags",
    "max_retries": "not used: attempts are counted per request ([retry] max_attempts)",
    "num_retries": "not used: attempts are counted per request ([retry] max_attempts)",
    "retry_policy": "not used: what is retried follows from the kind of the error",
    "fallbacks": "not used here: fallbacks of a model stand in router_settings",
    "itpm": "not used: rpm and tpm are the limits that are kept",
    "otpm": "not used: rpm and tpm are the limits that are kept",
    "max_budget": "not used: budgets are not kept",
    "budget_duration": "not used: budgets are not kept",
    "stream": "not used: whether a call streams is the request's to say",
    "litellm_credential_name": "not used: credentials are not looked up by name; use api_key",
    "default_api_key_rpm_limit": "not used: nobody calls ksi-tui with a key",
    "default_api_key_tpm_limit": "not used: nobody calls ksi-tui with a key",
    "configurable_clientside_auth_params": "not used: callers bring no keys",
    "use_in_pass_through": "not used: there are no pass-through endpoints",
    "region_name": "not used: requests are not routed by region",
    "cache": "not used: answers are not cached",
    "caching": "not used: answers are not cached",
    "guardrails": "not used: there are no guardrails",
    "timeout_by_service_tier": "not used: clocks do not depend on a service tier",
    "stream_timeout_by_service_tier": "not used: clocks do not depend on a service tier",
    "tiered_pricing": "not used: prices are per token, in [prices]",
}


@dataclass(slots=True, kw_only=True)
class Deployments:
    """What the model lists of all files gave."""

    providers: list[ProviderSettings] = field(default_factory=list)
    prices: dict[str, dict[str, float]] = field(default_factory=dict)


def read_model_list(
    document: Document, found: Deployments, defaults: Mapping[str, Any], concurrency: int | None
) -> None:
    """Add the deployments of a file. `defaults` are parameters of every one that has none."""
    entries = document.listed(("model_list",), document.data.get("model_list"))
    tables = []
    for index, value in enumerate(entries):
        path: Path_ = ("model_list", index)
        tables.append((path, *_checked(document, path, value, defaults)))
    ordered = {name for _, name, params, _ in tables if params.get("order") is not None}
    last = max((_order(document, path, params) for path, _, params, _ in tables), default=1)
    for path, name, params, info in tables:
        if not _is_chat(document, path, info):
            continue
        fields: dict[str, Any] = {"priority": _order(document, path, params)}
        if name in ordered and params.get("order") is None:
            fields["priority"] = last + 1
        if concurrency is not None:
            fields["max_concurrency"] = concurrency
        fields |= _fields(document, path, name, params, info)
        taken = {provider.name for provider in found.providers}
        fields["name"] = _name(fields, info, taken)
        provider = _provider(document, path, fields)
        found.providers.append(provider)
        _prices(document, path, provider, {**info, **params}, found.prices)


def _checked(
    document: Document, path: Path_, value: Any, defaults: Mapping[str, Any]
) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """Return name, parameters and information of one entry."""
    entry = document.table(path, value)
    for key in entry:
        if key not in _ENTRY_KEYS:
            allowed = ", ".join(_ENTRY_KEYS)
            raise document.error((*path, key), f"unknown key; allowed here: {allowed}")
    for key in ("model_name", "litellm_params"):
        if entry.get(key) is None:
            raise document.error(path, f"{key} is missing")
    name = document.text((*path, "model_name"), entry["model_name"])
    where = (*path, "litellm_params")
    own = document.table(where, entry["litellm_params"])
    if own.get("model") is None:
        raise document.error(where, "model is missing; for example openai/gpt-4o-mini")
    model = document.text((*where, "model"), own["model"])
    info = document.table((*path, "model_info"), entry.get("model_info"))
    return name, {**defaults, **own, "model": model}, info


def _order(document: Document, path: Path_, params: Mapping[str, Any]) -> int:
    order = params.get("order")
    where = (*path, "litellm_params", "order")
    return 1 if order is None else int(document.number(where, order, 0, MOST - 1, whole=True))


def _is_chat(document: Document, path: Path_, info: Mapping[str, Any]) -> bool:
    mode = info.get("mode")
    if mode is None or mode in _CHAT:
        return True
    where = (*path, "model_info", "mode")
    document.warn(where, f"left out: only chat models are served, and this one is for {mode}")
    return False


def _fields(
    document: Document, path: Path_, name: str, params: dict[str, Any], info: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a provider's settings, all but its name."""
    where = (*path, "litellm_params")
    left = {key: value for key, value in params.items() if value is not None}
    model = str(left.pop("model"))
    left.pop("order", None)
    fields: dict[str, Any] = {
        "models": _patterns(name, model),
        "model": _template(document, where, name, model),
        "catch_all": "*" in name,
    }
    key = left.pop("api_key", None)
    if key is not None:
        fields["api_key_env"] = _variable(document, (*where, "api_key"), key)
    other_base = left.pop("base_url", None)
    base = left.pop("api_base", other_base)
    if base is not None:
        fields["api_base"] = document.reference((*where, "api_base"), base)
    _warn_of_no_key(document, path, model, fields)
    for theirs, ours in _NUMBERS.items():
        if theirs in left:
            fields[ours] = document.number((*where, theirs), left.pop(theirs), 1, whole=True)
    fields |= _clocks(document, where, left)
    if "cooldown_time" in left:
        at = (*where, "cooldown_time")
        reset_s = document.number(at, left.pop("cooldown_time"), 0.001)
        fields["circuit"] = {"reset_timeout_s": reset_s}
    fields["params"] = _call_params(document, where, left)
    if info.get("base_model"):
        base_model = document.text((*path, "model_info", "base_model"), info["base_model"])
        fields["params"].setdefault("base_model", base_model)
    known = {"id", "mode", "base_model", *_PRICES}
    if more := sorted(key for key in info if key not in known):
        said = f"only id, mode, base_model and prices are used; not {', '.join(more)}"
        document.warn((*path, "model_info"), said)
    return fields


def _clocks(document: Document, where: Path_, left: dict[str, Any]) -> dict[str, float]:
    """Return the clocks of a deployment's calls. A stream's timeout is one of each read."""
    clocks: dict[str, float] = {}
    for key in ("timeout", "request_timeout", "stream_timeout"):
        value = left.pop(key, None)
        if value is None:
            continue
        seconds = document.number((*where, key), value, 0.001)
        clocks["first_token_timeout_s"] = clocks["idle_timeout_s"] = seconds
        if key != "stream_timeout":
            clocks["reply_timeout_s"] = seconds
    return clocks


def _call_params(document: Document, where: Path_, left: dict[str, Any]) -> dict[str, Any]:
    """Return what goes along with each call; name what is for LiteLLM's router only."""
    params: dict[str, Any] = {}
    for key, value in left.items():
        if key in _PRICES:
            continue
        if key in _NOT_DONE:
            if value not in (False, [], {}):
                document.warn((*where, key), _NOT_DONE[key])
        elif "_cost" in key or key.startswith("cost_"):
            document.warn((*where, key), "not used: prices are per token, in [prices]")
        else:
            _check_texts(document, (*where, key), key, value)
            if (found := unsendable(value)) is not None:
                way, said = found
                raise document.error((*where, key, *way), said)
            params[key] = value
    return params


def _check_texts(document: Document, path: Path_, name: str, value: Any) -> None:
    """Refuse a secret in plain text, and a reference to no variable."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_texts(document, (*path, str(key)), str(key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_texts(document, (*path, index), name, item)
    elif isinstance(value, str) and document.variable(path, value) is None:
        harmless = not looks_secret(name) or name.endswith(_NOT_A_SECRET)
        if value and not (harmless or value.startswith("oidc/") or os.path.isabs(value)):
            raise _plain_secret(document, path)


def _plain_secret(document: Document, path: Path_) -> Exception:
    return document.error(
        path,
        "a key in plain text is not read from a file; put it into the environment and write "
        f"{ENV_REFERENCE}NAME here (or nothing, where the server needs none)",
    )


def _variable(document: Document, path: Path_, value: Any) -> str:
    """Return the name of the environment variable that holds a key."""
    name = document.variable(path, document.reference(path, value))
    if name is None:
        raise _plain_secret(document, path)
    return name


def _warn_of_no_key(document: Document, path: Path_, model: str, fields: Mapping[str, Any]) -> None:
    """Say where LiteLLM would send the key of the environment to a server that is not its own."""
    variable = f"{model.partition('/')[0].upper()}_API_KEY"
    if "api_base" in fields and "api_key_env" not in fields and os.environ.get(variable):
        document.warn(
            (*path, "litellm_params"),
            f"no api_key, so none is sent to its api_base; api_key: {ENV_REFERENCE}{variable} "
            "would send that",
        )


def _patterns(name: str, model: str) -> tuple[str, ...]:
    """Return a model's name as a pattern of ours, in which only * stands for anything.

    All of a provider's models also go by their plain names, where it is clear whose they are.
    """
    plain = re.sub(r"[\[?]", lambda mark: f"[{mark[0]}]", name)
    for route, _, models, _ in KEY_VARIABLES:
        if name == model == f"{route}/*":
            return (plain, *models)
    return (plain,)


def _template(document: Document, where: Path_, name: str, model: str) -> str:
    """Return how the provider calls a model: `{model}` as it was asked for, `{match}` its part."""
    if model == name:
        return "{model}"
    plain = model.replace("{", "{{").replace("}", "}}")
    if "*" not in model:
        return plain
    if model.count("*") != 1 or name.count("*") != 1:
        at = (*where, "model")
        raise document.error(at, f"{model}: its one * stands for the one * of model_name {name}")
    return plain.replace("*", "{match}")


def _name(fields: Mapping[str, Any], info: Mapping[str, Any], taken: set[str]) -> str:
    """Return a readable name that no other deployment has: its id, else after its model."""
    given = info.get("id")
    if isinstance(given, str) and _NAME.match(given) and not _MACHINE_MADE.match(given):
        wanted = given
    else:
        template = str(fields["model"])
        source = fields["models"][0] if template == "{model}" else template
        route = source.replace("{match}", "").replace("*", "").strip("/")
        wanted = re.sub(r"[^A-Za-z0-9._:-]+", "-", route.replace("/", ":")).strip("-.:_") or "any"
        wanted = wanted[:60]
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted[:60]}-{number}"
    return name


def _provider(document: Document, path: Path_, fields: Mapping[str, Any]) -> ProviderSettings:
    try:
        return ProviderSettings(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        key = ".".join(str(part) for part in first["loc"])
        raise document.error(path, f"{key}: {message}" if key else message) from None


def _prices(
    document: Document,
    path: Path_,
    provider: ProviderSettings,
    said: Mapping[str, Any],
    prices: dict[str, dict[str, float]],
) -> None:
    """Take over a deployment's own prices: per million tokens of the model that answers."""
    found = {
        ours: document.number((*path, "litellm_params", theirs), said[theirs], 0, _DEAREST) * 1e6
        for theirs, ours in _PRICES.items()
        if said.get(theirs) is not None
    }
    if not found:
        return
    model = str(provider.params.get("base_model") or provider.model)
    if "{" in model:
        model = provider.models[0]
    elif "/" in model:
        model = model.partition("/")[2]
    if "*" in model:
        document.warn(path, "the prices are not used: [prices] names single models")
    elif not {"input", "output"} <= found.keys():
        document.warn(path, "the prices are not used: input and output both need one")
    elif prices.setdefault(model, found) != found:
        document.warn(path, f"the prices are not used: {model} has others already")
