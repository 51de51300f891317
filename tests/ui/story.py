"""The story of the pictures: 03:12:44, openai open since 03:08:32, and all that waits for it.

What every picture shows comes from here, so that they can be laid side by side: the
overview at that moment, the request r-1042 that fell silent, why r-93 waits, and what a
cancel of r-1042's session meets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ksi_tui.client import Snapshot
from ksi_tui.engine.advice import AttentionKind, AttentionView, Remedy, SameRoot
from ksi_tui.engine.models import Cause, CauseKind
from ksi_tui.engine.views import (
    Chain,
    CircuitLook,
    Link,
    Live,
    Next,
    Outlook,
    PauseView,
    Phase,
    Root,
    TokenRow,
)
from tests.ui.acting import World
from tests.ui.acting import live as acting_live
from tests.ui.scripted import AT, active, busy, lock
from tests.ui.test_request import REPORT, SENT, stopped_report

ANSWER = """Invoice 2231 doubled because two recurring lines were billed twice after the plan \
change on 3 June:

  1. Seat licences, 40 x $12.00 .......... May $480.00, June $960.00
  2. Priority support, flat .............. May $250.00, June $500.00

The May ledger carries both lines under contract C-118. The June ledger carries them under \
C-118 and again under C-131, which replaced it. The migration closed C-118 on 30 June rather \
than on 3 June, so for 27 days both contracts were"""


PROMPT = "Why did invoice 2231 double between May and June? Show the lines that changed."
SYSTEM = "You are the billing assistant for Globex. Answer from the attached ledger only."


# --- the overview -------------------------------------------------------------------------


def row(kind: AttentionKind, what: str, **more: Any) -> AttentionView:
    """A row of Attention; something that waits unless told otherwise."""
    fields: dict[str, Any] = {
        "look": Phase.WAITING,
        "state": "waiting",
        "for_s": 242.0,
        "why": "",
        "hits": "",
        "action": "why",
        "action_label": "why",
        "request_id": None,
        "session_id": None,
        "provider": None,
        "key": f"{kind}:{what}",
    }
    return AttentionView(kind=kind, what=what, **(fields | more))


def attention() -> tuple[AttentionView, ...]:
    """What needs somebody, worst first."""
    return (
        row(
            AttentionKind.CIRCUIT,
            "openai",
            look=CircuitLook.OPEN,
            state="open",
            for_s=252.0,
            why="5 timeouts in a row: no first token in 30 s",
            hits="62 req, 23 sessions",
            action="open",
            action_label="its circuit",
            provider="openai",
        ),
        row(
            AttentionKind.WAIT,
            "acme-42",
            why="lock held by a7, 0:41 left, extended 3x",
            hits="3 req",
            request_id="r-81",
            session_id="acme-42",
        ),
        row(
            AttentionKind.NO_TOKEN,
            "r-1042",
            look=Phase.NO_TOKEN,
            state="no token",
            for_s=34.0,
            why="anthropic silent since 03:12:10, usual gap 0.1 s",
            hits="3 req in globex-7",
            action="elsewhere",
            action_label="send elsewhere",
            request_id="r-1042",
            session_id="globex-7",
            provider="anthropic",
        ),
        row(
            AttentionKind.PAUSE,
            "nightly-eval",
            look=None,
            state="paused",
            for_s=7860.0,
            why='by op2: "budget until 06:00"',
            hits="118 req",
            action="pause",
            action_label="resume",
            session_id="nightly-eval",
        ),
    )


def _more_active() -> list[Any]:
    """The rest of the 31 that run: all of them stream, as most do even in a bad night."""
    local = {"provider": "local-vllm", "asked_model": "llama-3.3-70b", "model": "llama-3.3-70b"}
    return [
        active("r-1067", session_id="bench-eu", agent_id="bench", **local, age_s=1.7, ttft_s=0.2,
               tokens=133, tokens_per_s=88.0),
        *(
            active(f"r-11{n:02}", session_id=f"umbrella-{n}", agent_id=f"a{n}", age_s=1.6 - n / 20,
                   tokens=50 - n, tokens_per_s=33.0)
            for n in range(22)
        ),
    ]  # fmt: skip


def night(**changes: Any) -> Snapshot:
    """The overview at the moment of the pictures."""
    quiet = busy()
    first, more = quiet.active[:7], _more_active()
    rows = list(quiet.tokens.rows) if quiet.tokens else []
    azure = TokenRow(
        provider="azure-eu",
        input=388_000,
        output=71_000,
        cache_share=0.09,
        cost=4.23,
        unpriced=0,
        estimated=False,
    )
    assert quiet.tokens is not None
    return dataclasses.replace(
        quiet,
        **{
            "attention": attention(),
            "attention_total": 4,
            "verdict": dataclasses.replace(
                quiet.verdict, short="openai open 4m12s, 29% waits, probe in 0:48"
            ),
            "pauses": (
                PauseView(
                    scope="session",
                    id="nightly-eval",
                    by="op2",
                    reason="budget until 06:00",
                    since_s=7860.0,
                    waiting=118,
                ),
            ),
            "pauses_total": 1,
            "active": (*first, more[0], quiet.active[7], *more[1:]),
            "active_total": 31,
            "queues_total": 41,
            "locks": (
                *quiet.locks,
                lock(
                    "wayne-22",
                    "a4",
                    left_s=299,
                    extended=0,
                    waiting=0,
                    doing="r-1070 runs",
                    doing_phase=Phase.CONNECTING,
                ),
            ),
            "locks_total": 4,
            "tokens": dataclasses.replace(quiet.tokens, rows=(*rows[:2], azure, *rows[2:])),
            **changes,
        },
    )


# --- the request r-1042 -------------------------------------------------------------------


def silent(**changes: Any) -> Live:
    """The request that fell silent 34 s ago, with what had arrived."""
    fields: dict[str, Any] = {"text": ANSWER, "text_length": 1630}
    return acting_live(**(fields | changes))


def sent() -> dict[str, Any]:
    """What was sent of it."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
    return {**SENT, "messages": messages, "turns": 6}


# --- why r-93 waits -----------------------------------------------------------------------


def _link(request_id: str, session: str, agent: str, cause: Cause, **more: Any) -> Link:
    fields: dict[str, Any] = {
        "status": "queued",
        "phase": Phase.QUEUED if cause.kind is CauseKind.BEHIND else Phase.WAITING,
        "queued_s": 242.0,
    }
    return Link(
        request_id=request_id, session_id=session, agent_id=agent, cause=cause, **(fields | more)
    )


def chain() -> Chain:
    """From r-93 over a lock to the circuit of openai."""
    behind = Cause(kind=CauseKind.BEHIND, target="r-81", text="behind r-81 in its session")
    locked = Cause(
        kind=CauseKind.LOCK, target="a7", until=AT + 41, text="lock held by a7, 0:41 left"
    )
    opened = Cause(
        kind=CauseKind.CIRCUIT, target="openai", until=AT + 48, text="openai open, probe in 0:48"
    )
    return Chain(
        links=(
            _link("r-93", "acme-42", "a3", behind, queued_s=190.0),
            _link("r-81", "acme-42", "a3", locked, via="r-81 is ahead"),
            _link(
                "r-77",
                "a7-main",
                "a7",
                opened,
                via="the only unfinished request of a7",
                certain=False,
                queued_s=238.0,
            ),
        ),
        root=Root(
            kind="circuit",
            target="openai",
            until=AT + 48,
            certain=True,
            text="openai open, probe in 48 s",
        ),
        cycle=False,
        text="r-93 is behind r-81, which needs the lock of a7; a7 waits for openai",
    )


def waiting() -> Live:
    """Why r-93 waits, what moves by itself, what frees it, and who else waits."""
    behind = chain().links[0].cause
    return Live(
        request_id="r-93",
        phase=Phase.QUEUED,
        why=behind.text,
        provider=None,
        model="o4-mini",
        attempt=0,
        max_attempts=3,
        tokens=0,
        ttft_s=None,
        tokens_per_s=None,
        text="",
        text_length=0,
        if_nobody_acts="in 41 s the lock of a7 expires and r-81 starts",
        chain=chain(),
        moves=_moves(),
        remedies=_remedies(),
        same_root=_same_root(),
        same_root_requests=62,
        same_root_sessions=23,
        plain="openai stopped answering at 03:08:32. Agent a7 has waited for it since 03:08:46 and "
        "keeps acme-42 locked meanwhile, so the 3 messages of acme-42 wait. Nothing is lost. It "
        "should move by itself at about 03:13:25.",
    )


def _moves() -> tuple[Outlook, ...]:
    return (
        Outlook(
            what=Next.COOLDOWN_ENDS,
            at=AT + 9,
            text="azure-eu may be called again: r-77 starts there if none of the 61 others comes "
            "first",
            request_id="r-77",
        ),
        Outlook(
            what=Next.LOCK_EXPIRES,
            at=AT + 41,
            text="the lock of a7 on acme-42 expires unless a7 extends it again: r-81 starts",
            request_id="r-81",
        ),
        Outlook(
            what=Next.PROBE,
            at=AT + 48,
            text="openai's probe: one of the 62 waiting is let through",
            request_id="r-77",
        ),
    )


def _remedies() -> tuple[Remedy, ...]:
    return (
        Remedy(
            action="elsewhere",
            what="send r-77 to anthropic, 3 of 24 free",
            frees="r-77 now; then likely r-81, r-93",
            also_hits="claude-sonnet-4-5 answers, not o4-mini",
            request_id="r-77",
            provider="anthropic",
            model="claude-sonnet-4-5",
            freed=("r-77",),
        ),
        Remedy(
            action="probe",
            what="probe openai now",
            frees="r-77 if it answers",
            also_hits="1 call; stays open if it fails",
            provider="openai",
        ),
        Remedy(
            action="force_lock",
            what="force the lock of a7 on acme-42",
            frees="r-81 now, then r-93, r-95",
            also_hits="a7 is told; it may write out of turn",
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
            frees="nothing: r-93 needs the lock too",
            request_id="r-81",
        ),
    )


def _same_root() -> tuple[SameRoot, ...]:
    rows = (
        ("acme-42", 3, 242, "r-81", "lock of a7, then r-77"),
        ("a7-main", 1, 238, "r-77", "direct"),
        ("hooli-8", 6, 231, "r-83", "direct"),
        ("umbrella-2", 4, 220, "r-90", "direct"),
        ("stark-11", 2, 192, "r-96", "behind r-94, then direct"),
        ("wonka-5", 1, 177, "r-99", "direct"),
    )
    return tuple(
        SameRoot(session_id=s, requests=n, oldest_s=float(age), head_id=head, path=path)
        for s, n, age, head, path in rows
    )


# --- the engine -----------------------------------------------------------------------------


class Night(World):
    """The engine of the story: what it shows, answers, and does when it is told to."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.now = night(**changes)
        self.lives = {"r-1042": silent(), "r-93": waiting()}
        for request_id in ("r-81", "r-93", "r-95"):
            self.add(request_id, "queued", "acme-42", agent_id="a3")
        self.add("r-77", "queued", "a7-main", agent_id="a7")
        asked = self.replies["completion:request_status"]
        assert callable(asked)
        self._others = asked
        self.replies["completion:request_status"] = self._status

    def _status(self, data: Mapping[str, Any]) -> dict[str, Any]:
        reply = self._others(data)
        if data["request_id"] != "r-1042" or "error" in reply:
            return reply
        if reply["status"] == "processing":
            reply = {**reply, **REPORT, "prompt": PROMPT}
        elif reply["status"] == "cancelled":
            self.holder = None
            stopped = stopped_report(closing=False, upstream_closed_ms=None, partial_text=ANSWER)
            reply = {**reply, **stopped, "prompt": PROMPT}
        return {**reply, "sent": sent()} if data.get("sent") else reply
