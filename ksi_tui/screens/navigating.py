"""Going from one screen to another; what is opened is known by its id, not by its row."""

from __future__ import annotations

from textual.screen import Screen

from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.widgets.spans import Tone


class NavigatingScreen(KsiScreen):
    """A full screen from which the others are reached."""

    def go(self, screen: Screen[None]) -> None:
        """Open a screen above this one; escape comes back."""
        self.app.push_screen(screen)

    def action_back(self) -> None:
        """Return to where this was opened."""
        self.leave()

    def action_requests(self) -> None:
        """Open the list of all requests."""
        self.go(later.requests_screen())

    def action_failed(self) -> None:
        """Open the list of what failed."""
        self.go(later.failed_screen())

    def action_usage(self) -> None:
        """Open tokens, cost and waste."""
        self.go(later.usage_screen())

    def action_events(self) -> None:
        """Open the live log."""
        self.go(later.events_screen())

    def action_why(self) -> None:
        """Open the chain of causes of what the cursor is on."""
        target = self.target()
        if target is None or target.request_id is None:
            self.say("why needs a request under the cursor", Tone.WARN)
            return
        self.go(later.why_screen(target.request_id))

    def action_open(self) -> None:
        """Open what the cursor is on."""
        target = self.target()
        if target is None:
            self.say("nothing is under the cursor", Tone.WARN)
        elif target.request_id is not None:
            self.open_request(target.request_id)
        elif target.session_id is not None:
            self.open_session(target.session_id)
        elif target.provider is not None:
            self.open_provider(target.provider)

    def open_request(self, request_id: str) -> None:
        """Show one request."""
        self.go(later.request_screen(request_id))

    def open_session(self, session_id: str) -> None:
        """Show one session."""
        self.go(later.session_screen(session_id))

    def open_provider(self, provider: str) -> None:
        """Show one provider."""
        self.go(later.provider_screen(provider))
