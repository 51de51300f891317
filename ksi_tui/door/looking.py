"""`GET /snapshot`: the engine as it is now, as far as the query asks for it.

What the views mean is the engine's, how they become JSON the codec's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import zlib
from typing import Any, Final

from aiohttp import web

from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery
from ksi_tui.codec import CodecError, plain, rebuilt
from ksi_tui.door import wire
from ksi_tui.door.attached import Attached
from ksi_tui.engine.errors import InvalidRequest

MOST_ROWS: Final = 1_000
"""The most that a query may ask for of one kind of row."""
_MOST_OFFSET: Final = 2**31
_PACKED_IN_A_THREAD: Final = 32_768
_GZIP: Final = 31
"""What zlib calls a gzip of the usual window."""


async def respond(
    client: EngineClient, attached: Attached, request: web.Request
) -> web.StreamResponse:
    """Answer with a snapshot, gzipped where the client takes that; raises InvalidRequest."""
    query = query_of(request.query.get("query", ""))
    found = client.snapshot(query)
    others = attached.others(wire.caller_of(request))
    data = json.dumps(plain(dataclasses.replace(found, attached=others)), separators=(",", ":"))
    body, headers = data.encode(), {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        small = len(body) < _PACKED_IN_A_THREAD
        body = _packed(body) if small else await asyncio.to_thread(_packed, body)
    return web.Response(body=body, headers=headers, content_type="application/json")


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()


def query_of(text: str) -> SnapshotQuery:
    """Return the query that a JSON object spells; raises InvalidRequest."""
    data: Any = wire.parsed(text, "query") if text else {}
    try:
        query: SnapshotQuery = rebuilt(SnapshotQuery, data, "query")
    except CodecError as error:
        raise InvalidRequest(str(error)) from None
    for name in ("active", "queue", "lock", "pause", "attention"):
        _within(query, f"{name}_limit", MOST_ROWS)
    _within(query, "trend_points", MOST_ROWS)
    _within(query, "active_offset", _MOST_OFFSET)
    _within(query, "queue_offset", _MOST_OFFSET)
    return query


def _within(query: SnapshotQuery, name: str, most: int) -> None:
    if not 0 <= getattr(query, name) <= most:
        raise InvalidRequest(f"query.{name}: 0 to {most}, found {str(getattr(query, name))[:40]}")


TOTALS_ONLY: Final = SnapshotQuery(
    active_limit=0,
    queue_limit=0,
    lock_limit=0,
    pause_limit=0,
    trend_points=1,
    attention_limit=0,
)
"""What is asked for where only the verdict is wanted."""


def verdict_of(snapshot: Snapshot) -> tuple[str, str]:
    """Return the level and the cause of a snapshot's verdict."""
    return snapshot.verdict.level.value, snapshot.verdict.cause
