"""The door over a bundle answers as the engine did, and trusts nothing in the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.client import SnapshotQuery
from ksi_tui.codec import plain
from ksi_tui.incident import answering
from ksi_tui.incident.bundle import Bundle, read_bundle
from ksi_tui.incident.client import BundleClient
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.resample import resampled
from tests.incident.story import incident, saved
from tests.ui.scripted import AT, busy

ROW = {
    "request_id": "r-1",
    "session_id": "acme-42",
    "status": "completed",
    "phase": "completed",
    "asked_model": "gpt-9",
    "priority": "normal",
    "queued_at": "2026-11-22T03:00:00.000Z",
    "finished_at": "2026-11-22T03:01:00.000Z",
    "age_s": 60.0,
}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def frames(*moments: float) -> list[bytes]:
    return [json.dumps(plain(dataclasses.replace(busy(), at=AT + at))).encode() for at in moments]


def client(seen: Sequence[bytes] | None = None, **parts: Any) -> BundleClient:
    held: dict[str, Any] = {"about": {}, "settings": {}, "answers": {}}
    return BundleClient(Bundle(frames=seen or frames(0), **(held | parts)))


# --- what is answered -----------------------------------------------------------------------


async def test_every_answer_and_record_is_the_engines_own_and_whole(state: Path) -> None:
    bundle = read_bundle((await saved(state, texts=True)).path)
    over = BundleClient(bundle)
    assert len(bundle.answers) > 50
    for key, answer in bundle.answers.items():
        event, _, data = key.partition(" ")
        assert await over.emit(event, json.loads(data)) == answer, key
    assert len(bundle.records) == len(bundle.requests) == 8
    for record in bundle.records:
        asked = {"request_id": record["request_id"], "sent": True}
        assert await over.emit("completion:request_status", asked) == record
        without = await over.emit("completion:request_status", {"request_id": asked["request_id"]})
        assert without == {key: each for key, each in record.items() if key != "sent"}
    listed = await over.emit("completion:requests", {"limit": 1000})
    assert listed["requests"] == list(reversed(bundle.requests))
    journal = await over.emit("system:journal", {"limit": 1000})
    assert journal == {"entries": bundle.journal, "more": False}


async def test_lists_and_histories_are_found_as_the_engine_finds_them(state: Path) -> None:
    over = BundleClient(read_bundle((await saved(state, texts=True)).path))
    async with incident(state / "again") as (engine, _, _):
        for filter_text in ("acme-42", "status:failed,cancelled", "meta.customer:globex", "-r-1"):
            for sort in ("queued", "session", "status", "attempts"):
                asked = {"filter": filter_text, "sort": sort}
                theirs = await engine.emit("completion:requests", asked)
                ours = await over.emit("completion:requests", asked)
                ids = [[row["request_id"] for row in each["requests"]] for each in (theirs, ours)]
                if sort == "queued":
                    assert ids[0] == ids[1], asked
                assert {**ours, "requests": 0} == {**theirs, "requests": 0}
                assert sorted(ids[0]) == sorted(ids[1])
        for field in ("session", "agent", "meta", "meta.customer"):
            names = {"field": field, "prefix": ""}
            known, held = [
                sorted((await each.emit("completion:names", names))["names"])
                for each in (engine, over)
            ]
            assert set(held) <= set(known)  # the engine also knows who holds a lock
            assert held
        for about in ({"provider": "elsewhere"}, {"session_id": "globex-7"}, {"request_id": "r-7"}):
            told, kept = [
                [entry["name"] for entry in (await each.emit("system:journal", about))["entries"]]
                for each in (engine, over)
            ]
            assert kept == told, about
            assert kept
        bad = await over.emit("completion:requests", {"filter": "nope:1"})
        assert bad == await engine.emit("completion:requests", {"filter": "nope:1"})


async def test_what_waits_has_its_chain_remedies_and_outlook(state: Path) -> None:
    over = BundleClient(read_bundle((await saved(state)).path))
    live = over.snapshot(SnapshotQuery(request_id="r-8", explain=True)).live
    assert live is not None
    assert live.chain is not None
    assert "lock held by a9" in live.why
    assert [remedy.action for remedy in live.remedies if remedy.action][:1] == ["force_lock"]
    assert live.outlook is not None
    assert live.plain


async def test_everything_that_acts_is_refused_by_name() -> None:
    over = client()
    for name in ("completion:async", "completion:cancel", "provider:open", "queue:pause"):
        reply = await over.emit(name, {})
        assert reply["code"] == "conflict"
        assert reply["error"] == f"{name} is off: this is a recording"
    unknown = await over.emit("completion:preview", {"prompt": "x"})
    assert (
        unknown["error"] == "this is a recording; completion:preview was not asked when it was made"
    )


async def test_what_is_listed_only_has_its_line_as_record_and_session() -> None:
    over = client(requests=[ROW])
    record = await over.emit("completion:request_status", {"request_id": "r-1", "sent": True})
    assert (record["status"], record["requested_model"]) == ("completed", "gpt-9")
    assert record["attempts"] == record["timeline"] == []
    session = await over.emit("completion:session_status", {"session_id": "acme-42"})
    assert [each["request_id"] for each in session["completions"]] == ["r-1"]
    assert session["exists"] is True
    missing = await over.emit("completion:request_status", {"request_id": "r-2"})
    assert missing == {"error": "this is a recording; it does not hold r-2", "code": "not_found"}
    assert (await over.emit("completion:session_status", {"session_id": "x"}))["exists"] is False


# --- time -----------------------------------------------------------------------------------


def test_time_is_stepped_through_and_ends_at_both_ends() -> None:
    over = client(frames(0, 5, 10))
    assert over.position == (3, 3)
    assert over.records_at is None
    assert over.step(-1) == ""
    assert (over.position, over.snapshot().at) == ((2, 3), AT + 5)
    records: float | None = over.records_at
    assert records == AT + 10
    over.step(-12)
    assert (over.position, over.snapshot().at) == ((1, 3), AT)
    assert over.step(-1) == ""
    over.step(12)
    assert over.position == (3, 3)
    assert over.day == "2026-11-22"


def test_damaged_moments_are_passed_over_and_named() -> None:
    good = frames(0, 5, 10, 15)
    over = client([good[0], b'{"at": "noon"}', b"{", good[3]])
    assert over.step(-1) == "passed over: frame 3: not valid JSON and 1 more"
    assert over.position == (1, 4)
    assert over.step(1) == "passed over: frame 2.at: found str and 1 more"
    assert over.position == (4, 4)
    over = client([b"{", good[0], b"{"])
    assert (over.position, over.passed_over) == ((2, 3), "passed over: frame 3: not valid JSON")
    with pytest.raises(BundleError, match=r"no moment can be shown: frame 3: not valid JSON$"):
        over.step(1)
    assert over.position == (2, 3)
    with pytest.raises(BundleError, match=r"no moment can be shown: frame 2: .* as are 1 more"):
        client([b"{", b"5"])


def test_a_request_in_sight_of_another_moment_has_no_chain_but_its_state() -> None:
    lives = [{"request_id": "r-1"}]
    over = client(frames(0, 5), lives=lives)
    view = busy().active[0]
    over.step(-1)
    live = over.snapshot(SnapshotQuery(request_id=view.request_id)).live
    assert live is not None
    assert (live.phase, live.why, live.chain, live.text) == (view.phase, view.why, None, "")
    assert over.snapshot(SnapshotQuery(request_id="r-nowhere")).live is None


def test_a_snapshot_holds_what_is_asked_for_and_no_more() -> None:
    whole, over = busy(), client()
    view = whole.active[0]
    asked = SnapshotQuery(active_limit=1, queue_limit=0, lock_limit=0, attention_limit=0)
    part = over.snapshot(asked)
    assert part.active == (view,)
    assert (part.active_total, part.queues, part.locks) == (whole.active_total, (), ())
    called = over.snapshot(SnapshotQuery(provider=view.provider))
    assert {each.provider for each in called.active} == {view.provider}
    assert called.active_total == len(called.active)


# --- series ---------------------------------------------------------------------------------


def lists(values: list[float], latency: list[float | None]) -> dict[str, Any]:
    rates = dict.fromkeys(("tokens", "input", "requests", "errors", "cost"), values)
    return {**rates, "unpriced": 0, "latency_ms": latency, "ttft_ms": latency}


def test_a_series_is_made_coarser_without_losing_what_was_counted() -> None:
    total = lists([9.0, 1.0, 3.0, 5.0, 7.0], [None, 10.0, 20.0, None, None])
    reply = {"start": "2026-11-22T03:00:00.000Z", "step_s": 60, "last_s": 30.0, "names": [],
             "series": [], "others": None, "total": total, "since": None}  # fmt: skip
    found = resampled(reply, 3)
    assert found["step_s"] == 120
    assert found["start"] == "2026-11-22T03:01:00.000Z"
    assert found["last_s"] == 90.0
    assert found["total"]["tokens"] == [2.0, pytest.approx((5 * 60 + 7 * 30) / 90)]
    assert found["total"]["latency_ms"] == [pytest.approx((10 * 1 + 20 * 3) / 4), None]
    assert resampled(reply, 5) == reply
    with pytest.raises(ValueError, match="several lengths"):
        resampled({**reply, "total": {**total, "cost": []}}, 3)


# --- strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"requests": [ROW, {**ROW, "status": "odd"}]}, "requests.jsonl, line 2.status: 'odd'"),
        ({"requests": [{**ROW, "metadata": []}]}, "line 1.metadata: found list"),
        ({"requests": [{"session_id": "x"}]}, "line 1.request_id is missing"),
        ({"requests": [{**ROW, "queued_at": "soon"}]}, "line 1.queued_at: 'soon' is no time"),
        ({"requests": [{**ROW, "queued_at": "2026-11-22"}]}, "queued_at: '2026-11-22' is no time"),
        ({"records": [{**ROW, "attempts": [5]}]}, "records.jsonl, line 1.attempts[0]: found int"),
        ({"journal": [{"seq": 1}]}, "journal.jsonl, line 1.at is missing"),
        ({"events": [{"name": 5}]}, "events.jsonl, line 1: no event"),
    ],
)
def test_a_damaged_list_is_named(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(BundleError, match=r".") as caught:
        client(**parts)
    assert named in str(caught.value)


async def test_a_damaged_answer_is_refused_where_it_is_asked_for() -> None:
    key = 'completion:provider_status {"provider": "openai"}'
    over = client(answers={key: {"provider": "openai", "stats": []}})
    reply = await over.emit("completion:provider_status", {"provider": "openai"})
    assert reply["code"] == "not_found"
    assert "damaged there (completion:provider_status.config.kind is missing)" in reply["error"]


def test_what_is_nested_beyond_sense_is_refused() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(BundleError, match="nested too deep"):
        client(requests=[{**ROW, "metadata": {"a": deep}}])


@pytest.mark.parametrize(("descending", "found"), [(False, "abc"), (True, "cba")])
def test_rows_that_are_alike_keep_their_place(*, descending: bool, found: str) -> None:
    rows = [{"name": name, "at": 1 + (name == "c")} for name in "abc"]
    ordered = answering._ordered(rows, lambda row: row["at"], descending=descending)
    assert "".join(row["name"] for row in ordered) == found
