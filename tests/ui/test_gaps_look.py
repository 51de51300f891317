"""What stays true on the screen while the theme, the text or the room change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.style import Style
from textual.app import App, ComposeResult

from ksi_tui.commands.progress import Bar as ProgressBar
from ksi_tui.engine.views import TokenRow, TokenView
from ksi_tui.widgets import rows
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.spans import Span, line
from ksi_tui.widgets.table import Column, LiveTable, Row
from ksi_tui.widgets.tokens import totals_lines
from tests.ui.harness import Hand, dashboard
from tests.ui.scripted import ScriptedClient, active, busy, first_start


def styles(hand: Hand) -> set[Style | None]:
    strip = hand.app.screen.query_one("#verdict", Bar).render_line(0)
    return {segment.style for segment in strip if segment.text.strip()}


async def test_a_new_theme_recolours_what_already_stands() -> None:
    async with dashboard(ScriptedClient(busy())) as hand:
        await hand.sees("DEGRADED")
        await hand.press("f")
        dark = styles(hand)
        hand.app.theme = "ksi-light"
        await hand.pilot.pause()
        assert not dark & styles(hand)


class Following(App[None]):
    """A pane that follows its end."""

    def compose(self) -> ComposeResult:
        yield TextPane("Answer", id="answer", follow=True)


async def test_a_following_pane_stays_where_one_scrolled_up_to() -> None:
    async with Following().run_test(size=(40, 12)) as pilot:
        pane = pilot.app.query_one(TextPane)
        text = [line(f"line {number}") for number in range(60)]
        pane.show(text[:40])
        assert pane.scroll_y == pane.max_scroll_y > 0
        pane.scroll_line(5)
        pane.show(text[:50])
        assert pane.scroll_y == 5
        pane.scroll_line(10**6)
        pane.show(text)
        assert pane.scroll_y == pane.max_scroll_y


class Listing(App[None]):
    """A table that says when it needs other rows."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def compose(self) -> ComposeResult:
        yield LiveTable("Rows", (Column(name="NAME", width=0),), id="rows")

    def on_live_table_window_moved(self, event: LiveTable.WindowMoved) -> None:
        self.asked.append(int(event.table.scroll_y))


async def test_scrolling_past_the_rows_at_hand_asks_for_others_at_once() -> None:
    app = Listing()
    async with app.run_test(size=(40, 12)) as pilot:
        table = app.query_one(LiveTable)
        table.set_rows([Row(key=f"{n}", cells=(Span(f"{n}"),)) for n in range(30)], total=100)
        table.scroll_line(10)
        await pilot.pause()
        assert app.asked == []
        table.scroll_line(50)
        await pilot.pause()
        assert app.asked == [50]


def test_what_the_columns_have_no_room_for_is_said_of_the_row_under_the_cursor() -> None:
    shown = frozenset(column.name for column in rows.ACTIVE)
    again = active("r-1", attempt=2, max_attempts=3)
    assert rows.active_hidden(again, shown) == "r-1: attempt 2 of 3"
    first = active("r-1", attempt=1, provider="openai")
    assert rows.active_hidden(first, shown) == ""
    assert rows.active_hidden(first, shown - {"PROVIDER"}) == "r-1: at openai"


def test_providers_without_a_line_of_their_own_are_counted() -> None:
    each = tuple(
        TokenRow(
            provider=f"p{number}",
            input=100 - number,
            output=0,
            cache_share=None,
            cost=0.0,
            unpriced=0,
            estimated=False,
        )
        for number in range(5)
    )
    view = TokenView(
        trend=(), step_s=1.0, rows=each, waste_tokens=0, waste_share=None, waste_cost=None
    )
    shown = [shown.text.split("  ")[0] for shown in totals_lines(view, 5)]
    assert shown == ["TODAY", "p0", "p1", "and 3 more", "waste none"]
    assert [shown.text[:2] for shown in totals_lines(view, 7)][1:-1] == [
        "p0",
        "p1",
        "p2",
        "p3",
        "p4",
    ]


def test_estimated_counts_carry_a_sign() -> None:
    row = TokenRow(
        provider="p",
        input=100,
        output=20,
        cache_share=None,
        cost=0.0,
        unpriced=0,
        estimated=True,
    )
    view = TokenView(
        trend=(), step_s=1.0, rows=(row,), waste_tokens=0, waste_share=None, waste_cost=None
    )
    assert totals_lines(view, 5)[1].text.split()[:3] == ["p", "~100", "~20"]


async def test_how_to_add_a_provider_names_the_users_own_file() -> None:
    async with dashboard(ScriptedClient(first_start())) as hand:
        hand.app.config_hint = "/home/op/.config/ksi-tui.toml"
        await hand.press("K")
        await hand.sees("How to add a provider", "/home/op/.config/ksi-tui.toml")


@pytest.fixture
def bar() -> Iterator[ProgressBar]:
    made = ProgressBar()
    yield made
    made.stop()


def test_the_progress_bar_counts_and_its_note_cannot_act_on_a_terminal(bar: ProgressBar) -> None:
    bar.show(done=3, total=7, note="degraded: openai \x1b]0;x\x07 open")
    (task,) = bar._progress.tasks
    assert (task.completed, task.total) == (3, 7)
    assert task.description == "degraded: openai ]0;x open"
