"""What one may choose from, and what a request would be, before anything is sent.

Answers `completion:models` and `completion:preview`. Reads only: nothing is queued, bound
or called. What goes along with a prompt is `continuity`'s, who would be asked `candidates`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ksi_tui.engine.candidates import Candidate
from ksi_tui.engine.continuity import history_for
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import ProviderFault
from ksi_tui.engine.injection.policy import compose
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.models import Message, RequestSpec, Verdict, VerdictKind
from ksi_tui.engine.payloads import Preview
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.provider_manager import VERDICTS
from ksi_tui.engine.providers.base import in_order
from ksi_tui.engine.providers.litellm import Fit, LitellmProvider
from ksi_tui.engine.providers.simulated import MODELS as SIMULATED_MODELS
from ksi_tui.engine.substitutes import Substitutes
from ksi_tui.engine.ticket import Route
from ksi_tui.engine.token_tracker import estimate

ANSWER_S = 0.5
"""How long a worker may take to name models before they are told without it, in seconds."""
COUNT_S = 3.0
"""How long it may take to count; a long history takes a part of a second."""
_NOBODY: frozenset[str] = frozenset()
_PREVIEWED = "preview"
_PATTERN_MARKS = "*?["


@dataclass(slots=True, kw_only=True)
class _Row:
    """One model of the list while its providers are gathered."""

    model: str
    providers: list[str]
    window: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    pattern: bool = False

    def take(self, facts: Mapping[str, Any]) -> None:
        """Take window and prices from the first provider that knows them."""
        self.window = self.window if self.window is not None else facts.get("window")
        if self.input_price is None:
            self.input_price = facts.get("input_price")
            self.output_price = facts.get("output_price")


class Offers:
    """Models to choose from, and previews."""

    def __init__(self, core: Core, intake: Intake) -> None:
        self._core = core
        self._intake = intake
        self._known: dict[str, Sequence[Mapping[str, Any]]] = {}

    # --- models ------------------------------------------------------------------------------

    async def models(self) -> dict[str, Any]:
        """Answer `completion:models`; without a worker patterns stand for what they match."""
        core = self._core
        entries = core.providers.entries()
        await self._learn(entries)
        rows: dict[str, _Row] = {}
        for entry in sorted(entries, key=lambda each: each.settings.priority):
            for facts in self._known.get(entry.name) or _settings_alone(entry):
                name = str(facts["model"])
                row = rows.setdefault(name, _Row(model=name, providers=[]))
                row.pattern = _is_pattern(name)
                row.providers.append(entry.name)
                row.take(facts)
        default = core.config.default_model
        for name in [*core.config.routing.aliases, *([default] if default else [])]:
            if name not in rows and core.providers.serves(name):
                rows[name] = self._named(name, rows)
        listed = sorted(rows.values(), key=lambda row: row.model != default)
        return {
            "models": [self._told(row, default) for row in listed],
            "substitutes": self._substitutes(),
        }

    def _substitutes(self) -> dict[str, list[str]]:
        """Return which models answer in place of others, in order; `*`: of all other ones."""
        routing = self._core.config.routing
        known = Substitutes(routing)
        names = [*routing.aliases, *routing.fallbacks]
        found = {name: [m for m in known.all_of(name) if m != name] for name in names}
        return {name: models for name, models in found.items() if models}

    async def _learn(self, entries: Iterable[Entry]) -> None:
        """Ask a worker, once a provider, what it knows; a slow one is asked again next time."""
        unknown = {
            entry.name: entry.provider
            for entry in entries
            if entry.name not in self._known and isinstance(entry.provider, LitellmProvider)
        }
        if not unknown or self._core.providers.workers.starting:
            return
        asking = [provider.known_models() for provider in unknown.values()]
        try:
            async with asyncio.timeout(ANSWER_S):
                told = await asyncio.gather(*asking)
        except (TimeoutError, ProviderFault):
            return
        self._known.update(zip(unknown, told, strict=True))

    def _named(self, name: str, rows: Mapping[str, _Row]) -> _Row:
        """Return a model that no list holds: an alias, or the default one behind a pattern."""
        candidates = self._core.providers.ordered(Route(name, False, False, _NOBODY))
        row = _Row(model=name, providers=list(dict.fromkeys(c.entry.name for c in candidates)))
        known = rows.get(candidates[0].model) if candidates else None
        if known is not None:
            row.window = known.window
            row.input_price, row.output_price = known.input_price, known.output_price
        return row

    def _told(self, row: _Row, default: str | None) -> dict[str, Any]:
        prices = self._core.tokens.prices_of(row.model)
        return {
            "model": row.model,
            "providers": row.providers,
            "window": row.window,
            "input_price": row.input_price if prices is None else prices.input,
            "output_price": row.output_price if prices is None else prices.output,
            "default": row.model == default,
            "pattern": row.pattern,
        }

    # --- preview -----------------------------------------------------------------------------

    async def preview(self, data: Preview) -> dict[str, Any]:
        """Answer `completion:preview`: what would be sent now, how much it is, and to whom."""
        core = self._core
        settings = core.config.engine
        spec = data.spec(
            request_id=_PREVIEWED,
            session_id=data.session_id or _PREVIEWED,
            model=self._intake.model(data.model),
            timeout_s=settings.timeout_s,
            max_attempts=core.config.retry.max_attempts,
            lock_timeout_s=settings.lock_timeout_s,
            inject=False,
        )
        history: list[Message] = []
        injected = 0
        if data.session_id is not None:
            history = await history_for(spec, core.sessions, core.store)
            spec, injected = await self._with_injections(spec)
        verdicts, first = self._routing(spec)
        fit, why = await self._fit(first, spec, history)
        kept = history if fit is None else history[len(history) - fit.history :]
        sent = in_order(kept, spec.own_messages)
        tools = spec.params.get("tools") or ()
        return {
            "messages": [dict(message) for message in sent],
            "turns": _turns(kept),
            "trimmed_turns": _turns(history) - _turns(kept),
            "tokens": estimate(sent, tools=tools).input if fit is None else fit.tokens,
            "estimated": fit is None,
            "why_estimated": why,
            "window": None if fit is None else fit.window,
            "injections": injected,
            "model": spec.model,
            "candidates": verdicts,
        }

    async def _with_injections(self, spec: RequestSpec) -> tuple[RequestSpec, int]:
        """Return a prompt with what waits for its session in it, which stays waiting."""
        waiting = self._core.injections.ids(spec.session_id) if spec.prompt is not None else []
        if not waiting:
            return spec, 0
        found = await self._core.store.injections(waiting)
        return replace(spec, prompt=compose(spec.prompt, found)), len(found)

    def _routing(self, spec: RequestSpec) -> tuple[list[dict[str, Any]], Candidate | None]:
        """Return what routing would decide now, and whose window and tokenizer apply."""
        core, now = self._core, self._core.clock()
        route = Route(spec.model, spec.stream is True, spec.needs_mcp, _NOBODY)
        verdicts = list(core.providers.candidates(route).passed_over)
        candidates = core.providers.ordered(route)
        taken: Candidate | None = None
        for each in candidates:
            cause = core.providers.obstacle(each.entry, each.model, now)
            answers = each.entry.answering_model(each.model)
            as_model = "" if answers == spec.model else f"as {answers}"
            if cause is not None:
                kind, detail = VERDICTS[cause.kind], cause.text
            elif taken is None:
                taken, kind, detail = each, VerdictKind.TAKEN, as_model
            else:
                kind, detail = VerdictKind.NOT_REACHED, as_model
            verdicts.append(Verdict(provider=each.entry.name, kind=kind, detail=detail))
        told = [
            {"provider": v.provider, "verdict": str(v.kind), "detail": v.detail} for v in verdicts
        ]
        return told, taken or (candidates[0] if candidates else None)

    async def _fit(
        self, candidate: Candidate | None, spec: RequestSpec, history: Sequence[Message]
    ) -> tuple[Fit | None, str | None]:
        """Return what the candidate's window holds, or None and why that is not known."""
        if candidate is None:
            return None, "no provider would take it"
        provider = candidate.entry.provider
        if not isinstance(provider, LitellmProvider):
            return None, "this provider has no tokenizer"
        if self._core.providers.workers.starting:
            return None, "the provider worker is starting"
        model = candidate.entry.upstream_model(candidate.model)
        try:
            async with asyncio.timeout(COUNT_S):
                return await provider.fit(model, history, spec.own_messages, spec.params), None
        except TimeoutError:
            return None, "no provider worker answers"
        except ProviderFault as fault:
            return None, f"a provider worker could not count: {fault.message}"


def _settings_alone(entry: Entry) -> list[dict[str, Any]]:
    """Return what the settings tell of a provider's models; simulated ones are known."""
    patterns = entry.settings.models
    if entry.settings.kind != "simulated":
        return [{"model": pattern} for pattern in patterns]
    own = [name for name in SIMULATED_MODELS if entry.serves(name)]
    others = [p for p in patterns if not any(fnmatchcase(name, p) for name in own)]
    return [{"model": name} for name in (*own, *others)]


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in _PATTERN_MARKS)


def _turns(messages: Sequence[Message]) -> int:
    return sum(1 for message in messages if message.get("role") == "user")
