"""The form for a prompt: what one chooses from, what would be sent, and what comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.past_prompts import PastPrompt, PastPrompts
from ksi_tui.screens.fields import Prompt
from ksi_tui.screens.pickers import ModelPicker
from ksi_tui.screens.submit import SubmitScreen
from tests.ui.harness import BOUND_S, SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
MODELS: list[dict[str, Any]] = [
    {
        "model": "gpt-4o",
        "providers": ["openai", "azure-eu"],
        "window": 128_000,
        "input_price": 2.5,
        "output_price": 10.0,
        "default": True,
        "pattern": False,
    },
    {
        "model": "claude-haiku-4-5",
        "providers": ["anthropic"],
        "window": 200_000,
        "input_price": 1.0,
        "output_price": 5.0,
        "default": False,
        "pattern": False,
    },
    {
        "model": "home-*",
        "providers": ["local-vllm"],
        "window": None,
        "input_price": None,
        "output_price": None,
        "default": False,
        "pattern": True,
    },
]


def preview(data: Mapping[str, Any]) -> dict[str, Any]:
    history = [] if data.get("history") == "none" or not data.get("session_id") else [
        {"role": "user", "content": "what was first?"},
        {"role": "assistant", "content": "this was first"},
    ]  # fmt: skip
    return {
        "messages": [*history, {"role": "user", "content": data.get("prompt", "")}],
        "turns": len(history) // 2,
        "trimmed_turns": 2 if history else 0,
        "tokens": 1280,
        "estimated": False,
        "why_estimated": None,
        "window": 128_000,
        "injections": 0,
        "model": data.get("model", "gpt-4o"),
        "candidates": [
            {"provider": "openai", "verdict": "open", "detail": "openai open"},
            {"provider": "azure-eu", "verdict": "taken", "detail": ""},
        ],
    }


def engine(**replies: Any) -> ScriptedClient:
    scripted: dict[str, Any] = {
        "completion:models": {"models": MODELS},
        "completion:preview": preview,
        "completion:names": lambda data: {
            "names": [n for n in ("acme-42", "acme-51", "globex-7") if data["prefix"] in n]
        },
        "completion:async": {"request_id": "r-9", "session_id": "s-9", "status": "queued"},
        "completion:request_status": {"request_id": "r-9", "session_id": "s-9"},
        **{name.replace("__", ":"): reply for name, reply in replies.items()},
    }
    return ScriptedClient(busy(), scripted)


async def opened(hand: Hand) -> SubmitScreen:
    await hand.press("s")
    await hand.sees("Submit a prompt")
    screen = hand.app.screen
    assert isinstance(screen, SubmitScreen)
    return screen


def focus(hand: Hand, name: str) -> None:
    hand.app.screen.query_one(name).focus()


# --- models and sessions ----------------------------------------------------------------------


@BOTH
async def test_a_model_is_found_by_typing_with_its_price_window_and_providers(
    size: tuple[int, int],
) -> None:
    client = engine()
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.sees("gpt-4o: $2.50 in")
        await hand.press("tab", "tab")
        await hand.sees("claude-haiku-4-5", "200k window", "home-*", "any name that fits")
        await hand.type("anthr")
        await hand.sees_no("home-*")
        await hand.press("down", "enter")
        await hand.sees("claude-haiku-4-5", "$1 in $5 out")
        assert client.sent("completion:async") == [], "enter took the model"
        focus(hand, "#prompt")
        await hand.type("hi")
        await hand.press("enter")
        await hand.until(lambda: client.sent("completion:async"))
        assert client.sent("completion:async")[0]["model"] == "claude-haiku-4-5"


async def test_patterns_are_asked_about_again_until_a_worker_knows() -> None:
    known = [{"models": [MODELS[2]]}, {"models": MODELS[:1]}]
    client = engine(completion__models=lambda _: known.pop(0) if len(known) > 1 else known[0])
    async with dashboard(client) as hand:
        await opened(hand)
        await hand.press("tab", "tab")
        await hand.sees("$2.50 in")
        asked = len(client.sent("completion:models"))
        await hand.type("g")
        await hand.pilot.pause()
        assert len(client.sent("completion:models")) == asked


async def test_what_was_chosen_stays_so_when_a_worker_tells_of_more() -> None:
    known = list(MODELS)
    client = engine(completion__models=lambda _: {"models": known})
    async with dashboard(client, WIDE) as hand:
        screen = await opened(hand)
        picker = screen.query_one("#model", ModelPicker)
        focus(hand, "#model PickInput")
        await hand.sees("$1 in $5 out /M")
        await hand.press("down", "down")
        await hand.sees("► claude-haiku-4-5")
        known.insert(0, {**MODELS[1], "model": "another"})
        picker._learn()
        await hand.sees("another")
        await hand.press("enter")
        await hand.until(lambda: picker.value == "claude-haiku-4-5")
        assert not client.sent("completion:async")


@BOTH
async def test_a_session_is_found_by_typing(size: tuple[int, int]) -> None:
    client = engine()
    async with dashboard(client, size) as hand:
        await opened(hand)
        focus(hand, "#session PickInput")
        await hand.type("acme")
        await hand.sees("acme-42", "acme-51", "a new one of this name")
        await hand.press("down", "down", "enter")
        await hand.sees("goes on")
        focus(hand, "#prompt")
        await hand.type("hi")
        await hand.press("enter")
        await hand.until(lambda: client.sent("completion:async"))
        assert client.sent("completion:async")[0]["session_id"] == "acme-51"


async def test_without_a_list_of_names_the_sessions_in_sight_are_offered() -> None:
    unknown = {"error": "unknown event", "code": "invalid_request"}
    async with dashboard(engine(completion__names=unknown)) as hand:
        await opened(hand)
        focus(hand, "#session PickInput")
        await hand.type("glob")
        await hand.sees("  globex-7")


# --- what would be sent -----------------------------------------------------------------------


async def test_the_history_that_goes_along_is_shown_before_sending() -> None:
    client = engine()
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.type("and now?")
        focus(hand, "#session PickInput")
        await hand.type("acme-42")
        await hand.sees(
            "user      > what was first?",
            "assistant > this was first",
            "user      > and now?",
            "1 earlier turn, 2 left out (window)",
            "1,280 tokens, 1% of 128k",
            "to azure-eu",
            "openai         skipped open",
        )
        assert client.sent("completion:async") == []


async def test_on_a_narrow_terminal_it_stands_in_place_of_the_form() -> None:
    async with dashboard(engine(), SMALL) as hand:
        await opened(hand)
        await hand.type("hello")
        await hand.sees("no earlier turn · 1,280 tokens, 1% of 128k · to azure-eu")
        await hand.press("ctrl+o")
        await hand.sees("user      > hello", "routing now")
        await hand.press("ctrl+o")
        await hand.sees_no("routing now")
        await hand.type("!")
        await hand.sees("hello!")


async def test_typing_asks_once_after_it_and_never_twice_at_a_time() -> None:
    held: list[asyncio.Event] = []
    running = 0

    class Slow(ScriptedClient):
        async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
            nonlocal running
            if name != "completion:preview":
                return await super().emit(name, data)
            running += 1
            assert running == 1
            held.append(asyncio.Event())
            await held[-1].wait()
            running -= 1
            return await super().emit(name, data)

    client = Slow(busy(), engine().replies)
    async with dashboard(client) as hand:
        await opened(hand)
        await hand.until(lambda: len(held) == 1)
        await hand.type("abcdef")
        await hand.sees("abcdef")
        await hand.until(lambda: hand.app.screen._look_again)  # type: ignore[attr-defined]
        assert len(held) == 1
        held[0].set()
        await hand.until(lambda: len(held) == 2)
        held[1].set()
        await hand.until(lambda: client.sent("completion:preview")[-1]["prompt"] == "abcdef")
        assert len(held) == 2


async def test_a_wrong_model_is_said_while_typing() -> None:
    refused = {"error": "no provider serves the model 'nope'", "code": "no_provider"}
    async with dashboard(engine(completion__preview=refused)) as hand:
        await opened(hand)
        await hand.sees("no provider serves the model 'nope'")


async def test_texts_that_may_not_be_shown_are_counted() -> None:
    async with dashboard(engine(), WIDE, text="never") as hand:
        await opened(hand)
        focus(hand, "#session PickInput")
        await hand.type("acme-42")
        await hand.sees("user      > 15 characters")
        assert "what was first" not in hand.screen


async def test_hostile_names_and_texts_are_clean() -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07[red]a\u202eb"
    rows = [{**MODELS[0], "model": evil, "providers": [evil]}]
    told = preview({"prompt": evil}) | {"why_estimated": evil}
    told["candidates"] = [{"provider": evil, "verdict": "taken", "detail": evil}]
    client = engine(completion__models={"models": rows}, completion__preview=told)
    async with dashboard(client, WIDE) as hand:
        await opened(hand)
        await hand.press("tab", "tab")
        await hand.sees("]52;c;ZXZpbA==[red]ab", "tokens are estimated")
        assert not {"\x1b", "\x07", "\u202e"} & set(hand.screen)


# --- earlier prompts --------------------------------------------------------------------------


async def test_earlier_prompts_come_back_and_what_was_begun_is_kept() -> None:
    async with dashboard(engine()) as hand:
        for text in ("first", "second"):
            hand.app.past.add(PastPrompt(prompt=text, system=f"be {text}"))
        screen = await opened(hand)
        prompt, system = screen.query_one("#prompt", Prompt), screen.query_one("#system", Prompt)
        await hand.type("begun")
        await hand.press("ctrl+up")
        await hand.until(lambda: (prompt.text, system.text) == ("second", "be second"))
        await hand.press("up")
        await hand.until(lambda: prompt.text == "first")
        await hand.press("up")
        await hand.pilot.pause()
        assert prompt.text == "first", "there is no earlier one"
        await hand.press("down", "down")
        await hand.until(lambda: (prompt.text, system.text) == ("begun", ""))


async def test_up_in_an_empty_form_brings_back_and_in_a_text_moves() -> None:
    async with dashboard(engine()) as hand:
        hand.app.past.add(PastPrompt(prompt="first"))
        screen = await opened(hand)
        prompt = screen.query_one("#prompt", Prompt)
        await hand.type("mine")
        await hand.press("up")
        await hand.pilot.pause()
        assert prompt.text == "mine"
        prompt.text = ""
        await hand.press("up")
        await hand.until(lambda: prompt.text == "first")


async def test_what_was_sent_is_there_in_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    async with dashboard(engine()) as hand:
        hand.app.past = PastPrompts(file)
        await opened(hand)
        await hand.type("remember me")
        await hand.press("enter")
        await hand.sees("overview > s-9 > r-9")
    async with dashboard(engine()) as hand:
        hand.app.past = PastPrompts(file)
        screen = await opened(hand)
        await hand.until(lambda: hand.app.past.kept)
        await hand.press("up")
        await hand.until(lambda: screen.query_one("#prompt", Prompt).text == "remember me")


async def test_a_file_that_cannot_be_written_does_not_stop_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with dashboard(engine()) as hand:
        hand.app.past = PastPrompts(tmp_path / "file" / "prompts.jsonl")
        await opened(hand)
        await hand.type("x")
        await hand.press("enter")
        await hand.sees("overview > s-9 > r-9")


async def test_enter_sends_once_however_long_the_prompt_takes_to_be_kept() -> None:
    client, kept = engine(), threading.Event()

    class Slow(PastPrompts):
        def add(self, past: PastPrompt) -> None:
            assert kept.wait(BOUND_S)
            super().add(past)

    async with dashboard(client) as hand:
        hand.app.past = Slow()
        await opened(hand)
        await hand.type("x")
        try:
            await hand.press("enter")
            await hand.until(lambda: client.sent("completion:async"))
            await hand.press("enter")
        finally:
            kept.set()
        await hand.sees("overview > s-9 > r-9")
        assert len(client.sent("completion:async")) == 1


def test_never_shown_texts_are_not_written(tmp_path: Path) -> None:
    from ksi_tui.app import KsiApp
    from ksi_tui.config import UiSettings

    file = tmp_path / "prompts.jsonl"
    for text, written in (("never", False), ("on_open", True)):
        ui = UiSettings.model_validate({"text": text})
        app = KsiApp(engine().connect, ui=ui, name="x", prompts_file=file)
        app.past.add(PastPrompt(prompt="secret"))
        assert file.exists() is written


# --- pasting ----------------------------------------------------------------------------------


async def test_what_is_pasted_is_text_without_what_acts() -> None:
    from textual import events

    async with dashboard(engine()) as hand:
        screen = await opened(hand)
        prompt = screen.query_one("#prompt", Prompt)
        prompt.post_message(events.Paste("a\r\nb\rc\x07\x9b\ud800\td"))
        await hand.until(lambda: prompt.text)
        assert prompt.text == "a\nb\nc\td"
        assert isinstance(hand.app.screen, SubmitScreen)
