"""A model that answers in place of the one asked for, in a whole engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import HandClock, Rig, config, fails, held, provider, running

BOOM = fails(ErrorKind.PROVIDER_ERROR, "boom", status=503)
TOO_LONG = fails(ErrorKind.CONTEXT_WINDOW, "too long", status=400)


def two(tmp_path: Path, **routing: Any) -> Config:
    return config(
        tmp_path,
        providers=[provider("p", "big"), provider("q", "small")],
        engine={"default_model": "big"},
        retry={"max_attempts": 1},
        routing=routing,
    )


async def answered(rig: Rig, request: str) -> tuple[str, str, str]:
    """Return who answered, as what, and what was asked for."""
    await rig.ended(request)
    status = await rig.status(request)
    assert status["status"] == "completed", status
    call = status["attempts"][0]["calls"][-1]
    return call["provider"], call["model"], call["asked_model"]


async def test_a_fallback_answers_under_its_own_name(tmp_path: Path) -> None:
    settings = two(tmp_path, fallbacks={"big": ["small"]})
    async with running(settings, scripts={"p": BOOM}) as rig:
        request = await rig.submit("hello")
        assert await answered(rig, request) == ("q", "small", "big")
        assert rig.providers["q"].calls[0].spec.model == "small"
        (result,) = rig.events("completion:result", request)
        assert result["result"]["ksi"]["model"] == "small"
        verdicts = (await rig.status(request))["attempts"][0]["verdicts"]
        assert [(v["provider"], v["detail"]) for v in verdicts] == [
            ("p", "counts 1 of 5"),
            ("q", "as small"),
        ]
        (record,) = (await rig.emit("completion:results"))["results"]
        assert (record["model"], record["requested_model"]) == ("small", "big")


async def test_while_it_answers_the_screen_says_so(tmp_path: Path) -> None:
    settings = two(tmp_path, fallbacks={"big": ["small"]})
    async with running(settings, clock=HandClock(), scripts={"p": BOOM, "q": held}) as rig:
        request = await rig.submit("hello")
        (call,) = await rig.calls(1, "q")
        call.say("he")
        assert await rig.why(request) == "q answers as small"
        (active,) = rig.engine.snapshot().active
        assert active.substituted
        call.go.set()
        await rig.ended(request)


async def test_too_long_goes_to_the_model_that_is_named_for_that_and_to_no_other(
    tmp_path: Path,
) -> None:
    settings = two(tmp_path, context_window_fallbacks={"big": ["small"]})
    async with running(settings, scripts={"p": TOO_LONG}) as rig:
        assert await answered(rig, await rig.submit("hello")) == ("q", "small", "big")


async def test_too_long_for_all_fails_as_that_once_each(tmp_path: Path) -> None:
    tables = {"big": ["small"], "small": ["big"]}
    settings = two(tmp_path, context_window_fallbacks=tables)
    async with running(settings, scripts={"p": TOO_LONG, "q": TOO_LONG}) as rig:
        request = await rig.submit("hello")
        await rig.ended(request)
        status = await rig.status(request)
        assert (status["status"], status["error"]["kind"]) == ("failed", "context_window")
        assert [len(rig.providers[name].calls) for name in "pq"] == [1, 1]


async def test_without_a_fallback_for_it_too_long_stays_where_it_is(tmp_path: Path) -> None:
    settings = two(tmp_path, fallbacks={"big": ["small"]})
    async with running(settings, scripts={"p": TOO_LONG}) as rig:
        request = await rig.submit("hello")
        await rig.ended(request)
        assert (await rig.status(request))["status"] == "failed"
        assert rig.providers["q"].calls == []


async def test_a_providers_own_clock_ends_its_call(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p", first_token_timeout_s=0.05)],
        retry={"max_attempts": 1},
    )
    async with running(settings, scripts={"p": held}) as rig:
        request = await rig.submit("hello", stream=True)
        await rig.ended(request)
        error = (await rig.status(request))["error"]
        assert (error["kind"], error["message"][:30]) == (
            "timeout",
            "p: no first token in 0.05 s (1",
        )
