"""`system:journal`: rare happenings stay, ordinary completions leave nothing, old ones go."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine import events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Action, State, Usage
from ksi_tui.engine.store import journal, migrations
from ksi_tui.engine.store.base import ActionTaken
from ksi_tui.engine.store.journal import EntryKept, JournalPruned, JournalQuery
from ksi_tui.engine.store.sqlite import SqliteStore, open_store
from tests.engine.engine_fixtures import Rig, config, fails, held, provider, running, until
from tests.engine.store_values import T0, accepted, finished
from tests.engine.telling import Step, told


async def _told(rig: Rig, **asked: Any) -> list[dict[str, Any]]:
    await rig.core.store.write()
    reply = await rig.emit("system:journal", **asked)
    assert "code" not in reply, reply
    return list(reply["entries"])


def _names(entries: list[dict[str, Any]]) -> list[str]:
    """The names of entries, the oldest first."""
    return [entry["name"] for entry in reversed(entries)]


async def test_an_ordinary_completion_leaves_nothing(tmp_path: Path) -> None:
    async with told(config(tmp_path), {}) as rig:
        for number in range(3):
            await rig.ended(await rig.submit(request_id=f"r{number}"))
        assert await _told(rig) == []


async def test_failures_and_what_led_to_them(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", circuit={"fail_max": 1})])
    async with running(settings, scripts={"p": fails(ErrorKind.PROVIDER_ERROR, "boom")}) as rig:
        await rig.submit(request_id="r", session_id="s", max_attempts=1)
        await rig.ended("r")
        entries = await _told(rig)
        assert _names(entries) == ["provider:circuit", "completion:error"]
        failure, circuit = entries
        assert failure["data"] | {"provider": "p"} == {
            "request_id": "r",
            "session_id": "s",
            "provider": "p",
            "error": "boom (1 of 1 attempts failed)",
            "kind": "provider_error",
            "attempts": 1,
        }
        assert (circuit["data"]["from"], circuit["data"]["to"]) == ("closed", "open")
        assert [one["name"] for one in await _told(rig, request_id="r")] == ["completion:error"]
        assert _names(await _told(rig, provider="p", pattern="provider:*")) == ["provider:circuit"]


async def test_what_people_do_is_told_with_who_and_why(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        who = {"by": "op1", "reason": "deploy"}
        await rig.emit("queue:pause", scope="session", id="s", **who)
        await rig.emit("queue:resume", scope="session", id="s", by="op2")
        await rig.emit("provider:open", provider="p", for_s=60, **who)
        await rig.submit(request_id="r", session_id="s")
        await rig.emit("completion:cancel", request_id="r", **who)
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a")
        await rig.emit("conversation:release_lock", session_id="s", force=True, **who)
        entries = await _told(rig)
        assert sorted(_names(entries)) == sorted(
            [
                "queue:paused",
                "action:pause",
                "queue:resumed",
                "action:resume",
                "provider:circuit",
                "action:force open",
                "completion:cancelled",
                "action:cancel",
                "conversation:unlocked",
                "action:force lock",
            ]
        )
        by_name = {entry["name"]: entry["data"] for entry in entries}
        ids = {"request_id": "r", "session_id": "s"}
        assert by_name["action:cancel"] == {**who, "target": "r", "detail": None, **ids}
        assert by_name["action:force open"]["detail"] == "for 60 s"
        assert by_name["completion:cancelled"]["by"] == "op1"
        assert "partial_text" not in by_name["completion:cancelled"]
        of_session = await _told(rig, session_id="s", pattern="action:*")
        assert _names(of_session) == [
            "action:pause",
            "action:resume",
            "action:cancel",
            "action:force lock",
        ]
        assert _names(await _told(rig, provider="p", pattern="action:*")) == ["action:force open"]
        assert _names(await _told(rig, request_id="r", pattern="action:*")) == ["action:cancel"]


async def test_a_lock_that_its_holder_frees_is_nothing_rare(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a")
        await rig.emit("conversation:release_lock", session_id="s", agent_id="a")
        assert await _told(rig) == []


async def test_high_usage_and_it_outlives_the_engine(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"high_usage_tokens": 10})
    async with told(settings, {"r": [Step(usage=Usage(input=8, output=9))]}) as rig:
        await rig.ended(await rig.submit(request_id="r"))
    async with told(settings, {}) as rig:
        (entry,) = await _told(rig)
        assert (entry["name"], entry["data"]["total_tokens"]) == ("tokens:high_usage", 17)
        assert entry["at"].endswith("Z")


async def test_pages_go_on_where_the_last_ended(tmp_path: Path) -> None:
    async with told(config(tmp_path), {}) as rig:
        for number in range(5):
            await rig.emit("queue:pause", scope="session", id=f"s{number}")
        seqs: list[int] = []
        before: dict[str, Any] = {}
        while True:
            reply = await rig.emit("system:journal", limit=3, **before)
            seqs += [entry["seq"] for entry in reply["entries"]]
            if not reply["more"]:
                break
            before = {"before": seqs[-1]}
        assert seqs == list(range(10, 0, -1))
        bad = await rig.emit("system:journal", limit=0)
        assert bad["code"] == "invalid_request"


# --- the store ------------------------------------------------------------------------------

NAMES = ["completion:error", "completion:cancelled", "provider:circuit", "action:pause"]
entries = st.builds(
    EntryKept,
    at=st.just(T0),
    name=st.sampled_from(NAMES),
    data=st.just({"a": 1}),
    provider=st.sampled_from([None, "p", "q"]),
    session_id=st.sampled_from([None, "s", "t"]),
    request_id=st.sampled_from([None, "r"]),
)
queries = st.builds(
    JournalQuery,
    limit=st.integers(1, 6),
    pattern=st.sampled_from(["*", "completion:*", "*:error", "*:*", "action:pause", "no:such"]),
    provider=st.sampled_from([None, "p"]),
    session_id=st.sampled_from([None, "s"]),
    request_id=st.sampled_from([None, "r"]),
    before=st.none() | st.integers(1, 20),
)


@settings(max_examples=60)
@given(kept=st.lists(entries, max_size=20), asked=st.lists(queries, min_size=4, max_size=8))
async def test_every_page_holds_the_newest_that_are_asked_for(
    kept: list[EntryKept], asked: list[JournalQuery]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "ksi.db")
        await store.write(*kept)
        found = [await store.journal(query) for query in asked]
        await store.aclose()
    for query, page in zip(asked, found, strict=True):
        expected = [
            (seq, entry.name)
            for seq, entry in reversed(list(enumerate(kept, 1)))
            if events.matches(query.pattern, entry.name)
            and (query.before is None or seq < query.before)
            and query.provider in (None, entry.provider)
            and query.session_id in (None, entry.session_id)
            and query.request_id in (None, entry.request_id)
        ]
        assert [(each.seq, each.name) for each in page] == expected[: query.limit]


async def _seqs(store: SqliteStore) -> list[int]:
    return [entry.seq for entry in await store.journal(JournalQuery(limit=1000))]


async def test_pruning_takes_the_old_and_the_many_from_the_oldest_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(tmp_path / "ksi.db")
    assert await store.prunable(T0, 10) is None
    ages = [9, 8, 3, 7, 2, 1]
    await store.write(*[EntryKept(at=T0 - age, name="x", data={}) for age in ages])
    # The fourth is old, too, but a younger one stands before it.
    assert await store.prunable(T0 - 5, 10) == 2
    assert await store.prunable(T0 - 5, 1) == 1
    assert await store.prunable(T0 - 20, 10) is None
    await store.write(JournalPruned(upto=2))
    assert await _seqs(store) == [6, 5, 4, 3]
    monkeypatch.setattr(journal, "KEPT_ROWS", 3)
    assert await store.prunable(T0 - 20, 10) == 3
    await store.write(JournalPruned(upto=3), EntryKept(at=T0, name="y", data={}))
    assert await _seqs(store) == [7, 6, 5, 4]
    await store.aclose()


async def test_the_clean_up_prunes_in_bites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEPT_ROWS", 700)
    async with told(config(tmp_path), {}) as rig:
        now = rig.core.clock()
        await rig.core.store.write(
            *[EntryKept(at=now, name="x", data={}) for _ in range(2000)],
        )
        await rig.engine._parts.cleanup.round()  # type: ignore[union-attr]
        found = await rig.core.store.journal(JournalQuery(limit=5000))
        assert [found[0].seq, found[-1].seq, len(found)] == [2000, 1301, 700]


async def test_an_end_and_its_entry_are_one_transaction(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    await store.write(accepted(1), accepted(2))
    unstorable = EntryKept(at=T0, name="x", data={"a": object()})
    failed = finished(1, 1, State.FAILED, error_kind=ErrorKind.TIMEOUT, error_message="e" * 9000)
    write = store.write(failed, unstorable)
    with pytest.raises(Exception, match="cannot store"):
        await write
    assert await store.journal(JournalQuery(limit=9)) == []
    await store.write(failed, finished(2, 2, State.COMPLETED))
    (entry,) = await store.journal(JournalQuery(limit=9))
    assert (entry.name, len(entry.data["error"])) == ("completion:error", journal.LONGEST_TEXT)
    await store.aclose()


async def test_a_database_from_before_the_journal_tells_its_actions(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    actions = [
        Action(at=T0, name="cancel", target="provider:odd", by="op1", reason="r"),
        Action(at=T0 + 1, name="force lock", target="session:odd", by="op1"),
        Action(at=T0 + 2, name="pause", target="session:s", by="op1"),
        Action(at=T0 + 3, name="force open", target="provider:p", detail="for 60 s"),
        Action(at=T0 + 4, name="pause", target="engine"),
    ]
    older = [each for each in migrations.migrations() if each.number < 7]
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for migration in older:
            raw.executescript(migration.sql)
        mark = f"PRAGMA application_id={migrations.APPLICATION_ID}"
        raw.executescript(f"{mark}; PRAGMA user_version={older[-1].number}")
        raw.executemany(
            "INSERT INTO actions (at, name, target, by, reason, detail) VALUES (?, ?, ?, ?, ?, ?)",
            [(a.at, a.name, a.target, a.by, a.reason, a.detail) for a in actions],
        )
    store = await open_store(path)
    migrated = await store.journal(JournalQuery(limit=9))
    by_scope = [
        [
            e.seq
            for e in await store.journal(
                JournalQuery(limit=9, **{column: value})  # type: ignore[arg-type]
            )
        ]
        for column, value in (
            ("request_id", "provider:odd"),
            ("session_id", "session:odd"),
            ("session_id", "s"),
            ("provider", "p"),
        )
    ]
    assert by_scope == [[1], [2], [3], [4]]
    # The same actions, taken now, are told in the same way.
    await store.write(*[ActionTaken(action=action) for action in actions])
    anew = await store.journal(JournalQuery(limit=5))
    await store.aclose()
    assert [(e.at, e.name, e.data) for e in migrated] == [(e.at, e.name, e.data) for e in anew]
    rows = [journal.entry_row(journal.of_action(action))[2:5] for action in actions]
    assert rows == [
        (None, None, "provider:odd"),
        (None, "session:odd", None),
        (None, "s", None),
        ("p", None, None),
        (None, None, None),
    ]


async def test_workers_are_told(tmp_path: Path) -> None:
    async with told(config(tmp_path), {}) as rig:
        parts = rig.engine._parts
        assert parts is not None
        parts.wires.on_worker(events.WORKER_LOST, {"worker": 1, "reason": "killed"})
        await until(lambda: rig.core.store.fault is None)
        (entry,) = await _told(rig)
        assert (entry["name"], entry["data"]["reason"]) == ("worker:lost", "killed")
