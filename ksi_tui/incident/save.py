"""Makes a bundle of an engine that is looked at: asks it, hides what is private, writes it.

Asking goes on the loop, question by question; hiding and writing in a thread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ksi_tui import __version__, paths
from ksi_tui.client import EngineClient, Event
from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ConfigError
from ksi_tui.incident import gather
from ksi_tui.incident.bundle import write_bundle
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.gather import Tell
from ksi_tui.incident.hiding import Hiding
from ksi_tui.incident.privacy import Privacy, keys_of
from ksi_tui.incident.recorder import QUERY, Recorder, frame_text

_GIVE_WAY_S = 0.002
"""How long the thread that writes lets the screen go on after each frame."""

Data = Mapping[str, Any]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What goes in, as it was found. `frames` can be gone through once."""

    about: Data
    settings: Data
    answers: Mapping[str, Data]
    frames: Iterable[str]
    events: Sequence[Data]
    journal: Sequence[Data]
    requests: Sequence[Data]
    records: Sequence[Data]
    lives: Sequence[Data]


def folder() -> Path:
    """Return the private folder of bundles, made where it is missing; BundleError if it can't."""
    try:
        return paths.private_dir(paths.state_dir() / "incidents")
    except ConfigError as error:
        raise BundleError(str(error)) from None


async def save_bundle(
    client: EngineClient,
    recorder: Recorder,
    events: Sequence[Event],
    settings: Data,
    wanted: Wanted,
    tell: Tell,
) -> Saved:
    """Write the bundle that is wanted into `folder()`; raises BundleError when it cannot.

    Keys never get in: whatever holds one is hidden by its name or its value. `tell` hears how
    far it is, in a few words.
    """
    place = folder()
    last = client.snapshot(QUERY)
    since = last.at - wanted.minutes * 60
    frames = recorder.since(since)
    rows = await gather.requests_since(client, str(iso(since)), tell)
    ids = gather.chosen(rows, last)
    gathered = _Gathered(
        about={
            "made_at": iso(last.at),
            "since": iso(since),
            "by": wanted.by,
            "name": wanted.name,
            "program": f"ksi-tui {__version__}",
            "texts": wanted.texts,
        },
        settings=dict(settings),
        lives=await gather.lives_of(client, ids, tell),
        records=await gather.records_of(client, ids, tell),
        answers=await gather.answers_of(client, last, rows, tell),
        journal=await gather.journal_since(client, str(iso(since)), tell),
        frames=chain(frames, [frame_text(last)]),
        events=[_event(event) for event in events if event.at >= since],
        requests=rows,
    )
    stamp = f"{datetime.fromtimestamp(last.at, UTC):%Y%m%d-%H%M%S}"
    path = place / f"incident-{stamp}.ksi.zip"
    tell("writing")
    size, count = await asyncio.to_thread(_write, gathered, path, wanted.texts)
    return Saved(path=path, size=size, frames=count, requests=len(rows))


def _write(found: _Gathered, path: Path, texts: bool) -> tuple[int, int]:
    """Write what was found without what is private; return the file's size and the frames."""
    hiding = None if texts else Hiding(secrets.token_bytes(32))
    privacy = Privacy(keys_of(found.settings, os.environ), hiding)
    privacy.learn(found.records, chain(found.answers.values(), found.lives), _unread(found))
    count = 0

    def frames() -> Iterable[str]:
        nonlocal count
        for frame in found.frames:
            count += 1
            yield privacy.frame(frame)
            time.sleep(_GIVE_WAY_S)

    size = write_bundle(
        path,
        about=privacy.safe(found.about),
        settings=privacy.safe(found.settings),
        answers={privacy.named(key): privacy.safe(each) for key, each in found.answers.items()},
        lists={
            "frames": frames(),
            "events": map(privacy.safe, found.events),
            "journal": map(privacy.safe, found.journal),
            "requests": map(privacy.safe, found.requests),
            "records": map(privacy.safe, found.records),
            "lives": map(privacy.safe, found.lives),
        },
    )
    return size, count


def _unread(found: _Gathered) -> Iterable[Data]:
    """Return what may repeat texts that are not at hand."""
    return chain(found.requests, found.events, found.journal, found.answers.values())


def _event(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "name": event.name, "data": dict(event.data), "at": event.at}
