"""Everything that people and programs do to an engine, at random: the load of the soak."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.views import SnapshotQuery
from ksi_tui.remote.client import RemoteClient
from ksi_tui.remote.errors import DoorClosed

_REAL = ("ok", "paced", "flaky", "cut", "stall")
_SIMULATED = ("sim/echo", "sim/echo", "sim/echo", "sim/flaky", "sim/cut", "sim/down")
_HANDS = 8
"""How many do something at the same time."""
_REFUSALS = frozenset({"conflict", "not_found", "lock_denied", "no_provider"})
"""What may be answered to those who come too late or too early."""

Deed = Callable[[], Awaitable[None]]


class Crowd:
    """Does things to an engine; `deeds` counts what, `wrong` is what must not have happened."""

    def __init__(self, engine: CompletionEngine, door: Path, rng: random.Random) -> None:
        self._engine = engine
        self._door = door
        self._rng = rng
        self._recent: deque[str] = deque(maxlen=300)
        self._sessions = 0
        self.deeds: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._kinds: dict[Deed, int] = {
            self.submit: 60,
            self.burst: 4,
            self.call: 14,
            self.cancel: 6,
            self.cancel_many: 1,
            self.retry: 4,
            self.elsewhere: 2,
            self.inject: 3,
            self.lock: 3,
            self.pause: 1,
            self.control: 1,
            self.look: 5,
            self.attach: 1,
        }

    async def bear(self, seconds: float, *, kill: bool) -> None:
        """Do things for so long, `kill` a worker on the way, and leave nothing that never ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds

        async def hand() -> None:
            kinds, weights = list(self._kinds), list(self._kinds.values())
            while loop.time() < until:
                deed = self._rng.choices(kinds, weights)[0]
                self.deeds[deed.__name__] += 1
                await deed()
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            for _ in range(_HANDS):
                group.create_task(hand())
            await asyncio.sleep(seconds / 2)
            if kill:
                self._kill_a_worker()
        await self._release_all()

    def _kill_a_worker(self) -> None:
        assert self._engine._parts is not None
        pool = self._engine._parts.pool
        ready = [view.pid for view in pool.workers if view.ready and view.pid] if pool else []
        if ready:
            os.kill(self._rng.choice(ready), signal.SIGKILL)
            self.deeds["worker killed"] += 1

    async def _release_all(self) -> None:
        """Undo what would hold requests back for ever, and cancel those that never end."""
        await self._emit("queue:resume", scope="engine")
        for name in (*_REAL, "spare", "sim"):
            await self._emit("queue:resume", scope="provider", id=name)
            await self._emit("provider:reset", provider=name)
        assert self._engine._parts is not None
        left = self._engine._parts.core.tickets.values()
        stalled = [t.request_id for t in left if t.route.model == "stall"]
        if stalled:
            await self._emit("completion:cancel", request_ids=stalled)

    async def _emit(self, name: str, **data: Any) -> dict[str, Any]:
        reply = await self._engine.emit(name, data)
        if "code" in reply and reply["code"] not in _REFUSALS:
            self.wrong.append(f"{name}: {reply['error']}")
        return reply

    # --- the deeds ---------------------------------------------------------------------------

    async def burst(self) -> None:
        """Ask simulated providers for much: so that what is bounded is soon full."""
        await asyncio.gather(*(self.submit() for _ in range(20)))

    def _session(self) -> str:
        """Return a session: of those of the last moments, or mostly a new one."""
        self._sessions += self._rng.random() < 0.4
        return f"s-{max(0, self._sessions - self._rng.randrange(4))}"

    async def _ask(self, model: str, **more: Any) -> None:
        reply = await self._emit(
            "completion:async",
            prompt=f"question {self._rng.random()} " * 5,
            model=model,
            session_id=self._session(),
            agent_id=f"a-{self._rng.randrange(20)}",
            priority=self._rng.choice(("high", "normal", "low")),
            **more,
        )
        if "request_id" in reply:
            self._recent.append(reply["request_id"])

    async def submit(self) -> None:
        """Ask a simulated provider."""
        await self._ask(self._rng.choice(_SIMULATED), stream=self._rng.random() < 0.5)

    async def call(self) -> None:
        """Ask a real one through a worker."""
        await self._ask(self._rng.choice(_REAL), stream=self._rng.random() < 0.7)

    async def cancel(self) -> None:
        """Cancel one of the last ones."""
        if self._recent:
            await self._emit("completion:cancel", request_id=self._rng.choice(self._recent))

    async def cancel_many(self) -> None:
        """Cancel some of the last ones in one go, and all of a session."""
        if self._recent:
            some = self._rng.sample(list(self._recent), min(20, len(self._recent)))
            await self._emit("completion:cancel", request_ids=some)
        await self._emit("completion:cancel", session_id=self._session())

    async def retry(self) -> None:
        """Retry one of the last ones."""
        if self._recent:
            await self._emit("completion:retry", request_id=self._rng.choice(self._recent))

    async def elsewhere(self) -> None:
        """Send one of the last ones elsewhere."""
        if self._recent:
            chosen = self._rng.choice(self._recent)
            await self._emit("completion:retry", request_id=chosen, avoid=["cut"])

    async def inject(self) -> None:
        """Ask for a result that goes on into another session."""
        mode = self._rng.choice(("next", "direct"))
        config = {"enabled": True, "mode": mode, "target_sessions": [self._session()]}
        await self._ask("sim/echo", injection_config=config)

    async def lock(self) -> None:
        """Take a session's lock, ask with a lock, and let go."""
        session, agent = self._session(), f"a-{self._rng.randrange(20)}"
        await self._emit("conversation:acquire_lock", session_id=session, agent_id=agent)
        terms = {"enabled": True, "on_conflict": self._rng.choice(("wait", "fail"))}
        await self._ask("sim/echo", conversation_lock=terms)
        await self._emit("conversation:release_lock", session_id=session, agent_id=agent)

    async def pause(self) -> None:
        """Pause something for a moment."""
        scope = self._rng.choice(("engine", "session", "provider"))
        name = {"session": self._session(), "provider": self._rng.choice(_REAL)}.get(scope)
        named = {"scope": scope, **({"id": name} if name else {})}
        await self._emit("queue:pause", **named)
        await asyncio.sleep(0.05)
        await self._emit("queue:resume", **named)

    async def control(self) -> None:
        """Force a circuit open and shut."""
        name = self._rng.choice(_REAL)
        await self._emit("provider:open", provider=name, reason="soak")
        await asyncio.sleep(0.05)
        await self._emit("provider:probe", provider=name)
        await self._emit("provider:close", provider=name)

    async def look(self) -> None:
        """Look at what a screen and a report show."""
        self._engine.snapshot(SnapshotQuery())
        await self._emit("completion:token_usage", bucket_minutes=5, hours=1)
        if self._recent:
            await self._emit("completion:request_status", request_id=self._rng.choice(self._recent))

    async def attach(self) -> None:
        """Attach to the door, hear something, act, and leave; sometimes in mid-course."""
        with suppress(DoorClosed):
            async with RemoteClient(self._door, operator="soak") as client:
                subscription = client.subscribe("completion:*")
                client.snapshot()
                await client.emit("completion:status", {})
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.random() * 0.3):
                        async for _ in subscription:
                            pass
                subscription.end()
