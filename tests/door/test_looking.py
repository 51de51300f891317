"""Snapshots through the door, how it is, and the door's description of itself."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel

from ksi_tui import __version__
from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.codec import plain, rebuilt
from ksi_tui.door import openapi
from ksi_tui.door.server import Door
from ksi_tui.door.wire import STATUS
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.advice import LookedAt
from ksi_tui.engine.event_payloads import PAYLOADS
from ksi_tui.engine.payloads import Completion
from ksi_tui.engine.views import Level
from tests.door.visiting import fake_door, visiting
from tests.engine.engine_fixtures import config
from tests.engine.event_cases import scene
from tests.engine.test_events_contract import CASES
from tests.ui.scripted import busy

LOOKER = {"X-Ksi-Operator": "op1", "X-Ksi-Kind": "dashboard"}


# --- snapshots -----------------------------------------------------------------------------


async def test_a_snapshot_comes_through_as_the_engine_makes_it(tmp_path: Path) -> None:
    async with (
        scene(tmp_path) as rig,
        Door(rig.engine, database=tmp_path / "ksi.db") as door,
        visiting(door.socket) as visitor,
    ):
        asked = SnapshotQuery(request_id="run", explain=True, active_limit=2)
        _, data = await visitor.get("/snapshot", params={"query": json.dumps(plain(asked))})
        found = rebuilt(Snapshot, data)
        own = rig.engine.snapshot(asked)
        assert found.live is not None
        assert own.live is not None
        assert found.live.chain is not None
        assert (found.live.phase, found.live.why) == (own.live.phase, own.live.why)
        assert [a.request_id for a in found.active] == [a.request_id for a in own.active]
        assert found.totals.active == own.totals.active == 1
        assert found.totals.queued == own.totals.queued
        assert found.locks_total == 1


async def test_nothing_of_a_snapshot_is_lost_on_the_way(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        engine.snapshot = lambda _=None: busy()  # type: ignore[method-assign, assignment]
        _, data = await visitor.get("/snapshot")
        assert rebuilt(Snapshot, data) == busy()


async def test_every_field_of_a_query_reaches_the_engine(tmp_path: Path) -> None:
    asked = SnapshotQuery(
        active_offset=1,
        active_limit=2,
        queue_offset=3,
        queue_limit=4,
        lock_limit=5,
        pause_limit=6,
        trend_points=7,
        request_id="r-1",
        provider="p",
        explain=True,
        attention_limit=8,
        looked_at=LookedAt(until=9.5, single={"r-2": 10.5}),
    )
    async with fake_door(tmp_path) as (engine, _, visitor):
        await visitor.get("/snapshot", params={"query": json.dumps(plain(asked))})
        await visitor.get("/snapshot")
    assert engine.queries == [asked, SnapshotQuery()]


async def test_a_query_may_name_many_failures(tmp_path: Path) -> None:
    many = {f"request-number-{n}": 1.0 for n in range(2_000)}
    asked = json.dumps({"looked_at": {"single": many}})
    async with fake_door(tmp_path) as (engine, _, visitor):
        status, _ = await visitor.get("/snapshot", params={"query": asked})
    assert status == 200
    assert engine.queries[0].looked_at.single == many


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("{", "JSON"),
        ("[]", "query"),
        ('{"active_limit": "many"}', "active_limit"),
        ('{"active_limit": -1}', "active_limit"),
        ('{"queue_limit": 1001}', "queue_limit"),
        ('{"lock_limit": 1e3}', "lock_limit"),
        ('{"pause_limit": true}', "pause_limit"),
        ('{"attention_limit": 100000000000000000000}', "attention_limit"),
        ('{"trend_points": 1001}', "trend_points"),
        ('{"active_offset": -5}', "active_offset"),
        ('{"queue_offset": 10000000000}', "queue_offset"),
        ('{"looked_at": {"until": 1e308}}', "until"),
        ('{"looked_at": {"single": {"r": "now"}}}', "single"),
        ('{"request_id": 5}', "request_id"),
        ("[" * 50_000, "nested"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused(
    query: str, named: str, tmp_path: Path
) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        status, reply = await visitor.get("/snapshot", params={"query": query})
        assert (status, reply["code"], engine.queries) == (400, "invalid_request", [])
        assert named in reply["error"]


@pytest.mark.parametrize("large", [False, True])
async def test_it_is_packed_where_the_client_takes_that(large: bool, tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, _):
        if large:
            (row,) = busy().active[:1]
            whole = Snapshot(
                at=1.0, verdict=busy().verdict, totals=busy().totals, active=(row,) * 300
            )
            engine.snapshot = lambda _=None: whole  # type: ignore[method-assign, assignment]
        async with visiting(door.socket, {"Accept-Encoding": "gzip"}) as visitor:
            visitor.session._auto_decompress = False
            async with visitor.session.get("/snapshot") as response:
                assert response.headers["Content-Encoding"] == "gzip"
                packed = await response.read()
        async with (
            visiting(door.socket, {"Accept-Encoding": "identity"}) as plainly,
            plainly.session.get("/snapshot") as response,
        ):
            assert "Content-Encoding" not in response.headers
            text = await response.read()
    assert zlib.decompress(packed, 31) == text
    assert len(packed) < len(text)


async def test_a_snapshot_names_the_others_who_are_attached(tmp_path: Path) -> None:
    other = {"X-Ksi-Operator": "op2", "X-Ksi-Kind": "dashboard"}
    async with fake_door(tmp_path) as (_, door, visitor), visiting(door.socket, LOOKER) as mine:

        async def attached(**options: Any) -> list[str]:
            return list((await mine.get("/snapshot", **options))[1]["attached"])

        assert await attached() == []
        async with await mine.events(), await visitor.events(headers=other):
            assert await attached() == ["op2"]
            assert await attached(headers=other) == ["op1"]
            assert (await visitor.get("/snapshot"))[1]["attached"] == ["op1", "op2"]
            async with await visitor.events(headers=LOOKER):
                assert await attached() == ["op2", "op1"]  # another screen of one's own


# --- how it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "status"),
    [
        (Level.OK, 200),
        (Level.DEGRADED, 200),
        (Level.DOWN, 200),
        (Level.PAUSED, 200),
        (Level.STARTING, 503),
        (Level.STOPPING, 503),
        (Level.READ_ONLY, 503),
    ],
)
async def test_it_is_ready_when_the_engine_takes_work(
    level: Level, status: int, tmp_path: Path
) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        engine.level = level
        found, reply = await visitor.get("/readyz")
        assert found == status
        assert status == 200 or "said so" in reply["error"]
        assert (await visitor.get("/healthz"))[0] == 200


async def test_hello_says_who_is_here(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, door, visitor):
        status, found = await visitor.get("/hello")
        assert status == 200
        assert found | {"pid": 0, "started_at": ""} == {
            "service": "ksi-tui",
            "version": __version__,
            "boot": door.boot,
            "pid": 0,
            "database": str(tmp_path / "k.db"),
            "started_at": "",
            "name": "ksi-tui",
            "attached": [],
        }


# --- the description -----------------------------------------------------------------------


def test_the_table_of_payloads_is_the_engines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: dict[str, type[BaseModel]] = {}
    on = CompletionEngine._on

    def noted(self: CompletionEngine, name: str, model: Any, answer: Any) -> None:
        registered[name] = model
        on(self, name, model, answer)

    monkeypatch.setattr(CompletionEngine, "_on", noted)
    engine = CompletionEngine(config(tmp_path))
    assert set(PAYLOADS) == set(engine._router.names)
    assert {name: PAYLOADS[name] for name in registered} == registered
    assert PAYLOADS["completion:async"] is PAYLOADS["completion:inject"] is Completion


async def test_the_description_is_served_whole(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, _door, visitor):
        status, found = await visitor.get("/openapi.json")
    assert status == 200
    assert found == json.loads(json.dumps(openapi.document()))


def test_every_event_has_its_path_and_every_status_its_refusal() -> None:
    paths = openapi.document()["paths"]
    for name in PAYLOADS:
        post = paths[f"/events/{name}"]["post"]
        assert set(post["responses"]) == {"200", "408", "413"} | {str(s) for s in STATUS.values()}
        assert post["requestBody"]["content"]["application/json"]["schema"]
    assert {"/events", "/snapshot", "/hello", "/healthz", "/readyz", "/openapi.json"} < set(paths)
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    document = openapi.document()
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in _references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_right_fits_its_schema(case: Any) -> None:
    document = openapi.document()
    post = document["paths"][f"/events/{case.name}"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(dict(case.data))
    if PAYLOADS[case.name] is not None:
        assert not Draft202012Validator(whole).is_valid({**case.data, "odd": 1})
