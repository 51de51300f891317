"""A failed request stays, with all that is known of its calls, until somebody retries it."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import HandClock, answers, config, fails, provider, running


async def test_a_failed_request_stays_with_every_calls_provider_error_and_times(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p"), provider("q", priority=2)],
        retry={"max_attempts": 2, "initial_delay_s": 1},
    )
    scripts = {
        "p": fails(ErrorKind.PROVIDER_ERROR, "overloaded", status=503),
        "q": fails(ErrorKind.TIMEOUT, "too slow"),
    }
    async with running(settings, clock=clock, scripts=scripts) as rig:
        request_id = await rig.submit("x")
        await rig.event("completion:retrying", request_id)
        rig.advance(60)
        await rig.ended(request_id)
        told = await rig.event("completion:error", request_id)
        assert (told["kind"], told["attempts"]) == ("timeout", 2)
    clock.now += 86_400
    async with running(settings, clock=clock) as rig:
        report = await rig.status(request_id)
        assert report["status"] == "failed"
        calls = [call for attempt in report["attempts"] for call in attempt["calls"]]
        assert [(c["provider"], c["error"]["kind"], c["error"]["status"]) for c in calls] == [
            ("p", "provider_error", 503),
            ("q", "timeout", None),
        ] * 2
        assert [c["error"]["message"] for c in calls] == ["overloaded", "too slow"] * 2
        assert all(c["started_at"] <= c["finished_at"] for c in calls)
        rig.p.script = answers
        await rig.emit("completion:retry", request_id=request_id)
        await rig.ended(request_id)
        assert (await rig.status(request_id))["status"] == "completed"
