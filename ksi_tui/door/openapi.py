"""`GET /openapi.json`: the door described in OpenAPI 3.1, by the models that validate it.

What an event takes is never written down a second time: a model that changes changes this.
Replies are described as objects; what they hold is the contract's. Made once, when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from ksi_tui import __version__
from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.door.stream import LEAST_CHARS, MOST_CHARS, MOST_PATTERN
from ksi_tui.door.wire import STATUS
from ksi_tui.engine.event_payloads import PAYLOADS

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
_ANYTHING: Final[Json] = {"type": "object", "additionalProperties": True}
_REFUSAL: Final[Json] = {
    "type": "object",
    "description": "A refusal: what is wrong and what would be right.",
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string", "enum": list(STATUS)},
    },
    "required": ["error", "code"],
}
_NAMES: Final[Json] = {
    "Operator": {
        "name": "X-Ksi-Operator",
        "in": "header",
        "description": "Who calls; stands as `by` in an action that names nobody.",
        "schema": {"type": "string", "maxLength": 200},
    },
    "Kind": {
        "name": "X-Ksi-Kind",
        "in": "header",
        "description": "A `dashboard` counts as attached while it holds the stream of events.",
        "schema": {"type": "string", "examples": ["dashboard", "command"]},
    },
    "Client": {
        "name": "X-Ksi-Client",
        "in": "header",
        "description": "Tells two clients of one operator apart: the same in all its calls.",
        "schema": {"type": "string", "maxLength": 200},
    },
}
_ANY_REFUSAL: Final = frozenset({*STATUS.values(), 408, 413})
_CALLERS: Final = [{"$ref": f"#/components/parameters/{name}"} for name in _NAMES]


@lru_cache(maxsize=1)
def document() -> Mapping[str, Any]:
    """Return the document, plain JSON."""
    views = {"Snapshot": Snapshot, "SnapshotQuery": SnapshotQuery}
    kinds: dict[str, Any] = {m.__name__: m for m in PAYLOADS.values() if m is not None} | views
    mode: Literal["validation"] = "validation"
    adapters = [(name, mode, TypeAdapter(kind)) for name, kind in sorted(kinds.items())]
    refs, defined = TypeAdapter.json_schemas(adapters, ref_template=_REF)
    schema_of = {name: schema for (name, _), schema in refs.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ksi-tui",
            "version": __version__,
            "description": "The events of a completion engine: POST one, GET what happens.",
        },
        "paths": {**_paths_of_events(schema_of), **_other_paths(schema_of)},
        "components": {
            "schemas": {**defined.get("$defs", {}), "Refusal": _REFUSAL},
            "parameters": _NAMES,
        },
    }


def extended(paths: Json, components: Json, default: Json, security: list[Json]) -> Json:
    """Return the document with what another listener serves beside the door's own.

    `default` stands in every operation for the answers of the listener's guards.
    """
    whole = document()
    operations = {
        path: {
            method: {**each, "responses": {**each["responses"], "default": default}}
            for method, each in of_path.items()
        }
        for path, of_path in {**whole["paths"], **paths}.items()
    }
    kinds = {
        kind: {**whole["components"].get(kind, {}), **components.get(kind, {})}
        for kind in (*whole["components"], *components)
    }
    return {**whole, "paths": operations, "components": kinds, "security": security}


def _paths_of_events(schema_of: Mapping[str, Any]) -> Json:
    return {
        f"/events/{name}": {
            "post": _event(name, None if kind is None else schema_of[kind.__name__])
        }
        for name, kind in PAYLOADS.items()
    }


def _event(name: str, schema: Json | None) -> Json:
    group, _, verb = name.partition(":")
    return {
        "operationId": name.replace(":", "_"),
        "tags": [group],
        "summary": f"{group}: {verb.replace('_', ' ')}",
        "parameters": _CALLERS,
        "requestBody": {
            "required": False,
            "description": "No body is an empty object.",
            "content": {"application/json": {"schema": schema or _ANYTHING}},
        },
        "responses": {"200": _of_json("The reply.", _ANYTHING), **_refusals(*_ANY_REFUSAL)},
    }


def _other_paths(schema_of: Mapping[str, Any]) -> Json:
    health = {"type": "object", "properties": {"status": {"type": "string"}}}
    return {
        "/events": {"get": _stream()},
        "/snapshot": {
            "get": {
                "operationId": "snapshot",
                "summary": "The engine as it is now, as far as the query asks for it",
                "parameters": [
                    {
                        "name": "query",
                        "in": "query",
                        "content": {"application/json": {"schema": schema_of["SnapshotQuery"]}},
                    },
                    *_CALLERS,
                ],
                "responses": {
                    "200": _of_json("A snapshot.", schema_of["Snapshot"]),
                    **_refusals(400),
                },
            }
        },
        "/hello": {"get": _plain("hello", "Who answers here, and who is attached", _ANYTHING)},
        "/healthz": {"get": _plain("healthz", "Whether the process is alive", health)},
        "/readyz": {"get": _plain("readyz", "Whether the engine takes work", health, 503)},
        "/openapi.json": {"get": _plain("openapi", "This document", _ANYTHING)},
    }


def _stream() -> Json:
    return {
        "operationId": "events",
        "summary": "What happens, as server-sent events",
        "description": "Begins with engine:snapshot. An event's id resumes the stream after it, "
        "as Last-Event-ID or `after`; where that cannot be, and for a reader who is too slow, "
        "engine:lost tells how many events are missing and why.",
        "parameters": [
            {
                "name": "pattern",
                "in": "query",
                "description": "Names of events; * stands for one segment, alone for all.",
                "schema": {
                    "type": "string",
                    "default": "*",
                    "minLength": 1,
                    "maxLength": MOST_PATTERN,
                },
            },
            {
                "name": "most_chars",
                "in": "query",
                "description": "Cut every text that is longer, and tell how long it is.",
                "schema": {"type": "integer", "minimum": LEAST_CHARS, "maximum": MOST_CHARS},
            },
            {"name": "after", "in": "query", "schema": {"type": "string"}},
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
            *_CALLERS,
        ],
        "responses": {
            "200": {
                "description": "The stream; a comment every 10 s keeps it open.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **_refusals(400, 429),
        },
    }


def _plain(name: str, summary: str, schema: Json, *statuses: int) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _of_json(summary, schema), **_refusals(*statuses)},
    }


def _refusals(*statuses: int) -> Json:
    codes_of: dict[int, list[str]] = {408: ["invalid_request"], 413: ["invalid_request"]}
    for code, status in STATUS.items():
        codes_of.setdefault(status, []).append(code)
    refusal = {"$ref": _REF.format(model="Refusal")}
    return {
        str(status): _of_json(" or ".join(codes), refusal)
        for status, codes in sorted(codes_of.items())
        if status in statuses
    }


def _of_json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
