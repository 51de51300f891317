"""Every screen in every designed state, as what to open, what to press, and over which engine.

One story where it can be (tests/ui/story.py). What is rendered of it is `shots`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from textual.screen import Screen

from ksi_tui.elsewhere import Elsewhere
from ksi_tui.engine.errors import DatabaseOwned
from ksi_tui.engine.views import Level, Phase, Snapshot, Verdict
from ksi_tui.screens import later
from tests.ui import test_compare, test_composer, test_events_screen, test_usage_screen
from tests.ui.acting import live, provider
from tests.ui.harness import Hand
from tests.ui.request_list import ListClient, failed, found, waiting
from tests.ui.scripted import AT, ScriptedClient, busy, first_start
from tests.ui.story import Night, night
from tests.ui.test_provider import engine as provider_engine
from tests.ui.test_request import REPORT, stopped_report
from tests.ui.test_request import engine as request_engine
from tests.ui.test_session import engine as session_engine

Play = Callable[[Hand], Awaitable[None]]
REASON = "ticket 8841, customer asked to stop"


async def look(_: Hand) -> None:
    """Press nothing."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An engine, what is done before it, and settings of the screen.

    `ready`: the engine answers before anything is pressed. `environment` holds while it runs.
    `app_options` go to the app beside its engine. `end` is called once the picture is taken.
    """

    engine: Callable[[], ScriptedClient]
    play: Play = look
    ui: Mapping[str, Any] = field(default_factory=dict)
    ready: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    app_options: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((80, 24), (140, 45))
    end: Callable[[ScriptedClient], None] | None = None


def keys(*pressed: str) -> Play:
    """A play that presses keys, and waits after each until the screen is quiet."""

    async def play(hand: Hand) -> None:
        for key in pressed:
            await hand.press(key)
            await hand.pilot.pause(0.1)

    return play


def typed(*plays: Play | str) -> Play:
    """A play of several; a text is typed."""

    async def play(hand: Hand) -> None:
        for each in plays:
            if isinstance(each, str):
                await hand.type(each)
                await hand.pilot.pause(0.1)
            else:
                await each(hand)

    return play


def opens(make: Callable[[str], Screen[Any]], name: str, *pressed: str) -> Play:
    """A play that opens a screen that only other screens lead to, and presses keys there."""

    async def play(hand: Hand) -> None:
        await hand.app.push_screen(make(name))
        await hand.pilot.pause(0.1)
        await keys(*pressed)(hand)

    return play


# --- engines --------------------------------------------------------------------------------


def _judged(level: Level, cause: str) -> ScriptedClient:
    return ScriptedClient(night(verdict=Verdict(level=level, cause=cause)))


def _calm() -> Snapshot:
    quiet = Verdict(level=Level.OK, cause="no circuit is open, nothing cools down")
    nothing: dict[str, Any] = {"attention": (), "attention_total": 0, "pauses_total": 0}
    locks: dict[str, Any] = {"locks": (), "locks_total": 0, "queues": (), "queues_total": 0}
    return night(verdict=quiet, **nothing, **locks)


class _Starting(ScriptedClient):
    """An engine that is ready when it is let."""

    def __init__(self) -> None:
        super().__init__(busy())
        self.gate = asyncio.Event()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ScriptedClient]:
        """The app's `connect`."""
        await self.gate.wait()
        yield self


def _let_start(client: ScriptedClient) -> None:
    assert isinstance(client, _Starting)
    client.gate.set()


def _owned() -> ScriptedClient:
    client = ScriptedClient(busy())

    @asynccontextmanager
    async def refused() -> AsyncIterator[ScriptedClient]:
        raise DatabaseOwned("the database /var/lib/ksi/ksi.db is used by ksi-tui, pid 4711")
        yield client

    client.connect = refused  # type: ignore[method-assign]
    return client


class _Elsewhere(ScriptedClient):
    """The engine of another process, which another operator looks at too."""

    def __init__(self, lost: str | None = None, age_s: float = 0.1) -> None:
        super().__init__(night(attached=("op2",)))
        self.lost, self.age_s, self.name = lost, age_s, "ksi-tui prod-eu"


def _lost() -> ScriptedClient:
    return _Elsewhere(
        "no connection for 12 s, next try in 2 s · shown as it was 12 s ago (cannot connect:"
        " Connection refused)",
        12.0,
    )


async def _who_answers() -> str:
    return "ksi-tui prod-eu, pid 4711, since 02:58"


_OFFER: dict[str, Any] = {"elsewhere": Elsewhere(look=_who_answers, connect=_owned().connect)}


def _silent() -> ScriptedClient:
    """An engine that answers no question: what is being read stays so."""

    async def never(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    client = ScriptedClient(busy())
    client.emit = never  # type: ignore[method-assign]
    return client


def _unknown_request() -> ScriptedClient:
    unknown = {"error": "no request 'r-1042'", "code": "not_found"}
    return ScriptedClient(busy(), {"completion:request_status": unknown})


def _ended(*, stopped: bool = False, **changes: Any) -> ScriptedClient:
    error = {"kind": "timeout", "message": "anthropic: no further token in 60 s"}
    report = stopped_report(**changes) if stopped else {**REPORT, "error": error, **changes}
    ended = {"finished_at": "2026-11-22T03:12:40+00:00", "text": "Invoice 2231 doubled"}
    client = request_engine({**ended, **report})
    client.lives.clear()
    return client


def _list() -> ListClient:
    silent: dict[str, Any] = {
        "session_id": "globex-7",
        "agent_id": "a12",
        "status": "processing",
        "phase": "no token",
        "asked_model": "gpt-4o",
        "finished_at": None,
        "latency_ms": None,
        "age_s": 80.0,
        "cost": None,
        "why": "no token for 34 s",
        "metadata": {"customer": "globex", "ticket": 8841},
    }
    stopped = {"status": "cancelled", "phase": "cancelled", "by": "op2", "reason": "ticket 8790"}
    rows = [
        waiting("r-93", session_id="acme-42", age_s=190.0, why="behind r-81 in its session"),
        waiting("r-81", session_id="acme-42", age_s=242.0),
        waiting("r-77", session_id="a7-main", age_s=238.0, why="openai open, probe in 0:48"),
        found("r-1042", **silent),
        found("r-1020", session_id="globex-7", age_s=431.0),
        failed("r-1009", session_id="acme-51", asked_model="gpt-4o", finished_at=AT - 72),
        failed("r-1001", session_id="wonka-5", finished_at=AT - 90, cost=None, unpriced=1),
        found("r-0977", **stopped, session_id="hooli-3", cost=None, age_s=700.0),
        *(
            found(f"r-09{n:02}", session_id=f"umbrella-{n}", age_s=800.0 + 31 * n, tokens=300 + n)
            for n in range(30, 50)
        ),
    ]
    client = ListClient(rows, night())
    client.lives["r-93"] = live("r-93", phase=Phase.QUEUED, why="behind r-81 in its session",
                                if_nobody_acts="in 0:41 the lock of a7 expires, r-81 starts, "
                                "r-93 follows")  # fmt: skip
    return client


def _refused_list() -> ListClient:
    client = _list()
    client.refusal = "the database cannot be read: disk I/O error"
    return client


def _reading_list() -> ListClient:
    client = _list()
    client.gate.clear()
    return client


def _forced() -> Night:
    client = Night()
    held = {"state": "open", "forced": "open", "forced_by": "op2", "forced_until": None}
    client.providers["openai"] = provider(1, ["gpt-*"], breaker=held, of=16)
    return client


class _Moments:
    """Time that can be stepped through, without a file."""

    position = (7, 120)
    day = "22 Nov"
    records_at: float | None = None
    passed_over = ""

    def step(self, frames: int) -> str:
        """Stay."""
        return ""


# --- plays ----------------------------------------------------------------------------------


async def _stop_session(hand: Hand) -> None:
    """Choose the whole session and give a reason."""
    await keys("c", "shift+tab", "shift+tab", "right", "tab")(hand)
    await hand.type(REASON)
    await keys("tab")(hand)
    hand.clock.advance(1)


async def _stopped(hand: Hand) -> None:
    await _stop_session(hand)
    await keys("tab", "enter")(hand)
    await hand.sees("Receipt")


async def _receipt(hand: Hand) -> None:
    await _stopped(hand)
    hand.client.publish("completion:upstream_closed", request_id="r-1042", after_ms=38.0)
    await hand.sees("confirmed")


async def _unconfirmed(hand: Hand) -> None:
    await _stopped(hand)
    hand.clock.advance(6)
    await hand.sees("unconfirmed")


async def _asked_again(hand: Hand) -> None:
    await _stop_session(hand)
    world = hand.client
    assert isinstance(world, Night)
    world.states |= {"r-1042": "completed", "r-1047": "processing"}
    del world.lives["r-1042"]
    world.lives["r-1047"] = live("r-1047", phase=Phase.FIRST_TOKEN, tokens=0, text="")
    await keys("tab", "enter")(hand)
    await hand.sees("The world changed")


async def _stale(hand: Hand) -> None:
    def broken(_: Any = None) -> Any:
        raise ZeroDivisionError

    hand.client.snapshot = broken  # type: ignore[assignment,method-assign]
    await hand.sees("cannot be looked at")
    hand.clock.advance(12)
    await hand.sees("STALE 12s")


async def _recording(hand: Hand) -> None:
    hand.app.recording = _Moments()
    await hand.pilot.pause(0.2)


def _taken(hand: Hand, number: int) -> bool:
    return hand.app.events.taken > number


async def _events(hand: Hand) -> None:
    for number, (name, data) in enumerate(
        (
            ("completion:queued", {"request_id": "r-1080", "session_id": "bench-eu"}),
            ("completion:retrying", {"request_id": "r-1009", "kind": "api_rate_limit"}),
            ("provider:circuit", {"provider": "openai", "from": "closed", "to": "open"}),
            ("queue:paused", {"scope": "session", "id": "nightly-eval", "by": "op2"}),
            ("completion:error", {"request_id": "r-1001", "kind": "timeout", "error": "no token"}),
        )
    ):
        hand.client.publish(name, **data)
        await hand.until(partial(_taken, hand, number))
    await keys("l")(hand)


def _bundle(_: str) -> Screen[Any]:
    return later.save_bundle()


def _compare_over(*ended: str) -> Play:
    async def play(hand: Hand) -> None:
        await test_compare.sent(hand)
        engine = hand.client
        assert isinstance(engine, test_compare.Engine)
        engine.end(*ended)
        hand.clock.advance(1)
        await hand.pilot.pause(0.3)

    return play


def _prompt() -> Play:
    return typed(keys("s"), "Why did invoice 2231 double between May and June?")


# --- the scenes -----------------------------------------------------------------------------

_DAMAGED = "the database cannot be written: disk full (/var/lib/ksi/ksi.db)"

OVERVIEW: Mapping[str, Scene] = {
    "overview": Scene(Night),
    "overview-attention": Scene(Night, keys("exclamation_mark", "j", "j")),
    "overview-calm": Scene(lambda: ScriptedClient(_calm())),
    "overview-first-start": Scene(lambda: ScriptedClient(first_start())),
    "overview-starting": Scene(_Starting, ready=False, end=_let_start),
    "overview-failed-start": Scene(_owned, ready=False),
    "overview-attached": Scene(_Elsewhere, app_options={"attached": True}),
    "overview-attached-lost": Scene(_lost, app_options={"attached": True}),
    "overview-attach-offer": Scene(_owned, ready=False, app_options=_OFFER),
    "overview-read-only": Scene(Night, ui={"read_only": True}),
    "overview-disk-full": Scene(lambda: _judged(Level.READ_ONLY, _DAMAGED)),
    "overview-down": Scene(lambda: _judged(Level.DOWN, "openai open 4m12s (timeout): 100% waits")),
    "overview-paused": Scene(lambda: _judged(Level.PAUSED, "engine paused by op1: deploy 4.2")),
    "overview-stale": Scene(Night, _stale),
    "overview-frozen": Scene(Night, keys("f")),
    "overview-marked": Scene(Night, keys("space", "space", "j", "space")),
    "overview-recording": Scene(Night, _recording),
    "queues": Scene(Night, keys("1")),
    "providers": Scene(Night, keys("3", "z")),
    "locks": Scene(Night, keys("4")),
    "tokens": Scene(Night, keys("5", "z")),
    "small-60x16": Scene(Night, sizes=((60, 16),)),
    "too-small": Scene(Night, sizes=((50, 12), (80, 10))),
    "between-100x30": Scene(Night, sizes=((100, 30),)),
    "large-220x60": Scene(Night, sizes=((220, 60),)),
}

LOOKS: Mapping[str, Scene] = {
    f"{screen}-{look_name}": Scene(Night, play, ui, environment=environment)
    for look_name, ui, environment in (
        ("light", {"theme": "ksi-light"}, {}),
        ("contrast", {"theme": "ksi-contrast"}, {}),
        ("terminal", {"theme": "ksi-terminal"}, {}),
        ("ascii", {"ascii": True}, {}),
        ("no-color", {"theme": None}, {"NO_COLOR": "1"}),
    )
    for screen, play in (
        ("overview", look),
        ("why", opens(later.why_screen, "r-93")),
        ("cancel", _stop_session),
    )
}

REQUESTS: Mapping[str, Scene] = {
    "requests": Scene(_list, keys("i")),
    "requests-marked": Scene(_list, keys("i", "space", "j", "space")),
    "requests-reading": Scene(_reading_list, keys("i")),
    "requests-refused": Scene(_refused_list, keys("i")),
    "requests-empty": Scene(lambda: ListClient([], night()), keys("i")),
    "requests-filter": Scene(_list, typed(keys("slash"), "session:acme -status:fail")),
    "requests-filter-error": Scene(_list, typed(keys("slash"), "age>soon")),
    "requests-filtered": Scene(_list, typed(keys("slash"), "session:acme", keys("enter"))),
    "requests-sort": Scene(_list, keys("i", "o")),
    "failed": Scene(_list, keys("x")),
    "request": Scene(Night, keys("enter")),
    "request-answer": Scene(Night, keys("enter", "2")),
    "request-prompt": Scene(Night, keys("enter", "3")),
    "request-usage": Scene(Night, keys("enter", "4")),
    "request-raw": Scene(Night, keys("enter", "5")),
    "request-hidden": Scene(Night, keys("enter", "t", "2")),
    "request-zoomed": Scene(Night, keys("enter", "2", "z")),
    "request-copy": Scene(Night, keys("enter", "y")),
    "request-unknown": Scene(_unknown_request, keys("enter")),
    "request-reading": Scene(_silent, keys("enter")),
    "request-failed": Scene(partial(_ended, status="failed"), keys("enter")),
    "request-completed": Scene(partial(_ended, status="completed"), keys("enter")),
    "request-cancelling": Scene(partial(_ended, stopped=True, closing=True), keys("enter")),
    "request-unconfirmed": Scene(partial(_ended, stopped=True, closing=False), keys("enter")),
    "why": Scene(Night, opens(later.why_screen, "r-93")),
    "why-same-root": Scene(Night, opens(later.why_screen, "r-93", "tab")),
    "why-ended": Scene(Night, opens(later.why_screen, "r-1")),
}

SCREENS: Mapping[str, Scene] = {
    "session": Scene(session_engine, opens(later.session_screen, "globex-7")),
    "session-transcript": Scene(session_engine, opens(later.session_screen, "globex-7", "2")),
    "session-timeline": Scene(session_engine, opens(later.session_screen, "globex-7", "3")),
    "session-lock": Scene(session_engine, opens(later.session_screen, "globex-7", "4")),
    "session-cost": Scene(session_engine, opens(later.session_screen, "globex-7", "5")),
    "session-reading": Scene(_silent, opens(later.session_screen, "globex-7")),
    "provider": Scene(provider_engine, opens(later.provider_screen, "openai")),
    "provider-flight": Scene(provider_engine, opens(later.provider_screen, "azure-eu", "2")),
    "provider-health": Scene(provider_engine, opens(later.provider_screen, "openai", "3")),
    "provider-limits": Scene(provider_engine, opens(later.provider_screen, "openai", "4")),
    "provider-charts": Scene(provider_engine, opens(later.provider_screen, "openai", "5")),
    "provider-unknown": Scene(_silent, opens(later.provider_screen, "nope")),
    "usage": Scene(test_usage_screen.client, keys("m")),
    "usage-split": Scene(test_usage_screen.client, keys("m", "v")),
    "usage-week": Scene(
        test_usage_screen.client, keys("m", "right_square_bracket", "right_square_bracket")
    ),
    "usage-reading": Scene(_silent, keys("m")),
    "events": Scene(partial(test_events_screen.client, 1200), _events),
    "events-reading": Scene(_silent, keys("l")),
    "submit": Scene(test_composer.engine, _prompt()),
    "submit-first-start": Scene(lambda: ScriptedClient(first_start()), _prompt()),
    "compare-setup": Scene(test_compare.Engine, test_compare.set_up),
    "compare": Scene(test_compare.Engine, _compare_over("r-1", "r-2")),
    "compare-over": Scene(test_compare.Engine, _compare_over(*(f"r-{n}" for n in range(1, 7)))),
}

DIALOGS: Mapping[str, Scene] = {
    "cancel": Scene(Night, _stop_session),
    "cancel-one": Scene(Night, keys("c")),
    "cancel-asked-again": Scene(Night, _asked_again),
    "receipt": Scene(Night, _receipt),
    "receipt-unconfirmed": Scene(Night, _unconfirmed),
    "undo": Scene(Night, typed(_receipt, keys("u"))),
    "elsewhere": Scene(Night, keys("n")),
    "pause": Scene(Night, keys("p")),
    "resume": Scene(Night, keys("1", "j", "j", "p")),
    "force-circuit": Scene(Night, keys("3", "B")),
    "force-circuit-end": Scene(_forced, keys("3", "B")),
    "force-lock": Scene(Night, keys("4", "F")),
    "save-bundle": Scene(Night, opens(_bundle, "")),
    "quit": Scene(Night, keys("q")),
    "help": Scene(Night, keys("question_mark")),
    "help-search": Scene(Night, typed(keys("question_mark", "slash"), "lock")),
    "palette": Scene(Night, keys("colon")),
    "add-provider": Scene(lambda: ScriptedClient(first_start()), keys("K")),
}

SCENES: Mapping[str, Scene] = {**OVERVIEW, **LOOKS, **REQUESTS, **SCREENS, **DIALOGS}


def story() -> tuple[str, ...]:
    """The scenes of the designed pictures, in their order."""
    names = ("overview", "overview-first-start", "request", "why", "cancel")
    return (*names, "cancel-asked-again", "receipt")
