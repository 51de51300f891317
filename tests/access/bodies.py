"""Bodies as a described schema allows them, and such as it does not: Hypothesis strategies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Json = Any

_TEXT = st.text(max_size=8) | st.sampled_from(("sim/echo", "a\nb", "\x00", "…", "../x", "*"))
_SCALARS: st.SearchStrategy[Json] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT
)
_ANYTHING: st.SearchStrategy[Json] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=4,
)
_DEEPEST = 4


def fitting(
    schema: Mapping[str, Any], components: Mapping[str, Any], depth: int = 0
) -> st.SearchStrategy[Json]:
    """Return values of the shape that a schema asks for; not all of its bounds are kept."""
    if reference := schema.get("$ref"):
        schema = components["schemas"][reference.rpartition("/")[2]]
    if either := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([fitting(each, components, depth) for each in either])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    match schema.get("type"):
        case "object" if depth < _DEEPEST and "properties" in schema:
            return _object(schema, components, depth)
        case "array" if depth < _DEEPEST:
            items = fitting(schema.get("items", {}), components, depth + 1)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=2)
        case kind:
            return _PLAIN.get(str(kind), _ANYTHING)


_PLAIN: Mapping[str, st.SearchStrategy[Json]] = {
    "string": _TEXT,
    "integer": st.integers(-1, 1000),
    "number": st.floats(-1, 1e6, allow_nan=False),
    "boolean": st.booleans(),
    "null": st.none(),
    "object": st.dictionaries(_TEXT, _SCALARS, max_size=2),
    "array": st.lists(_SCALARS, max_size=2),
}


def _object(
    schema: Mapping[str, Any], components: Mapping[str, Any], depth: int
) -> st.SearchStrategy[Json]:
    each = {
        name: fitting(inner, components, depth + 1) for name, inner in schema["properties"].items()
    }
    needed = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: inner for name, inner in each.items() if name in needed},
        optional={name: inner for name, inner in each.items() if name not in needed},
    )


@st.composite
def sent(draw: st.DrawFn, schema: Mapping[str, Any], components: Mapping[str, Any]) -> bytes:
    """Return a body: half of them fit, the others have one thing spoiled."""
    body = draw(fitting(schema, components))
    match draw(st.sampled_from(("fits", "fits", "fits", "value", "name", "other", "bytes"))):
        case "value" if isinstance(body, dict) and body:
            body[draw(st.sampled_from(sorted(body)))] = draw(_ANYTHING)
        case "name" if isinstance(body, dict):
            body[draw(_TEXT)] = draw(_ANYTHING)
        case "other":
            body = draw(_ANYTHING)
        case "bytes":
            whole = json.dumps(body).encode()
            cut = draw(st.integers(0, len(whole)))
            return whole[:cut] + draw(st.binary(max_size=3))
    return json.dumps(body).encode()
