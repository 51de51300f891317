"""What operators do to the queue: pause it, resume it, and let a conversation begin anew.

Each change is on disk before its reply, with who made it and why. The rules of pauses are
`pauses`', what a pause means to a waiting request is the dispatcher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from ksi_tui.engine import events
from ksi_tui.engine.actions_taken import taken
from ksi_tui.engine.control_payloads import QueueScope, ResetConversation
from ksi_tui.engine.control_replies import pause_reply, paused_reply
from ksi_tui.engine.core import Core
from ksi_tui.engine.dispatch import Dispatcher
from ksi_tui.engine.errors import QueueFull
from ksi_tui.engine.models import Action, Pause, PauseScope
from ksi_tui.engine.store.base import ActionTaken, PauseGone, PauseSaved, TurnsForgotten, Write

MOST_PAUSES: Final = 10_000
"""Each reply about pauses names all of them."""


class Controls:
    """Pauses, resumes and forgets."""

    def __init__(self, core: Core, dispatcher: Dispatcher) -> None:
        self._core = core
        self._dispatcher = dispatcher

    async def pause(self, data: QueueScope) -> dict[str, Any]:
        """Pause a scope; what is paused already stays as it is."""
        core = self._core
        if data.scope is PauseScope.PROVIDER:
            core.providers.known(data.id or "")
        if core.pauses.get(data.scope, data.id) is None and len(core.pauses) >= MOST_PAUSES:
            raise QueueFull(f"{MOST_PAUSES:,} pauses hold already; resume some first")
        pause = Pause(
            scope=data.scope, id=data.id, by=data.by, reason=data.reason, since=core.clock()
        )
        changed = core.pauses.add(pause)
        writes: list[Write] = []
        if changed:
            writes = [PauseSaved(pause=pause), self._action("pause", pause.target, data)]
            core.publish(events.QUEUE_PAUSED, pause_reply(pause))
        return await self._changed(data, changed, core.store.write(*writes))

    async def resume(self, data: QueueScope) -> dict[str, Any]:
        """End the pause of a scope; one that is not paused is no error."""
        core = self._core
        pause = core.pauses.remove(data.scope, data.id)
        writes: list[Write] = []
        if pause is not None:
            writes = [
                PauseGone(scope=data.scope, id=data.id),
                self._action("resume", pause.target, data),
            ]
            core.publish(
                events.QUEUE_RESUMED,
                {
                    **pause_reply(pause),
                    "by": data.by,
                    "reason": data.reason,
                    "paused_by": pause.by,
                    "paused_reason": pause.reason,
                },
            )
        elif data.scope is PauseScope.PROVIDER:
            core.providers.known(data.id or "")
        return await self._changed(data, pause is not None, core.store.write(*writes))

    def _action(self, name: str, target: str, data: QueueScope | ResetConversation) -> ActionTaken:
        at, by, reason = self._core.clock(), data.by, data.reason
        return taken(self._core, Action(at=at, name=name, target=target, by=by, reason=reason))

    async def _changed(
        self, data: QueueScope, changed: bool, written: asyncio.Future[None]
    ) -> dict[str, Any]:
        """Let the change have its effect, and answer once it is on disk."""
        core = self._core
        if changed:
            self._take_effect(data.scope, data.id)
        await asyncio.shield(written)
        return {
            "scope": str(data.scope),
            "id": data.id,
            "changed": changed,
            "paused": paused_reply(core.pauses),
        }

    def take_over(self, pauses: Iterable[Pause]) -> None:
        """Let pauses hold that are on disk already."""
        for pause in pauses:
            if self._core.pauses.add(pause):
                self._core.publish(events.QUEUE_PAUSED, pause_reply(pause))
                self._take_effect(pause.scope, pause.id)

    def _take_effect(self, scope: PauseScope, id: str | None) -> None:
        core = self._core
        if scope is PauseScope.SESSION:
            core.queue.refresh(id or "", core.clock())
        else:
            self._dispatcher.reset_clocks()
            core.queue.provider_freed()
        core.poke()

    async def reset_conversation(self, data: ResetConversation) -> dict[str, Any]:
        """Forget the turns that a session's next prompt would be sent with."""
        core, session_id = self._core, data.session_id
        await core.store.write()
        found = await core.store.session(session_id)
        live = core.sessions.get(session_id)
        if live is not None:
            live.turn_count = 0
        if found is None:
            return {"session_id": session_id, "forgotten": 0}
        await asyncio.shield(
            core.store.write(
                TurnsForgotten(session_id=session_id),
                self._action("reset conversation", session_id, data),
            )
        )
        return {"session_id": session_id, "forgotten": found.turn_count}
