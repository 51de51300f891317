"""What one may choose from, and what a request would be: nothing is sent by asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.engine.engine_fixtures import Rig, config, held, provider, running


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def pair(asked: str) -> list[dict[str, Any]]:
    return [user(asked), {"role": "assistant", "content": f"re: {asked}"}]


async def say(rig: Rig, prompt: str, **data: Any) -> None:
    await rig.ended(await rig.submit(prompt, session_id="s", **data))


async def listed(rig: Rig) -> dict[str, dict[str, Any]]:
    models = (await rig.emit("completion:models"))["models"]
    assert len({row["model"] for row in models}) == len(models)
    return {row["model"]: row for row in models}


async def test_simulated_models_are_listed_by_name_the_default_first(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", "sim/*")], engine={"default_model": "sim/slow"}
    )
    async with running(settings) as rig:
        models = (await rig.emit("completion:models"))["models"]
        assert models[0] == {
            "model": "sim/slow",
            "providers": ["p"],
            "window": None,
            "input_price": None,
            "output_price": None,
            "default": True,
            "pattern": False,
        }
        assert "sim/echo" in {row["model"] for row in models}
        assert sum(row["default"] for row in models) == 1


async def test_a_model_names_its_providers_in_the_order_of_routing(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[
            provider("late", "sim/echo", priority=3),
            provider("first", "sim/*", priority=1),
        ],
        engine={"default_model": "sim/echo"},
    )
    async with running(settings) as rig:
        rows = await listed(rig)
        assert rows["sim/echo"]["providers"] == ["first", "late"]
        assert rows["sim/slow"]["providers"] == ["first"]


async def test_prices_of_the_settings_and_aliases_are_told(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[provider("p", "sim/*")],
        engine={"default_model": "sim/echo"},
        prices={"sim/echo": {"input": 0.5, "output": 2}},
        routing={"aliases": {"fast": "sim/echo"}},
    )
    async with running(settings) as rig:
        rows = await listed(rig)
        assert (rows["sim/echo"]["input_price"], rows["sim/echo"]["output_price"]) == (0.5, 2)
        assert rows["sim/slow"]["input_price"] is None
        assert rows["fast"]["providers"] == ["p"]
        assert rows["fast"]["pattern"] is False


async def test_a_preview_is_what_the_next_request_sends(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        await say(rig, "two")
        asked = {"prompt": "three", "system": "be short", "session_id": "s"}
        preview = await rig.emit("completion:preview", **asked)
        assert preview["messages"] == [
            system("be short"),
            *pair("one"),
            *pair("two"),
            user("three"),
        ]
        assert (preview["turns"], preview["trimmed_turns"]) == (2, 0)
        assert len(rig.p.calls) == 2, "it sends nothing"
        await say(rig, "three", system="be short")
        sent = rig.p.calls[-1].spec
        assert [*sent.messages] == [system("be short"), user("three")]
        assert [*sent.history] == [*pair("one"), *pair("two")]


async def test_a_preview_leaves_no_trace(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        before = await rig.emit("completion:status")
        await rig.emit("completion:preview", prompt="hi", session_id="new")
        await rig.emit("completion:preview", prompt="hi")
        after = await rig.emit("completion:status")
        assert after["status_counts"] == before["status_counts"]
        assert after["sessions"]["total_sessions"] == 0
        assert not (await rig.emit("completion:session_status", session_id="new"))["exists"]


async def test_a_preview_without_history_or_with_messages_has_none(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        bare = await rig.emit("completion:preview", prompt="x", session_id="s", history="none")
        assert bare["messages"] == [user("x")]
        given = [system("a"), user("b")]
        as_given = await rig.emit("completion:preview", messages=given, session_id="s")
        assert (as_given["messages"], as_given["turns"]) == (given, 0)


async def test_an_empty_prompt_shows_the_history_alone(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        preview = await rig.emit("completion:preview", prompt="", session_id="s")
        assert preview["messages"][:-1] == pair("one")


async def test_tokens_without_a_tokenizer_are_estimated_and_say_so(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        short = await rig.emit("completion:preview", prompt="x" * 40)
        long = await rig.emit("completion:preview", prompt="x" * 4000)
        assert short["estimated"] is True
        assert short["why_estimated"] == "this provider has no tokenizer"
        assert 10 <= short["tokens"] < 20
        assert long["tokens"] >= 1000


async def test_a_preview_tells_what_routing_would_decide(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        providers=[
            provider("open", "m1", priority=1),
            provider("named", "m1", priority=2, model="deployed"),
            provider("last", "m1", priority=3),
            provider("silent", "m1", priority=4, supports_streaming=False),
        ],
    )
    async with running(settings) as rig:
        await rig.emit("provider:open", provider="open", reason="test")
        preview = await rig.emit("completion:preview", prompt="x", stream=True)
        told = {c["provider"]: (c["verdict"], c["detail"]) for c in preview["candidates"]}
        assert told["open"][0] == "open"
        assert told["open"][1].startswith("open forced open")
        assert told["named"] == ("taken", "as deployed")
        assert told["last"] == ("not_reached", "")
        assert told["silent"] == ("unsuited", "cannot stream")


async def test_what_waits_to_be_injected_is_shown_and_goes_on_waiting(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.emit(
            "injection:inject", session_id="s", content="mind the gap", mode="next",
            position="before_prompt",
        )  # fmt: skip
        preview = await rig.emit("completion:preview", prompt="hello", session_id="s")
        assert preview["messages"] == [user("mind the gap\n\nhello")]
        assert preview["injections"] == 1
        await say(rig, "hello")
        assert rig.p.prompts[-1] == "mind the gap\n\nhello"


async def test_a_model_that_nobody_serves_is_refused_as_on_sending(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for event in ("completion:preview", "completion:async"):
            reply = await rig.emit(event, prompt="x", model="nope")
            assert reply["code"] == "no_provider"
            assert "'nope'" in reply["error"]


# --- system --------------------------------------------------------------------------------


async def test_system_goes_with_a_prompt_only(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:async", messages=[user("x")], system="be short")
        assert reply["code"] == "invalid_request"
        assert "system goes with a prompt" in reply["error"]
        empty = await rig.emit("completion:async", prompt="x", system="")
        assert empty["code"] == "invalid_request"


async def test_system_is_kept_through_a_restart_and_told(tmp_path: Path) -> None:
    async with running(config(tmp_path, engine={"max_concurrency": 1})) as rig:
        rig.p.script = held
        await rig.submit("first")
        waits = await rig.submit("x", system="be short")
        report = await rig.status(waits)
        assert (report["prompt"], report["system"]) == ("x", "be short")
    async with running(config(tmp_path)) as rig:
        await rig.ended(waits)
        sent = next(up.spec for up in rig.p.calls if up.prompt == "x")
        assert [*sent.messages] == [system("be short"), user("x")]


async def test_system_is_no_part_of_the_transcript(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one", system="be short")
        await say(rig, "two")
        assert [*rig.p.calls[-1].spec.history] == pair("one")


async def test_system_is_in_a_checkpoint(tmp_path: Path) -> None:
    async with running(config(tmp_path / "a", engine={"max_concurrency": 1})) as rig:
        rig.p.script = held
        await rig.submit("first")
        waits = await rig.submit("x", system="be short")
        collected = await rig.emit("checkpoint:collect")
    async with running(config(tmp_path / "b")) as rig:
        await rig.emit("checkpoint:restore", **collected)
        await rig.ended(waits)
        assert (await rig.status(waits))["system"] == "be short"
