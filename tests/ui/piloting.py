"""Makes Textual's pilot quick for a test run: what it would do over and over is done once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from textual import app, pilot
from textual.css.stylesheet import Stylesheet
from textual.pilot import Pilot
from textual.screen import Screen

from tests.ui.painting import painting_at_rest, refresh_later
from tests.ui.rest import at_rest, waiting_for_the_busy
from tests.ui.stylesheets import parsed_once


@contextmanager
def quick_pilot() -> Iterator[None]:
    """Have the pilot wait for the loop and for who is busy, and paint and parse no more than once.

    Two clicks on one place are a double click, however long the machine takes between them.

    For the conftest of a folder; in a process where another folder's has done it, it stays at that.
    """
    if vars(app)["wait_for_idle"] is at_rest:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "wait_for_idle", at_rest)
        patch.setattr(pilot, "wait_for_idle", at_rest)
        patch.setattr(Pilot, "_wait_for_screen", waiting_for_the_busy(Pilot._wait_for_screen))
        patch.setattr(Pilot, "pause", painting_at_rest(Pilot.pause))
        patch.setattr(Screen, "_compositor_refresh", refresh_later)
        patch.setattr(app.App, "CLICK_CHAIN_TIME_THRESHOLD", float("inf"))
        patch.setattr(Stylesheet, "_parse_rules", parsed_once(Stylesheet._parse_rules))
        yield
