"""What is said to a door and how it answers: HTTP over its socket, by aiohttp.

One exchange at a time and its faults, told apart by whether anything was sent. When to try
again, what to keep, and what to show is for others.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from ksi_tui.codec import CodecError, plain, rebuilt
from ksi_tui.engine.events import Event
from ksi_tui.engine.views import Snapshot, SnapshotQuery
from ksi_tui.remote.errors import Broken, LineFault, Misread, NotSent, Refused
from ksi_tui.remote.server_sent import Decoder, Message

Data = Mapping[str, Any]
Reply = dict[str, Any]

CONNECT_S: Final = 5.0
SILENT_S: Final = 25.0
"""A stream that is silent for longer is dead: its engine says every 10 s that it lives."""
PICTURE_S: Final = 30.0
"""So long a picture may take until its next piece, in seconds; no line is slower and alive."""
MOST_BYTES: Final = 256 * 1024 * 1024
_LOADED_HERE: Final = 256 * 1024
"""Bodies beyond this are parsed in a thread, since that takes longer than a refresh may."""
_QUERY_CHARS: Final = 120_000
"""A door takes a request line of twice as many bytes."""
MOST_ROWS: Final = 1_000
"""A door shows no more rows of one kind."""
_OPERATOR_CHARS: Final = 64
_FOR_LATER: Final = frozenset({408, 429})
_BASE: Final = "http://engine"
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)


class Wire:
    """The connections to one door; close it with `aclose`. Needs a running loop.

    An event goes out on a connection of its own: on a kept one nobody could tell whether the
    engine that hung up had heard it.
    """

    def __init__(self, socket: Path, *, operator: str, kind: str) -> None:
        self.socket = socket
        self._headers = {
            "X-Ksi-Operator": _named(operator),
            "X-Ksi-Kind": kind,
            "X-Ksi-Client": secrets.token_hex(4),  # two of one operator are told apart by it
        }
        self._acting = self._session(force_close=True)
        self._looking = self._session(force_close=False)

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self.socket), force_close=force_close)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=_NO_LIMIT,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._acting.close()
        await self._looking.close()

    async def post(self, name: str, data: Data | None) -> Reply:
        """Send an event; a refusal is a reply too. Raises LineFault."""
        if self._acting.closed:
            raise Broken("detached from the engine")
        try:
            body = json.dumps(dict(data or {}), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return {"error": f"{name}: not plain JSON: {error}", "code": "invalid_request"}
        if not _is_text(name):
            return {"error": "the event's name is not UTF-8 text", "code": "invalid_request"}
        url = f"{_BASE}/events/{quote(name, safe='')}"
        headers = {"Content-Type": "application/json"}
        with _told_apart():
            async with self._acting.post(
                _exactly(url), data=body, headers=headers, allow_redirects=False
            ) as answer:
                return await _object(answer)

    async def hello(self) -> Reply:
        """Return who answers. Raises LineFault."""
        return await self._get("/hello", {})

    async def snapshot(self, query: SnapshotQuery) -> Snapshot:
        """Return the engine as it is now. Raises LineFault."""
        found = await self._get("/snapshot", {"query": query_text(query)})
        try:
            picture: Snapshot = rebuilt(Snapshot, found, "snapshot")
        except CodecError as error:
            raise Misread(str(error)) from None
        return picture

    async def _get(self, path: str, params: Mapping[str, str]) -> Reply:
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=PICTURE_S)
        with _told_apart():
            async with self._looking.get(
                f"{_BASE}{path}", params=params, timeout=limit, allow_redirects=False
            ) as answer:
                found = await _object(answer)
        if answer.status != 200:
            raise Misread(f"{path} answered {answer.status}: {found.get('error')}")
        return found

    @asynccontextmanager
    async def stream(
        self, pattern: str, last_id: str | None, most_chars: int | None = None
    ) -> AsyncIterator[AsyncIterator[list[Message]]]:
        """Yield what the engine tells, in the pieces in which it comes, from `last_id` on.

        Texts of more than `most_chars` come cut, where it is given.
        Entering returns once the engine has begun to answer. Raises LineFault, Refused where
        again would be no use; a stream that ends simply ends.
        """
        if not _is_text(pattern):
            raise Refused("the pattern is not UTF-8 text")
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        params = {"pattern": pattern}
        if most_chars is not None:
            params["most_chars"] = str(most_chars)
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
        with _told_apart():
            async with self._acting.get(
                f"{_BASE}/events",
                params=params,
                headers=headers,
                timeout=limit,
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    found = await _object(answer)
                    if 400 <= answer.status < 500 and answer.status not in _FOR_LATER:
                        raise Refused(str(found.get("error")))
                    raise Misread(f"/events answered {answer.status}: {found.get('error')}")
                yield _messages(answer)


async def _messages(answer: aiohttp.ClientResponse) -> AsyncIterator[list[Message]]:
    decoder = Decoder()
    with _told_apart():
        async for piece in answer.content.iter_any():
            yield decoder.feed(piece)


class _told_apart:  # noqa: N801 - used as a statement
    """Turns aiohttp's faults into ours."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, LineFault):
            return
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or str(error.os_error)
            raise NotSent(f"cannot connect: {reason}") from error
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            raise NotSent("nobody takes the connection") from error
        if isinstance(error, TimeoutError):
            raise Broken("the engine is silent") from error
        if isinstance(error, aiohttp.ServerDisconnectedError):
            raise Broken("the engine hung up") from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise Broken(f"the connection broke ({type(error).__name__})") from error


async def _object(answer: aiohttp.ClientResponse) -> Reply:
    """Return a body that is a JSON object; raises Misread for any other."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            raise Misread(f"an answer of more than {MOST_BYTES // 1024**2} MB")
    try:
        if len(body) > _LOADED_HERE:
            found = await asyncio.to_thread(json.loads, bytes(body))
        else:
            found = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise Misread(f"answered {answer.status} without JSON: no engine's door") from None
    if not isinstance(found, dict):
        raise Misread(f"answered {answer.status} with no object")
    return found


def query_text(query: SnapshotQuery) -> str:
    """Return a query as the door takes it: JSON of what differs from the defaults.

    What would make it longer than a request line may be is left out: the failures that were
    looked at longest ago, which then count as new.
    """
    asked = _differing(query)
    while len(quote(text := json.dumps(asked, separators=(",", ":")))) > _QUERY_CHARS:
        looked_at = query.looked_at
        if len(looked_at.single) <= 1:
            break
        half = list(looked_at.single.items())[len(looked_at.single) // 2 :]
        query = replace(query, looked_at=replace(looked_at, single=dict(half)))
        asked = _differing(query)
    return text


def _differing(query: SnapshotQuery) -> dict[str, Any]:
    asked = {name: value for name, value in plain(query).items() if value != _DEFAULTS[name]}
    return {
        name: min(value, MOST_ROWS) if name.endswith(("_limit", "_points")) else value
        for name, value in asked.items()
    }


_DEFAULTS: Final[Mapping[str, Any]] = plain(SnapshotQuery())


def event_of(message: Message) -> Event:
    """Return a message as the event that it carries; raises Misread where it carries none."""
    try:
        found = json.loads(message.data)
        seq, name, data = (found[key] for key in ("seq", "name", "data"))
        at = datetime.fromisoformat(found["at"]).timestamp()
    except (ValueError, RecursionError, KeyError, TypeError, OverflowError, OSError):
        raise Misread("an event that is none") from None
    if not (isinstance(seq, int) and isinstance(name, str) and isinstance(data, dict)):
        raise Misread("an event of the wrong shape")
    return Event(seq, name, data, at)


def _is_text(given: str) -> bool:
    """Whether it can be sent; an argument of a command may be any bytes."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(operator: str) -> str:
    return "".join(char for char in operator if char.isprintable())[:_OPERATOR_CHARS]


def _exactly(url: str) -> Any:
    from yarl import URL  # noqa: PLC0415 - aiohttp's own; what is quoted stays so

    return URL(url, encoded=True)
