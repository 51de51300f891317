"""Makes the screens that the first frame does without; each is imported when first opened.

Measured: their input widgets and the editor cost a third of a bare app's first frame.
"""
# ruff: noqa: PLC0415 - late imports are this module's whole purpose

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import App
    from textual.command import Provider

    from ksi_tui.actions import Where
    from ksi_tui.elsewhere import Elsewhere
    from ksi_tui.screens.add_provider import AddProvider
    from ksi_tui.screens.base import Target
    from ksi_tui.screens.compare import CompareScreen
    from ksi_tui.screens.compare_setup import CompareSetup
    from ksi_tui.screens.comparison import Plan
    from ksi_tui.screens.dialogs.attach import AttachOffer
    from ksi_tui.screens.dialogs.cancel import CancelDialog
    from ksi_tui.screens.dialogs.circuit import CircuitDialog
    from ksi_tui.screens.dialogs.elsewhere import ElsewhereDialog
    from ksi_tui.screens.dialogs.lock import LockDialog
    from ksi_tui.screens.dialogs.pause import PauseDialog
    from ksi_tui.screens.dialogs.receipt import ReceiptPage
    from ksi_tui.screens.dialogs.retry import RetryDialog
    from ksi_tui.screens.dialogs.undo import UndoDialog
    from ksi_tui.screens.done import Deed, Receipt
    from ksi_tui.screens.draft import Draft
    from ksi_tui.screens.ending import Work
    from ksi_tui.screens.events import EventsScreen
    from ksi_tui.screens.help import HelpScreen
    from ksi_tui.screens.host import Host
    from ksi_tui.screens.order import OrderDialog
    from ksi_tui.screens.outside import Edited
    from ksi_tui.screens.palette import Palette
    from ksi_tui.screens.provider import ProviderScreen
    from ksi_tui.screens.quit import QuitDialog
    from ksi_tui.screens.request import RequestScreen
    from ksi_tui.screens.requests import FailedScreen, RequestsScreen
    from ksi_tui.screens.save_bundle import SaveBundle
    from ksi_tui.screens.session import SessionScreen
    from ksi_tui.screens.submit import SubmitScreen
    from ksi_tui.screens.usage import UsageScreen
    from ksi_tui.screens.why import WhyScreen
    from ksi_tui.widgets.filter_bar import Book, FilterBar, Names


def add_provider(config_hint: str) -> AddProvider:
    """Return the text on adding a provider."""
    from ksi_tui.screens.add_provider import AddProvider

    return AddProvider(config_hint)


def attach_offer(elsewhere: Elsewhere, owned: str) -> AttachOffer:
    """Return the offer to attach to the engine that has the database."""
    from ksi_tui.screens.dialogs.attach import AttachOffer

    return AttachOffer(elsewhere, owned)


def cancel_dialog(target: Target, marked: tuple[str, ...], matching: str | None) -> CancelDialog:
    """Return the confirmation of a cancel."""
    from ksi_tui.screens.dialogs.cancel import CancelDialog
    from ksi_tui.screens.dialogs.hits import Reach

    return CancelDialog(Reach.of(target, marked, matching))


def retry_dialog(target: Target, marked: tuple[str, ...], matching: str | None) -> RetryDialog:
    """Return the confirmation of a retry of several."""
    from ksi_tui.screens.dialogs.hits import Reach
    from ksi_tui.screens.dialogs.retry import RetryDialog

    return RetryDialog(Reach.of(target, marked, matching))


def note_retry(host: Host, reply: Mapping[str, Any]) -> bool:
    """Keep a retry for undo; return whether it can be taken back."""
    from ksi_tui.screens.dialogs.outcomes import outcomes
    from ksi_tui.screens.dialogs.retried import note_retry

    return note_retry(host.done, outcomes(reply.get("retried") or ())) is not None


def elsewhere_dialog(target: Target, model: str = "") -> ElsewhereDialog:
    """Return the choice of where a request goes on."""
    from ksi_tui.screens.dialogs.elsewhere import ElsewhereDialog

    return ElsewhereDialog(target, model)


def pause_dialog(target: Target | None) -> PauseDialog:
    """Return the confirmation of a pause or of its end."""
    from ksi_tui.screens.dialogs.pause import PauseDialog

    return PauseDialog(target)


def circuit_dialog(provider: str) -> CircuitDialog:
    """Return the choice of a forced circuit's state and time."""
    from ksi_tui.screens.dialogs.circuit import CircuitDialog

    return CircuitDialog(provider)


def lock_dialog(session_id: str) -> LockDialog:
    """Return the confirmation of forcing a lock."""
    from ksi_tui.screens.dialogs.lock import LockDialog

    return LockDialog(session_id)


def undo_dialog(deed: Deed) -> UndoDialog:
    """Return the confirmation of an undo."""
    from ksi_tui.screens.dialogs.undo import UndoDialog

    return UndoDialog(deed)


def help_screen(where: Where) -> HelpScreen:
    """Return the list of keys."""
    from ksi_tui.screens.help import HelpScreen

    return HelpScreen(where)


def quit_dialog(work: Work) -> QuitDialog:
    """Return the question what becomes of the work."""
    from ksi_tui.screens.quit import QuitDialog

    return QuitDialog(work)


def receipt_page(receipt: Receipt) -> ReceiptPage:
    """Return the page that shows a receipt."""
    from ksi_tui.screens.dialogs.receipt import ReceiptPage

    return ReceiptPage(receipt)


def request_screen(request_id: str) -> RequestScreen:
    """Return the screen of one request."""
    from ksi_tui.screens.request import RequestScreen

    return RequestScreen(request_id)


async def edit_outside(app: App[Any], text: str) -> Edited:
    """Let the user change a text in their own editor."""
    from ksi_tui.screens.outside import edit_outside

    return await edit_outside(app, text)


def compare_setup(draft: Draft) -> CompareSetup:
    """Return the choice of models for a comparison."""
    from ksi_tui.screens.compare_setup import CompareSetup

    return CompareSetup(draft)


def compare_screen(plan: Plan) -> CompareScreen:
    """Return the answers of several models side by side; showing it sends the requests."""
    from ksi_tui.screens.compare import CompareScreen

    return CompareScreen(plan)


def submit_form(draft: Draft | None = None) -> SubmitScreen:
    """Return the form for a prompt, filled with a draft or with what was kept."""
    from ksi_tui.screens.submit import SubmitScreen

    return SubmitScreen(draft)


def filter_bar(text: str, names: Names, book: Book) -> FilterBar:
    """Return the line to type a filter in."""
    from ksi_tui.widgets.filter_bar import FilterBar

    return FilterBar(text, names=names, book=book)


def order_dialog(columns: Sequence[str], now: tuple[str, bool] | None) -> OrderDialog:
    """Return the choice of a column to order by."""
    from ksi_tui.screens.order import OrderDialog

    return OrderDialog(columns, now)


def request_orders() -> OrderDialog:
    """Return the choice of a column of the list of all requests."""
    from ksi_tui.screens.order import OrderDialog
    from ksi_tui.widgets.request_rows import REQUESTS

    return OrderDialog([column.name for column in REQUESTS], None)


def next_order(name: str, now: tuple[str, bool] | None) -> tuple[str, bool]:
    """Return how rows stand when a column's head is clicked."""
    from ksi_tui.screens.order import next_order

    return next_order(name, now)


def requests_screen(filter_text: str = "", order: tuple[str, bool] | None = None) -> RequestsScreen:
    """Return the list of all requests, those that fit a filter, ordered by a column."""
    from ksi_tui.screens.requests import RequestsScreen

    return RequestsScreen(filter_text, order)


def failed_screen() -> FailedScreen:
    """Return the list of what failed."""
    from ksi_tui.screens.requests import FailedScreen

    return FailedScreen()


def why_screen(request_id: str) -> WhyScreen:
    """Return the chain of causes of one request."""
    from ksi_tui.screens.why import WhyScreen

    return WhyScreen(request_id)


def session_screen(session_id: str) -> SessionScreen:
    """Return the screen of one session."""
    from ksi_tui.screens.session import SessionScreen

    return SessionScreen(session_id)


def provider_screen(provider: str) -> ProviderScreen:
    """Return the screen of one provider."""
    from ksi_tui.screens.provider import ProviderScreen

    return ProviderScreen(provider)


def usage_screen() -> UsageScreen:
    """Return tokens, cost and waste."""
    from ksi_tui.screens.usage import UsageScreen

    return UsageScreen()


def events_screen(pattern: str = "*") -> EventsScreen:
    """Return the live log."""
    from ksi_tui.screens.events import EventsScreen

    return EventsScreen(pattern)


def save_bundle() -> SaveBundle:
    """Return the question what an incident bundle is to hold."""
    from ksi_tui.screens.save_bundle import SaveBundle

    return SaveBundle()


def palette() -> Palette:
    """Return the palette."""
    from ksi_tui.screens.palette import Palette

    return Palette()


def _sessions() -> type[Provider]:
    from ksi_tui.screens.palette import Sessions

    return Sessions


def _requests() -> type[Provider]:
    from ksi_tui.screens.palette import Requests

    return Requests


def _providers() -> type[Provider]:
    from ksi_tui.screens.palette import Providers

    return Providers


PALETTE = (_sessions, _requests, _providers)
"""What the palette finds beside actions, by name."""
