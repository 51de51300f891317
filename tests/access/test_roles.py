"""Which role each event and each route needs, over a listener that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from ksi_tui.access.roles import (
    EVENT_ROLES,
    LOCAL_ONLY,
    OPEN_ROUTES,
    Role,
    role_of_event,
    role_of_route,
)
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine
from ksi_tui.gateway import routing as gateway
from ksi_tui.metrics.exposition import Metrics
from ksi_tui.read_only import READING
from tests.access.listener import Listener, engine_config, running

ROUTES = {
    ("GET", "/events"): Role.VIEW,
    ("GET", "/hello"): Role.VIEW,
    ("GET", "/metrics"): Role.VIEW,
    ("GET", "/openapi.json"): Role.VIEW,
    ("GET", "/snapshot"): Role.VIEW,
    ("GET", "/v1/models"): Role.VIEW,
    ("GET", "/v1/models/sim/echo"): Role.VIEW,
    ("POST", "/v1/chat/completions"): Role.SUBMIT,
    ("POST", "/v1/nothing"): Role.SUBMIT,
    ("POST", "/events/completion:status"): Role.VIEW,
    ("POST", "/events/completion:async"): Role.SUBMIT,
    ("POST", "/events/completion:inject"): Role.SUBMIT,
    ("POST", "/events/completion:cancel"): Role.OPERATE,
    ("POST", "/events/queue:pause"): Role.OPERATE,
    ("POST", "/events/no:such"): Role.OPERATE,
}


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    async with running(tmp_path, guarded=True) as found:
        yield found


def test_every_event_of_the_engine_has_a_role(tmp_path: Path) -> None:
    names = CompletionEngine(engine_config(tmp_path))._router.names
    assert sorted(EVENT_ROLES) == names, "an event came or went: say in access/roles who may"


def test_what_reads_needs_view_and_what_acts_never_does() -> None:
    assert {name for name, role in EVENT_ROLES.items() if role is Role.VIEW} == READING
    assert {name for name, role in EVENT_ROLES.items() if role is Role.SUBMIT} == {
        "completion:async",
        "completion:batch",
        "completion:inject",
        "completion:reserve",
    }


def test_what_no_table_names_is_an_operators() -> None:
    assert role_of_event("no:such") is Role.OPERATE
    assert role_of_route("GET", "/new") is Role.OPERATE
    assert role_of_route("DELETE", "/snapshot") is Role.OPERATE
    assert role_of_route("POST", "/v1/new") is Role.SUBMIT


def test_roles_hold_what_lies_below_them() -> None:
    order = [Role.VIEW, Role.SUBMIT, Role.OPERATE]
    for has in order:
        for needs in order:
            assert has.covers(needs) is (order.index(has) >= order.index(needs))


async def test_every_route_is_in_the_tables(tmp_path: Path) -> None:
    engine = CompletionEngine(engine_config(tmp_path))
    door = Door(engine, database=tmp_path / "ksi.db")
    more = [*gateway.routes(engine), *Metrics(engine).routes()]
    mounted = door.app(routes=more).router.routes()
    found = {(r.method, r.resource.canonical) for r in mounted if r.resource is not None}
    as_mounted = {
        "/events/completion:status": "/events/{name}",
        "/v1/models/sim/echo": "/v1/models/{id}",
    }
    known = {(method, as_mounted.get(path, path)) for method, path in ROUTES}
    known.add(("*", "/v1/{tail}"))
    left = {(m, p) for m, p in found - known if p not in OPEN_ROUTES and m != "HEAD"}
    assert not left, "a route came: say in access/roles who may, and here"
    assert all(isinstance(route, web.AbstractRoute) for route in mounted)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_each_role_may_what_it_covers_and_no_more(
    listener: Listener, method: str, path: str
) -> None:
    needed = ROUTES[method, path]
    for role in Role:
        if path == "/events" and role.covers(needed):
            lines = listener.stream(path, listener.tokens[role])
            assert (await anext(lines)).startswith("id: ")
            await lines.aclose()  # type: ignore[attr-defined]
            continue
        answer = await listener.ask(method, path, token=listener.tokens[role], json={})
        if role.covers(needed):
            assert answer.status not in (401, 403), (role, answer)
        else:
            assert answer.status == 403, (role, answer)
            gateways = path.startswith("/v1/")
            said = answer.json["error"] if gateways else answer.json
            assert said["code"] == ("permission_denied" if gateways else "forbidden")
            assert f"the role {needed}" in said["message" if gateways else "error"]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/nowhere"), ("PUT", "/hello")])
async def test_nothing_is_told_to_who_has_no_token(
    listener: Listener, method: str, path: str
) -> None:
    answer = await listener.ask(method, path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    refusal = answer.json["error"] if path.startswith("/v1/") else answer.json
    assert refusal["code"] in ("unauthorized", "invalid_api_key")


@pytest.mark.parametrize("path", sorted(OPEN_ROUTES))
async def test_whoever_supervises_needs_no_token(listener: Listener, path: str) -> None:
    assert (await listener.ask("GET", path)).status == 200


async def test_why_it_is_not_ready_is_told_to_nobody_outside(listener: Listener) -> None:
    assert (await listener.engine.emit("system:shutdown", {"grace_s": 0}))["status"] == "shutdown"
    answer = await listener.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json == {"error": "not ready", "code": "not_ready"}
    assert (await listener.ask("GET", "/healthz")).status == 200


async def test_a_route_that_is_not_there_is_told_to_who_has_a_token(listener: Listener) -> None:
    token = listener.tokens[Role.VIEW]
    assert (await listener.ask("GET", "/nowhere", token=token)).status == 404
    assert (await listener.ask("PUT", "/hello", token=token)).status == 405


INTO_BOSS = {"mode": "next", "target_sessions": ["boss"]}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("completion:async", {"injection_config": INTO_BOSS}),
        ("completion:async", {"session_id": "mine", "injection_config": INTO_BOSS}),
        ("completion:async", {"injection_config": {**INTO_BOSS, "mode": "direct"}}),
        ("completion:async", {"injection_metadata": INTO_BOSS}),
        ("completion:async", {"injection_metadata": {"injection_config": INTO_BOSS}}),
        (
            "completion:async",
            {"injection_config": {"target_sessions": ["originating", "boss"]}},
        ),
        ("completion:inject", {"injection_config": INTO_BOSS}),
        ("completion:batch", {"injection_config": INTO_BOSS}),
    ],
)
async def test_only_an_operators_results_go_into_other_sessions(
    listener: Listener, event: str, data: dict[str, object]
) -> None:
    asked: dict[str, object] = {"prompt": "text", **data}
    if event == "completion:batch":
        asked = {"requests": [{"prompt": "first"}, asked]}
    path = f"/events/{event}"
    refused = await listener.ask("POST", path, token=listener.tokens[Role.SUBMIT], json=asked)
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert "'boss'" in refused.json["error"]
    assert "role operate" in refused.json["error"]
    assert not (await listener.engine.emit("completion:requests", {}))["requests"]
    taken = await listener.ask("POST", path, token=listener.tokens[Role.OPERATE], json=asked)
    assert taken.status == 200


@pytest.mark.parametrize(
    "data",
    [
        {"injection_config": {"mode": "next"}},
        {"injection_config": {"target_sessions": "originating"}},
        {"session_id": "s", "injection_config": {"target_sessions": ["s"]}},
        {"conversation_id": "s", "injection_config": {"target_sessions": ["originating", "s"]}},
        {"injection_config": {**INTO_BOSS, "enabled": False}},
    ],
)
async def test_who_submits_may_have_results_in_the_session_of_the_request(
    listener: Listener, data: dict[str, object]
) -> None:
    token, asked = listener.tokens[Role.SUBMIT], {"prompt": "text", **data}
    for event, sent in (("async", asked), ("batch", {"requests": [asked]})):
        answer = await listener.ask("POST", f"/events/completion:{event}", token=token, json=sent)
        assert answer.status == 200, answer


async def test_without_tokens_everybody_may(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        asked = {"prompt": "text", "injection_config": INTO_BOSS}
        assert (await listener.ask("POST", "/events/completion:async", json=asked)).status == 200


@pytest.mark.parametrize("event", sorted(LOCAL_ONLY))
async def test_some_events_come_by_the_socket_only(listener: Listener, event: str) -> None:
    token = listener.tokens[Role.OPERATE]
    data = {"name": "x", "kind": "simulated", "models": ["x/*"]}
    for path in (f"/events/{event}", f"/events/{event.replace(':', '%3A')}"):
        answer = await listener.ask("POST", path, token=token, json=data)
        assert answer.status == 403
        assert "socket" in answer.json["error"]
    status = await listener.engine.emit("completion:provider_status", {})
    assert status["total_providers"] == 1


@pytest.mark.parametrize("event", sorted(LOCAL_ONLY))
async def test_nor_do_they_come_where_there_are_no_tokens(tmp_path: Path, event: str) -> None:
    async with running(tmp_path) as listener:
        assert (await listener.ask("POST", f"/events/{event}", json={})).status == 403


async def test_an_encoded_name_is_the_same_event(listener: Listener) -> None:
    token = listener.tokens[Role.VIEW]
    path = "/events/completion%3Acancel"
    answer = await listener.ask("POST", path, token=token, json={"request_id": "r-1"})
    assert answer.status == 403
