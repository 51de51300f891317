"""Who could serve a request, and as which model: by pattern, need and the `[routing]` settings.

Selection only, worked out once a route and kept. Whether a candidate may be called now is
the provider manager's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Verdict, VerdictKind
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.substitutes import Substitutes
from ksi_tui.engine.ticket import Route

CACHED_ROUTES = 10_000
"""How many routes and model names keep their selection; more are worked out anew."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider, and the model that it is asked for: the request's, or one in its place.

    `order`: the place of the model among those, then the provider's priority.
    """

    entry: Entry
    model: str
    order: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who may serve a route, in the order in which they are tried, and who is passed over."""

    usable: tuple[Candidate, ...]
    passed_over: tuple[Verdict, ...]
    names: tuple[str, ...] = field(init=False)
    """The providers of those that may serve it, in that order."""

    def __post_init__(self) -> None:
        """Keep the names at hand: each session that comes into line is asked for them."""
        object.__setattr__(self, "names", tuple(each.entry.name for each in self.usable))


class Selection:
    """Candidates by route. `entries` is looked at anew after `forget`."""

    def __init__(self, entries: Mapping[str, Entry], substitutes: Substitutes) -> None:
        self._entries = entries
        self._substitutes = substitutes
        self._candidates: dict[Route, Candidates] = {}
        self._served: dict[str, bool] = {}

    def forget(self) -> None:
        """Work everything out anew: the providers changed."""
        self._candidates.clear()
        self._served.clear()

    def serves(self, model: str) -> bool:
        """Whether some provider's patterns match the model, or one that is named in its place."""
        served = self._served.get(model)
        if served is None:
            if len(self._served) > CACHED_ROUTES:
                self._served.clear()
            names = self._substitutes.named(model)
            served = any(e.serves(name) for name in names for e in self._entries.values())
            self._served[model] = served
        return served

    def model_patterns(self) -> list[str]:
        """Return every configured model pattern and alias."""
        served = (p for entry in self._entries.values() for p in entry.settings.models)
        return list(dict.fromkeys([*served, *self._substitutes.aliases]))

    def candidates(self, route: Route) -> Candidates:
        """Return who could serve a route, by priority, and who matches but cannot.

        Those that serve the model itself come before those that answer in its place.
        """
        found = self._candidates.get(route)
        if found is None:
            if len(self._candidates) > CACHED_ROUTES:
                self._candidates.clear()
            models = self._substitutes.all_of(route.model) if self.serves(route.model) else ()
            found = self._candidates[route] = self._serving(route, models)
        return found

    def ordered(self, route: Route) -> list[Candidate]:
        """Return the candidates as they are tried now: of equals the least loaded goes first."""
        return _by_load(self.candidates(route).usable)

    def after(self, candidate: Candidate, route: Route, kind: ErrorKind) -> list[Candidate]:
        """Return who may take a request that a model refused as too long or as not allowed."""
        models = self._substitutes.after(candidate.model, kind)
        return _by_load(self._serving(route, models).usable) if models else []

    def _serving(self, route: Route, models: Sequence[str]) -> Candidates:
        usable: list[Candidate] = []
        passed_over: dict[str, Verdict] = {}
        for place, model in enumerate(models):
            for entry in self._matching(model):
                unfit = _unfit(entry, route)
                if unfit is None:
                    usable.append(Candidate(entry, model, (place, entry.settings.priority)))
                else:
                    passed_over[entry.name] = unfit
        usable.sort(key=attrgetter("order"))
        return Candidates(tuple(usable), tuple(passed_over.values()))

    def _matching(self, model: str) -> list[Entry]:
        """Return who serves a model; a catch-all only where nobody else does, the closest one."""
        serving = [entry for entry in self._entries.values() if entry.serves(model)]
        plain = [entry for entry in serving if not entry.settings.catch_all]
        if plain or not serving:
            return plain
        closest = max(entry.best_match(model) for entry in serving)
        return [entry for entry in serving if entry.best_match(model) == closest]


def _unfit(entry: Entry, route: Route) -> Verdict | None:
    """Return why a provider that serves the model is not for this route, or None."""
    if entry.name in route.avoid:
        return Verdict(provider=entry.name, kind=VerdictKind.AVOIDED, detail="is left out")
    if lacks := entry.lacks(route):
        return Verdict(provider=entry.name, kind=VerdictKind.UNSUITED, detail=lacks)
    return None


def _by_load(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda each: (each.order, each.entry.in_flight))
