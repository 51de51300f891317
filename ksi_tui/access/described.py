"""`GET /openapi.json` over the network: the door, the gateway, the metrics, and who may come in.

Composition only: each part is described where it is served.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from ksi_tui.door import openapi
from ksi_tui.gateway import described as gateway

Json = dict[str, Any]

_GUARDED: Final[Json] = {
    "description": "Refused by the listener before it was looked at: no token that counts, too "
    "small a role, a foreign Host, headers or a body over the limit, or too many at once. "
    "Retry-After says when to come again.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/Refusal"},
                    {"$ref": "#/components/schemas/GuardRefusal"},
                    {"$ref": "#/components/schemas/Error"},
                ]
            }
        }
    },
}
_REFUSAL: Final[Json] = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
    "required": ["error", "code"],
}
_METRICS: Final[Json] = {
    "operationId": "metrics",
    "summary": "The engine's metrics, for Prometheus",
    "responses": {
        "200": {
            "description": "In the format that Accept asks for.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        }
    },
}


@lru_cache(maxsize=2)
def document(*, tokens: bool) -> Json:
    """Return the document of a listener, plain JSON; `tokens`: it asks for one."""
    parts = gateway.components()
    schemas = {**parts["schemas"], "GuardRefusal": _REFUSAL}
    scheme = {"token": {"type": "http", "scheme": "bearer"}}
    return openapi.extended(
        {**gateway.paths(), "/metrics": {"get": _METRICS}},
        {**parts, "schemas": schemas, **({"securitySchemes": scheme} if tokens else {})},
        _GUARDED,
        [{"token": []}] if tokens else [],
    )
