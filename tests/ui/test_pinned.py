"""What of Textual is used that it does not promise: named here, so that an update cannot lose it.

How the line filters act on the real byte stream is `test_terminal`'s and
`tests/acceptance/test_hostile_stream`'s to show.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version

from textual.app import App
from textual.content import Content
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.widget import Widget

from ksi_tui.lifetime import go_on_cleanly


def test_the_release_is_the_one_that_was_looked_at() -> None:
    assert version("textual").startswith("8.2.")


def test_every_painted_line_passes_the_apps_line_filters() -> None:
    assert "get_line_filters" in inspect.getsource(Widget)
    assert "_filters" in inspect.getsource(App.get_line_filters)


def test_the_driver_takes_the_terminal_again_at_sigcont_and_says_when_it_gave_it_back() -> None:
    source = inspect.getsource(LinuxDriver)
    for name in ("_must_signal_resume", "_auto_restart", "_sigcont_application"):
        assert f"self.{name}" in source, name
        assert name == "_sigcont_application" or name in inspect.getsource(go_on_cleanly)


def test_a_fault_of_our_own_ends_the_app_by_these() -> None:
    source = inspect.getsource(App)
    for name in ("_exception", "_exception_event", "_exit_renderables", "_return_code"):
        assert f"self.{name}" in source, name
    assert callable(App._handle_exception)
    assert callable(App._close_messages_no_wait)


def test_content_is_no_markup_and_from_markup_leaves_it_alone() -> None:
    said = Content("[@click=app.quit]x[/nope]")
    assert Content.from_markup(said) is said
    assert str(said) == "[@click=app.quit]x[/nope]"


def test_a_screen_under_a_dialog_is_still_current() -> None:
    assert "_background_screens" in inspect.getsource(Screen.is_current.fget)  # type: ignore[attr-defined]
