"""What `GET /openapi.json` says over the network: all that is served there, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ksi_tui.access import described
from ksi_tui.access.roles import Role
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine
from ksi_tui.gateway import routing
from ksi_tui.metrics.exposition import Metrics
from tests.access.listener import engine_config, running

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("guarded", [False, True])
async def test_a_listener_serves_its_own_description(tmp_path: Path, guarded: bool) -> None:
    async with running(tmp_path, guarded=guarded) as listener:
        token = listener.tokens.get(Role.VIEW)
        answer = await listener.ask("GET", "/openapi.json", token=token)
    assert answer.status == 200
    assert answer.json == json.loads(json.dumps(described.document(tokens=guarded)))
    assert ("token" in answer.json["components"].get("securitySchemes", {})) is guarded


def test_every_route_is_described_and_every_path_is_one(tmp_path: Path) -> None:
    client = CompletionEngine(engine_config(tmp_path))
    served = [
        *Door(client, database=tmp_path / "ksi.db").routes(),
        *routing.routes(client),
        *Metrics(client).routes(),
    ]
    told = {
        "/events/{name}" if path.startswith("/events/") else path
        for path in described.document(tokens=True)["paths"]
    }
    plain = {_path(route) for route in served if "tail" not in route.path}
    assert told == plain


def _path(route: web.RouteDef) -> str:
    return route.path.replace("{id:(?s:.+)}", "{id}")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    document = json.loads(json.dumps(described.document(tokens=True)))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in set(_references(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}]}, 200),
        ({"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}, 404),
        ({"model": "sim/echo", "messages": []}, 400),
        ({"model": "sim/echo"}, 400),
    ],
)
async def test_the_gateway_answers_as_described(
    tmp_path: Path, body: dict[str, Any], status: int
) -> None:
    document = json.loads(json.dumps(described.document(tokens=False)))
    post = document["paths"][CHAT]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    fits = Draft202012Validator({**schema, "components": document["components"]}).is_valid(body)
    assert fits is (status != 400)
    async with running(tmp_path) as listener:
        answer = await listener.ask("POST", CHAT, json=body)
    assert answer.status == status
    told = post["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**told, "components": document["components"]}).validate(answer.json)
