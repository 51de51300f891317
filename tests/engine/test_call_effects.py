"""What a failed call did to its provider stands beside its verdict; who serves others is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import not_serving
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from tests.engine.engine_fixtures import Rig, Upstream, answers, config, fails, provider, running

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom", status=503)
ONCE = {"max_attempts": 1}


async def details(rig: Rig, **data: Any) -> list[tuple[str, str, str]]:
    """Verdicts of the last attempt of a request that is sent now and ends."""
    request_id = await rig.submit(**data)
    await rig.ended(request_id)
    status = await rig.status(request_id)
    return [(v["provider"], v["kind"], v["detail"]) for v in status["attempts"][-1]["verdicts"]]


async def test_a_counted_failure_says_how_many_there_are_now(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", circuit={"fail_max": 3})])
    async with running(settings, scripts={"p": BOOM}) as rig:
        told = [await details(rig, **ONCE) for _ in range(3)]
        assert told == [
            [("p", "taken", "counts 1 of 3")],
            [("p", "taken", "counts 2 of 3")],
            [("p", "taken", "opened its circuit")],
        ]


async def test_a_failed_probe_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", circuit={"fail_max": 1})])
    async with running(settings, scripts={"p": BOOM}) as rig:
        await details(rig, **ONCE)
        await rig.emit("provider:probe", provider="p")
        assert await details(rig, **ONCE) == [("p", "taken", "the probe failed")]


async def test_a_refused_rate_says_for_how_long_it_cools(tmp_path: Path) -> None:
    async def limited(up: Upstream) -> str:
        raise ProviderFault(ErrorKind.API_RATE_LIMIT, "slow down", status=429, retry_after_s=88)

    async with running(
        config(tmp_path, providers=[provider("p"), provider("q", priority=2)]),
        scripts={"p": limited, "q": answers},
    ) as rig:
        assert await details(rig) == [("p", "taken", "cooling for 88 s"), ("q", "taken", "")]


@pytest.mark.parametrize("kind", [ErrorKind.MODEL_NOT_FOUND, ErrorKind.INVALID_REQUEST])
async def test_what_is_neutral_to_the_circuit_says_nothing(tmp_path: Path, kind: ErrorKind) -> None:
    async with running(config(tmp_path), scripts={"p": fails(kind)}) as rig:
        assert await details(rig, **ONCE) == [("p", "taken", "")]


async def test_under_a_forced_circuit_nothing_is_counted(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": BOOM}) as rig:
        await rig.emit("provider:close", provider="p", by="op1")
        assert await details(rig, **ONCE) == [("p", "taken", "")]


async def test_who_serves_other_models_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(not_serving, "MOST_NAMED", 2)
    others = [provider(name, models=["other"]) for name in ("x", "y", "z")]
    settings = config(tmp_path, providers=[provider("p", models=["mine"]), *others])
    async with running(settings, scripts={"p": BOOM}) as rig:
        await rig.ended(await rig.submit(request_id="r", model="mine", max_attempts=2))
        status = await rig.status("r")
        assert status["not_serving"] == {"model": "mine", "providers": ["x", "y"]}
        assert [v["detail"] for v in status["attempts"][-1]["verdicts"]] == ["counts 2 of 5"]


async def test_a_candidate_is_not_said_to_serve_others(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": BOOM, "q": answers}) as rig:
        await rig.ended(await rig.submit(request_id="r", max_attempts=1, model="m-1"))
        assert (await rig.status("r"))["not_serving"] == {"model": "m-1", "providers": []}
