"""Counts calls against their providers' limits, so that a restart does not forget them.

An admission is on disk before its call goes out: even after a kill the next life knows
every call of the last minute. The arithmetic is `rate_limit`'s; a provider without limits
costs nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ksi_tui.engine.models import CallRecord, Message, Outcome, RequestSpec
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.rate_limit import Admission, tokens_needed
from ksi_tui.engine.store.base import Admitted


class Admissions:
    """Reserves, keeps and corrects. `write` hands a write to the store."""

    def __init__(self, write: Callable[[Admitted], asyncio.Future[None]]) -> None:
        self._write = write

    def need(self, entry: Entry, spec: RequestSpec, history: Sequence[Message]) -> int:
        """Return the tokens to reserve for a call; 0 where they are not limited."""
        if entry.limit is None or entry.limit.tpm is None:
            return 0
        return tokens_needed(spec.own_messages, history, spec.params, entry.settings.params)

    def reserve(self, entry: Entry, tokens: int, now: float) -> Admission | None:
        """Count a call that is admitted in this moment; None where nothing is limited."""
        return entry.limit.admit(now, tokens) if entry.limit is not None else None

    def withdraw(self, entry: Entry, admission: Admission | None) -> None:
        """Count a call no longer that was not made and is not on disk."""
        if admission is not None and entry.limit is not None:
            entry.limit.withdraw(admission)

    async def on_disk(self, entry: Entry, admission: Admission | None) -> None:
        """Return once the admission is on disk."""
        if admission is not None:
            await asyncio.shield(self._keep(entry, admission))

    def settle(
        self, entry: Entry, admission: Admission | None, record: CallRecord, now: float
    ) -> None:
        """Put what a call really used in place of what was reserved for it.

        A call that the upstream refused used nothing; of one of which nothing is known the
        reservation stands.
        """
        if admission is None or entry.limit is None or entry.limit.tpm is None:
            return
        tokens = admission.tokens
        if record.usage is not None:
            tokens = record.usage.total
        elif record.outcome is Outcome.FAILED and record.status is not None:
            tokens = 0
        if tokens != admission.tokens and entry.limit.correct(admission, tokens, now):
            self._keep(entry, admission)

    def _keep(self, entry: Entry, admission: Admission) -> asyncio.Future[None]:
        return self._write(
            Admitted(
                provider=entry.name,
                number=admission.number,
                at=admission.at,
                tokens=admission.tokens,
            )
        )


def restore(
    entries: Sequence[Entry],
    found: Mapping[str, Sequence[tuple[int, float, int]]],
    now: float,
) -> None:
    """Bring back what an earlier life of the engine admitted in the last minute."""
    for entry in entries:
        if entry.limit is not None:
            entry.limit.restore(found.get(entry.name, ()), now)
