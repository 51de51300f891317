"""The dashboard in a process of its own, for tests on a real terminal; not a test itself.

`python -m tests.ui.child MODE`: `plain`, `hostile` (hostile text in every view), `leaky`
(a stock widget that shows hostile text uncleaned, for the backstop) or `broken`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys

from textual.content import Content
from textual.widgets import Static

from ksi_tui.app import KsiApp, run_dashboard
from ksi_tui.config import UiSettings
from ksi_tui.engine.views import Level, Verdict
from tests.ui.scripted import ScriptedClient, active, busy, first_start, queue

HOSTILE = (
    "\x1b]52;c;ZXZpbA==\x07\x1b[31m\x1b]0;evil\x07\x9b31m\u202edesrever\u2066\u200b\U000e0041end"
)


class Leaky(KsiApp):
    """Shows hostile text in a stock widget without cleaning it."""

    def on_ready(self) -> None:
        self.screen.mount(Static(Content(HOSTILE + " leaked", strip_control_codes=False)))


def client(mode: str) -> ScriptedClient:
    """The scripted engine of a mode."""
    if mode == "hostile":
        rows = active(HOSTILE, session_id=HOSTILE, agent_id=HOSTILE, why=HOSTILE, model=HOSTILE)
        return ScriptedClient(
            dataclasses.replace(
                busy(),
                verdict=Verdict(level=Level.DEGRADED, cause=HOSTILE),
                active=(rows,),
                queues=(queue(HOSTILE, HOSTILE, why=HOSTILE),),
                notices=(HOSTILE,),
            )
        )
    scripted = ScriptedClient(first_start())
    if mode == "broken":
        scripted.snapshot = lambda query=None: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    return scripted


async def main(mode: str) -> int:
    """Run until quit and say that the engine was left."""
    scripted = client(mode)
    kind = Leaky if mode == "leaky" else KsiApp
    app = kind(scripted.connect, ui=UiSettings(operator="op1"), name="ksi-tui")
    code = await run_dashboard(app)
    print(f"engine left: {scripted.closed}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
