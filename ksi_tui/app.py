"""The dashboard's app: starts the engine behind the first frame and holds the screens together.

The engine comes through `connect`, entered only after something is on the screen, so
that nobody waits for it in front of a blank terminal. Neither layout nor engine
internals go here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events
from textual.actions import ActionParseResult, parse
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.screen import Screen

from ksi_tui import exits, theme
from ksi_tui.actions import BY_ID, BY_METHOD, Where, bindings, wrong_keymap
from ksi_tui.engine.errors import ConfigError, DatabaseOwned, KsiError, StoreError
from ksi_tui.lifetime import go_on_cleanly, run_dashboard
from ksi_tui.pace import Pace
from ksi_tui.read_only import ReadOnlyClient
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen, Recording
from ksi_tui.screens.done import Done
from ksi_tui.screens.event_log import EventLog
from ksi_tui.screens.overview import Overview
from ksi_tui.watch import WatchedClient
from ksi_tui.widgets.clean import clean_block
from ksi_tui.widgets.header import shown_verdict
from ksi_tui.widgets.paste import PasteSafeDriver
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.terminal import AsciiFilter, SafeFilter

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.demo import DemoSwitch
    from ksi_tui.engine.states import Verdict
    from ksi_tui.incident.desk import IncidentDesk
    from ksi_tui.incident.save import Saved, Wanted
    from ksi_tui.past_prompts import PastPrompts
    from ksi_tui.saved_filters import FilterBook
    from ksi_tui.screens.draft import Draft
    from ksi_tui.signs import Signs
    from ksi_tui.ui_settings import Ui

__all__ = ["KsiApp", "SettingsRefused", "run_dashboard"]

Connect = Callable[[], "AbstractAsyncContextManager[EngineClient]"]

log = logging.getLogger(__name__)

REASON_LIMIT = 4000
_HERE = Path(__file__).parent


def _exit_code_of(error: KsiError) -> int:
    """Return the exit code that a failed start leads to."""
    if isinstance(error, DatabaseOwned):
        return exits.OWNED
    return exits.BAD_USAGE if isinstance(error, ConfigError | StoreError) else exits.SOME_FAILED


class SettingsRefused(ConfigError):
    """The settings are wrong; `run_dashboard` raises it once the terminal is as it was."""


class KsiApp(App[int]):
    """The dashboard over one engine.

    `connect` returns the context manager of an engine's client; it may import the engine
    late. `name` stands in the header. With `demo` the load begins by itself.
    `config_hint` is the settings file that a user would write, `settings` tells those that
    apply, without secrets, `prompts_file` is where prompts are kept for tomorrow (None: nowhere).
    Saved filters are kept in `filters_file`, without one only as long as this runs. Over a
    `recording` there is time to step through.
    """

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        _HERE / "app.tcss",
        _HERE / "screens" / "overview.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(Where.ANY)
    COMMANDS: ClassVar[set[Any]] = App.COMMANDS | set(later.PALETTE)

    def __init__(
        self,
        connect: Connect,
        *,
        ui: Ui,
        name: str,
        demo: bool = False,
        config_hint: str = "",
        filters_file: Path | None = None,
        settings: Callable[[], Mapping[str, Any]] = dict,
        recording: Recording | None = None,
        prompts_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line_filters: list[LineFilter] = [SafeFilter()]
        if ui.ascii:
            self._line_filters.append(AsciiFilter())
        super().__init__()
        theme.install(self, ui.theme)
        self.ui = ui
        self.display_name = name
        self.config_hint = config_hint
        self._filters_file = filters_file
        self.clock = clock
        self.client: EngineClient | None = None
        self.fault: str | None = None
        self.exit_code = 0
        self.refused: SettingsRefused | None = None
        self.recording = recording
        self.draft: Draft | None = None
        self.done = Done(clock)
        self.handed_over = False
        self.events = EventLog()
        self._settings = settings
        self._prompts_file = None if ui.text == "never" else prompts_file
        self._connect = connect
        self._watched: WatchedClient | None = None
        self._demo_wanted = demo
        self._pace = Pace()
        self._leaving = asyncio.Event()
        self._engine_task: asyncio.Task[None] | None = None
        self._asked_to_quit = False

    # --- the look --------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """Return the overview, so that the first frame is it and not a blank."""
        return Overview()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every painted line passes, the backstop of `clean` last but spelling."""
        return [*super().get_line_filters(), *self._line_filters]

    def get_driver_class(self) -> type[Driver]:
        """Return a driver that takes a paste as text, whatever it holds."""
        found = super().get_driver_class()
        return PasteSafeDriver if found is LinuxDriver else found

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return our own variables for themes that do not define them."""
        return theme.FALLBACK_VARIABLES

    def on_mount(self) -> None:
        wrong = wrong_keymap(self.ui.keymap)
        if self.ui.theme and self.ui.theme != self.theme:
            wrong.append(f"ui.theme: no theme {self.ui.theme!r}; {self.theme} is used")
        self.set_keymap({k: v for k, v in self.ui.keymap.items() if k in BY_ID})
        self.set_interval(1 / self.ui.refresh_hz, self._tick, name="tick")
        self.app_resume_signal.subscribe(self, self._went_on)
        if self._driver is not None and not self.is_headless:
            go_on_cleanly(self, self._driver)
        self.call_after_refresh(self._begin, wrong)

    def _tick(self) -> None:
        if not self.is_running:  # the timer may fire once more while screens are taken down
            return
        if not self._pace.due(self._watched if self.client is not None else None):
            return
        if self.client is not None and self.recording is None:
            self._incidents.look(self.client, self.clock())
        self.events.drain(self.client)
        if self.handed_over:  # an editor is up: what happens is taken down, nothing painted
            return
        for screen in self.screen_stack:
            if isinstance(screen, KsiScreen) and screen.is_current and screen.stands:
                screen.tick()
        self._keep_signs()

    def _keep_signs(self) -> None:
        """Keep title, bell and alert true on the screens that do not show the verdict."""
        base = self.screen_stack[0]
        if self._watched is not None and not (isinstance(base, Overview) and base.is_current):
            if self.client is not None:
                self._watched.look()
            self.show_verdict(shown_verdict(self._watched.last, self.fault, None, self.stale_s))

    async def on_event(self, event: events.Event) -> None:
        """Note that a person is there, whatever becomes of the key."""
        if isinstance(event, events.InputEvent):
            self._pace.touched()
        await super().on_event(event)

    def _went_on(self, _: object) -> None:
        self.repaint()

    def repaint(self) -> None:
        """Paint everything anew, the title too: somebody else had the terminal."""
        self.signs.forget_title()
        self.screen.refresh(layout=True)

    @property
    def stale_s(self) -> float | None:
        """How old what the screens show is, in seconds, once it is older than it should be."""
        return self._watched.stale_s if self._watched is not None else None

    @property
    def banner(self) -> str | None:
        """What is wrong with the engine since it started, and what still works; None if nothing."""
        if self.fault is not None and self._watched is not None:
            return f"{self.fault} · what stands here is as it was then; q leaves"
        if self._watched is not None and self._watched.fault is not None:
            return f"{self._watched.fault} · shown as it was; keys still reach it"
        return None

    @cached_property
    def _incidents(self) -> IncidentDesk:
        from ksi_tui.incident.desk import IncidentDesk  # noqa: PLC0415 - after the first frame

        return IncidentDesk(self._settings)

    async def save_bundle(self, wanted: Wanted, tell: Callable[[str], None]) -> Saved:
        """Write an incident bundle, telling how far it is; raises BundleError when it cannot."""
        return await self._incidents.save(self.client, self.events.events(), wanted, tell)

    def action_save_bundle(self) -> None:
        """Ask what an incident bundle is to hold, and write it."""
        if self.recording is None:
            self.push_screen(later.save_bundle())
        elif isinstance(self.screen, KsiScreen):
            self.screen.say("this is a bundle already", Tone.WARN)

    def action_step(self, moments: int) -> None:
        """Go on in a recording, back where negative."""
        if not isinstance(self.screen, KsiScreen):
            return
        if self.recording is None:
            self.screen.say("time is stepped through in a recording: ksi-tui open", Tone.WARN)
            return
        try:
            passed_over = self.recording.step(moments)
        except KsiError as error:
            self.screen.say(str(error), Tone.BAD)
        else:
            if passed_over:
                self.screen.say(passed_over, Tone.WARN)
        self.screen.tick()

    def show_verdict(self, verdict: Verdict) -> None:
        """Say the verdict where it is seen without looking: title, bell, the user's alert."""
        self.signs.show(verdict)

    @cached_property
    def signs(self) -> Signs:
        """The signs of the verdict beside the screen."""
        from ksi_tui.signs import Signs  # noqa: PLC0415 - after the first frame

        return Signs(self.ui, self.display_name, self._to_terminal, self._complain)

    def _to_terminal(self, sequence: str) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write(sequence)

    def _complain(self, text: str) -> None:
        if isinstance(self.screen, KsiScreen):
            self.screen.say(text, Tone.WARN)

    async def copy(self, text: str) -> str:
        """Copy a text by the system's tool, else by the terminal; return in words by which."""
        from ksi_tui import clipboard  # noqa: PLC0415 - after the first frame

        offered = [] if self.is_headless else clipboard.tools(os.environ)
        return await clipboard.copy(text, offered, self.copy_to_clipboard)

    @cached_property
    def filters(self) -> FilterBook:
        """Saved filters and the history of filters."""
        from ksi_tui.saved_filters import FilterBook  # noqa: PLC0415 - after the first frame

        return FilterBook(self._filters_file, self.ui.filters)

    @cached_property
    def past(self) -> PastPrompts:
        """The prompts that were sent from here before."""
        from ksi_tui.past_prompts import PastPrompts  # noqa: PLC0415 - after the first frame

        return PastPrompts(self._prompts_file)

    # --- the engine ------------------------------------------------------------------

    def _begin(self, wrong: Sequence[str]) -> None:
        """Start the engine; the first frame stands."""
        if self.recording is not None and self.recording.passed_over:
            wrong = [*wrong, self.recording.passed_over]
        if wrong and isinstance(self.screen, KsiScreen):
            self.screen.say(" · ".join(wrong), Tone.WARN)
        self._engine_task = asyncio.create_task(self._run_engine(), name="dashboard-engine")

    async def _run_engine(self) -> None:
        try:
            async with self._connect() as client:
                self._watched = WatchedClient(client, self.clock, self.ui.refresh_hz)
                self.client = self._door(self._watched)
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
        except Exception as error:  # the task's boundary: recorded, shown, never raised on
            log.exception("the engine failed")
            self._engine_failed(
                f"unexpected {type(error).__name__}; the log has it", exits.SOME_FAILED
            )

    def _door(self, client: EngineClient) -> EngineClient:
        return ReadOnlyClient(client, may_end=True) if self.ui.read_only else client

    def _engine_failed(self, reason: str, code: int) -> None:
        self.client = None
        self.fault = clean_block(reason, REASON_LIMIT).strip() or "no reason was given"
        self.exit_code = code

    async def close_engine(self) -> None:
        """Leave the engine by its context and wait until it is closed, and what else runs."""
        await self.signs.aclose()
        self._leaving.set()
        if self._engine_task is not None:
            await self._engine_task

    async def toggle_demo(self) -> str:
        """Start or stop the demo load and return what happened in words."""
        return await self._demo.toggle(self.client)

    @cached_property
    def _demo(self) -> DemoSwitch:
        from ksi_tui.demo import DemoSwitch  # noqa: PLC0415 - after the first frame

        return DemoSwitch()

    # --- what the keys do --------------------------------------------------------------

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do what a key or the palette asks for, unless it acts and this only looks."""
        name = parse(action)[1] if isinstance(action, str) else action[1]
        screen = next((s for s in reversed(self.screen_stack) if isinstance(s, KsiScreen)), None)
        listed = BY_METHOD.get(name)
        if screen is not None and listed is not None and not screen.allowed(listed):
            return True
        return await super().run_action(action, default_namespace, namespaces)

    # --- leaving ---------------------------------------------------------------------

    def action_leave(self) -> None:
        """Quit; with work in flight ask first what becomes of it."""
        from ksi_tui.screens.ending import in_flight  # noqa: PLC0415 - after the first frame

        work = in_flight(self.client) if self.recording is None else None
        if work is None:
            self.leave()
        elif not self._asked_to_quit:
            self._asked_to_quit = True
            self.push_screen(later.quit_dialog(work), self._after_quit)

    def _after_quit(self, answer: str | None) -> None:
        self._asked_to_quit = False
        if answer is not None:
            self.run_worker(self._end(answer), name="end-work", exclusive=True, group="end")

    async def _end(self, answer: str) -> None:
        from ksi_tui.screens.ending import end_work  # noqa: PLC0415 - after the first frame

        await self._demo.stop()
        refused = await end_work(self, answer)
        if refused is None:
            self.leave()
        elif isinstance(self.screen, KsiScreen):
            self.screen.say(f"not left: {refused}", Tone.BAD)

    def leave(self) -> None:
        """End the dashboard now; the engine closes behind it."""
        self.exit(self.exit_code, return_code=self.exit_code)

    async def action_quit(self) -> None:
        """Quit as `q` does."""
        self.action_leave()

    def action_help_quit(self) -> None:
        """Take ctrl+c as `q`."""
        self.action_leave()

    def action_help(self) -> None:
        """Show every key."""
        where = self.screen.WHERE if isinstance(self.screen, KsiScreen) else Where.ANY
        self.push_screen(later.help_screen(where))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return what the palette offers: the actions of the screen, and the theme."""
        from ksi_tui.screens.palette import palette_commands  # noqa: PLC0415 - when it opens

        yield from palette_commands(self, screen)
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def _handle_exception(self, error: Exception) -> None:
        """Record a fault of our own and end with one line; a traceback belongs in the log."""
        log.error("unhandled exception in the dashboard", exc_info=error)
        self._return_code = exits.SOME_FAILED
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
            said = f"ksi-tui ended by a fault of its own ({type(error).__name__}); the log has it"
            self._exit_renderables.append(Text(said))
        self._close_messages_no_wait()
