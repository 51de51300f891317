"""Every key that a dialog's own line of hints shows does what it says, over a real engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from ksi_tui.actions import Where
from ksi_tui.app import KsiApp
from ksi_tui.past_prompts import PastPrompt
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.compare_setup import CompareSetup
from ksi_tui.screens.dialog import Choice, Dialog
from ksi_tui.screens.dialogs.elsewhere import Picker
from ksi_tui.screens.dialogs.undo import UndoDialog
from ksi_tui.screens.fields import Prompt
from ksi_tui.screens.requests import RequestsScreen
from ksi_tui.widgets.filter_bar import FilterInput
from ksi_tui.widgets.table import LiveTable
from tests.ui.every_key import Walk, client_of, ends, walk
from tests.ui.harness import SMALL
from tests.ui.key_effects import DEAD, HELD, RUNS, At
from tests.ui.test_every_key import hints_of

Effect = Callable[[Walk], Awaitable[None]]
Steps = Sequence[str | At | Effect]
"""Keys, rows to put the cursor on, and what else is done, until the dialog is there."""


def dialog(walk: Walk) -> Dialog[Any]:
    assert isinstance(walk.top, Dialog)
    return walk.top


async def ready(walk: Walk) -> None:
    """Wait until an enter would count as meant."""
    guard = dialog(walk)._guard
    assert guard is not None
    await walk.hand.until(lambda: walk.hand.app.clock() - guard._quiet_since > 0.45)


def closes(key: str) -> Effect:
    async def effect(walk: Walk) -> None:
        was = walk.top
        if key == "enter":
            dialog(walk).query_one("#keep").focus()
            await ready(walk)
        await walk.hand.press(key)
        await walk.hand.until(lambda: walk.top is not was, f"{key} closes")

    return effect


async def next_field(walk: Walk) -> None:
    before = walk.top.focused
    await walk.hand.press("tab")
    assert walk.top.focused not in (None, before)


async def other_button(walk: Walk) -> None:
    dialog(walk).query_one("#keep").focus()
    await walk.hand.press("right")
    assert walk.top.focused is walk.top.query_one("#act")
    await walk.hand.press("left")
    assert walk.top.focused is walk.top.query_one("#keep")
    for choice in walk.top.query(Choice):
        choice.focus()
        at, many = choice.index, len(choice._options)
        await walk.hand.press("right")
        assert choice.index != at or many == 1
        await walk.hand.press("left")
        assert choice.index == at


async def other_line(walk: Walk) -> None:
    picker = walk.top.query_one(Picker)
    await walk.hand.until(lambda: picker.size.height > 1, "the candidates")
    picker.focus()
    steps: list[int] = []
    taken = picker.post_message

    def post_message(message: Message) -> bool:
        steps.extend([message.step] if isinstance(message, Picker.Stepped) else [])
        return taken(message)

    picker.post_message = post_message  # type: ignore[method-assign]
    await walk.hand.press("down", "up")
    await walk.hand.until(lambda: steps == [1, -1], "another is chosen, as far as there is one")


def shows(key: str, *texts: str) -> Effect:
    async def effect(walk: Walk) -> None:
        await walk.hand.press(key)
        await walk.hand.sees(*texts)

    return effect


async def undo_follows(walk: Walk) -> None:
    await walk.hand.press("u")
    await walk.hand.until(lambda: isinstance(walk.top, UndoDialog), "undo is asked")


async def texts(walk: Walk) -> None:
    await ready(walk)
    await shows("enter", "no text had arrived of any of them")(walk)


async def stop_one(walk: Walk) -> None:
    """Stop one that runs, so that its receipt is there."""
    data = {"prompt": "x", "model": "sim/hang"}
    reply = await client_of(walk.hand).emit("completion:async", data)
    await ends(walk.hand, reply["request_id"], "processing")
    await walk.cursor("active", reply["request_id"])
    await walk.hand.press("c")
    await walk.hand.until(lambda: walk.hand.app.focused is walk.top.query_one("#keep"))
    await walk.hand.sees("[ Stop ")
    await walk.hand.press("tab")
    await ready(walk)
    await walk.hand.press("enter")
    await walk.hand.sees("1 of 1 stopped")


def ends_by(key: str, answer: str) -> Effect:
    async def effect(walk: Walk) -> None:
        await ready(walk)
        with mock.patch.object(KsiApp, "_end", mock.AsyncMock()) as end:
            await walk.hand.press(key)
            await walk.hand.until(lambda: end.called, f"{key} ends")
        end.assert_called_once_with(answer)

    return effect


async def new_line(walk: Walk) -> None:
    field = walk.top.query_one("#prompt", Prompt)
    await walk.hand.press("a", "ctrl+j", "b")
    assert field.text == "a\nb"


async def earlier(walk: Walk) -> None:
    walk.hand.app.past.add(PastPrompt(prompt="asked before"))
    field = walk.top.query_one("#prompt", Prompt)
    await walk.hand.press("ctrl+up")
    await walk.hand.until(lambda: field.text == "asked before", "the prompt before")


async def looks(walk: Walk) -> None:
    await walk.hand.press("ctrl+o")
    await walk.hand.until(lambda: walk.top.focused is walk.top.query_one("#preview"))
    await walk.hand.press("ctrl+o")
    await walk.hand.until(lambda: walk.top.focused is walk.top.query_one("#prompt"))


async def edits_outside(walk: Walk) -> None:
    edited = mock.AsyncMock(return_value=mock.Mock(text="changed outside", said=""))
    field = walk.top.query_one("#prompt", Prompt)
    with mock.patch("ksi_tui.screens.submit.edit_outside", edited):
        await walk.hand.press("ctrl+g")
        await walk.hand.until(lambda: field.text == "changed outside", "the editor's text")


async def compares(walk: Walk) -> None:
    await walk.hand.type("x")
    await walk.hand.press("ctrl+t")
    await walk.hand.until(lambda: isinstance(walk.top, CompareSetup), "the choice of models")


async def chooses_model(walk: Walk) -> None:
    assert walk.top.focused is walk.top.query_one("#model-2 PickInput")
    await walk.hand.sees("sim/echo")
    await walk.hand.press("down")
    await walk.hand.sees("► ")
    await walk.hand.press("enter")
    field = walk.top.query_one("#model-2 PickInput", Input)
    await walk.hand.until(lambda: field.value, "a model is taken")


async def moves(walk: Walk) -> None:
    table = walk.top.query_one("#orders", LiveTable)
    await walk.hand.until(lambda: table.total, "columns")
    first = table.cursor_key
    await walk.hand.press("j")
    assert table.cursor_key != first
    await walk.hand.press("k")
    assert table.cursor_key == first


async def orders(walk: Walk) -> None:
    table = walk.top.query_one("#orders", LiveTable)
    await walk.hand.until(lambda: table.cursor_key, "columns")
    await walk.hand.press("enter")
    await walk.hand.until(lambda: isinstance(walk.top, RequestsScreen), "the ordered list")


def copies(key: str) -> Effect:
    async def effect(walk: Walk) -> None:
        await walk.hand.press(key)
        screen = walk.top
        assert isinstance(screen, KsiScreen)
        said = "characters: "
        await walk.hand.until(lambda: screen._said is not None and said in screen._said.text)

    return effect


async def keeps_filter(walk: Walk) -> None:
    await walk.hand.type("r-d")
    await walk.hand.press("enter")
    await walk.hand.until(lambda: isinstance(walk.top, RequestsScreen), "the list")
    await walk.hand.sees("filter: r-d")


async def completes(walk: Walk) -> None:
    await walk.hand.type("sess")
    await walk.hand.sees("tab session:")
    await walk.hand.press("tab")
    await walk.hand.until(lambda: walk.top.query_one(FilterInput).value == "session:")


async def recalls(walk: Walk) -> None:
    walk.hand.app.filters.used("status:failed")
    await walk.hand.press("up")
    await walk.hand.until(lambda: walk.top.query_one(FilterInput).value == "status:failed")
    await walk.hand.press("down")
    await walk.hand.until(lambda: walk.top.query_one(FilterInput).value == "")


async def saves(walk: Walk) -> None:
    await walk.hand.type("status:failed")
    await walk.hand.press("ctrl+s")
    await walk.hand.sees("save as @")
    await walk.hand.type("bad")
    await walk.hand.press("enter")
    await walk.hand.sees("@bad recalls it")


async def by_name(walk: Walk) -> None:
    walk.hand.app.filters.save("broken", "status:failed")
    await walk.hand.type("@broken")
    await walk.hand.press("enter")
    await walk.hand.until(lambda: isinstance(walk.top, RequestsScreen), "the list")
    await walk.hand.sees("r-broke")


async def leaves_bar(walk: Walk) -> None:
    await walk.hand.press("escape")
    await walk.hand.sees_no("esc leave")


async def sends_nothing(walk: Walk) -> None:
    await shows("enter", "the prompt is empty")(walk)


async def sends_one(walk: Walk) -> None:
    await shows("enter", "a comparison needs two different models")(walk)


async def other_choice(walk: Walk) -> None:
    for choice in walk.top.query(Choice):
        choice.focus()
        at = choice.index
        await walk.hand.press("right" if at == 0 else "left")
        assert choice.index != at


async def its_record_is_read(walk: Walk) -> None:
    await walk.hand.sees("attempt 1")


async def asks_for_bundle(walk: Walk) -> None:
    await walk.hand.app.run_action("save_bundle")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A dialog: how it is opened from the overview, its hints, and what each must do."""

    opens: Steps
    hints: str
    effects: dict[str, Effect]


CONFIRM = {
    "tab": next_field,
    "left/right": other_button,
    "enter": closes("enter"),
    "esc": closes("escape"),
}
CASES = {
    "cancel": Case(
        opens=(RUNS, "c"),
        hints="tab next  left/right choose  enter press  esc keep running",
        effects=CONFIRM,
    ),
    "elsewhere": Case(
        opens=(RUNS, "n"),
        hints="tab next  up/down choose  enter press  esc leave it",
        effects={
            "tab": next_field,
            "up/down": other_line,
            "enter": CONFIRM["enter"],
            "esc": CONFIRM["esc"],
        },
    ),
    **{
        name: Case(
            opens=opens,
            hints="tab next  left/right choose  enter press  esc leave it",
            effects=CONFIRM,
        )
        for name, opens in {
            "pause": (HELD, "p"),
            "circuit": (DEAD, "B"),
            "lock": (("locks", "s-held"), "F"),
        }.items()
    },
    "receipt": Case(
        opens=(stop_one,),
        hints="u undo  y copy  enter partial text  esc close",
        effects={
            "u": undo_follows,
            "y": shows("y", "as plain sentences: "),
            "enter": texts,
            "esc": closes("escape"),
        },
    ),
    "quit": Case(
        opens=("q",),
        hints="",
        effects={
            "d": ends_by("d", "drain"),
            "l": ends_by("l", "leave"),
            "c": ends_by("c", "cancel"),
            "esc": closes("escape"),
        },
    ),
    "submit": Case(
        opens=("s",),
        hints="enter send  ^j line  ^up past  ^o look  ^g edit  ^t compare  esc close",
        effects={
            "enter": sends_nothing,
            "^j": new_line,
            "^up": earlier,
            "^o": looks,
            "^g": edits_outside,
            "^t": compares,
            "esc": closes("escape"),
        },
    ),
    "side by side": Case(
        opens=(RUNS, "d"),
        hints="enter send  tab next  up/down choose  esc send nothing",
        effects={
            "enter": sends_one,
            "tab": next_field,
            "up/down": chooses_model,
            "esc": closes("escape"),
        },
    ),
    "order": Case(
        opens=(RUNS, "o"),
        hints="j/k choose  enter order  esc back",
        effects={"j/k": moves, "enter": orders, "esc": closes("escape")},
    ),
    "copy": Case(
        opens=(RUNS, "enter", its_record_is_read, "y"),
        hints="i id  c command  l timeline in words  esc nothing",
        effects={
            "i": copies("i"),
            "c": copies("c"),
            "l": copies("l"),
            "esc": closes("escape"),
        },
    ),
    "filter": Case(
        opens=("slash",),
        hints="enter keep  esc leave  tab complete  up/down history  ctrl+s save  @name recall",
        effects={
            "enter": keeps_filter,
            "esc": leaves_bar,
            "tab": completes,
            "up/down": recalls,
            "ctrl+s": saves,
            "@name": by_name,
        },
    ),
    "save bundle": Case(
        opens=(asks_for_bundle,),
        hints="tab next  left/right choose  enter press",
        effects={"tab": next_field, "left/right": other_choice, "enter": closes("enter")},
    ),
    "help": Case(
        opens=("question_mark",),
        hints="esc back  type search  up/down scroll  tab every screen's",
        effects={
            "esc": closes("escape"),
            "type": shows("z", "search: z_"),
            "tab": shows("tab", "Every key of every screen"),
            "up/down": shows("down", "Every key of: overview"),
        },
    ),
}


async def open_it(walking: Walk, steps: Steps) -> Screen[Any]:
    for step in steps:
        if isinstance(step, str):
            await walking.hand.press(step)
            await walking.hand.pilot.pause()
        elif isinstance(step, tuple):
            await walking.cursor(*step)
        else:
            await step(walking)
    return walking.top


@pytest.mark.parametrize("name", CASES)
async def test_every_key_of_a_dialog_does_what_its_line_says(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    said = {key for key, _ in hints_of(case.hints)} or set(case.effects)
    assert set(case.effects) == said
    async with walk(tmp_path, Where.OVERVIEW, SMALL) as walking:
        for effect in case.effects.values():
            await open_it(walking, case.opens)
            await walking.hand.sees(case.hints)
            await effect(walking)
            await walking.home()
            if walking.screen.query(FilterInput):
                await leaves_bar(walking)
            walking.hand.app.draft = None
