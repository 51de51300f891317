"""What acting from a screen asks of the engine beside the deeds themselves."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import HandClock, config, fails, held, in_turn, running


async def test_a_receipts_name_is_kept_with_the_cancel(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        one = await rig.submit(session_id="s")
        two = await rig.submit(session_id="s")
        reply = await rig.emit(
            "completion:cancel", session_id="s", by="op1", reason="ticket 8841", receipt="c-19"
        )
        assert {entry["request_id"] for entry in reply["cancelled"]} == {one, two}
        for request_id in (one, two):
            timeline = (await rig.status(request_id))["timeline"]
            (acted,) = [entry for entry in timeline if entry["what"] == "cancel"]
            assert acted["text"] == "op1 · ticket 8841 · c-19"


async def test_a_circuit_that_is_let_go_keeps_its_statistics(tmp_path: Path) -> None:
    limited = fails(ErrorKind.API_RATE_LIMIT, retry_after_s=200)
    down = fails(ErrorKind.PROVIDER_ERROR)
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": in_turn(down, limited)}) as rig:
        await rig.ended(await rig.submit(max_attempts=1, model="m1"))
        await rig.ended(await rig.submit(max_attempts=1, model="m2"))
        await rig.emit("provider:open", provider="p", by="op1", reason="half dead")
        reply = await rig.emit("provider:reset", provider="p", by="op2", keep_statistics=True)
        assert reply["circuit_breaker"]["state"] == "closed"
        assert reply["circuit_breaker"]["forced"] is None
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["stats"]["failed_calls"] == 2
        assert shown["cooldown_until"] is not None
        rows = await rig.core.store._rows(  # type: ignore[attr-defined]
            "SELECT name, by FROM actions ORDER BY row"
        )
        assert [tuple(row) for row in rows] == [("force open", "op1"), ("let go", "op2")]


async def test_a_session_tells_which_request_took_its_lock(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit(
            session_id="s", agent_id="a1", conversation_lock={"enabled": True}
        )
        await rig.calls(1)
        shown = await rig.emit("completion:session_status", session_id="s")
        assert shown["session"]["lock_holder"] == "a1"
        assert shown["session"]["lock_request"] == request_id
        await rig.emit("conversation:acquire_lock", session_id="t", agent_id="a2")
        by_hand = await rig.emit("completion:session_status", session_id="t")
        assert (by_hand["session"]["lock_holder"], by_hand["session"]["lock_request"]) == (
            "a2",
            None,
        )
        await rig.emit("completion:cancel", request_id=request_id)
