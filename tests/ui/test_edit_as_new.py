"""A request is changed and sent as new: from the form, and from one's own editor."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import SuspendNotSupported

from ksi_tui.app import KsiApp
from ksi_tui.screens.fields import Prompt
from ksi_tui.screens.outside import edit_outside, editor_command
from ksi_tui.screens.submit import SubmitScreen
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
REPORT: dict[str, Any] = {
    "request_id": "r-1042",
    "session_id": "globex-7",
    "agent_id": "a12",
    "status": "completed",
    "requested_model": "gpt-4o",
    "prompt": "why did it double?",
    "system": "be short",
    "priority": "high",
    "history": "session",
    "params": {"temperature": 0.2},
    "metadata": {"customer": "globex"},
}


def engine(**changes: Any) -> ScriptedClient:
    return ScriptedClient(
        busy(),
        {
            "completion:request_status": REPORT | changes,
            "completion:async": {"request_id": "r-2000", "session_id": "globex-7"},
        },
    )


async def form(hand: Hand, title: str = "Edit and send as new") -> SubmitScreen:
    await hand.sees(title)
    screen = hand.app.screen
    assert isinstance(screen, SubmitScreen)
    return screen


@BOTH
async def test_e_opens_the_form_with_all_of_it_and_sends_it_as_new(size: tuple[int, int]) -> None:
    client = engine()
    async with dashboard(client, size) as hand:
        await hand.press("e")
        await form(hand)
        await hand.sees("why did it double?", "be short", "gpt-4o", "globex-7", "(•) high")
        await hand.press("end", "backspace", "!", "enter")
        await hand.sees("r-2000")
        assert client.sent("completion:async") == [
            {
                "prompt": "why did it double!",
                "system": "be short",
                "model": "gpt-4o",
                "session_id": "globex-7",
                "agent_id": "a12",
                "priority": "high",
                "temperature": 0.2,
                "metadata": {"customer": "globex"},
            }
        ]


async def test_an_own_draft_survives_an_edit_of_another() -> None:
    async with dashboard(engine()) as hand:
        await hand.press("s")
        await form(hand, "Submit a prompt")
        await hand.type("mine")
        await hand.press("escape")
        await hand.press("e")
        await hand.sees("why did it double?")
        await hand.press("enter")
        await hand.sees("r-2000")
        await hand.press("escape", "s")
        await hand.sees("mine")


async def test_a_refused_record_is_said() -> None:
    client = engine()
    client.replies["completion:request_status"] = {"error": "no request", "code": "not_found"}
    async with dashboard(client) as hand:
        await hand.press("e")
        await hand.sees("edit: no request")


async def test_a_prompt_that_may_not_be_shown_is_not_edited() -> None:
    async with dashboard(engine(), text="never") as hand:
        await hand.press("e")
        await hand.sees('ui.text is "never"')
        await hand.press("E")
        await hand.sees('ui.text is "never"')


async def test_hostile_text_in_an_old_prompt_is_plain_in_the_form() -> None:
    async with dashboard(engine(prompt="a\x1b]52;c;x\x07b\x9bc\ud800d"), WIDE) as hand:
        await hand.press("e")
        screen = await form(hand)
        prompt = screen.query_one("#prompt", Prompt)
        assert "\x1b" not in prompt.text
        assert not {"\x1b", "\x07", "\x9b"} & set(hand.screen)


# --- the user's own editor --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"VISUAL": "code --wait", "EDITOR": "vi"}, ["code", "--wait"]),
        ({"VISUAL": " ", "EDITOR": "'/my vim' -n"}, ["/my vim", "-n"]),
    ],
)
def test_visual_goes_before_editor(environ: dict[str, str], command: list[str]) -> None:
    assert editor_command(environ) == command


@pytest.mark.parametrize(
    ("environ", "said"), [({}, "neither"), ({"EDITOR": "vi 'x"}, "EDITOR cannot be read")]
)
def test_an_editor_that_is_none_is_said(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        editor_command(environ)


@contextmanager
def suspending(monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[list[str]]:
    """Let the app hand over a terminal that is none, to a script in Python."""
    handed: list[str] = []

    @contextmanager
    def suspend(app: KsiApp) -> Iterator[None]:
        assert app.handed_over
        handed.append("suspended")
        yield
        handed.append("resumed")

    monkeypatch.setattr(KsiApp, "suspend", suspend)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c '{script}'")
    yield handed


CHANGE = (
    "import sys, os; p = sys.argv[1]; t = open(p).read(); mode = oct(os.stat(p).st_mode)[-3:];"
    ' open(p, "w").write(t.replace("double", "halve") + mode + "\\n")'
)


async def test_the_changed_text_comes_back_and_the_file_is_private_and_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with suspending(monkeypatch, CHANGE) as handed:
        async with dashboard(engine()) as hand:
            await hand.press("E")
            screen = await form(hand)
            assert screen.query_one("#prompt", Prompt).text == "why did it halve?600"
            assert handed == ["suspended", "resumed"]
            assert not hand.app.handed_over
            assert os.listdir(tmp_path) == []


def waiting(gate: Path, more: str) -> str:
    """Return an editor that waits until somebody writes to the gate."""
    os.mkfifo(gate, stat.S_IRUSR | stat.S_IWUSR)
    return f'import sys; open("{gate}").read(); open(sys.argv[1], "a").write("{more}")'


async def test_the_engine_goes_on_and_nothing_is_painted_while_the_editor_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with suspending(monkeypatch, waiting(gate, " and why")):
        async with dashboard(engine()) as hand:
            ticks: list[bool] = []
            shown = hand.app.screen.tick  # type: ignore[attr-defined]

            def tick() -> None:
                ticks.append(hand.app.handed_over)
                shown()

            monkeypatch.setattr(hand.app.screen, "tick", tick)
            await hand.until(lambda: ticks, "the overview is painted before")
            await hand.press("E")
            await hand.until(lambda: hand.app.handed_over)
            done = asyncio.Event()
            hand.app.set_timer(5 / hand.app.ui.refresh_hz, done.set)
            await done.wait()  # the loop is free while the editor is up
            assert not any(ticks)
            await asyncio.to_thread(gate.write_text, "")
            screen = await form(hand)
            assert screen.query_one("#prompt", Prompt).text == "why did it double? and why"


async def test_the_form_has_the_editor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with suspending(monkeypatch, 'import sys; open(sys.argv[1], "a").write(" and why")'):
        async with dashboard(engine()) as hand:
            await hand.press("s")
            screen = await form(hand, "Submit a prompt")
            await hand.type("how")
            await hand.press("ctrl+g")
            await hand.until(lambda: screen.query_one("#prompt", Prompt).text == "how and why")


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        (f"{sys.executable} -c 'raise SystemExit(3)'", "ended with 3; the text is as it was"),
        ("/no/such/editor", "cannot be started: No such file"),
        ("", "neither $VISUAL nor $EDITOR is set"),
        (f'{sys.executable} -c \'import sys; open(sys.argv[1], "wb").write(b"\\xff")\'', "read"),
    ],
    ids=["fails", "missing", "none", "binary"],
)
async def test_what_goes_wrong_is_said_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, editor: str, said: str
) -> None:
    with suspending(monkeypatch, "pass"):
        monkeypatch.setenv("EDITOR", editor)
        async with dashboard(engine()) as hand:
            await hand.press("s")
            screen = await form(hand, "Submit a prompt")
            await hand.type("precious")
            await hand.press("ctrl+g")
            await hand.sees("! ", said)
            assert screen.query_one("#prompt", Prompt).text == "precious"
            assert not hand.app.handed_over


async def test_a_terminal_that_cannot_be_handed_over_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISUAL", "true")
    async with dashboard(engine()) as hand:
        with pytest.raises(SuspendNotSupported), hand.app.suspend():
            pass
        edited = await edit_outside(hand.app, "x")
        assert edited.text is None
        assert "cannot be handed" in edited.said
