"""What one gets used to: help that is searched, the palette, copying, the signs of the verdict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ksi_tui import clipboard
from ksi_tui.actions import ACTIONS, Where
from ksi_tui.engine.states import Level, Verdict
from ksi_tui.screens.palette import Palette
from ksi_tui.screens.save_bundle import SaveBundle
from ksi_tui.signs import Signs
from ksi_tui.ui_settings import FirstUi
from tests.ui.harness import BOUND_S, SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, provider

HOSTILE = "\x1b]52;c;ZXZpbA==\x07[@click=app.quit]x[/nope]\u202e\x9b31m"
BOTH = [SMALL, WIDE]

# --- help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_help_is_about_the_screen_one_stands_on(size: tuple[int, int]) -> None:
    async with dashboard(ScriptedClient(busy()), size) as hand:
        await hand.press("question_mark")
        await hand.sees("Every key of: overview", "submit")
        await hand.type("pause")
        await hand.sees("search: pause_", "Pause, or let go on")
        await hand.sees_no("Write a prompt and send it")
        await hand.press("escape")
        await hand.sees("type to search", "Write a prompt and send it")
        await hand.press("escape")
        await hand.sees("Active")


async def test_help_does_not_name_what_works_elsewhere_until_it_is_asked_to() -> None:
    elsewhere = next(a for a in ACTIONS if a.where == (Where.REQUEST,))
    async with dashboard(ScriptedClient(busy()), (140, 90)) as hand:
        await hand.press("question_mark")
        await hand.sees("Every key of: overview")
        assert elsewhere.tooltip not in hand.screen
        await hand.press("tab")
        await hand.sees("Every key of every screen", elsewhere.tooltip)


async def test_help_ends_with_what_stays_true_of_the_engine() -> None:
    notice = f"listening on http://127.0.0.1:4000 for everybody on this machine{HOSTILE}"
    client = ScriptedClient(dataclasses.replace(busy(), notices=(notice,), attached=("op2",)))
    async with dashboard(client, SMALL) as hand:
        await hand.press("question_mark", "end")
        await hand.sees("This engine", "listening on http://127.0.0.1:4000", "attached: op2")


async def test_a_search_without_a_find_says_so_and_a_letter_taken_back_widens_it() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.press("question_mark")
        await hand.type("quitz")
        await hand.sees("No key does that here")
        await hand.press("backspace")
        await hand.sees("search: quit_", "Leave; with work in flight")
        await hand.press("escape", "question_mark")
        await hand.sees_no("type to search")


# --- the palette ----------------------------------------------------------------------------


def names(data: Mapping[str, Any]) -> dict[str, Any]:
    known = ["acme-42", "acme-17", HOSTILE]
    return {"names": [name for name in known if data["prefix"] in name]}


def found(data: Mapping[str, Any]) -> dict[str, Any]:
    row = {"request_id": "r-1042", "status": "failed", "session_id": "globex-7"}
    return {"requests": [row] if data["filter"] == 'id:"1042"' else [], "total": 1}


def findable() -> ScriptedClient:
    replies = {"completion:names": names, "completion:requests": found}
    return ScriptedClient(busy(), replies)


async def opened(hand: Hand, typed: str, wanted: str) -> None:
    await hand.press("ctrl+p")
    await hand.until(lambda: isinstance(hand.app.screen, Palette), "the palette")
    await hand.type(typed)
    await hand.sees(wanted)


@pytest.mark.parametrize(
    ("typed", "wanted", "then"),
    [
        ("acme-4", "acme-42  session", "overview > acme-42"),
        ("1042", "r-1042  failed of globex-7", "> r-1042"),
        ("anthr", "anthropic  provider, closed", "overview > anthropic"),
    ],
)
async def test_the_palette_opens_what_has_a_name(typed: str, wanted: str, then: str) -> None:
    async with dashboard(findable(), WIDE) as hand:
        await opened(hand, typed, wanted)
        await hand.press("enter")
        await hand.sees(then)


async def test_enter_takes_what_fits_what_was_typed_not_what_stood_there_before() -> None:
    async with dashboard(findable(), WIDE) as hand:
        await opened(hand, "", "Cancel")
        await hand.press(*"saveaninc", "enter")
        await hand.until(lambda: isinstance(hand.app.screen, SaveBundle), "the question opens")


async def test_what_only_a_recording_knows_is_not_offered_without_one() -> None:
    async with dashboard(findable(), WIDE) as hand:
        await opened(hand, "minute", "No matches found")


async def test_it_asks_for_a_few_only_and_shows_hostile_names_as_text() -> None:
    client = findable()
    async with dashboard(client, WIDE) as hand:
        await opened(hand, "click", "[@click=app.quit]x[/nope]31m")
        assert all(data["limit"] <= 8 for data in client.sent("completion:names"))
        assert all(data["limit"] <= 8 for data in client.sent("completion:requests"))
        assert "\x1b" not in hand.screen
        assert "\u202e" not in hand.screen


async def test_a_provider_with_a_hostile_name_is_found_as_text() -> None:
    client = findable()
    named = dataclasses.replace(provider("x"), name=HOSTILE)
    client.now = dataclasses.replace(client.now, providers=(named,))
    async with dashboard(client, WIDE) as hand:
        await opened(hand, "nope", "[@click=app.quit]x[/nope]31m")


# --- copying --------------------------------------------------------------------------------


def every(name: str) -> str:
    return f"/usr/bin/{name}"


@pytest.mark.parametrize(
    ("environ", "platform", "tools"),
    [
        ({"WAYLAND_DISPLAY": "w", "DISPLAY": ":0"}, "linux", ["wl-copy", "xclip", "xsel"]),
        ({"DISPLAY": ":0"}, "linux", ["xclip", "xsel"]),
        ({}, "linux", []),
        ({}, "darwin", ["pbcopy"]),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", []),
        ({"WSL_DISTRO_NAME": "u"}, "linux", ["clip.exe"]),
    ],
)
def test_the_tools_that_reach_the_users_own_clipboard(
    environ: dict[str, str], platform: str, tools: list[str]
) -> None:
    assert [tool[0] for tool in clipboard.tools(environ, platform=platform, which=every)] == tools
    assert clipboard.tools(environ, platform=platform, which=lambda _: None) == []


def tool(tmp_path: Path, code: str) -> tuple[str, ...]:
    file = tmp_path / "tool.py"
    file.write_text(code, encoding="utf-8")
    return (sys.executable, str(file))


async def test_a_tool_gets_the_text_on_stdin_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "LIMIT_S", BOUND_S)  # an interpreter is slow to start
    out = tmp_path / "copied"
    taker = tool(tmp_path, f"import sys; open({str(out)!r}, 'wb').write(sys.stdin.buffer.read())")
    offered: list[str] = []
    told = await clipboard.copy("a ✓\r\nb\x1b]52;c;x\x07\ud800\tc", [taker], offered.append)
    assert told == f"copied by {sys.executable}"
    assert out.read_text(encoding="utf-8") == "a ✓\nb]52;c;x\tc"
    assert offered == []


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import time; time.sleep(60)"])
async def test_a_tool_that_fails_or_hangs_is_followed_by_the_terminal(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "LIMIT_S", 0.2)
    offered: list[str] = []
    broken = [tool(tmp_path, code), ("no-such-tool-anywhere",)]
    told = await clipboard.copy("text", broken, offered.append)
    assert "OSC 52" in told
    assert offered == ["text"]


async def test_a_copy_says_which_way_it_went() -> None:
    async with dashboard(ScriptedClient(busy()), WIDE) as hand:
        await hand.press("2", "y")
        await hand.sees("the id, 6 characters: offered to the terminal's clipboard (OSC 52)")
        assert hand.app.clipboard == "r-1042"


# --- the signs of the verdict ---------------------------------------------------------------


class Watcher:
    def __init__(self, **ui: Any) -> None:
        self.written: list[str] = []
        self.complaints: list[str] = []
        settings = FirstUi(**({"operator": "op1"} | ui))
        self.signs = Signs(settings, "ksi eu", self.written.append, self.complaints.append)

    def sees(self, level: Level, cause: str = "why") -> None:
        self.signs.show(Verdict(level=level, cause=cause))

    @property
    def bells(self) -> int:
        return self.written.count("\x07")


def test_the_title_says_the_verdict_once_and_never_acts() -> None:
    seen = Watcher()
    seen.sees(Level.OK, f"a{HOSTILE}")
    seen.sees(Level.OK, f"a{HOSTILE}")
    assert seen.written == ["\x1b]0;● ksi eu: a]52;c;ZXZpbA==[@click=app.quit]x[/nope]31m\x07"]
    seen.signs.forget_title()
    seen.sees(Level.OK, f"a{HOSTILE}")
    assert len(seen.written) == 2


def test_the_bell_rings_when_it_gets_worse_only() -> None:
    seen = Watcher()
    for level in (Level.STARTING, Level.OK, Level.DEGRADED, Level.DEGRADED):
        seen.sees(level)
    assert seen.bells == 1
    seen.sees(Level.DOWN)
    assert seen.bells == 2
    for level in (Level.DEGRADED, Level.OK, Level.STOPPING):
        seen.sees(level)
    assert seen.bells == 2
    quiet = Watcher(bell=False)
    quiet.sees(Level.DOWN)
    assert quiet.bells == 0


async def _settled(seen: Watcher) -> None:
    assert seen.signs._task is not None
    await seen.signs._task


async def test_an_alert_is_told_by_variables_and_knows_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "told"
    code = (
        "import os, sys; open(sys.argv[1], 'a').write('|'.join("
        "[os.environ[k] for k in ('KSI_VERDICT', 'KSI_VERDICT_BEFORE', 'KSI_CAUSE', 'KSI_NAME')]"
        " + sys.argv[2:]) + '\\n')"
    )
    words = " ".join([sys.executable, *tool(tmp_path, code)[1:], str(out), "'$(x) `y`; z'"])
    seen = Watcher(alert=words)
    seen.sees(Level.OK)
    assert seen.signs._task is None  # that all is well at the start is no news
    seen.sees(Level.DEGRADED, "openai\x1b[2J $(id)")
    await _settled(seen)
    seen.sees(Level.OK, "again")
    await _settled(seen)
    assert out.read_text(encoding="utf-8").splitlines() == [
        "DEGRADED|OK|openai[2J $(id)|ksi eu|$(x) `y`; z",
        "OK|DEGRADED|again|ksi eu|$(x) `y`; z",
    ]
    assert seen.complaints == []


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        ("no-such-command-anywhere", "No such file"),
        ("unclosed 'quote", "No closing quotation"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "it ended with exit code 3"),
        (f"{sys.executable} -c 'import time; time.sleep(60)'", "it still ran after"),
    ],
)
async def test_an_alert_that_fails_says_so(
    alert: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.signs.ALERT_S", 0.2 if "sleep" in alert else 20.0)
    seen = Watcher(alert=alert)
    seen.sees(Level.DOWN)
    await _settled(seen)
    assert told in seen.complaints[0]


async def test_an_alert_that_runs_is_ended_with_the_dashboard() -> None:
    seen = Watcher(alert=f"{sys.executable} -c 'import time; time.sleep(60)'")
    seen.sees(Level.DOWN)
    await seen.signs.aclose()
    assert seen.signs._task is not None
    assert seen.signs._task.cancelled()


async def test_the_signs_are_kept_on_screens_that_do_not_show_the_verdict() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client, WIDE) as hand:
        await hand.sees("DEGRADED")
        await hand.press("m")
        client.now = dataclasses.replace(
            client.now, verdict=Verdict(level=Level.DOWN, cause="all are open")
        )
        hand.clock.advance(1)
        await hand.until(lambda: hand.app.signs._told is Level.DOWN, "the signs follow")
