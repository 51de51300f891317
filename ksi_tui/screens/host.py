"""What a screen may ask of the app it runs in, and how it asks the engine.

A screen knows the engine only through its host's client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.header import READ_ONLY

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.engine.states import Verdict
    from ksi_tui.incident.save import Saved, Wanted
    from ksi_tui.past_prompts import PastPrompts
    from ksi_tui.saved_filters import FilterBook
    from ksi_tui.screens.done import Done
    from ksi_tui.screens.draft import Draft
    from ksi_tui.screens.event_log import EventLog
    from ksi_tui.screens.looked import Looked
    from ksi_tui.ui_settings import Ui

ERROR_LIMIT = 500


class Recording(Protocol):
    """Time that can be stepped through."""

    @property
    def position(self) -> tuple[int, int]:
        """Which moment is shown, counted from 1, and how many there are."""
        ...

    @property
    def day(self) -> str:
        """The date of the shown moment, UTC."""
        ...

    @property
    def records_at(self) -> float | None:
        """Of when the records are (epoch seconds), where that is not the moment shown."""
        ...

    @property
    def passed_over(self) -> str:
        """In words which moments could not be shown at first; empty for none."""
        ...

    def step(self, frames: int) -> str:
        """Go on by so many moments, back where negative; BundleError where all are damaged.

        Returns in words what was passed over, since it is damaged; else nothing.
        """
        ...


class Asker(Protocol):
    """Who speaks to the engine, in whose name, and why it could not where there is none."""

    client: EngineClient | None
    ui: Ui
    fault: str | None


class Host(Asker, Protocol):
    """What a screen may ask of the app it runs in."""

    display_name: str
    clock: Callable[[], float]
    draft: Draft | None
    handed_over: bool
    config_hint: str
    recording: Recording | None
    attached: bool
    events: EventLog
    done: Done
    looked: Looked

    @property
    def past(self) -> PastPrompts:
        """The prompts that were sent from here before."""
        ...

    async def save_bundle(self, wanted: Wanted, tell: Callable[[str], None]) -> Saved:
        """Write an incident bundle, telling how far it is; raises BundleError when it cannot."""
        ...

    @property
    def filters(self) -> FilterBook:
        """Saved filters and the history of filters."""
        ...

    @property
    def stale_s(self) -> float | None:
        """How old what is shown is, in seconds, once it is older than it should be."""
        ...

    @property
    def banner(self) -> str | None:
        """What is wrong with the engine since it started, and what still works."""
        ...

    async def copy(self, text: str) -> str:
        """Copy a text and return in words by which way."""
        ...

    def show_verdict(self, verdict: Verdict) -> None:
        """Say the verdict where it is seen without looking at the screen: the terminal's title."""
        ...

    async def toggle_demo(self) -> str:
        """Start or stop the demo load and return what happened in words."""
        ...


async def ask(host: Asker, event: str, **data: Any) -> dict[str, Any]:
    """Emit an event and return the reply; without an engine the reply is a refusal."""
    if host.client is None:
        return {"error": host.fault or "the engine is starting", "code": "not_ready"}
    return await host.client.emit(event, data)


def refusal(reply: Mapping[str, Any]) -> str | None:
    """Return why the engine refused, clean, or None when it did not."""
    if "code" not in reply:  # a report may tell of a request's own error under the same name
        return None
    return clean(str(reply.get("error")), ERROR_LIMIT)


def looks_only(host: Host, *, long: bool) -> str:
    """Return what a header says where nothing can be changed from here: why; else nothing."""
    recording = host.recording
    if recording is None:
        return READ_ONLY if host.ui.read_only else ""
    at, of = recording.position
    records = recording.records_at
    if not long:
        short = f"REC {at}/{of}"
        return short if records is None else f"{short}, lists {formats.clock(records)}"
    told = f"RECORDED {recording.day}, {at} of {of}"
    return told if records is None else f"{told}; lists and records of {formats.clock(records)}"
