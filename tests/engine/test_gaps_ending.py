"""The engine's end when it is asked for more than once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.engine.engine_fixtures import config, held, running, until


async def test_asking_again_may_shorten_the_grace_and_never_lengthen_it(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit()
        await rig.calls(1)
        parts = rig.engine._parts
        assert parts is not None
        first = asyncio.create_task(rig.emit("system:shutdown", grace_s=600))
        await until(lambda: parts.dispatcher._grace is not None)
        grace = parts.dispatcher._grace
        assert grace is not None
        end = grace.when()
        assert end is not None
        parts.dispatcher.hurry(6000)
        assert grace.when() == end
        parts.dispatcher.hurry(60)
        assert (grace.when() or end) < end
        assert (await rig.emit("system:shutdown", grace_s=0))["interrupted"] == 1
        assert (await first)["interrupted"] == 1
