"""What all tests of the dashboard share: a pilot that waits for the app and not for time."""

from collections.abc import Iterator

import pytest
from textual import app, pilot
from textual.css.stylesheet import Stylesheet

from tests.ui.rest import at_rest
from tests.ui.stylesheets import parsed_once


@pytest.fixture(scope="session", autouse=True)
def _idle_is_what_the_loop_says() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "wait_for_idle", at_rest)
        patch.setattr(pilot, "wait_for_idle", at_rest)
        yield


@pytest.fixture(scope="session", autouse=True)
def _stylesheets_are_parsed_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parsed_once(Stylesheet._parse_rules))
        yield
