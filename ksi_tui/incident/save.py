"""Makes a bundle of an engine that is looked at: asks it, hides what is private, writes it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ksi_tui import __version__, paths
from ksi_tui.client import EngineClient, Event
from ksi_tui.engine.clock import iso
from ksi_tui.incident.bundle import Bundle, write_bundle
from ksi_tui.incident.codec import plain
from ksi_tui.incident.gather import answers_of, journal_of, lives_of, records_of, requests_since
from ksi_tui.incident.hiding import Hiding
from ksi_tui.incident.recorder import QUERY, Recorder
from ksi_tui.redaction import redacted, secrets_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a bundle is to hold: the last `minutes`, with prompts and replies or without."""

    minutes: int
    texts: bool
    by: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Where a bundle was written, its size in bytes, and how much it holds."""

    path: Path
    size: int
    frames: int
    requests: int


def folder() -> Path:
    """Return the private folder of bundles, made where it is missing."""
    return paths.private_dir(paths.state_dir() / "incidents")


async def save_bundle(
    client: EngineClient,
    recorder: Recorder,
    events: Sequence[Event],
    settings: Mapping[str, Any],
    wanted: Wanted,
) -> Saved:
    """Write the bundle that is wanted into `folder()`; raises BundleError when it cannot.

    Keys never get in: whatever holds one is hidden by its name or its value.
    """
    last = client.snapshot(QUERY)
    now = last.at
    since = now - wanted.minutes * 60
    rows = await requests_since(client, str(iso(since)))
    bundle = Bundle(
        about={
            "made_at": iso(now),
            "since": iso(since),
            "by": wanted.by,
            "name": wanted.name,
            "program": f"ksi-tui {__version__}",
            "texts": wanted.texts,
        },
        settings=dict(settings),
        answers=await answers_of(client, rows),
        frames=[*recorder.since(since), plain(last)],
        events=[_event(event) for event in events if event.at >= since],
        journal=await journal_of(client),
        requests=rows,
        records=await records_of(client, rows),
        lives=lives_of(client, rows),
    )
    path = folder() / f"incident-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}.ksi.zip"
    size = await asyncio.to_thread(_write, bundle, path, wanted.texts)
    return Saved(path=path, size=size, frames=len(bundle.frames), requests=len(rows))


def _write(bundle: Bundle, path: Path, texts: bool) -> int:
    hiding = Hiding(secrets.token_bytes(32))
    keys = secrets_of(os.environ)

    def safe(record: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = _without(record if texts else hiding.record(record), keys)
        return found

    return write_bundle(
        Bundle(
            about=bundle.about,
            settings=bundle.settings,
            answers={key: safe(answer) for key, answer in bundle.answers.items()},
            frames=[safe(frame) for frame in bundle.frames],
            events=[safe(event) for event in bundle.events],
            journal=[safe(entry) for entry in bundle.journal],
            requests=[safe(row) for row in bundle.requests],
            records=[safe(record) for record in bundle.records],
            lives=[safe(live) for live in bundle.lives],
        ),
        path,
    )


def _event(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "name": event.name, "data": dict(event.data), "at": event.at}


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """Return plain data with every key's value hidden; names of fields tell nothing here."""
    if isinstance(value, Mapping):
        return {name: _without(item, keys) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, keys) for item in value]
    return redacted(value, keys) if isinstance(value, str) else value
