"""The engine's life under the dashboard: entered behind the first frame, left at the end.

Whatever goes wrong with it is told in words, never raised at the screen. Neither the look nor
what the keys do goes here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ksi_tui import exits
from ksi_tui.client import Distant
from ksi_tui.elsewhere import Connect, Elsewhere
from ksi_tui.engine.errors import ConfigError, DatabaseOwned, KsiError, StoreError
from ksi_tui.keeping import KeepingApp
from ksi_tui.pace import Pace
from ksi_tui.read_only import ReadOnlyClient
from ksi_tui.remote.errors import DoorClosed
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.watch import WatchedClient
from ksi_tui.widgets.clean import clean_block
from ksi_tui.widgets.spans import Tone

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.demo import DemoSwitch

log = logging.getLogger(__name__)

REASON_LIMIT = 4000


def _exit_code_of(error: KsiError) -> int:
    """Return the exit code that a failed start leads to."""
    if isinstance(error, DatabaseOwned):
        return exits.OWNED
    bad_usage = isinstance(error, ConfigError | StoreError | DoorClosed)
    return exits.BAD_USAGE if bad_usage else exits.SOME_FAILED


class SettingsRefused(ConfigError):
    """The settings are wrong; `run_dashboard` raises it once the terminal is as it was."""


class DrivingApp(KeepingApp):
    """An app over the engine that `connect` enters; with `demo` the load begins by itself.

    `connect` returns the context manager of an engine's client; it may import the engine late.
    With `attached` that engine is another process's, and leaving ends nothing of it. Where its
    database is another's, `elsewhere` leads to that one's engine.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        demo: bool,
        attached: bool = False,
        elsewhere: Elsewhere | None = None,
        **kept: Any,
    ) -> None:
        super().__init__(**kept)
        self.attached = attached
        self._elsewhere = elsewhere
        self.fault: str | None = None
        self.display_name = ""
        self.exit_code = 0
        self.refused: SettingsRefused | None = None
        self._connect = connect
        self._watched: WatchedClient | None = None
        self._demo_wanted = demo
        self._pace = Pace()
        self._leaving = asyncio.Event()
        self._engine_task: asyncio.Task[None] | None = None
        self._hurried: asyncio.Task[dict[str, Any]] | None = None

    @property
    def own_engine(self) -> bool:
        """Whether an engine runs in this process and ends with it."""
        return self.recording is None and not self.attached

    def leave(self) -> None:
        """End the dashboard now; the engine closes behind it."""
        self.exit(self.exit_code, return_code=self.exit_code)

    def _begin(self, wrong: Sequence[str]) -> None:
        """Start the engine; the first frame stands."""
        if self.recording is not None and self.recording.passed_over:
            wrong = [*wrong, self.recording.passed_over]
        if wrong and isinstance(self.screen, KsiScreen):
            self.screen.say(" · ".join(wrong), Tone.WARN)
        self._start_engine()

    def _start_engine(self) -> None:
        self._engine_task = asyncio.create_task(self._run_engine(), name="dashboard-engine")

    async def _run_engine(self) -> None:
        try:
            async with self._connect() as client:
                self._watched = WatchedClient(client, self.clock, self.ui.refresh_hz)
                self.client = self._door(self._watched)
                if isinstance(client, Distant):
                    self.display_name = client.name or self.display_name
                    client.on_picture(self.picture_came)
                gc.collect()
                gc.freeze()  # measured: brings the worst stall of a collection from 29 to 3 ms
                gc.enable()  # the command may have it off until here, for the first frame
                if self._demo_wanted:
                    await self._demo.toggle(client)
                await self._leaving.wait()
                self.client = None
                self._pace.end()
                await self._demo.stop()
        except SettingsRefused as error:
            self.refused = error
            self.leave()
        except KsiError as error:
            self._engine_failed(str(error), _exit_code_of(error))
            if isinstance(error, DatabaseOwned) and self._elsewhere is not None:
                self.push_screen(later.attach_offer(self._elsewhere, str(error)), self._offered)
        except Exception as error:  # the task's boundary: recorded, shown, never raised on
            log.exception("the engine failed")
            self._engine_failed(
                f"unexpected {type(error).__name__}; the log has it", exits.SOME_FAILED
            )

    def picture_came(self) -> None:
        """Take note that a newer picture is there of an engine that is elsewhere."""

    def _offered(self, attach: bool | None) -> None:
        """Attach to the engine that has the database, or leave."""
        if not attach or self._elsewhere is None:
            self.leave()
            return
        self._connect, self.attached = self._elsewhere.connect, True
        self.fault, self.exit_code = None, exits.OK
        self._start_engine()

    def _door(self, client: EngineClient) -> EngineClient:
        return ReadOnlyClient(client, may_end=not self.attached) if self.ui.read_only else client

    def _engine_failed(self, reason: str, code: int) -> None:
        self.client = None
        self.fault = clean_block(reason, REASON_LIMIT).strip() or "no reason was given"
        self.exit_code = code

    async def close_engine(self) -> None:
        """Leave the engine by its context and wait until it is closed."""
        self._leaving.set()
        if self._engine_task is not None:
            await self._engine_task
        if self._hurried is not None:
            await self._hurried

    def runs_on(self) -> bool:
        """Return whether requests run that the end of an engine of our own would wait for."""
        if self._watched is None or self._watched.last is None or not self.own_engine:
            return False
        return self._watched.snapshot().totals.active > 0

    def hurry(self) -> None:
        """Let the engine that is being closed interrupt what still runs."""
        if self._watched is not None and self.own_engine:
            ending = self._watched.emit("system:shutdown", {"grace_s": 0})
            self._hurried = asyncio.create_task(ending, name="hurried-end")

    async def toggle_demo(self) -> str:
        """Start or stop the demo load and return what happened in words."""
        return await self._demo.toggle(self.client)

    @cached_property
    def _demo(self) -> DemoSwitch:
        from ksi_tui.demo import DemoSwitch  # noqa: PLC0415 - after the first frame

        return DemoSwitch()

    @property
    def stale_s(self) -> float | None:
        """How old what the screens show is, in seconds, once it is older than it should be."""
        return self._watched.stale_s if self._watched is not None else None

    @property
    def banner(self) -> str | None:
        """What is wrong with the engine since it started, and what still works; None if nothing."""
        if self.fault is not None and self._watched is not None:
            return f"{self.fault} · what stands here is as it was then; q leaves"
        if self._watched is not None and self._watched.lost is not None:
            return self._watched.lost
        if self._watched is not None and self._watched.fault is not None:
            return f"{self._watched.fault} · shown as it was; keys still reach it"
        return None
