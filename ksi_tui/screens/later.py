"""Makes the screens that the first frame does without; each is imported when first opened.

Measured: their input widgets and the editor cost a third of a bare app's first frame.
"""
# ruff: noqa: PLC0415 - late imports are this module's whole purpose

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksi_tui.actions import Where
    from ksi_tui.engine.views import LockView
    from ksi_tui.screens.add_provider import AddProvider
    from ksi_tui.screens.base import Target
    from ksi_tui.screens.cancel import CancelDialog
    from ksi_tui.screens.ending import Work
    from ksi_tui.screens.force import ForceDialog
    from ksi_tui.screens.help import HelpScreen
    from ksi_tui.screens.quit import QuitDialog
    from ksi_tui.screens.receipt import Receipt, Stopped
    from ksi_tui.screens.request import RequestScreen
    from ksi_tui.screens.submit import SubmitScreen


def add_provider(config_hint: str) -> AddProvider:
    """Return the text on adding a provider."""
    from ksi_tui.screens.add_provider import AddProvider

    return AddProvider(config_hint)


def cancel_dialog(target: Target) -> CancelDialog:
    """Return the confirmation of a cancel."""
    from ksi_tui.screens.cancel import CancelDialog

    return CancelDialog(target)


def force_dialog(lock: LockView) -> ForceDialog:
    """Return the confirmation of forcing a lock."""
    from ksi_tui.screens.force import ForceDialog

    return ForceDialog(lock)


def help_screen(where: Where) -> HelpScreen:
    """Return the list of keys."""
    from ksi_tui.screens.help import HelpScreen

    return HelpScreen(where)


def quit_dialog(work: Work) -> QuitDialog:
    """Return the question what becomes of the work."""
    from ksi_tui.screens.quit import QuitDialog

    return QuitDialog(work)


def receipt(stopped: Stopped) -> Receipt:
    """Return the receipt of a cancel."""
    from ksi_tui.screens.receipt import Receipt

    return Receipt(stopped)


def request_screen(request_id: str) -> RequestScreen:
    """Return the screen of one request."""
    from ksi_tui.screens.request import RequestScreen

    return RequestScreen(request_id)


def submit_form() -> SubmitScreen:
    """Return the form for a prompt."""
    from ksi_tui.screens.submit import SubmitScreen

    return SubmitScreen()
