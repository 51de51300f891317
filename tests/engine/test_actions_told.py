"""What people do is told once: in the journal, in the session's too, and to those who watch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ksi_tui.engine import actions_taken
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.payloads import Cancel
from ksi_tui.engine.store.journal import JournalQuery
from tests.engine.engine_fixtures import (
    Rig,
    answers,
    config,
    fails,
    held,
    provider,
    running,
    until,
)

WHO = {"by": "op1", "reason": "ticket 8841"}


async def journal(rig: Rig, **asked: Any) -> list[dict[str, Any]]:
    """Entries of people's actions, the oldest first."""
    await rig.core.store.write()
    reply = await rig.emit("system:journal", pattern="action:*", limit=1000, **asked)
    return list(reversed(reply["entries"]))


def told(rig: Rig) -> list[tuple[str, dict[str, Any]]]:
    """What was published of people's actions."""
    return [(e.name, dict(e.data)) for e in rig.seen if e.name.startswith("action:")]


async def sessions_with(rig: Rig, *sessions: tuple[str, int]) -> list[str]:
    ids = []
    for session_id, count in sessions:
        for number in range(count):
            each = f"{session_id}-{number}"
            await rig.submit(each, request_id=each, session_id=session_id)
            ids.append(each)
    return ids


async def test_what_is_done_to_a_request_is_in_its_sessions_journal(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q")])
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        await sessions_with(rig, ("s", 1))
        await rig.calls(1)
        await rig.emit("completion:retry", request_id="s-0", avoid=["p"], **WHO)
        await rig.emit("completion:cancel", request_id="s-0", receipt="c-031244", **WHO)
        await rig.emit("completion:retry", request_id="s-0", **WHO)
        entries = await journal(rig, session_id="s")
        names = ["action:send elsewhere", "action:cancel", "action:retry"]
        assert [each["name"] for each in entries] == names
        assert [each["data"]["detail"] for each in entries] == ["avoid p", "c-031244", None]
        ids = {"request_id": "s-0", "session_id": "s"}
        assert all(
            each["data"].items() >= ({"target": "s-0"} | ids | WHO).items() for each in entries
        )
        assert [each["name"] for each in await journal(rig, request_id="s-0")] == names


async def test_what_people_do_is_published_as_the_journal_has_it(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await sessions_with(rig, ("s", 3))
        await rig.emit("queue:pause", scope="session", id="s", **WHO)
        await rig.emit("provider:open", provider="p", for_s=60, **WHO)
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a")
        await rig.emit("conversation:release_lock", session_id="s", force=True, **WHO)
        await rig.emit("completion:cancel", request_id="s-2", **WHO)
        await rig.emit("completion:cancel", session_id="s", **WHO)
        await rig.emit("completion:reset_conversation", session_id="s", **WHO)
        await rig.emit("completion:failed", request_id="s-1", reason="timeout", message="slow")
        entries = await journal(rig)
        assert [each["name"] for each in entries] == [
            "action:pause",
            "action:force open",
            "action:force lock",
            "action:cancel",
            "action:cancel",
            "action:reset conversation",
            "action:retry",
        ]
        await until(lambda: len(told(rig)) == len(entries))
        assert told(rig) == [(each["name"], each["data"]) for each in entries]


async def test_many_requests_are_one_deed_in_the_journal(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = await sessions_with(rig, ("a", 30), ("b", 5))
        await rig.emit("completion:cancel", request_ids=[*ids, "nobody"], receipt="c-1", **WHO)
        (entry,) = await journal(rig)
        data = entry["data"]
        assert (
            data.items() >= ({"target": "35 requests", "count": 35, "detail": "c-1"} | WHO).items()
        )
        assert len(data["requests"]) == actions_taken.SAMPLE
        assert set(data["requests"]) < set(ids)
        assert not {"request_id", "session_id"} & data.keys()
        await rig.settled()
        assert told(rig) == [("action:cancel", data)]
        # Each request still tells of it by itself.
        for each in (ids[0], ids[-1]):
            (line,) = [e for e in (await rig.status(each))["timeline"] if e["what"] == "cancel"]
            assert line["text"] == "op1 · ticket 8841 · c-1"


async def test_a_sessions_deed_is_in_that_sessions_journal(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await sessions_with(rig, ("a", 3), ("b", 1))
        await rig.emit("completion:cancel", session_id="a", receipt="c-2", **WHO)
        await rig.emit("completion:retry", session_id="a", **WHO)
        cancelled, retried = await journal(rig, session_id="a")
        assert (cancelled["name"], retried["name"]) == ("action:cancel", "action:retry")
        for each in (cancelled, retried):
            assert (each["data"]["count"], each["data"]["session_id"]) == (3, "a")
            assert sorted(each["data"]["requests"]) == ["a-0", "a-1", "a-2"]
        assert await journal(rig, session_id="b") == []
        assert await rig.emit("completion:cancel", session_id="nobody") == {"cancelled": []}
        assert len(await journal(rig)) == 2


async def test_a_deed_on_one_of_many_names_that_one(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await sessions_with(rig, ("a", 1))
        await rig.emit("completion:cancel", request_ids=["nobody", "a-0"], **WHO)
        (entry,) = await journal(rig, request_id="a-0")
        assert (entry["data"]["target"], entry["data"]["session_id"]) == ("a-0", "a")


async def test_what_was_sent_elsewhere_and_what_was_retried_are_told_apart(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", models=["held"])])
    bad = fails(ErrorKind.CONTENT_POLICY, "told no")
    async with running(settings, scripts={"p": bad, "q": held}) as rig:
        for each in ("f0", "f1"):
            await rig.ended(await rig.submit(request_id=each, session_id="f"))
        await rig.submit(request_id="run", session_id="g", model="held")
        await rig.calls(1, "q")
        ids = ["run", "f0", "f1"]
        await rig.emit("completion:retry", request_ids=ids, model="held", **WHO)
        entries = {each["name"]: each["data"] for each in await journal(rig)}
        assert {name: each["count"] for name, each in entries.items()} == {
            "action:send elsewhere": 1,
            "action:retry": 2,
        }
        assert entries["action:retry"]["session_id"] == "f"


async def test_a_deed_that_is_given_up_halfway_tells_of_its_half(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": answers}) as rig:
        await rig.emit("queue:pause", scope="engine")
        ids = await sessions_with(rig, ("a", 2))
        assert rig.engine._parts is not None
        interventions = rig.engine._parts.interventions
        data = Cancel(request_ids=ids, by="op1")
        with suppress(KeyError), interventions.deed(data) as deed:
            interventions.end(rig.core.tickets[ids[0]], data, deed)
            raise KeyError
        await rig.core.store.write()
        assert (await rig.core.store.states(ids))[ids[0]] is State.CANCELLED
        (entry,) = await rig.core.store.journal(
            JournalQuery(limit=5, pattern="action:cancel", session_id="a")
        )
        assert entry.data["requests"] == [ids[0]]
