"""What the pictures promise: the story stands on the screens whole, at both sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from rich.cells import cell_len

from ksi_tui.engine.views import Root
from ksi_tui.screens import later
from ksi_tui.screens.folding import CALM_S
from tests.ui.gallery import SCENES, story
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, active, busy, first_start, queue
from tests.ui.shots import DOCUMENT, illustrated, named, text_of
from tests.ui.story import Night, chain, night, waiting


def _line(screen: str, text: str) -> str:
    return next(line for line in screen.splitlines() if text in line)


async def test_wide_the_numbers_say_what_is_paused_and_what_the_operator_may() -> None:
    async with dashboard(ScriptedClient(night()), WIDE) as hand:
        await hand.sees("today ≥ $41.20 (4 unpriced)   paused 1  op1 (operate) ")
        assert all(len(line) == WIDE[0] for line in hand.screen.splitlines())
    async with dashboard(ScriptedClient(night()), WIDE, read_only=True) as hand:
        await hand.sees("paused 1", "READ-ONLY op1 ")
        assert "operate" not in hand.screen


async def test_small_the_verdict_leaves_out_clauses_rather_than_its_end() -> None:
    async with dashboard(ScriptedClient(night()), SMALL) as hand:
        await hand.sees(" ▲ DEGRADED  openai open 4m12s, 29% waits, probe in 0:48  ")
        await hand.sees("fail 3 new  1.9k tok/s  ≥ $41.20 (4 unpr.)  op1 ")


async def test_small_attention_keeps_the_why_and_how_many_it_hits() -> None:
    async with dashboard(ScriptedClient(night()), SMALL) as hand:
        await hand.sees(
            "openai       ■ open       4m12s 5 timeouts in a row: no first token…; 62 req",
            "acme-42      ○ waiting    4m02s lock held by a7, 0:41 left, extended…; 3 req",
            "r-1042       ► no token     34s anthropic silent since 03:12:10…; 3 req",
            'nightly-eval = paused     2h11m by op2: "budget until 06:00"; 118 req',
        )
        await hand.sees("r-1042: asked gpt-4o, gets claude-sonnet-4-5 · agent a12 · 412 tokens ")


async def test_what_a_person_paused_is_no_wait_like_another() -> None:
    async with dashboard(ScriptedClient(night()), WIDE) as hand:
        await hand.sees('nightly-eval     118  2h11m = paused   by op2: "budget until 06:00"')
        await hand.sees("acme-42            3  4m02s ○ waiting  r-81: lock held by a7")


@pytest.mark.parametrize("age_s", [605.0, 43_500.0, 867_600.0])
async def test_the_longest_ages_are_never_cut(age_s: float) -> None:
    old = dataclasses.replace(
        busy(),
        active=(active("r-1", age_s=age_s),),
        queues=(queue("acme-42", "r-81", oldest_s=age_s),),
        providers=tuple(dataclasses.replace(p, since_s=age_s) for p in busy().providers),
    )
    shown = {605.0: "10m05s", 43_500.0: "12h05m", 867_600.0: "10d1h"}[age_s]
    async with dashboard(ScriptedClient(old), WIDE) as hand:
        await hand.sees("2 Active")
        for text in ("r-1 ", "acme-42 ", "│  openai "):
            assert f" {shown} " in _line(hand.screen, text)


async def test_panes_with_nothing_in_them_fold_to_one_line_each() -> None:
    async with dashboard(ScriptedClient(first_start()), WIDE) as hand:
        await hand.sees(" 1 Queues  √ nothing waits", " 4 Locks  √ nobody holds a session")
        await hand.sees("┌─ 5 Tokens", "nothing was sent today")
        assert "┌─ 1 Queues" not in hand.screen
        assert "┌─ 4 Locks" not in hand.screen
        await hand.press("4")  # a folded pane can still be gone to
        await hand.until(lambda: hand.app.focused is not None and hand.app.focused.id == "locks")


async def test_without_locks_the_queues_have_the_whole_width() -> None:
    unlocked = dataclasses.replace(night(), locks=(), locks_total=0)
    async with dashboard(ScriptedClient(unlocked), WIDE) as hand:
        await hand.sees(" 4 Locks  √ nobody holds a session")
        assert len(_line(hand.screen, "┌─ 1 Queues").rstrip()) == WIDE[0]


async def test_a_pane_that_was_in_use_a_moment_ago_stays_open() -> None:
    client = ScriptedClient(night())
    async with dashboard(client, WIDE) as hand:
        await hand.sees("┌─ 4 Locks  4")
        client.now = dataclasses.replace(night(), locks=(), locks_total=0)
        await hand.sees("┌─ 4 Locks ─", "√ nobody holds a session")
        hand.clock.advance(CALM_S - 1)
        await hand.pilot.pause(0.1)
        assert "┌─ 4 Locks ─" in hand.screen
        hand.clock.advance(1)
        await hand.sees_no("┌─ 4 Locks")
        client.now = night()
        await hand.sees("┌─ 4 Locks  4")


async def test_one_pane_under_tabs_never_folds() -> None:
    async with dashboard(ScriptedClient(first_start()), SMALL) as hand:
        await hand.press("4")
        await hand.sees("┌─ 4 Locks ─", "√ nobody holds a session")


# --- the why chain and one request ------------------------------------------------------------


async def test_small_what_moves_by_itself_is_told_of_each_in_two_words() -> None:
    async with dashboard(Night(), SMALL) as hand:
        hand.app.push_screen(later.why_screen("r-93"))
        await hand.sees(
            "│ 0:09 cooldown ends (r-77) · 0:41 lock expires (r-81) · 0:48 probe (r-77) ",
            "overview > acme-42 > r-93 > why",
        )


async def test_a_long_root_cause_leaves_room_for_when_it_moves() -> None:
    long = dataclasses.replace(waiting(), chain=dataclasses.replace(chain(), root=_long_root()))
    client = Night()
    client.lives["r-93"] = long
    async with dashboard(client, WIDE) as hand:
        hand.app.push_screen(later.why_screen("r-93"))
        await hand.sees(
            "forced open by op1 until…. Moves by itself in about 0:09.", "62 on the same root"
        )


def _long_root() -> Root:
    text = "openai forced open by op1 until 03:42: the vendor's status page says so, ticket 8841"
    return Root(kind="circuit", target="openai", until=None, certain=True, text=text)


async def test_a_click_chooses_the_tab_under_it() -> None:
    async with dashboard(Night(), SMALL) as hand:
        await hand.sees("[2 Active 31]")
        tabs = _line(hand.screen, "[2 Active 31]")
        for number, name in ((3, "3 Providers"), (1, "1 Queues"), (2, "2 Active 31")):
            await hand.pilot.click("#tabs", offset=(tabs.index(name), 0))
            await hand.sees(f"[{number} ")
            tabs = _line(hand.screen, f"[{number} ")


async def test_small_stale_still_tells_the_whole_verdict_before() -> None:
    client = ScriptedClient(night())
    async with dashboard(client, SMALL) as hand:
        await hand.sees("DEGRADED")
        client.snapshot = _broken  # type: ignore[assignment,method-assign]
        await hand.sees("cannot be looked at")
        hand.clock.advance(12)
        await hand.sees(
            " ▲ STALE 12s, then: DEGRADED  openai open 4m12s, 29% waits, probe… 03:12:44 UTC"
        )


def _broken(_: Any = None) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("size", [(50, 12), (59, 40), (80, 10)])
async def test_too_small_shows_its_message_and_nothing_else(size: tuple[int, int]) -> None:
    async with dashboard(ScriptedClient(night()), size) as hand:
        await hand.sees(f"{size[0]}x{size[1]} is too small", "The engine goes on.", "q quits")
        await hand.pilot.pause(0.1)
        assert [line.strip() for line in hand.screen.splitlines()][5:] == [""] * (size[1] - 5)


async def test_while_the_engine_starts_there_is_no_empty_table_of_what_needs_somebody() -> None:
    scene = SCENES["overview-starting"]
    for size in scene.sizes:
        text = await text_of(scene, size)
        assert "Starting the engine" in text
        assert "Attention" not in text


@pytest.mark.parametrize("name", [*story(), "submit", "compare", "usage", "events"])
async def test_every_picture_of_the_story_fills_its_screen_exactly(name: str) -> None:
    for size in SCENES[name].sizes:
        lines = (await text_of(SCENES[name], size)).splitlines()
        assert {cell_len(line) for line in lines} == {size[0]}
        assert len(lines) == size[1]


def test_the_document_has_every_picture_of_the_story_whole() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    pictures = named(document)
    assert {name for name, _ in pictures} == set(story())
    for name, size in pictures:
        assert size in SCENES[name].sizes
        _, _, rest = document.partition(f"<!-- picture: {name}-{size[0]}x{size[1]} -->")
        lines = rest.split("```text\n")[1].split("\n```")[0].splitlines()
        assert [len(lines), *{cell_len(line) for line in lines}] == [size[1], size[0]]


async def test_writing_the_document_anew_changes_its_pictures_alone() -> None:
    before = "# One\n\n<!-- picture: too-small-50x12 -->\n\nand more\n"
    once = await illustrated(before)
    assert once.startswith(
        "# One\n\n<!-- picture: too-small-50x12 -->\n\n```text\n50x12 is too small"
    )
    assert once.endswith("\n```\n\nand more\n")
    assert await illustrated(once) == once
