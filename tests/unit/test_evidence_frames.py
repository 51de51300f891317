"""What a failed call held is let go of at once: the collector would leave it for a long time."""

from __future__ import annotations

import gc
import weakref

import pytest

from ksi_tui.engine.providers.evidence import evidence_of, let_go


class Body:
    """What was read of a reply."""


async def read(refs: list[weakref.ref[Body]]) -> None:
    parts = [Body()]
    refs.append(weakref.ref(parts[0]))
    raise ValueError("it broke")


async def wrapped(refs: list[weakref.ref[Body]]) -> None:
    kept = Body()
    refs.append(weakref.ref(kept))
    try:
        await read(refs)
    except ValueError as error:
        raise RuntimeError("so it failed") from error


async def test_frames_of_the_whole_chain_hold_nothing_any_more() -> None:
    refs: list[weakref.ref[Body]] = []
    gc.disable()
    try:
        with pytest.raises(RuntimeError) as caught:
            await wrapped(refs)
        assert [ref() is None for ref in refs] == [False, False]
        let_go(caught.value)
        assert [ref() is None for ref in refs] == [True, True]
    finally:
        gc.enable()
    assert evidence_of(caught.value, mid_stream=False).text == "so it failed"
