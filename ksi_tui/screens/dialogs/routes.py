"""Who could serve what: a model's candidates, and where a provider's traffic would go; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ksi_tui.engine.views import CircuitLook
from ksi_tui.screens.dialogs.moment import epoch_of
from ksi_tui.screens.dialogs.stakes import named
from ksi_tui.widgets import formats
from ksi_tui.widgets.spans import Tone

Providers = Mapping[str, Any]
"""What `completion:provider_status` tells of each provider, by name."""
Substitutes = Mapping[str, Sequence[str]]
"""Which models answer in place of others, as `completion:models` tells; `*`: of all others."""
_NONE: Substitutes = {}
_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A provider that could serve a model, as `model`. `free` None: it has no bound."""

    name: str
    model: str = ""
    look: CircuitLook
    forced: bool
    paused: bool
    free: int | None
    bound: int | None

    @property
    def usable(self) -> bool:
        """Whether a call could go there now."""
        open_now = self.look in (CircuitLook.CLOSED, CircuitLook.HALF_OPEN)
        return open_now and not self.paused and self.free != 0

    @property
    def slots(self) -> str:
        """Its free slots in words."""
        return "no bound" if self.free is None else f"{self.free} of {self.bound} free"


def candidate(name: str, own: Mapping[str, Any], now: float | None) -> Candidate:
    """Return a provider as a candidate."""
    breaker = own.get("circuit_breaker") or {}
    bound = (own.get("config") or {}).get("max_concurrency")
    flight = int((own.get("stats") or {}).get("in_flight") or 0)
    return Candidate(
        name=name,
        look=_look(breaker, own.get("cooldown_until"), now),
        forced=bool(breaker.get("forced")),
        paused=own.get("paused") is not None,
        free=None if bound is None else max(0, int(bound) - flight),
        bound=None if bound is None else int(bound),
    )


def _look(breaker: Mapping[str, Any], cooldown: Any, now: float | None) -> CircuitLook:
    state = str(breaker.get("state") or "closed").replace("_", "-")
    if state in ("open", "half-open"):
        return CircuitLook(state)
    until = epoch_of(cooldown)
    return CircuitLook.COOLING if until and now and until > now else CircuitLook.CLOSED


def serving(
    model: str, providers: Providers, now: float | None, substitutes: Substitutes = _NONE
) -> list[Candidate]:
    """Return who could answer for a model, in the order in which they are tried.

    First the providers whose patterns match it, then those of its substitutes; each one once.
    """
    found: dict[str, Candidate] = {}
    for each in (model, *(substitutes.get(model) or substitutes.get(_ANY) or ())):
        for name in _matching(each, providers):
            one = replace(candidate(name, providers[name], now), model=each)
            found.setdefault(name, one)
    return list(found.values())


def _matching(model: str, providers: Providers) -> list[str]:
    found = [
        (int((own.get("config") or {}).get("priority") or 1), place, name)
        for place, (name, own) in enumerate(providers.items())
        if any(fnmatchcase(model, pattern) for pattern in _patterns(own))
    ]
    return [name for _, _, name in sorted(found)]


def moves(
    provider: str, providers: Providers, now: float | None, substitutes: Substitutes = _NONE
) -> list[tuple[str, Tone]]:
    """Return where each of a provider's models would go if it took no calls."""
    said: dict[str, list[str]] = {}
    for model in _models(provider, providers, substitutes):
        others = [c for c in serving(model, providers, now, substitutes) if c.name != provider]
        usable = [c for c in others if c.usable]
        if usable:
            where = ", then ".join(f"{_who(c, model)} ({c.slots})" for c in usable[:3])
        elif others:
            where = f"nobody now: {', '.join(_why_not(c, model) for c in others[:3])}; waits"
        else:
            where = "nobody else serves it; waits"
        said.setdefault(where, []).append(named(model))
    return [
        (f"{', '.join(models)}: {where}", Tone.WARN if "waits" in where else Tone.PLAIN)
        for where, models in said.items()
    ]


def _models(provider: str, providers: Providers, substitutes: Substitutes) -> list[str]:
    """Return what a provider serves: its patterns, and what of them has substitutes of its own."""
    patterns = _patterns(providers.get(provider) or {})
    known = [m for m in substitutes if m != _ANY and any(fnmatchcase(m, p) for p in patterns)]
    return list(dict.fromkeys([*patterns, *known]))


def _who(one: Candidate, asked: str) -> str:
    name = named(one.name, 16)
    return name if one.model == asked else f"{name} as {named(one.model, 24)}"


def _why_not(one: Candidate, asked: str) -> str:
    who = _who(one, asked)
    if one.paused:
        return f"{who} is paused"
    if one.free == 0:
        return f"{who} is full"
    return f"{who} is {one.look.value}"


def _patterns(own: Mapping[str, Any]) -> list[str]:
    return [str(each) for each in (own.get("config") or {}).get("models") or ()]


def circuit_of(one: Candidate) -> tuple[str, Tone]:
    """Return a candidate's circuit as glyph and word."""
    if one.paused:
        return "= paused", Tone.WARN
    shown = formats.circuit(one.look)
    return f"{shown.text}{' forced' if one.forced else ''}", shown.tone
