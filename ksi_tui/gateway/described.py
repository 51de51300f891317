"""The gateway's part of the OpenAPI document, by the model that reads its bodies.

What a body takes is never written down a second time. Answers and errors are OpenAI's, whose
reference says more; statuses are those of `faults`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from ksi_tui.gateway.asked import Chat
from ksi_tui.gateway.faults import statuses
from ksi_tui.gateway.terms import KEY, header_names

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
_ERROR: Final[Json] = {
    "type": "object",
    "description": "OpenAI's shape of an error.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_OF_BODIES: Final = (400, 408, 413, 415, 422)
"""Statuses of a body or a key that is refused before the engine is asked."""


def components() -> Json:
    """Return the schemas that `paths` leads to."""
    chat = TypeAdapter(Chat).json_schema(ref_template=_REF)
    return {"schemas": {**chat.pop("$defs", {}), "Chat": chat, "Error": _ERROR}}


def paths() -> Json:
    """Return the gateway's paths."""
    model = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/v1/chat/completions": {"post": _completions()},
        "/v1/models": {"get": _read("models", "The models that are known by name")},
        "/v1/models/{id}": {
            "get": {**_read("model", "One model, also of a pattern", 404), "parameters": [model]}
        },
    }


def _completions() -> Json:
    names = [KEY, *header_names()]
    return {
        "operationId": "chat_completions",
        "tags": ["gateway"],
        "summary": "A chat completion, as OpenAI's",
        "parameters": [{"name": n, "in": "header", "schema": {"type": "string"}} for n in names],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Chat")}}},
        },
        "responses": {
            "200": {
                "description": "The completion; with `stream`, its chunks and then [DONE].",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            **_errors(*_OF_BODIES, *statuses()),
        },
    }


def _read(name: str, summary: str, *more: int) -> Json:
    answer = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": name,
        "tags": ["gateway"],
        "summary": summary,
        "responses": {"200": {"description": summary, "content": answer}, **_errors(503, *more)},
    }


def _errors(*which: int) -> Json:
    content = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    return {
        str(status): {"description": "Refused, or failed.", "content": content}
        for status in sorted({*which})
    }
