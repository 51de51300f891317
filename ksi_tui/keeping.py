"""What the dashboard keeps for longer than a screen is looked at: drafts, deeds, the log, bundles.

Made when first asked for, so that the first frame waits for none of it. Neither the engine's
life nor the look goes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App

from ksi_tui.engine.errors import KsiError
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.done import Done
from ksi_tui.screens.event_log import EventLog
from ksi_tui.screens.host import Recording
from ksi_tui.screens.looked import Looked
from ksi_tui.widgets.spans import Tone

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.incident.desk import IncidentDesk
    from ksi_tui.incident.save import Saved, Wanted
    from ksi_tui.past_prompts import PastPrompts
    from ksi_tui.saved_filters import FilterBook
    from ksi_tui.screens.draft import Draft
    from ksi_tui.ui_settings import Ui


class KeepingApp(App[int]):
    """An app with what its screens share.

    `config_hint` is the settings file that a user would write, `settings` tells those that
    apply, without secrets. Prompts are kept for tomorrow in `prompts_file` (None: nowhere),
    filters in `filters_file` (None: as long as this runs). Over a `recording` there is time to
    step through. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        ui: Ui,
        config_hint: str = "",
        filters_file: Path | None = None,
        prompts_file: Path | None = None,
        settings: Callable[[], Mapping[str, Any]] = dict,
        recording: Recording | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.ui = ui
        self.config_hint = config_hint
        self.recording = recording
        self.clock = clock
        self.client: EngineClient | None = None
        self.draft: Draft | None = None
        self.done = Done(clock)
        self.looked = Looked()
        self.events = EventLog()
        self.handed_over = False
        self._filters_file = filters_file
        self._prompts_file = None if ui.text == "never" else prompts_file
        self._settings = settings

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

    # --- incidents ---------------------------------------------------------------------

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
