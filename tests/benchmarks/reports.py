"""How long a usage report takes over a million records: each question that a person asks."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.store.base import CallBooked, Store, UsageFolded, UsageQuery
from ksi_tui.engine.store.sqlite import open_store

RECORDS: Final = 1_000_000
DAYS: Final = 30
AGENTS: Final = 100
SESSIONS: Final = 20_000
_DAY_S: Final = 86_400
_END: Final = 1_800_057_600.0
_BATCH: Final = 1_000
_TIMES: Final = 5
_MODELS: Final = tuple(
    (provider, f"{provider}-{number}") for provider in ("a", "b", "c") for number in range(4)
)

QUESTIONS: Final[Mapping[str, UsageQuery]] = {
    "all of it": UsageQuery(),
    "30 d": UsageQuery(since=_END - 30 * _DAY_S + 1234),
    "24 h": UsageQuery(since=_END - _DAY_S),
    "by agent": UsageQuery(by="agent"),
    "by model, 30 d": UsageQuery(by="model", since=_END - 30 * _DAY_S + 1234),
    "by provider, 24 h": UsageQuery(by="provider", since=_END - _DAY_S + 1234),
    "by day": UsageQuery(by="day"),
    "one agent": UsageQuery(agent_id="agent-7"),
    "one session": UsageQuery(session_id="s-7"),
    "trend by hour, 30 d": UsageQuery(since=_END - 30 * _DAY_S, bucket_s=3600),
    "trend by hour of an agent, 30 d": UsageQuery(
        agent_id="agent-7", since=_END - 30 * _DAY_S, bucket_s=3600
    ),
    "trend by minute, 24 h": UsageQuery(since=_END - _DAY_S, bucket_s=60),
    "sessions with most tokens": UsageQuery(by="session", largest=100),
}


def _calls(records: int) -> Iterator[CallRecord]:
    rng = random.Random(7)
    step_s = DAYS * _DAY_S / records
    for number in range(records):
        at = _END - DAYS * _DAY_S + number * step_s
        session = rng.randrange(SESSIONS)
        provider, model = _MODELS[(session + rng.randrange(2)) % len(_MODELS)]
        yield CallRecord(
            request_id=f"r-{number}",
            attempt=1,
            ordinal=1,
            provider=provider,
            model=model,
            asked_model=model,
            agent_id=f"agent-{session % AGENTS}",
            session_id=f"s-{session}",
            started_at=at - 1,
            finished_at=at,
            outcome=Outcome.ANSWERED,
            usage=Usage(input=rng.randrange(4000), cache_read=500, output=rng.randrange(900)),
            cost=None if provider == "c" else rng.random() / 100,
        )


async def _fill(store: Store, records: int) -> None:
    """Book the calls as an engine does, with a clean-up every five minutes of their time."""
    batch: list[CallBooked] = []
    folded_at = _END - DAYS * _DAY_S
    for call in _calls(records):
        batch.append(CallBooked(call=call))
        if len(batch) == _BATCH:
            await store.write(*batch)
            batch.clear()
        if call.finished_at - folded_at >= 3600:
            folded_at = call.finished_at
            store.write(UsageFolded(at=folded_at))
    await store.write(*batch)


async def usage_million(folder: Path, records: int = RECORDS) -> dict[str, Any]:
    """Fill a database with a month of calls and ask each question; milliseconds, medians of 5."""
    store = await open_store(folder / "usage.db")
    try:
        began = time.perf_counter()
        await _fill(store, records)
        filled_s = time.perf_counter() - began
        took_ms = {}
        for name, query in QUESTIONS.items():
            times = []
            for _ in range(_TIMES):
                began = time.perf_counter()
                await store.usage(query)
                times.append((time.perf_counter() - began) * 1000)
            took_ms[name] = sorted(times)[_TIMES // 2]
    finally:
        await store.aclose()
    return {"requests": records, "filled_s": filled_s, "took_ms": took_ms}
