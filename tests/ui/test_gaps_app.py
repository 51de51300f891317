"""The app's edges: its theme, its keys in help, its forms, its end, and the demo's bound."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ksi_tui import demo
from ksi_tui.actions import Where, footer_actions, kept_in_footer
from ksi_tui.demo import MOST_UNFINISHED, DemoLoad
from ksi_tui.engine.views import Phase
from ksi_tui.screens.ending import end_work
from ksi_tui.screens.footer import footer_line
from ksi_tui.screens.host import Host
from ksi_tui.screens.targets import target_of
from tests.ui.harness import dashboard
from tests.ui.scripted import ScriptedClient, active, busy, first_start, totals

IDLE = totals(active=0, queued=0, retrying=0)


async def test_the_theme_of_the_settings_is_used() -> None:
    async with dashboard(ScriptedClient(busy()), theme="ksi-light") as hand:
        assert hand.app.theme == "ksi-light"
        assert not hand.app.current_theme.dark


async def test_help_shows_the_keys_as_the_user_has_them() -> None:
    async with dashboard(ScriptedClient(busy()), keymap={"submit": "ctrl+s"}) as hand:
        await hand.press("question_mark")
        await hand.sees("Every key", "ctrl+s    submit")


async def test_what_was_sent_does_not_stand_in_the_next_form() -> None:
    replies = {
        "completion:async": {"request_id": "r-1", "session_id": "s-1", "status": "queued"},
        "completion:request_status": {"request_id": "r-1", "session_id": "s-1"},
    }
    async with dashboard(ScriptedClient(first_start(), replies)) as hand:
        await hand.press("s")
        await hand.sees("Submit a prompt")
        await hand.type("kept")
        await hand.press("escape", "s")
        await hand.sees("Submit a prompt", "kept")
        await hand.press("enter")
        await hand.sees("overview > s-1 > r-1")
        assert hand.app.draft is None


async def test_cancel_all_reaches_what_is_only_in_backoff() -> None:
    waits = active("r-1", session_id="s", phase=Phase.RETRYING, provider=None)
    now = dataclasses.replace(
        busy(),
        active=(waits,),
        active_total=1,
        queues=(),
        totals=dataclasses.replace(IDLE, retrying=1),
    )
    client = ScriptedClient(now)

    def cancel(_: Mapping[str, Any]) -> dict[str, Any]:
        client.now = dataclasses.replace(now, active=(), totals=IDLE)
        return {"cancelled": [{"request_id": "r-1", "was": "retrying", "changed": True}]}

    client.replies["completion:cancel"] = cancel
    host = cast(Host, SimpleNamespace(client=client, ui=SimpleNamespace(operator="op1")))
    assert await end_work(host, "cancel") is None
    (sent,) = client.sent("completion:cancel")
    assert (sent["session_id"], sent["by"]) == ("s", "op1")


def test_one_that_waits_is_at_no_provider_whoever_had_it_last() -> None:
    views = (
        active("runs", phase=Phase.STREAMING, provider="openai"),
        active("waits", phase=Phase.RETRYING, provider="openai"),
    )
    shown = dataclasses.replace(busy(), active=views)
    found = [target_of(shown, "active", name) for name in ("runs", "waits", "gone")]
    assert [target and target.provider for target in found] == ["openai", None, None]
    assert [target is None for target in found] == [False, False, True]


async def test_a_forgotten_demo_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_PAUSE_S", (0, 0))
    full = dataclasses.replace(IDLE, queued=MOST_UNFINISHED)
    client = ScriptedClient(dataclasses.replace(busy(), totals=full))
    load = DemoLoad(client)
    load.start()
    try:
        async with asyncio.timeout(20):
            while len(client.queries) < 10:  # noqa: ASYNC110 - rounds of the load
                await asyncio.sleep(0)
            assert load.emitted == 0
            client.now = dataclasses.replace(client.now, totals=IDLE)
            while not client.sent("completion:async"):  # noqa: ASYNC110 - its first request
                await asyncio.sleep(0)
    finally:
        await load.stop()


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize(
    "where", [where for where in Where if where not in (Where.ANY, Where.PANE)]
)
def test_a_key_without_room_is_left_out_of_the_footer_and_never_cut(
    where: Where, width: int
) -> None:
    every = footer_actions(where, lambda _: True)
    text = footer_line(every, {}, width, kept=kept_in_footer(where)).text
    assert len(text) == width
    assert "…" not in text
    whole = footer_line(every, {}, 1000).text.split("  ")
    assert [part.strip() for part in text.split("  ") if part.strip()] == [
        part.strip() for part in whole if part.strip() and part in text
    ]
    first = " enter open" if where is Where.OVERVIEW else " esc back"
    assert text.startswith(first)
    assert "? help" in text
    assert text.endswith("q quit ") or width < 140


_PICTURES = {
    (Where.OVERVIEW, 80): " enter open  w why  s submit  c cancel  r retry  n elsewhere"
    "  / filter   ? help ",
    (Where.OVERVIEW, 140): " enter open  w why  s submit  c cancel  r retry  n elsewhere  p pause"
    "  / filter  space mark  y copy  z zoom  tab pane        ? help  q quit ",
}
_NOW_AND_THEN = "probe force_circuit force_lock undo demo providers palette step_back step_on"


@pytest.mark.parametrize(("where", "width"), _PICTURES)
def test_the_footer_stands_as_in_the_picture(where: Where, width: int) -> None:
    usual = footer_actions(where, lambda name: name not in _NOW_AND_THEN.split())
    shown = footer_line(usual, {}, width, kept=kept_in_footer(where)).text
    assert shown == _PICTURES[where, width]


def test_the_keys_of_a_first_start_stand_as_in_the_picture() -> None:
    empty = (
        "demo",
        "providers",
        "submit",
        "filter",
        "palette",
        "zoom",
        "next_pane",
        "help",
        "quit",
    )
    shown = footer_actions(Where.OVERVIEW, lambda name: name in empty)
    text = footer_line(shown, {}, 80, kept=kept_in_footer(Where.OVERVIEW)).text
    assert text == (
        " s submit  D demo  K providers  / filter  ctrl+p palette         ? help  q quit "
    )


@pytest.mark.parametrize("where", [Where.OVERVIEW, Where.REQUESTS, Where.FAILED, Where.EVENTS])
def test_the_filter_stands_in_the_narrow_footer_of_every_list(where: Where) -> None:
    every = footer_actions(where, lambda _: True)
    assert "/ filter" in footer_line(every, {}, 80, kept=kept_in_footer(where)).text
