"""Plays every fault and writes `docs/faults.md`: `python -m tests.faults`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.faults.document import DOCUMENT, written
from tests.faults.stage import play_all, worker
from tests.servers.misbehaving import MisbehavingServer


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with worker() as pool, MisbehavingServer() as server:
            seen = await play_all(Path(folder), server, pool)
    text = written(seen)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"{DOCUMENT}: {len(seen) // 2} rows")


if __name__ == "__main__":
    asyncio.run(_main())
