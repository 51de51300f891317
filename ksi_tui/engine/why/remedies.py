"""What somebody could do about a request that waits, least harm first.

For each thing that can be done along its chain: what it frees, what else it hits, how it is
taken back. What would free nothing is told as such, since people try it. Reads only; whether
a request would begin is `begins`' to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.core import Core
from ksi_tui.engine.models import CauseKind
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.views import Chain, Phase, Remedy
from ksi_tui.engine.why.begins import Beginnings, Change, Still
from ksi_tui.engine.why.causes import Causes

HARM = ("retry", "elsewhere", "probe", "resume", "force_circuit", "force_lock", "cancel", "")
"""Actions from the least harm to the most; those that free nothing stand last."""
MOST_CANCELS = 4
MOST_LOCKS = 4
"""How many requests and locks of a chain something is proposed for."""
_FOLLOWERS = 3
_UNDO_CANCEL = "u 10 min"
_RUNS = (CauseKind.RUNNING, CauseKind.NO_TOKEN)
_BUSY = (CauseKind.CIRCUIT, CauseKind.COOLDOWN, CauseKind.SLOT, CauseKind.RATE, CauseKind.WORKER)


class Remedies:
    """Proposes."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._begins = Beginnings(core, causes)

    def of(self, chain: Chain, now: float) -> tuple[Remedy, ...]:
        """Return what can be done about the first request of a chain."""
        found = [*self._of_root(chain, now), *self._locks(chain, now), *self._cancels(chain, now)]
        return tuple(
            sorted(found, key=lambda each: (HARM.index(each.action), not each.cut, each.what))
        )

    # --- at the root ---------------------------------------------------------------------------

    def _of_root(self, chain: Chain, now: float) -> Iterator[Remedy]:
        last = chain.links[-1]
        ticket = self._core.tickets.get(last.request_id)
        if ticket is None or chain.cycle:
            return
        kind, target = last.cause.kind, last.cause.target
        if kind in _RUNS and target is not None:
            found = list(self._restart(ticket, target, chain, now))
            if not found and kind is CauseKind.NO_TOKEN:
                found = list(self._other_model(ticket, chain, now, at=target))
            yield from found
        elif kind is CauseKind.BACKOFF:
            yield self._freeing(
                Remedy(
                    action="retry",
                    what=f"end the backoff of {last.request_id}",
                    also_hits="its next attempt is spent now",
                    request_id=last.request_id,
                ),
                ticket,
                Change(hurried=True),
                chain,
                now,
            )
        elif kind is CauseKind.PAUSE and target is not None:
            yield self._resume(ticket, target, chain, now)
        if kind in _BUSY and target is not None:
            yield from self._other_model(ticket, chain, now)
        if kind is CauseKind.CIRCUIT and target is not None:
            yield from self._circuit(ticket, target, chain, now)

    def _restart(self, ticket: Ticket, at: str, chain: Chain, now: float) -> Iterator[Remedy]:
        """Send a running request elsewhere: its call is stopped and begins anew there."""
        route = ticket.route._replace(avoid=ticket.route.avoid | {at})
        taker = self._begins.taker(route, now)
        if taker is None:
            return
        call = ticket.run.call if ticket.run is not None else None
        lost = f"{call.tokens} tokens become waste" if call is not None and call.tokens else ""
        yield self._freeing(
            Remedy(
                action="elsewhere",
                what=f"send {ticket.request_id} to {self._room(taker)}",
                also_hits=lost or f"its call at {at} is stopped",
                request_id=ticket.request_id,
                provider=taker,
            ),
            ticket,
            Change(route=route),
            chain,
            now,
        )

    def _other_model(
        self, ticket: Ticket, chain: Chain, now: float, *, at: str | None = None
    ) -> Iterator[Remedy]:
        """Let another model answer, the first that somebody serves at once; not the one `at`."""
        avoid = ticket.route.avoid | {at} if at is not None else ticket.route.avoid
        for model in self._models():
            route = ticket.route._replace(model=model, avoid=avoid)
            taker = self._begins.taker(route, now) if model != ticket.route.model else None
            if taker is None:
                continue
            yield self._freeing(
                Remedy(
                    action="elsewhere",
                    what=f"send {ticket.request_id} to {self._room(taker)}",
                    also_hits=f"{model} answers, not {ticket.route.model}",
                    request_id=ticket.request_id,
                    provider=taker,
                    model=model,
                ),
                ticket,
                Change(route=route),
                chain,
                now,
            )
            return

    def _models(self) -> Iterator[str]:
        """Return the models that have a name of their own in the settings."""
        config = self._core.config
        yield from (config.engine.default_model,) if config.engine.default_model else ()
        for entry in sorted(self._core.providers.entries(), key=lambda e: e.settings.priority):
            yield from (m for m in entry.settings.models if not set(m) & set("*?["))
        yield from config.prices

    def _circuit(self, ticket: Ticket, name: str, chain: Chain, now: float) -> Iterator[Remedy]:
        entry = self._core.providers.get(name)
        if entry is None:
            return
        look = entry.circuit.look(now)
        change = Change(let_through=name)
        if look.forced is None and look.state is CircuitState.OPEN:
            still = self._begins.still(ticket, change, now)
            waits = sum(line.sessions for line in self._core.queue.lines(50))
            who = (
                ticket.request_id if waits < 2 else "whoever is first of those that wait, then all"
            )
            nothing = still is not None and not still.soon
            yield Remedy(
                action="" if nothing else "probe",
                what=f"probe {name} now",
                frees=f"nothing: {still.text}" if nothing and still else f"{who}, if it answers",
                also_hits="" if nothing else "1 call; stays open if it fails",
                undo="",
                provider=name,
            )
        yield self._freeing(
            Remedy(
                action="force_circuit",
                what=f"end what holds {name} open" if look.forced else f"hold {name} closed",
                also_hits="" if look.forced else f"calls go to {name}, which has just failed",
                undo="B again",
                provider=name,
            ),
            ticket,
            change,
            chain,
            now,
        )

    def _resume(self, ticket: Ticket, target: str, chain: Chain, now: float) -> Remedy:
        scope, _, name = target.partition(":")
        pause = next((each for each in self._core.pauses if each.target == target), None)
        by = f"what {pause.by} has paused goes on" if pause is not None and pause.by else ""
        return self._freeing(
            Remedy(
                action="resume",
                what=f"resume {name or 'the engine'}",
                also_hits=by or "all that it holds goes on",
                undo="p again",
                scope=scope,
                session_id=name if scope == "session" else None,
                provider=name if scope == "provider" else None,
            ),
            ticket,
            Change(resumed=target),
            chain,
            now,
        )

    # --- along the way -------------------------------------------------------------------------

    def _locks(self, chain: Chain, now: float) -> Iterator[Remedy]:
        held = [link for link in chain.links if link.cause.kind is CauseKind.LOCK][:MOST_LOCKS]
        cheapest = (
            min(held, key=lambda link: link.cause.until or 0.0) if chain.cycle and held else None
        )
        for link in held:
            ticket = self._core.tickets.get(link.request_id)
            if ticket is None:
                continue
            holder = link.cause.target
            remedy = self._freeing(
                Remedy(
                    action="force_lock",
                    what=f"force the lock of {holder} on {link.session_id}",
                    also_hits=f"{holder} is told; it may write out of turn",
                    lock_session=link.session_id,
                ),
                ticket,
                Change(unlocked=link.session_id),
                chain,
                now,
            )
            if link is cheapest and remedy.action:
                frees = f"cuts the cycle most cheaply: {remedy.frees}"
                remedy = replace(remedy, cut=True, frees=frees)
            yield remedy

    def _cancels(self, chain: Chain, now: float) -> Iterator[Remedy]:
        """Cancel one of those that are waited for: the root's first, then those nearer."""
        if len(chain.links) == 1 and chain.links[0].cause.kind is CauseKind.NO_TOKEN:
            yield from self._stop(chain.links[0].request_id)
        proposed = 0
        for place in range(len(chain.links) - 1, 0, -1):
            link, before = chain.links[place], chain.links[place - 1]
            ahead = before.cause.kind is CauseKind.BEHIND
            root = place == len(chain.links) - 1
            if proposed == MOST_CANCELS or not (root or not ahead or place == 1):
                continue
            waits, gone = (self._core.tickets.get(e.request_id) for e in (before, link))
            if waits is None or gone is None or link.phase in (Phase.COMPLETED, Phase.FAILED):
                continue
            proposed += 1
            yield self._cancel(gone, waits, chain, now)
        occupant = chain.root.occupied_by if chain.root is not None else None
        if occupant is not None and all(link.request_id != occupant for link in chain.links):
            yield Remedy(
                action="cancel",
                what=f"cancel {occupant}, which holds a slot longest",
                frees="1 slot, for whoever is first of those that wait",
                also_hits=self._told(self._core.tickets.get(occupant)),
                undo=_UNDO_CANCEL,
                request_id=occupant,
            )

    def _stop(self, request_id: str) -> Iterator[Remedy]:
        """Stop a call that is silent, for those that are behind it or want its slot."""
        ticket = self._core.tickets.get(request_id)
        if ticket is None:
            return
        lane = self._core.queue.lane(ticket.session_id)
        first = lane.head if lane is not None else None
        behind = self._core.queue.depth(ticket.session_id)
        more = f"; then {behind - 1} more of its session" if behind > 1 else ""
        frees = f"{first.request_id} now{more}" if first is not None else "its slot"
        yield Remedy(
            action="cancel",
            what=f"stop {request_id}",
            frees=frees,
            also_hits=self._told(ticket),
            undo=_UNDO_CANCEL,
            request_id=request_id,
        )

    def _cancel(self, gone: Ticket, waits: Ticket, chain: Chain, now: float) -> Remedy:
        name = gone.request_id
        lock = self._core.locks.get(waits.session_id)
        by_hand = (
            gone.session_id != waits.session_id and lock is not None and lock.request_id != name
        )
        if by_hand and lock is not None:
            return Remedy(
                action="cancel",
                what=f"cancel {name}",
                frees=f"{waits.request_id}, if {lock.holder} then lets go",
                also_hits=self._told(gone),
                undo=_UNDO_CANCEL,
                request_id=name,
            )
        return self._freeing(
            Remedy(
                action="cancel",
                what=f"cancel {name}",
                also_hits=self._told(gone),
                undo=_UNDO_CANCEL,
                request_id=name,
            ),
            waits,
            Change(gone=gone),
            chain,
            now,
        )

    # --- the words -----------------------------------------------------------------------------

    def _freeing(
        self, meant: Remedy, ticket: Ticket, change: Change, chain: Chain, now: float
    ) -> Remedy:
        """Return a remedy with what it does to the request that it is meant to free."""
        name, still = ticket.request_id, self._begins.still(ticket, change, now)
        if still is not None and not still.soon:
            return replace(
                meant, action="", frees=f"nothing: {_of(name, still)}", also_hits="", undo=""
            )
        anew = ", from the beginning" if ticket.run is not None else ""
        when = f"now{anew}" if still is None else still.text
        return replace(
            meant,
            frees=f"{name} {when}{self._after(chain, name)}",
            freed=(name,) if still is None else (),
        )

    def _after(self, chain: Chain, name: str | None = None) -> str:
        """Return who follows a request that goes on, back to the one that was asked about."""
        links = list(chain.links)
        place = next((i for i, e in enumerate(links) if e.request_id == name), len(links) - 1)
        followers = [each.request_id for each in reversed(links[:place])]
        if not followers:
            return ""
        certain = all(each.certain for each in links[1 : place + 1])
        shown = ", ".join(followers[:_FOLLOWERS])
        more = f" and {len(followers) - _FOLLOWERS} more" if len(followers) > _FOLLOWERS else ""
        return f"; {'then' if certain else 'then likely'} {shown}{more}"

    def _told(self, ticket: Ticket | None) -> str:
        """Return whom a cancel hits."""
        if ticket is None:
            return ""
        call = ticket.run.call if ticket.run is not None else None
        kept = f"{call.tokens} tokens kept; " if call is not None and call.tokens else ""
        return f"{kept}{ticket.agent_id or 'its sender'} gets completion:cancelled"

    def _room(self, name: str) -> str:
        """Return a provider and how much room it has."""
        entry = self._core.providers.get(name)
        limit = entry.settings.max_concurrency if entry is not None else None
        if entry is None or limit is None:
            return name
        return f"{name}, {limit - entry.in_flight} of {limit} free"


def _of(name: str, still: Still) -> str:
    """Return what still holds a request, in words that name it."""
    text = still.text
    return f"{name} {text.removeprefix('it ')}" if text.startswith("it ") else f"{name}: {text}"
