"""The dashboard saves an incident and, over what was saved, shows it again and changes nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.actions import ACTIONS, Group, Where, shown_key
from ksi_tui.app import KsiApp
from ksi_tui.client import EngineClient
from ksi_tui.codec import plain
from ksi_tui.config import UiSettings
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.views import AttentionKind
from ksi_tui.incident.bundle import Bundle, read_bundle
from ksi_tui.incident.client import BundleClient
from ksi_tui.screens import later
from ksi_tui.screens.save_bundle import SaveBundle
from tests.incident.story import ended, incident, saved
from tests.ui.harness import SMALL, WIDE, Clock, Hand, unhurried
from tests.ui.scripted import AT, busy
from tests.ui.story import row as needing

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
ACTS = [action for action in ACTIONS if action.group is Group.ACT]
HOSTILE = "\x1b]52;c;aGk=\x07[red]<b>\u202e" + "e\u0301" * 40 + "\x9b2J"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@asynccontextmanager
async def opened(client: BundleClient, size: tuple[int, int], **ui: Any) -> AsyncIterator[Hand]:
    """The dashboard over a recording."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        yield client

    clock = Clock()
    settings = UiSettings.model_validate({"operator": "op1", "refresh_hz": 30} | ui)
    app = KsiApp(connect, ui=settings, name="prod-eu", recording=client, clock=clock)
    async with app.run_test(size=size) as pilot:
        hand = Hand(pilot, None, clock)  # type: ignore[arg-type]
        try:
            await hand.until(lambda: app.client is not None, "the bundle is open")
            await pilot.pause()
            yield hand
        finally:
            await app.close_engine()


def of_frames(*moments: Any, **parts: Any) -> BundleClient:
    frames = [json.dumps(plain(each)).encode() for each in moments]
    held: dict[str, Any] = {"about": {}, "settings": {}, "answers": {}}
    return BundleClient(Bundle(frames=frames, **(held | parts)))


def at(seconds: float, **changes: Any) -> Any:
    return dataclasses.replace(busy(), at=AT + seconds, **changes)


# --- saving ---------------------------------------------------------------------------------


@asynccontextmanager
async def over_engine(engine: CompletionEngine, size: tuple[int, int]) -> AsyncIterator[Hand]:
    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        yield engine

    ui = UiSettings(operator="op1", refresh_hz=30)
    app = KsiApp(connect, ui=ui, name="ksi-tui prod-eu")
    with unhurried():
        async with app.run_test(size=size) as pilot:
            hand = Hand(pilot, None, app.clock)  # type: ignore[arg-type]
            try:
                await hand.until(lambda: app.client is not None, "the engine is up")
                yield hand
            finally:
                await app.close_engine()


async def pressed_save(hand: Hand) -> SaveBundle:
    """Open the dialog from the palette and press its button, meant."""
    await hand.press("colon")
    await hand.pilot.pause()
    await hand.type("incident bundle")
    await hand.sees("Save an incident bundle")
    await hand.press("enter")
    await hand.until(lambda: isinstance(hand.app.screen, SaveBundle), "the dialog")
    dialog = hand.app.screen
    assert isinstance(dialog, SaveBundle)
    await hand.sees("circuits' history", "open shows it.")
    await hand.press("tab", "tab", "tab")
    guard = dialog._guard
    assert guard is not None
    await hand.until(lambda: hand.app.clock() - guard._quiet_since > 0.45)
    await hand.press("enter")
    return dialog


def bundles(state: Path) -> list[Path]:
    return sorted((state / "state" / "ksi-tui" / "incidents").glob("*.ksi.zip"))


@BOTH
async def test_saved_from_the_palette_it_opens_as_it_was(
    size: tuple[int, int], state: Path
) -> None:
    async with incident(state) as (engine, _, _), over_engine(engine, size) as hand:
        await hand.sees("globex-7")
        await engine.emit("completion:cancel", {"request_id": "r-6", "by": "op1"})
        await ended(engine, "r-6")
        await pressed_save(hand)
        await hand.sees("Saved ", "moments, 8 requests, in", ".ksi.zip", "[ Save the bundle ]")
        await hand.press("escape")
    (path,) = bundles(state)
    bundle = read_bundle(path)
    assert {each["request_id"] for each in bundle.requests} == {f"r-{n}" for n in range(1, 9)}
    assert "completion:cancelled" in {each["name"] for each in bundle.events}
    assert bundle.about["by"] == "op1"
    async with opened(BundleClient(bundle), size) as hand:
        await hand.sees("r-5", "RE")
        await hand.press("i")
        await hand.sees("overview > requests", "Requests  8", "r-8")


async def test_left_while_it_saves_it_goes_on_and_says_where(
    state: Path,
) -> None:
    async with (
        incident(state) as (engine, _, _),
        over_engine(engine, WIDE) as hand,
    ):
        await hand.sees("globex-7")
        dialog = await pressed_save(hand)
        await hand.until(lambda: dialog._saving or bundles(state))
        await hand.press("escape")
        await hand.sees("incident bundle saved in")
        assert len(bundles(state)) == 1


# --- showing --------------------------------------------------------------------------------


@BOTH
async def test_it_says_that_it_is_a_recording_of_when_and_steps(size: tuple[int, int]) -> None:
    other = dataclasses.replace(busy().verdict, cause="azure open since 03:01")
    gone = busy().queues[0].session_id
    client = of_frames(at(-65, verdict=other, queues=(), locks=()), at(-5), at(0))
    async with opened(client, size) as hand:
        wide = size == WIDE
        await hand.sees("RECORDED 2026-11-22, 3 of 3" if wide else "REC 3/3", "03:12:44")
        await hand.sees(", back in time  . on")
        await hand.press("1")
        await hand.sees(gone[:8])
        await hand.press("comma")
        await hand.sees(
            "2 of 3; lists and records of 03:12:44" if wide else "REC 2/3, lists 03:12:44",
            "03:12:39",
        )
        await hand.press("less_than_sign")
        await hand.sees("1 of 3" if wide else "REC 1/3", "03:11:39", "azure open since")
        await hand.sees_no(gone)
        await hand.press("greater_than_sign")
        await hand.sees("3 of 3" if wide else "REC 3/3", "03:12:44")
        await hand.press("full_stop")
        await hand.sees("3 of 3" if wide else "REC 3/3")


async def test_a_damaged_moment_is_passed_over_and_said() -> None:
    frames = [json.dumps(plain(at(n))).encode() for n in (0, 5)]
    bundle = Bundle(about={}, settings={}, answers={}, frames=[frames[0], b"{", frames[1]])
    async with opened(BundleClient(bundle), WIDE) as hand:
        await hand.sees("3 of 3")
        await hand.press("comma")
        await hand.sees("1 of 3", "passed over: frame 2: not valid JSON")


@BOTH
@pytest.mark.parametrize("action", ACTS, ids=lambda action: action.id)
async def test_every_key_that_acts_says_that_it_is_a_recording(
    size: tuple[int, int], action: Any
) -> None:
    if Where.OVERVIEW not in action.where:
        pytest.skip("not a key of the overview")
    async with opened(of_frames(at(0)), size) as hand:
        await hand.sees("openai")
        screen = hand.app.screen
        await hand.press(action.key)
        await hand.sees(f"{action.label} is off: this is a recording")
        assert hand.app.screen is screen
        assert f"{shown_key(action, {})} {action.label}" not in hand.screen.splitlines()[-1]


async def test_it_is_left_at_once_and_holds_no_bundle_again() -> None:
    async with opened(of_frames(at(0)), WIDE) as hand:
        await hand.sees("openai")
        hand.app.action_save_bundle()
        await hand.sees("this is a bundle already")
        await hand.press("q")
        await hand.until(lambda: hand.app.return_code == 0, "left without a question")


WALKS = {
    "lists": [
        ("requests_screen", (), ("> requests", "√ completed"), ("j", "o", "escape")),
        ("failed_screen", (), ("> failed", "r-5"), ("j",)),
        ("usage_screen", (), ("> usage", "simulated"), ("o", "v", "right_square_bracket")),
        ("events_screen", (), ("> events", "completion:cancelled"), ("j", "G")),
    ],
    "requests": [
        ("request_screen", (name,), (f"> {name}", "Timeline"), ("1", "2", "3", "4", "v"))
        for name in ("r-1", "r-4", "r-5", "r-6", "r-7", "r-8", "r-nowhere")
    ],
    "sessions": [
        ("session_screen", (name,), (f"> {name}", "Lock"), ("2", "3", "4", "5"))
        for name in ("acme-42", "globex-7", "lock-1", "nowhere")
    ],
    "providers": [
        ("provider_screen", (name,), (f"> {name}", "Circuit"), ("1", "3", "4", "5"))
        for name in ("simulated", "elsewhere", "nowhere")
    ],
    "whys": [
        ("why_screen", (name,), (f"{name} > why",), ("tab", "tab", "enter", "escape"))
        for name in ("r-6", "r-8", "r-nowhere")
    ],
}


@BOTH
@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
async def test_every_screen_opens_at_the_last_moment_and_before(
    walk: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]],
    size: tuple[int, int],
    state: Path,
) -> None:
    bundle = read_bundle((await saved(state)).path)
    async with opened(BundleClient(bundle), size) as hand:
        await hand.sees("3/3" if size == SMALL else "3 of 3")
        for screen, about, seen, keys in walk:
            hand.app.push_screen(getattr(later, screen)(*about))
            await hand.sees(*seen)
            await hand.press(*keys, "comma", "comma", "full_stop")
            await hand.sees("2/3" if size == SMALL else "2 of 3")
            await hand.sees_no("reading…")
            await hand.press("full_stop")
            hand.app.pop_screen()
        assert hand.app.return_code is None


async def test_the_chain_is_that_of_the_last_moment_and_texts_are_hashes(state: Path) -> None:
    bundle = read_bundle((await saved(state)).path)
    async with opened(BundleClient(bundle), WIDE) as hand:
        await hand.sees("lock-1")
        hand.app.push_screen(later.why_screen("r-8"))
        await hand.sees("lock held by a9", "In plain words", "force")
        await hand.press("F")
        await hand.sees("force lock is off: this is a recording")
        await hand.press("escape")
        hand.app.push_screen(later.why_screen("r-6"))
        await hand.sees("nobody acts")
        await hand.press("comma")
        await hand.sees("the chain of this moment was not recorded")
        await hand.press("escape")
        hand.app.push_screen(later.request_screen("r-1"))
        await hand.sees("hash:", "(50 characters)")


@BOTH
async def test_what_waits_at_an_earlier_moment_has_not_ended(size: tuple[int, int]) -> None:
    row = dataclasses.replace(busy().queues[0], head_id="r-head", why="lock held by a9")
    need = needing(AttentionKind.WAIT, "r-need", request_id="r-need", why="no provider is left")
    client = of_frames(at(-5, queues=(row,), attention=(need,)), at(0, queues=(), attention=()))
    async with opened(client, size) as hand:
        for name, why in (("r-head", "lock held by a9; "), ("r-need", "left; "), ("r-other", "")):
            hand.app.push_screen(later.why_screen(name))
            await hand.sees(f"{name} waits no more: it has ended")
            await hand.press("comma")
            await hand.sees(f"{why}the chain of this moment was not recorded")
            if size == SMALL:
                await hand.sees("REC 1/2, lists 03:12:44")
            await hand.sees_no("waits no more")
            await hand.press("full_stop", "escape")


async def test_a_strangers_texts_cannot_reach_the_terminal() -> None:
    view = dataclasses.replace(
        busy().active[0], request_id=HOSTILE, session_id=HOSTILE, why=HOSTILE, model=HOSTILE
    )
    snapshot = at(0, active=(view,), active_total=1, notices=(HOSTILE,),
                  verdict=dataclasses.replace(busy().verdict, cause=HOSTILE))  # fmt: skip
    row = {
        "request_id": HOSTILE, "session_id": HOSTILE, "status": "failed", "phase": "failed",
        "asked_model": HOSTILE, "priority": "normal", "queued_at": "2026-11-22T03:00:00.000Z",
        "age_s": 1e9, "error": {"kind": HOSTILE, "message": HOSTILE},
        "metadata": {HOSTILE: HOSTILE},
    }  # fmt: skip
    event = {"name": HOSTILE, "data": {"request_id": HOSTILE, "error": HOSTILE}, "at": AT}
    client = of_frames(snapshot, requests=[row], events=[event])
    async with opened(client, WIDE) as hand:
        for key in ("i", "x", "l", "m"):
            await hand.press(key)
            await hand.pilot.pause(0.05)
            shown = hand.screen
            assert not any(char in shown for char in "\x1b\x07\x9b\u202e")
            await hand.press("enter")
            await hand.pilot.pause(0.05)
            shown = hand.screen
            assert not any(char in shown for char in "\x1b\x07\x9b\u202e")
            while len(hand.app.screen_stack) > 1:
                await hand.press("escape")
        assert hand.app.return_code is None
