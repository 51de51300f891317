"""How the engine is, in one word, and the one cause of it in a sentence.

The sentence of a sick provider tells its story: since when, what error, where its traffic
went, what waits, what that costs, when it is tried again. What people hold (forced circuits,
pauses) stays in it. Reads only.
"""

from __future__ import annotations

from itertools import islice

from ksi_tui.engine.circuit import CircuitStatus
from ksi_tui.engine.clock import time_of_day
from ksi_tui.engine.core import Core
from ksi_tui.engine.deeds import deed
from ksi_tui.engine.models import PauseScope
from ksi_tui.engine.pauses import paused
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.views import Level, Verdict
from ksi_tui.engine.why.causes import seconds
from ksi_tui.engine.why.survey import Surveys

FAILING = 0.5
"""A provider that answers a smaller share of its calls in 5 minutes degrades the verdict."""
_NAMED = 2
"""How many of the things that people hold are named beside the cause."""
MOST_HELD = 100
"""How many pauses are counted."""
QUIET = "no circuit is open, nothing cools down"


class Verdicts:
    """Judges."""

    def __init__(self, core: Core, surveys: Surveys) -> None:
        self._core = core
        self._surveys = surveys

    def verdict(self, now: float) -> Verdict:
        """Return the verdict of this moment."""
        core = self._core
        if core.store.fault is not None:
            return Verdict(level=Level.READ_ONLY, cause=core.store.fault)
        if core.draining:
            return Verdict(level=Level.STOPPING, cause=f"{core.queue.running_count} still run")
        held = self._held(now)
        if core.pauses.engine is not None:
            text = f"engine {paused(core.pauses.engine)}"
            return Verdict(level=Level.PAUSED, cause=_with(text, held))
        level, cause, worst = self._of_providers(now)
        named = worst.name if worst is not None else None
        others = [(name, text) for name, text in held if not name or name != named]
        short = "" if worst is None else _with(self._short(worst, now) + _more(core), others)
        return Verdict(level=level, cause=_with(cause or "", others) or QUIET, short=short)

    def takes(self, name: str, now: float) -> str:
        """Return in whose place a provider is called now, in words; empty for nobody's."""
        for entry in self._core.providers.entries():
            if not entry.circuit.shut:
                continue
            look = entry.circuit.look(now)
            diverted = self._core.diversions.of(entry.name, look.outage_since)
            if diverted is not None and name in diverted.calls:
                waiting = self._surveys.at(now).of_provider.get(entry.name, (0, 0))[0]
                share = _share(diverted.calls[name], diverted.total + waiting)
                return f"takes {share} of {entry.name}'s"
        return ""

    def _of_providers(self, now: float) -> tuple[Level, str | None, Entry | None]:
        """Return level, cause and the sick provider that the cause is about."""
        core = self._core
        entries = core.providers.entries()
        sick = [entry for entry in entries if entry.circuit.shut]
        if sick:
            waits = self._surveys.at(now).of_provider
            worst = max(sick, key=lambda entry: waits.get(entry.name, (0, 0)))
            level = Level.DOWN if len(sick) == len(entries) else Level.DEGRADED
            return level, self._story(worst, now) + _more(core), worst
        cooling = [e.name for e in entries if any(u > now for u in e.cooldowns.values())]
        if cooling:
            return Level.DEGRADED, f"{', '.join(cooling)} cooling (429)", None
        for entry in entries:
            rate = entry.health.ok_rate(now)
            if rate is not None and rate < FAILING:
                cause = f"{entry.name} failed {1 - rate:.0%} of its calls in 5 minutes"
                return Level.DEGRADED, cause, None
        if core.providers.workers.starting:
            return Level.OK, core.providers.workers.text, None
        return Level.OK, None, None

    def _held(self, now: float) -> list[tuple[str, str]]:
        """Return what people hold, as (provider or nothing, words); the engine's pause apart."""
        core = self._core
        found = []
        for entry in core.providers.entries():
            look = entry.circuit.look(now)
            if look.forced is not None:
                found.append((entry.name, f"{entry.name} {forced(look, now)}"))
        apart = (pause for pause in core.pauses if pause.scope is not PauseScope.ENGINE)
        return found + [("", f"{pause.id} {paused(pause)}") for pause in islice(apart, MOST_HELD)]

    def _story(self, entry: Entry, now: float) -> str:
        look = entry.circuit.look(now)
        began = look.outage_since or look.since or now
        traffic = ", ".join(self._traffic(entry, look, now))
        if look.forced is not None:
            return "; ".join(
                part for part in (f"{entry.name} {forced(look, now)}", traffic) if part
            )
        kind = f" ({look.opened_by})" if look.opened_by else ""
        text = f"{entry.name} {str(look.state).replace('_', '-')} {lasted(now - began)}{kind}"
        text = f"{text}: {traffic}" if traffic else text
        return ", ".join(part for part in (text, _probe(look, now)) if part)

    def _short(self, entry: Entry, now: float) -> str:
        """Return a sick provider's story without where its traffic went, why, and what it costs."""
        name, look = entry.name, entry.circuit.look(now)
        waits = next((t for t in self._traffic(entry, look, now) if t.endswith(" waits")), "")
        if look.forced is not None:
            return ", ".join(part for part in (f"{name} {held_until(look)}", waits) if part)
        began = look.outage_since or look.since or now
        text = f"{name} {str(look.state).replace('_', '-')} {lasted(now - began)}"
        return ", ".join(part for part in (text, waits, _probe(look, now)) if part)

    def _traffic(self, entry: Entry, look: CircuitStatus, now: float) -> list[str]:
        """Return what became of the provider's traffic since its outage began."""
        diverted = self._core.diversions.of(entry.name, look.outage_since)
        waiting = self._surveys.at(now).of_provider.get(entry.name, (0, 0))[0]
        moved = diverted.total if diverted is not None else 0
        if not moved + waiting:
            return []
        parts = []
        takers = sorted((diverted.calls if diverted else {}).items(), key=lambda each: -each[1])
        for place, (name, calls) in enumerate(takers[:2]):
            of_it = " of it moved" if not place else ""
            parts.append(f"{_share(calls, moved + waiting)}{of_it} to {name}")
        if waiting:
            parts.append(f"{_share(waiting, moved + waiting)} waits")
        extra = diverted.extra_per_h(now) if diverted is not None else None
        if extra is not None and abs(extra) >= 0.005:
            parts.append(f"{'+' if extra > 0 else '-'}${abs(extra):.2f}/h")
        return parts


def _more(core: Core) -> str:
    """Return how many providers beside the worst are sick, in words."""
    more = sum(entry.circuit.shut for entry in core.providers.entries()) - 1
    return f" and {more} more" if more > 0 else ""


def forced(look: CircuitStatus, now: float) -> str:
    """Return who forced a circuit into which state until when and why, in words."""
    left = ""
    if look.forced_until is not None:
        left = f" ({seconds(look.forced_until - now)} left)"
    done = held_until(look) + left
    return f"{done}: {look.reason}" if look.reason else done


def held_until(look: CircuitStatus) -> str:
    """Return who forced a circuit into which state until what time of day, in words."""
    done = deed(f"forced {look.forced}", look.forced_by, None)
    until = look.forced_until
    return done if until is None else f"{done} until {time_of_day(until)[:5]}"


def lasted(age_s: float) -> str:
    """Return how long something has lasted: `8 s`, `4m12s`, `2h11m`."""
    if age_s < 120:
        return seconds(age_s)
    minutes, rest = divmod(int(age_s), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24}h"


def _probe(look: CircuitStatus, now: float) -> str:
    if look.open_until is None:
        return ""
    if look.open_until <= now:
        return "the next call is its probe"
    return f"probe in {seconds(look.open_until - now)}"


def _share(part: int, whole: int) -> str:
    """Return a share; what is not all or nothing never reads so."""
    percent = round(100 * part / whole)
    return f"{min(max(percent, 1), 99 if part < whole else 100)}%"


def _with(cause: str, held: list[tuple[str, str]]) -> str:
    """Return a cause and what people hold beside it."""
    named = [text for _, text in held[:_NAMED]]
    more = [f"{len(held) - _NAMED} more held"] if len(held) > _NAMED else []
    return "; ".join(part for part in (cause, *named, *more) if part)
