"""One attempt: the walk over a request's candidates, each call under the engine's clocks.

Calls providers and watches their clocks; decides nothing about retries, states or
queues. What it learns is on the `Run`; the service draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.engine.admissions import Admissions
from ksi_tui.engine.bookkeeper import Bookkeeper
from ksi_tui.engine.call_timers import CallTimers
from ksi_tui.engine.candidates import Candidate
from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.errors import POLICY, ErrorKind, ProviderFault
from ksi_tui.engine.live_call import Admitted, LiveCall, Run
from ksi_tui.engine.models import (
    Message,
    RequestSpec,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.provider_manager import ProviderManager
from ksi_tui.engine.providers.base import CallResult, CallSpec, OnDeltas

log = logging.getLogger(__name__)

Publish = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """The call that answered, and what it said."""

    live: LiveCall
    result: CallResult


class Walker:
    """Walks requests over their candidates; `books` takes down how each call ends."""

    def __init__(
        self,
        clock: Clock,
        providers: ProviderManager,
        admissions: Admissions,
        books: Bookkeeper,
    ) -> None:
        self.clock = clock
        self.providers = providers
        self.admissions = admissions
        self.books = books
        self.timers = CallTimers()

    def admit(self, run: Run) -> None:
        """Take slot and permit of the first candidate that may be called: part of the dispatch.

        Who is dispatched next then sees what is left, so that nobody begins in vain. How many
        tokens of a limited provider are needed is known once the request is read: of one that
        was refused for them, at its next turn.
        """
        route, needs = run.ticket.route, run.ticket.needs or {}
        if not run.calls:  # else it goes on, and has told of them
            run.verdicts.extend(self.providers.candidates(route).passed_over)
        run.left = deque(self.providers.ordered(route))
        while run.left:
            candidate, now = run.left.popleft(), self.clock()
            need = needs.get(candidate.entry.name, 0)
            got = self.providers.admit(candidate.entry, candidate.model, now, need)
            if not isinstance(got, Verdict):
                admission = self.admissions.reserve(candidate.entry, need, now)
                run.admitted = Admitted(candidate, got, admission)
                return
            run.verdicts.append(got)
        self.providers.keep_room(run.ticket)

    def give_back(self, run: Run) -> None:
        """Return slot, permit and place in the limits of a call that was not made."""
        if (admitted := run.admitted) is not None:
            run.admitted = None
            entry = admitted.candidate.entry
            self.admissions.withdraw(entry, admitted.admission)
            self.providers.give_back(entry, admitted.permit, self.clock())

    async def walk(self, run: Run, spec: RequestSpec, history: Sequence[Message]) -> Answer | None:
        """Try the candidates in order; return the answer, or None with the reasons on `run`."""
        while (live := self._next_call(run, spec, history)) is not None:
            self.providers.give_up_room(run.ticket)
            run.ticket.needs, run.ticket.called = None, True
            run.verdicts.append(_taken(live))
            try:
                answer = await self._call(live, spec)
            except ProviderFault as fault:
                run.faults.append(fault)
                if run.broken_stream or not POLICY[fault.kind].fails_over:
                    run.verdicts.extend(_not_reached(run.left, f"after {fault.kind}"))
                    run.left = self._in_its_place(live, fault.kind)
                continue
            run.verdicts.extend(_not_reached(run.left))
            return answer
        return None

    def _in_its_place(self, live: LiveCall, kind: ErrorKind) -> deque[Candidate]:
        """Return who may take a request that the model refused, and was not called yet."""
        run = live.run
        if run.broken_stream:
            return deque()
        called = {(each.entry.name, each.called_as) for each in run.calls}
        others = self.providers.after(live.candidate, run.ticket.route, kind)
        return deque(c for c in others if (c.entry.name, c.model) not in called)

    def _next_call(
        self, run: Run, spec: RequestSpec, history: Sequence[Message]
    ) -> LiveCall | None:
        """Return the call to be made now: as admitted at the dispatch, where that still stands."""
        now = self.clock()
        if (admitted := run.admitted) is not None:
            candidate, permit = admitted.candidate, admitted.permit
            unlimited = admitted.admission is None
            if unlimited and self.providers.stands(candidate.entry, permit, candidate.model, now):
                run.admitted = None
                return self._open(run, candidate, permit, spec, history)
            self.give_back(run)
            run.left.appendleft(candidate)
        while run.left:
            candidate = run.left.popleft()
            need = self.admissions.need(candidate.entry, spec, history)
            got = self.providers.admit(candidate.entry, candidate.model, now, need)
            if not isinstance(got, Verdict):
                live = self._open(run, candidate, got, spec, history)
                live.admission = self.admissions.reserve(candidate.entry, need, now)
                return live
            if got.kind is VerdictKind.LIMITED:
                run.ticket.needs = {**(run.ticket.needs or {}), candidate.entry.name: need}
            run.verdicts.append(got)
        return None

    async def _call(self, live: LiveCall, spec: RequestSpec) -> Answer:
        run, entry = live.run, live.entry
        call = CallSpec(
            request_id=spec.request_id,
            provider=entry.name,
            model=entry.upstream_model(live.called_as),
            messages=live.messages,
            history=live.history,
            stream=live.stream,
            params=spec.params,
            on_deltas=self._on_deltas(live),
        )
        self.books.progress(live, "failing_over" if run.faults else "calling_provider")
        upstream = timed_out = False
        live.timer = timer = self.timers.start()
        try:
            try:
                await self.admissions.on_disk(entry, live.admission)
                if live.stream:
                    live.arm("first token", entry.clocks.first_token_timeout_s, live.started_at)
                else:
                    live.arm("reply", entry.clocks.reply_timeout_s, live.started_at)
                upstream = True
                result = await entry.provider.call(call, live)
            finally:
                timed_out = timer.stop()
        except ProviderFault as fault:
            if run.stopped is not None:
                raise self.books.fenced(live, fault.usage, fault) from None
            raise self.books.failed(live, fault, closing=False) from None
        except TimeoutError:
            raise self.books.failed(live, live.clock_fault(), closing=timer.expired()) from None
        except asyncio.CancelledError:
            if timed_out:
                raise self.books.failed(live, live.clock_fault(), closing=True) from None
            self.books.given_up(live, closing=upstream)
            raise
        except Exception as error:  # the seam to a provider: its slot must come back
            log.exception("provider raised", extra={"provider": entry.name})
            unknown = ProviderFault(ErrorKind.TEMPORARY_FAILURE, f"{entry.name}: {error!r}")
            raise self.books.failed(live, unknown, closing=False) from error
        if run.stopped is not None:
            raise self.books.fenced(live, result.usage, result)
        self.books.answered(live, result)
        return Answer(live, result)

    def _on_deltas(self, live: LiveCall) -> OnDeltas | None:
        """Return what takes all that a stream holds, where somebody follows it."""
        followed = live.stream and self.books.follows(live.run.ticket.request_id)
        return live.on_deltas if followed else None

    def _open(
        self,
        run: Run,
        candidate: Candidate,
        permit: Permit,
        spec: RequestSpec,
        history: Sequence[Message],
    ) -> LiveCall:
        entry = candidate.entry
        streams = spec.stream is not False and entry.settings.supports_streaming
        live = LiveCall(
            run=run,
            candidate=candidate,
            entry=entry,
            permit=permit,
            ordinal=len(run.calls) + 1,
            model=entry.answering_model(candidate.model),
            asked_model=run.ticket.route.model,
            stream=streams,
            started_at=self.clock(),
            watcher=self.books,
            messages=spec.own_messages,
            history=history,
            mcp=spec.uses_mcp,
            tools=spec.params.get("tools") or (),
        )
        run.calls.append(live)
        self.books.opened(live)
        return live


def _not_reached(candidates: Iterable[Candidate], detail: str = "") -> list[Verdict]:
    return [
        Verdict(provider=each.entry.name, kind=VerdictKind.NOT_REACHED, detail=detail)
        for each in candidates
    ]


def _taken(live: LiveCall) -> Verdict:
    detail = "" if live.model == live.asked_model else f"as {live.model}"
    return Verdict(provider=live.entry.name, kind=VerdictKind.TAKEN, detail=detail)
