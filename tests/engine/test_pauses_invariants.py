"""Pauses of every scope come and go over a busy engine: nothing is lost, none is broken."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.live_call import Run
from tests.engine.engine_fixtures import Upstream, config, provider, running

SCOPES = [
    ("engine", None),
    ("session", "s0"),
    ("session", "s1"),
    ("provider", "p"),
    ("provider", "q"),
]
PROVIDERS = [provider("p", "m1", "m2"), provider("q", "m1", "m3", priority=2, max_concurrency=2)]


@pytest.mark.parametrize("seed", range(6))
async def test_no_call_begins_under_a_pause_and_all_ends_without_one(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    settings = config(
        tmp_path, providers=PROVIDERS, engine={"max_concurrency": 3}, circuit={"fail_max": 10**6}
    )
    paused: dict[tuple[str, str | None], list[Run]] = {}
    broken: list[str] = []

    async def script(up: Upstream) -> str:
        ticket = rig.ticket(up.spec.request_id)
        scopes = [("engine", None), ("session", ticket.session_id), ("provider", up.spec.provider)]
        broken.extend(
            f"{up.prompt} called under {scope}"
            for scope in scopes
            if scope in paused and ticket.run not in paused[scope]
        )
        if rng.random() < 0.3:
            raise ProviderFault(ErrorKind.PROVIDER_ERROR, "now and then")
        return "fine"

    async with running(settings, scripts={"p": script, "q": script}) as rig:
        ids = []
        for number in range(120):
            data = {"session_id": f"s{rng.randrange(4)}", "model": rng.choice(["m1", "m2", "m3"])}
            ids.append(await rig.submit(f"r{number}", max_attempts=100, **data))
            scope, id_ = rng.choice(SCOPES)
            if rng.random() < 0.5:
                paused.pop((scope, id_), None)
                await rig.emit("queue:resume", scope=scope, id=id_)
            elif (scope, id_) not in paused:
                await rig.emit("queue:pause", scope=scope, id=id_)
                runs = [t.run for t in rig.core.tickets.values() if t.run is not None]
                # What runs may go on, but not to a provider that is paused.
                paused[scope, id_] = [] if scope == "provider" else runs
        assert {(p.scope, p.id) for p in rig.core.pauses} == paused.keys()
        paused.clear()
        for scope, id_ in SCOPES:
            await rig.emit("queue:resume", scope=scope, id=id_)
        await rig.ended(*ids)
        await rig.settled()
        counts = (await rig.emit("completion:status"))["status_counts"]
        assert counts["completed"] == len(ids)
    assert broken == []
