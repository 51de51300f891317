"""Which models litellm's local price map holds under a provider's patterns. In a worker only.

The module litellm is handed in, as to `tokens`. Names, windows and prices are read from the
map that came with the package: nothing is fetched, and no model is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

MOST = 300
"""How many models are told of one provider; a catch-all pattern matches thousands."""
_MODES = ("chat", "completion", "responses")
_PLACES = ("{model}", "{match}")


class KnownModels:
    """The models of the given litellm module's map that can answer a completion."""

    def __init__(self, litellm: Any) -> None:
        self._litellm = litellm

    def matching(self, template: str, patterns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the models that a provider's patterns match, under the names they are asked by.

        `template` is the provider's `model` setting, or the one model that all its names stand
        for. Each is `{model, window, input_price, output_price}`: tokens, dollars per million
        tokens, None where the map does not say. A name without `*`, and a pattern that matches
        nothing known, stands for itself.
        """
        found: dict[str, dict[str, Any]] = {}
        for pattern in patterns:
            if not any(mark in pattern for mark in "*?["):
                upstream = template.replace("{model}", pattern).replace("{match}", pattern)
                found[pattern] = _facts(pattern, self._info(upstream))
                continue
            before = len(found)
            for upstream, info in self._chat_models():
                name = _asked_by(upstream, template, pattern)
                if name is not None and name not in found:
                    found[name] = _facts(name, info)
                if len(found) >= MOST:
                    return list(found.values())
            if len(found) == before:
                found[pattern] = _facts(pattern, {})
        return list(found.values())

    def _chat_models(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the models under their names with a route prefix, as calls name them."""
        for name, info in self._litellm.model_cost.items():
            if info.get("mode") in _MODES:
                route = str(info.get("litellm_provider") or "")
                yield name if name.startswith(f"{route}/") else f"{route}/{name}", info

    def _info(self, model: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._litellm.get_model_info(model)
        except Exception:  # litellm's "not mapped" is a bare one
            return {}
        return found


def _asked_by(upstream: str, template: str, pattern: str) -> str | None:
    """Return the name by which a request asks for an upstream model, None when it cannot."""
    place = next((each for each in _PLACES if each in template), None)
    if place is None:
        return None
    before, _, after = template.partition(place)
    if not (upstream.startswith(before) and upstream.endswith(after)):
        return None
    part = upstream[len(before) : len(upstream) - len(after)]
    if place == "{match}":
        head, _, tail = pattern.partition("*")
        part = f"{head}{part}{tail}"
    return part if part and fnmatchcase(part, pattern) else None


def _facts(name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    window = info.get("max_input_tokens")
    return {
        "model": name,
        "window": window if isinstance(window, int) and window > 0 else None,
        "input_price": _per_million(info.get("input_cost_per_token")),
        "output_price": _per_million(info.get("output_cost_per_token")),
    }


def _per_million(dollars: Any) -> float | None:
    known = isinstance(dollars, int | float) and not isinstance(dollars, bool)
    return round(dollars * 1_000_000, 6) if known else None
