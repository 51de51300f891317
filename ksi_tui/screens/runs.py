"""The requests of one comparison: sends them, follows them, stops them. Shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ksi_tui.client import SnapshotQuery
from ksi_tui.engine.views import Phase
from ksi_tui.screens import comparison
from ksi_tui.screens.comparison import Plan, Run
from ksi_tui.screens.dialogs.outcomes import failures, outcomes
from ksi_tui.screens.host import Host, ask, refusal

LOOKED_AT_ONCE = 3
"""How many runs are looked at in one tick; the others have their turn in the next."""
RE_READ_S = 0.5
"""How often the records of those that are not over are read, in seconds."""


class Runs:
    """What a plan became: run 1 of every model, then run 2 of every model."""

    def __init__(self, plan: Plan, host: Host) -> None:
        self._plan = plan
        self._host = host
        self.all = [
            Run(model=model, number=number)
            for number in range(1, plan.times + 1)
            for model in plan.models
        ]
        self.sent = False
        self.error: str | None = None
        self.at: float | None = None
        self._turn = 0
        self._reading = False
        self._outdated = False
        self._read_at = float("-inf")

    def of(self, number: int, column: int) -> Run:
        """Return a model's run; numbers count from 1, columns from 0."""
        return self.all[(number - 1) * len(self._plan.models) + column]

    @property
    def unfinished(self) -> list[int]:
        """The places of those that are with the engine and not over."""
        return [i for i, run in enumerate(self.all) if run.request_id and not run.over]

    async def send(self) -> None:
        """Send all of them, on disk together before any of them runs."""
        try:
            asked = await self._asked()
        except ValueError as wrong:
            self.error = str(wrong)
            return
        operator = self._host.ui.operator
        name = f"{operator}-{int(self._host.clock() * 1000)}"
        requests = self._plan.requests(asked, operator, name)
        reply = await ask(self._host, "completion:batch", requests=requests)
        self.error = refusal(reply)
        if self.error is None:
            for index, entry in enumerate(reply.get("accepted") or ()):
                self.all[index] = _accepted(self.all[index], entry)
            self.sent = True

    async def _asked(self) -> dict[str, Any]:
        """Return what all of them are asked; ValueError when it cannot be told."""
        draft = self._plan.draft
        if not self._plan.history:
            return draft.asked()
        reply = await ask(self._host, "completion:preview", **draft.preview())
        if (error := refusal(reply)) is not None:
            raise ValueError(error)
        return {"messages": reply["messages"]}

    def look(self) -> bool:
        """Look at some of those that run; never waits.

        Returns whether `read` is due; if so, it counts as begun.
        """
        client, unfinished = self._host.client, self.unfinished
        if client is None or not unfinished:
            return False
        for _ in range(min(LOOKED_AT_ONCE, len(unfinished))):
            index = unfinished[self._turn % len(unfinished)]
            self._turn += 1
            snapshot = client.snapshot(_query(self.all[index].request_id))
            self.at = snapshot.at
            if snapshot.live is not None and snapshot.live.phase.running:
                self.all[index] = comparison.live_run(self.all[index], snapshot.live)
        if self._reading or self._host.clock() - self._read_at < RE_READ_S:
            return False
        self._reading = True
        return True

    async def read(self) -> None:
        """Read the records of those that are not over."""
        try:
            for index in self.unfinished:
                report = await ask(
                    self._host, "completion:request_status", request_id=self.all[index].request_id
                )
                run = self.all[index]
                if refusal(report) is None and (report.get("finished_at") or not run.phase.running):
                    self.all[index] = comparison.told_run(run, report)
        finally:
            self._reading = False
            self._read_at = float("-inf") if self._outdated else self._host.clock()
            self._outdated = False

    def _read_soon(self) -> None:
        """Let the next `look` say that `read` is due; what is being read now may be outdated."""
        self._outdated = self._reading
        self._read_at = float("-inf")

    async def cancel(self) -> tuple[list[str], str | None]:
        """Stop those that are not over; returns which were stopped, and what went wrong."""
        ids = [self.all[index].request_id for index in self.unfinished]
        if not ids:
            return [], None
        reply = await ask(
            self._host,
            "completion:cancel",
            request_ids=ids,
            reason="comparison stopped",
            by=self._host.ui.operator,
        )
        self._read_soon()
        if (error := refusal(reply)) is not None:
            return [], error
        found = outcomes(reply.get("cancelled") or ())
        said = failures(found)
        return [each.request_id for each in found if each.changed], said[0] if said else None

    def look_again(self) -> None:
        """Follow those again that were stopped: somebody may have taken that back."""
        for index, run in enumerate(self.all):
            if run.phase is Phase.CANCELLED:
                self.all[index] = replace(run, phase=Phase.QUEUED, said="")
        self._read_soon()


def _accepted(run: Run, entry: Mapping[str, Any]) -> Run:
    error = refusal(entry)
    if error is not None:
        return comparison.refused(run, error)
    return replace(run, request_id=str(entry["request_id"]))


def _query(request_id: str | None) -> SnapshotQuery:
    return SnapshotQuery(
        active_limit=0,
        queue_limit=0,
        lock_limit=0,
        pause_limit=0,
        attention_limit=0,
        trend_points=1,
        request_id=request_id,
    )
