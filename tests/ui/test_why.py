"""The why chain: what is shown at both sizes, and that each key does what its row says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ksi_tui.engine.advice import Remedy, SameRoot
from ksi_tui.engine.models import Cause, CauseKind
from ksi_tui.engine.views import Chain, Link, Live, Next, Outlook, Phase, Root
from ksi_tui.screens.base import Target
from ksi_tui.screens.why import WhyScreen
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import AT, ScriptedClient, busy


def link(request_id: str, session: str, agent: str, cause: Cause, **more: Any) -> Link:
    return Link(
        request_id=request_id,
        session_id=session,
        agent_id=agent,
        status="queued",
        phase=Phase.QUEUED if cause.kind is CauseKind.BEHIND else Phase.WAITING,
        cause=cause,
        queued_s=more.pop("queued_s", 242.0),
        **more,
    )


BEHIND = Cause(kind=CauseKind.BEHIND, target="r-81", text="behind r-81 in its session")


def _chain() -> Chain:
    locked = Cause(
        kind=CauseKind.LOCK, target="a7", until=AT + 41, text="lock held by a7, 41 s left"
    )
    opened = Cause(
        kind=CauseKind.CIRCUIT, target="openai", until=AT + 48, text="openai open, probe in 48 s"
    )
    return Chain(
        links=(
            link("r-93", "acme-42", "a3", BEHIND, queued_s=190.0),
            link("r-81", "acme-42", "a3", locked, via="r-81 is ahead"),
            link("r-77", "a7-main", "a7", opened, via="probably busy with r-77", certain=False),
        ),
        root=Root(
            kind="circuit",
            target="openai",
            until=AT + 48,
            certain=True,
            text="openai open, probe in 48 s",
        ),
        cycle=False,
        text="…",
    )


def _moves() -> tuple[Outlook, ...]:
    return (
        Outlook(
            what=Next.LOCK_EXPIRES,
            at=AT + 41,
            text="in 41 s the lock of a7 expires and it goes on",
            request_id="r-81",
        ),
        Outlook(
            what=Next.PROBE,
            at=AT + 48,
            text="in 48 s a probe may go to openai",
            request_id="r-77",
        ),
    )


def _remedies() -> tuple[Remedy, ...]:
    return (
        Remedy(
            action="elsewhere",
            what="send r-77 to anthropic, 3 of 24 free",
            frees="r-77 now; then likely r-81, r-93",
            also_hits="claude answers, not o4-mini",
            request_id="r-77",
            provider="anthropic",
            model="claude",
            freed=("r-77",),
        ),
        Remedy(
            action="force_lock",
            what="force the lock of a7 on acme-42",
            frees="r-81 now; then r-93",
            also_hits="a7 is told",
            lock_session="acme-42",
        ),
        Remedy(
            action="cancel",
            what="cancel r-77",
            frees="r-81, if a7 then lets go",
            also_hits="a7 gets completion:cancelled",
            undo="u 10 min",
            request_id="r-77",
        ),
        Remedy(
            action="",
            what="cancel r-81",
            frees="nothing: r-93 needs the lock of a7 too",
            request_id="r-81",
        ),
    )


def story() -> Live:
    """The story of the target picture."""
    return Live(
        request_id="r-93",
        phase=Phase.QUEUED,
        why=BEHIND.text,
        provider=None,
        model="o4-mini",
        attempt=0,
        max_attempts=3,
        tokens=0,
        ttft_s=None,
        tokens_per_s=None,
        text="",
        text_length=0,
        if_nobody_acts="…",
        chain=_chain(),
        moves=_moves(),
        remedies=_remedies(),
        same_root=(
            SameRoot(
                session_id="acme-42",
                requests=3,
                oldest_s=242,
                head_id="r-81",
                path="lock of a7, then r-77",
            ),
            SameRoot(session_id="hooli-8", requests=6, oldest_s=231, head_id="r-83", path="direct"),
        ),
        same_root_requests=62,
        same_root_sessions=23,
        plain="openai stopped answering at 03:08:32. So r-93 waits. Nothing is lost.",
    )


def client(live: Live | None = None) -> ScriptedClient:
    scripted = ScriptedClient(busy())
    if live is not None:
        scripted.lives["r-93"] = live
    return scripted


async def on_why(hand: Hand) -> WhyScreen:
    screen = WhyScreen("r-93")
    hand.app.push_screen(screen)
    await hand.until(lambda: hand.app.screen is screen and screen.is_attached)
    await hand.sees("why")
    return screen


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (WIDE, "r-93 runs, sent 14s ago. Now: streaming. A clock would end it in about 0:41."),
        (SMALL, "sent 14s ago · now: streaming"),
    ],
)
async def test_one_that_runs_does_not_wait(size: tuple[int, int], told: str) -> None:
    answered = Cause(kind=CauseKind.RUNNING, target="openai", text="streaming")
    alone = link("r-93", "acme-42", "a3", answered, queued_s=14.0)
    root = Root(kind="running", target="openai", until=None, certain=True, text="streaming")
    chain = Chain(links=(alone,), root=root, cycle=False, text="…")
    runs = dataclasses.replace(story(), phase=Phase.STREAMING, chain=chain)
    async with dashboard(client(runs), size) as hand:
        await on_why(hand)
        await hand.sees(told, "would end it in")


async def test_the_whole_picture_where_there_is_room() -> None:
    async with dashboard(client(story()), WIDE) as hand:
        await on_why(hand)
        await hand.sees(
            "overview > acme-42 > r-93 > why", "r-93 has waited 3m10s. Root cause: openai open"
        )
        await hand.sees("Moves by itself in about 0:41", "3 wait here, 62 on the same root")
        rows = hand.screen.splitlines()
        at = {
            text: next(i for i, row in enumerate(rows) if text in row)
            for text in (
                "○ r-81",
                "│ is behind",
                "│ needs the lock of",
                "○ lock acme-42",
                "¦ likely: probably busy with r-77",
                "○ r-77",
                "■ openai",
            )
        }
        assert at["│ is behind"] < at["○ r-81"] < at["│ needs the lock of"] < at["○ lock acme-42"]
        assert at["¦ likely: probably busy with r-77"] < at["○ r-77"] < at["■ openai"]
        await hand.sees("in 0:41", "r-81: in 41 s the lock of a7 expires", "in 0:48")
        await hand.sees("► n ", "send r-77 to anthropic", "r-77 now; then likely r-81")
        await hand.sees("F     force the lock", "c     cancel r-77", "–     cancel r-81")
        await hand.sees("Same root: 62 requests in 23 sessions", "lock of a7, then r-77", "hooli-8")
        await hand.sees("In plain words", "openai stopped answering at 03:08:32.")


async def test_the_small_picture_keeps_what_one_acts_on() -> None:
    async with dashboard(client(story()), SMALL) as hand:
        await on_why(hand)
        await hand.sees("waits 3m10s · root: openai open", "moves by itself in ~0:41")
        await hand.sees("■ openai", "If nobody acts", "What frees it, least harm first", "► n ")
        await hand.sees("nothing: r-93 needs")
        assert "In plain words" not in hand.screen
        assert "Same root" not in hand.screen


async def test_only_this_request_is_asked_for_and_explained() -> None:
    async with dashboard(client(story())) as hand:
        await on_why(hand)
        query = hand.client.queries[-1]
        assert (query.request_id, query.explain, query.active_limit, query.queue_limit) == (
            "r-93",
            True,
            0,
            0,
        )


async def test_enter_does_the_chosen_one_and_a_key_does_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with dashboard(client(story())) as hand:
        screen = await on_why(hand)
        done: list[tuple[Any, ...]] = []
        for name in ("elsewhere", "cancel", "force_lock", "probe", "pause", "retry"):
            monkeypatch.setattr(
                screen, f"do_{name}", lambda *given, name=name: done.append((name, *given))
            )
        await hand.press("enter", "c", "F")
        await hand.press("j", "j", "j", "enter")
        await hand.sees("that frees nothing: r-93 needs the lock of a7 too")
        await hand.press("b")
        await hand.sees("probe would free nothing here")
        r77 = Target(session_id="a7-main", request_id="r-77")
        assert done == [
            ("elsewhere", r77, "claude"),
            ("cancel", r77),
            ("force_lock", "acme-42"),
        ]


@pytest.mark.parametrize(
    ("remedy", "does"),
    [
        (Remedy(action="probe", what="probe p now", provider="p"), ("probe", "p")),
        (Remedy(action="force_circuit", what="x", provider="p"), ("force_circuit", "p")),
        (
            Remedy(action="resume", what="resume s", scope="session", session_id="s"),
            ("pause", Target(session_id="s")),
        ),
        (
            Remedy(action="resume", what="resume p", scope="provider", provider="p"),
            ("pause", Target(provider="p")),
        ),
        (Remedy(action="resume", what="resume the engine", scope="engine"), ("pause", None)),
        (
            Remedy(action="retry", what="end the backoff", request_id="r-93"),
            ("retry", Target(session_id="acme-42", request_id="r-93")),
        ),
    ],
)
async def test_each_remedy_is_done_to_what_it_names(
    remedy: Remedy, does: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = dataclasses.replace(story(), remedies=(remedy,))
    async with dashboard(client(live)) as hand:
        screen = await on_why(hand)
        await hand.sees(remedy.what)
        done: list[tuple[Any, ...]] = []
        for name in ("probe", "force_circuit", "pause", "retry"):
            monkeypatch.setattr(
                screen, f"do_{name}", lambda *given, name=name: done.append((name, *given))
            )
        await hand.press("enter")
        assert done == [does]


async def test_the_chosen_remedy_stays_chosen_when_the_list_changes() -> None:
    scripted = client(story())
    async with dashboard(scripted) as hand:
        screen = await on_why(hand)
        await hand.sees("► n ")
        await hand.press("j", "j")
        await hand.sees("► c ")
        live = story()
        scripted.lives["r-93"] = dataclasses.replace(live, remedies=live.remedies[1:])
        await hand.sees_no("send r-77 to")
        await hand.sees("► c ")
        chosen = screen._remedy()
        assert chosen is not None
        assert chosen.what == "cancel r-77"


async def test_all_at_the_same_root_are_sent_elsewhere_only_when_asked_twice() -> None:
    scripted = client(story())
    scripted.replies["completion:retry"] = {
        "retried": [{"request_id": "r-81", "changed": True}, {"request_id": "r-83", "code": "x"}]
    }
    async with dashboard(scripted) as hand:
        await on_why(hand)
        await hand.press("a")
        await hand.sees("a again sends the heads of 2 sessions to anthropic")
        assert scripted.sent("completion:retry") == []
        await hand.press("a")
        await hand.sees("1 of 2 go on elsewhere")
        assert scripted.sent("completion:retry") == [
            {"request_ids": ["r-81", "r-83"], "by": "op1", "model": "claude"}
        ]


async def test_company_is_opened_and_plain_words_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with dashboard(client(story())) as hand:
        screen = await on_why(hand)
        await hand.press("tab", "j", "w")
        await hand.until(
            lambda: isinstance(hand.app.screen, WhyScreen) and hand.app.screen is not screen
        )
        shown = hand.app.screen
        assert isinstance(shown, WhyScreen)
        assert shown.request_id == "r-83"
        await hand.press("escape")
        await hand.until(lambda: hand.app.screen is screen)
        copied: list[str] = []
        monkeypatch.setattr(screen, "copy_out", lambda text, what: copied.append(text))
        await hand.press("y")
        assert copied == [
            "03:12:44 UTC  r-93 (acme-42): openai stopped answering at 03:08:32. So r-93 waits. "
            "Nothing is lost."
        ]


async def test_what_has_ended_says_so() -> None:
    scripted = client(story())
    async with dashboard(scripted) as hand:
        await on_why(hand)
        await hand.sees("■ openai")
        del scripted.lives["r-93"]
        await hand.sees("r-93 waits no more: it has ended")
        await hand.sees_no("send r-77 elsewhere", "■ openai")


async def test_a_clock_that_is_anothers_is_not_told_as_its_own() -> None:
    text = "it goes on when a call of p ends, the nearest r-98 in 9 s at its idle clock"
    slot = Outlook(what=Next.SLOT_FREES, at=AT + 9, text=text, request_id="r-98")
    async with dashboard(client(dataclasses.replace(story(), moves=(slot,)))) as hand:
        await on_why(hand)
        await hand.sees("in 0:09    it goes on when a call of p ends, the nearest r-98")


async def test_a_cycle_says_which_edge_to_cut() -> None:
    live = story()
    assert live.chain is not None
    cycle = dataclasses.replace(live.chain, links=live.chain.links[:2], cycle=True)
    cut = dataclasses.replace(
        live.remedies[1],
        frees="cuts the cycle most cheaply: r-81 now",
        cut=True,
    )
    shown = dataclasses.replace(live, chain=cycle, remedies=(cut,))
    async with dashboard(client(shown)) as hand:
        await on_why(hand)
        await hand.sees("cycle: it waits for one of those above", "A cycle: openai")
        await hand.sees("force the lock of a7 on acme-42", "cuts the cycle most")


async def test_unsafe_ids_are_cleaned() -> None:
    live = story()
    evil = dataclasses.replace(live.remedies[0], what="x\x1b]52;c;evil\x07[red]y")
    shown = dataclasses.replace(live, remedies=(evil,), plain="a\x1b[2Jb")
    async with dashboard(client(shown)) as hand:
        await on_why(hand)
        await hand.sees("[red]y")
        assert "\x1b" not in hand.screen


async def test_every_size_from_the_least() -> None:
    async with dashboard(client(story()), (60, 16)) as hand:
        await on_why(hand)
        await hand.sees("r-93")
        for size in ((59, 14), (100, 30), (80, 16), (200, 60)):
            await hand.pilot.resize_terminal(*size)
            await hand.pilot.pause()
            assert hand.screen.strip()


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_a_lock_says_who_holds_it_since_when_and_a_bound_says_so(
    size: tuple[int, int],
) -> None:
    told = story()
    assert told.chain is not None
    held = "held by a7 since 03:01:25, 41 s left, extended 3x"
    behind, locked, last = told.chain.links
    links = (behind, dataclasses.replace(locked, lock=held), last)
    chain = dataclasses.replace(told.chain, links=links)
    scripted = ScriptedClient(busy())
    scripted.lives["r-93"] = dataclasses.replace(told, chain=chain, same_root_at_least=True)
    async with dashboard(scripted, size) as hand:
        await hand.app.push_screen(WhyScreen("r-93"))
        await hand.sees("○ lock acme-42", held)
        if size == WIDE:
            await hand.sees("≥ 62 on the same root", "Same root: ≥ 62 requests in 23 sessions")
