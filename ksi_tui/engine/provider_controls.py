"""What operators do to providers: force, reset and probe their circuits, add one more.

Each change is on disk before its reply, with who made it and why. The circuit's rules are
`circuit`'s, who may be called is `provider_manager`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ksi_tui.engine import events
from ksi_tui.engine.actions_taken import taken
from ksi_tui.engine.circuit import CircuitStatus
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.control_payloads import AddProvider, ForceCircuit, Probe, ResetCircuit
from ksi_tui.engine.control_replies import circuit_reply, circuit_told
from ksi_tui.engine.core import Core
from ksi_tui.engine.dispatch import Dispatcher
from ksi_tui.engine.errors import ConfigError, Conflict, InvalidRequest
from ksi_tui.engine.models import Action
from ksi_tui.engine.pauses import paused
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.replies import Replies
from ksi_tui.engine.store.base import ProviderSaved


class ProviderControls:
    """Acts on providers."""

    def __init__(self, core: Core, dispatcher: Dispatcher, replies: Replies) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._replies = replies

    # --- circuits --------------------------------------------------------------------------

    async def open(self, data: ForceCircuit) -> dict[str, Any]:
        """Force a circuit open: nobody is let through until it is ended, or for `for_s`."""
        entry, now = self._core.providers.known(data.provider), self._core.clock()
        before = entry.circuit.look(now).state
        entry.circuit.force_open(now, reason=data.reason or "", by=data.by, for_s=data.for_s)
        return await self._done("force open", entry, before, data, _limit(data.for_s))

    async def close(self, data: ForceCircuit) -> dict[str, Any]:
        """Force a circuit closed: everybody is let through, whatever fails."""
        entry, now = self._core.providers.known(data.provider), self._core.clock()
        before = entry.circuit.look(now).state
        entry.circuit.force_close(now, reason=data.reason or "", by=data.by, for_s=data.for_s)
        return await self._done("force closed", entry, before, data, _limit(data.for_s))

    async def reset(self, data: ResetCircuit) -> dict[str, Any]:
        """Forget a provider's state, cooldowns and statistics, as if it had just been added."""
        entry, now = self._core.providers.known(data.provider), self._core.clock()
        before = entry.circuit.look(now).state
        if not data.keep_statistics:
            entry.health.reset()
            entry.cooldowns.clear()
        entry.circuit.reset(now)
        name = "let go" if data.keep_statistics else "reset"
        return await self._done(name, entry, before, data)

    async def _done(
        self,
        name: str,
        entry: Entry,
        before: CircuitState,
        data: ForceCircuit | ResetCircuit,
        detail: str | None = None,
    ) -> dict[str, Any]:
        """Tell of a change by hand, let it have its effect, and answer once it is on disk."""
        core = self._core
        now = core.clock()
        look = entry.circuit.look(now)
        if look.state is before:  # else the circuit has told it already
            self._tell(entry, look, before)
        written = self._record(name, entry, data.by, data.reason, detail)
        self._let_go()
        await asyncio.shield(written)
        return self._circuit(entry)

    def _tell(self, entry: Entry, look: CircuitStatus, before: CircuitState) -> None:
        told = circuit_told(entry.name, str(before), str(look.state), look)
        self._core.publish(events.CIRCUIT, told)

    def _record(
        self, name: str, entry: Entry, by: str | None, reason: str | None, detail: str | None = None
    ) -> asyncio.Future[None]:
        core = self._core
        entry.dirty = True
        action = Action(
            at=core.clock(),
            name=name,
            target=f"provider:{entry.name}",
            by=by,
            reason=reason,
            detail=detail,
        )
        saved = [ProviderSaved(provider=n, state=s) for n, s in core.providers.dirty()]
        return core.store.write(*saved, taken(core, action))

    def _let_go(self) -> None:
        """Ask again for everybody who waits."""
        if self._core.pauses.any_provider:
            self._dispatcher.reset_clocks()
        self._core.queue.provider_freed()
        self._core.poke()

    def _circuit(self, entry: Entry) -> dict[str, Any]:
        look = entry.circuit.look(self._core.clock())
        return {"provider": entry.name, "circuit_breaker": circuit_reply(look)}

    # --- probing ---------------------------------------------------------------------------

    async def probe(self, data: Probe) -> dict[str, Any]:
        """Let one waiting request through now; says which one took the probe, if any waits.

        Raises Conflict when nothing is to be probed: closed, forced, paused, or probed already.
        """
        entry, now = self._core.providers.known(data.provider), self._core.clock()
        pause = self._core.pauses.provider(entry.name)
        if pause is not None:
            raise Conflict(f"{entry.name} is {paused(pause)}; resume it first")
        if not entry.circuit.allow_probe(now):
            raise Conflict(_no_probe(entry.name, entry.circuit.look(now)))
        written = self._record("probe", entry, data.by, None)
        self._let_go()
        await asyncio.sleep(0)  # the dispatcher looks in this turn of the loop
        taker = self._taker(entry)
        await asyncio.shield(written)
        return {
            **self._circuit(entry),
            "taken": taker is not None,
            "request_id": taker,
        }

    def _taker(self, entry: Entry) -> str | None:
        """Return the request that was dispatched as the probe just now, or None."""
        for lane in self._core.queue.running_lanes():
            run = lane.running.run if lane.running is not None else None
            admitted = run.admitted if run is not None else None
            if run and admitted and admitted.candidate.entry is entry and admitted.permit.probe:
                return run.ticket.request_id
        return None

    # --- one more --------------------------------------------------------------------------

    async def add(self, data: AddProvider) -> dict[str, Any]:
        """Take in one more provider until the engine ends; answers with its status.

        Raises Conflict when its name is taken, InvalidRequest when it cannot be made.
        """
        core = self._core
        try:
            core.providers.add(data.settings)
        except ConfigError as error:
            raise InvalidRequest(f"provider:add: {error}") from None
        core.queue.providers_changed()
        entry = self._core.providers.known(data.name)
        detail = f"{data.kind}, models {', '.join(data.models)}"
        written = self._record("add provider", entry, data.by, data.reason, detail)
        self._let_go()
        await asyncio.shield(written)
        return {"status": "added", **self._replies.provider(data.name)}


def _limit(for_s: float | None) -> str | None:
    return None if for_s is None else f"for {for_s:g} s"


def _no_probe(name: str, look: CircuitStatus) -> str:
    if look.forced is not None:
        return f"{name} is {look.forced_text}; reset it, or wait for the end of that"
    if look.state is CircuitState.CLOSED:
        return f"{name} is closed: it lets every call through, there is nothing to probe"
    return f"{name} is being probed already"
