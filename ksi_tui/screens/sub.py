"""What every screen but the overview shares: breadcrumbs, a body, the footer, too small.

The body is the subclass's; so are its keys' meanings.
"""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult

from ksi_tui.screens import empty
from ksi_tui.screens.deeds import ActingScreen
from ksi_tui.screens.host import looks_only
from ksi_tui.screens.layouts import Layout, layout_for
from ksi_tui.widgets import header
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.spans import Line, Span, Tone, line


class SubScreen(ActingScreen):
    """A full screen that was opened from another.

    A subclass yields its widgets in `compose_body`, arranges them in `place`, shows them
    in `show_body`, and reads the engine in `read`. `frozen` holds its picture still.
    """

    at: float | None = None
    """The moment that is shown, in epoch seconds; None before anything was read."""
    frozen = False
    fits: Layout = Layout.PANES

    def compose(self) -> ComposeResult:
        yield Bar(id="small")
        yield Bar(id="crumbs")
        yield Bar(id="banner")
        yield from self.compose_body()
        yield Bar(id="hidden")
        yield Bar(id="footer")

    def compose_body(self) -> ComposeResult:
        """Yield what stands between breadcrumbs and footer."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self._fit()
        self.tick()

    def on_resize(self, _event: events.Resize) -> None:
        self._fit()
        self.call_after_refresh(self.show)

    def _fit(self) -> None:
        width, height = self.app.size
        self.fits = layout_for(width, height)
        self.set_class(self.fits is Layout.SMALL, "small")
        self.set_class(self.fits is not Layout.PANES, "tabs")
        self.query_one("#small", Bar).show(*empty.too_small(width, height))
        self.place()
        if self.focused is None and self.fits is not Layout.SMALL:
            self.call_after_refresh(self._give_keys)

    def _give_keys(self) -> None:
        """Give the keys to a pane again after a size at which none could be shown."""
        panes = [pane for pane in self.query(Pane) if pane.focusable and pane.region.height]
        if self.focused is None and panes:
            wanted = (pane for pane in panes if f"#{pane.id}" == self.AUTO_FOCUS)
            self.set_focus(next(wanted, panes[0]))

    def place(self) -> None:
        """Show and hide widgets as `fits` says."""

    def tick(self) -> None:
        """Read the engine and show it, unless frozen."""
        if self.client is not None and not self.frozen:
            self.read()
        self.show()

    def read(self) -> None:
        """Take from the engine what is shown; never waits."""
        raise NotImplementedError

    def show(self) -> None:
        """Show what was read."""
        if not self.stands or not self.size.width:
            return
        self._show_crumbs()
        self.show_body()
        self.show_footer()

    def show_body(self) -> None:
        """Show the subclass's widgets."""
        raise NotImplementedError

    def _show_crumbs(self) -> None:
        note = "frozen, f goes on" if self.frozen else ""
        if self.host.stale_s is not None and not self.frozen:
            note = f"STALE {header.stale_text(self.host.stale_s)}"
        note = f"{looks_only(self.host, long=self.size.width >= 120)}  {note}".strip()
        shown = header.crumbs_line(
            self.host.display_name, self.crumbs(), self.at, self.size.width, note
        )
        self.query_one("#crumbs", Bar).show(shown)

    def show_hidden(self, text: str) -> None:
        """Say above the footer what the hidden columns of the chosen row hold; clean text only."""
        self.query_one("#hidden", Bar).show(line(Span(f" {text}", Tone.DIM)) if text else Line())

    def action_freeze(self) -> None:
        """Hold the picture, or let it go on."""
        self.frozen = not self.frozen
        self.tick()
