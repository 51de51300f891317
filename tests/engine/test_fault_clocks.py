"""Deadlines, backoffs, probes and broken streams under real faults, through a real worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ksi_tui.engine.providers.pool import WorkerPool
from tests.faults.stage import GOOD, Stage, settings, staged, warm_up, worker
from tests.servers.misbehaving import MisbehavingServer
from tests.servers.modes import WORDS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

ANSWER = " ".join(WORDS)
SHORT_S = 1.5


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(server: MisbehavingServer) -> AsyncIterator[WorkerPool]:
    async with worker() as pool:
        await warm_up(server, pool)
        yield pool


@asynccontextmanager
async def playing(
    folder: Path, server: MisbehavingServer, pool: WorkerPool, mode: str, **sections: Any
) -> AsyncIterator[Stage]:
    """Run an engine whose provider `bad-one` is alone and whose `bad-two` has a good one behind."""
    base = server.base(mode)
    config = settings(folder, {"bad-one": base, "bad-two": base}, server.base("ok"), **sections)
    async with staged(config, pool) as stage:
        yield stage


async def one(stage: Stage, model: str = "bad-one", **asked: Any) -> dict[str, Any]:
    """Return what became of one request."""
    (status,) = await stage.finished([{"prompt": "hello", "model": model, **asked}])
    return status


# --- the deadline --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind", "retry"),
    [
        ("503", "provider_error", {"initial_delay_s": 30, "max_delay_s": 30}),
        ("503@40", "provider_error", {}),
        ("503_date@40", "provider_error", {}),
        ("429@40", "api_rate_limit", {}),
        ("reset", "network_error", {"initial_delay_s": 30, "max_delay_s": 30}),
    ],
)
async def test_a_delay_past_the_deadline_fails_at_once_as_what_it_was(
    tmp_path: Path,
    server: MisbehavingServer,
    pool: WorkerPool,
    mode: str,
    kind: str,
    retry: dict[str, Any],
) -> None:
    bounds = {"circuit": {"max_cooldown_s": 60}, "retry": retry}
    async with playing(tmp_path, server, pool, mode, **bounds) as stage:
        status = await one(stage, timeout_s=25)
        assert (status["status"], status["error"]["kind"]) == ("failed", kind)
        assert "after the deadline in" in status["error"]["message"]
        assert status["attempts_spent"] == 1


async def test_the_deadline_goes_on_in_a_backoff_and_ends_the_next_call(
    tmp_path: Path, server: MisbehavingServer, pool: WorkerPool
) -> None:
    late = {"retry": {"initial_delay_s": 0.2}}
    async with playing(tmp_path, server, pool, "503_hang", **late) as stage:
        status = await one(stage, timeout_s=2)
        kinds = [call["error"]["kind"] for call in calls(status)]
        assert kinds == ["provider_error", "deadline_exceeded"]
        assert status["error"]["kind"] == "deadline_exceeded"


async def test_the_deadline_ends_the_wait_for_a_probe(
    tmp_path: Path, server: MisbehavingServer, pool: WorkerPool
) -> None:
    async with playing(tmp_path, server, pool, "500", circuit={"fail_max": 1}) as stage:
        status = await one(stage, timeout_s=2)
        assert (status["error"]["kind"], status["attempts_spent"]) == ("deadline_exceeded", 1)
        assert "last: The server had an error" in status["error"]["message"]
        assert [call["provider"] for call in calls(status)] == ["bad-one"]


def calls(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a request's calls in their order."""
    return [call for attempt in status["attempts"] for call in attempt["calls"]]


# --- streams that break --------------------------------------------------------------------


BREAKS = [
    ("cut", "network_error"),
    ("stall", "timeout"),
    ("error_frame", "provider_error"),
    ("error_frame@429", "api_rate_limit"),
    ("bad_json", "provider_error"),
    ("truncated", "provider_error"),
    ("truncated_done", "provider_error"),
]


@pytest.mark.parametrize(("mode", "kind"), BREAKS)
async def test_a_broken_stream_can_be_the_end_and_then_nobody_else_is_asked(
    tmp_path: Path, server: MisbehavingServer, pool: WorkerPool, mode: str, kind: str
) -> None:
    clock_s = SHORT_S if mode == "stall" else 30.0
    fail = {"engine": {"on_broken_stream": "fail"}, "clock_s": clock_s}
    async with playing(tmp_path, server, pool, mode, **fail) as stage:
        status = await one(stage, "bad-two")
        assert (status["status"], status["error"]["kind"]) == ("failed", kind)
        assert status["error"]["message"].endswith("(on_broken_stream: fail)")
        assert [call["provider"] for call in calls(status)] == ["bad-two"]
        assert status["attempts_spent"] == 1
        assert status["text"].startswith("The quick brown ")  # what arrived
        assert status["result"] is None


@pytest.mark.parametrize("mode", ["cut_first", "error_first", "truncated@unstreamed"])
async def test_what_breaks_before_its_first_token_is_no_broken_stream(
    tmp_path: Path, server: MisbehavingServer, pool: WorkerPool, mode: str
) -> None:
    fail = {"engine": {"on_broken_stream": "fail"}}
    async with playing(tmp_path, server, pool, mode, **fail) as stage:
        status = await one(stage, "bad-two", stream="unstreamed" not in mode)
        assert (status["status"], status["provider"]) == ("completed", GOOD)


async def test_a_stream_begins_again_from_the_beginning_and_the_broken_part_is_waste(
    tmp_path: Path, server: MisbehavingServer, pool: WorkerPool
) -> None:
    async with playing(tmp_path, server, pool, "cut_once") as stage:
        status = await one(stage)
        broken, whole = calls(status)
        assert (status["status"], status["attempts_spent"]) == ("completed", 2)
        assert status["text"].strip() == ANSWER
        assert (broken["waste"], whole["waste"]) == (True, False)
        assert broken["partial_text"].startswith("The quick brown ")
        usage = await stage.engine.emit("completion:token_usage", {})
        assert usage["waste"]["calls"] == 1
        assert usage["waste"]["tokens"] == sum(
            value for name, value in broken["usage"].items() if name != "estimated"
        )
