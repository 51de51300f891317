"""The engine as a side, with two workers: `python -m tests.benchmarks.engine_side URL FOLDER`.

Every request is on disk before it is acknowledged and its end before it is told, as always.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

from ksi_tui import collector
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.events import LOST, RESULT, Subscription
from tests.benchmarks.litellm_side import MODEL
from tests.benchmarks.side_process import serve
from tests.benchmarks.work import WORDS, Work, expected, in_flight

MODULE: Final = "tests.benchmarks.engine_side"
IN_FLIGHT: Final = 64
_SUBMITTERS: Final = 512
_LENGTHS: Final = (14, WORDS)


def _config(api_base: str, folder: Path) -> Config:
    made = {"model": f"openai/{MODEL}", "api_base": api_base}
    mocks = [
        {
            "name": f"mocked-{count}",
            "models": [f"mocked-{count}"],
            "params": {"mock_response": " ".join(expected(count))},
            **made,
        }
        for count in _LENGTHS
    ]
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "side.db"),
                "responses_dir": str(folder / "responses"),
                "max_concurrency": IN_FLIGHT,
                "workers": 2,
            },
            "providers": [*mocks, {"name": "served", "models": ["served"], **made}],
        }
    )


async def _block(engine: CompletionEngine, work: Work) -> None:
    asked = {
        "model": f"mocked-{work.words}" if work.mocked else "served",
        "stream": work.stream,
        "max_tokens": work.words,
    }

    async def submit(index: int) -> None:
        reply = await engine.emit("completion:async", {**asked, "prompt": f"question {index}"})
        if "error" in reply:
            raise RuntimeError(reply["error"])

    async with engine.subscribe(RESULT) as results:
        await asyncio.gather(in_flight(_SUBMITTERS, work.calls, submit), _answered(results, work))


async def _answered(results: Subscription, work: Work) -> None:
    left, words = work.calls, expected(work.words)
    async for event in results:
        if event.name == LOST:
            raise RuntimeError(f"events were lost: {dict(event.data)}")
        if event.name != RESULT:
            continue
        text = _text(event.data["result"])
        if text.split() != words:
            raise RuntimeError(f"the engine answered {text[:500]!r}")
        left -= 1
        if not left:
            return


def _text(result: Any) -> str:
    return str(result["response"]["choices"][0]["message"]["content"])


async def _main(api_base: str, folder: str) -> None:
    collector.calm()  # as the command does
    async with CompletionEngine(_config(api_base, Path(folder))) as engine:
        await serve(lambda work: _block(engine, work))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
