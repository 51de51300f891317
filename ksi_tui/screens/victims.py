"""What a cancel would hit: read from the engine, and told in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui import client
from ksi_tui.engine.states import Phase
from ksi_tui.screens.base import Host, ask, refusal
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, line

UNFINISHED = ("queued", "processing", "retrying")
"""States after which something still happens by itself."""
MOST_ROWS = 6
_PHASE_OF = {
    "queued": Phase.QUEUED,
    "processing": Phase.CONNECTING,
    "retrying": Phase.RETRYING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """An unfinished request that would be stopped."""

    request_id: str
    status: str
    phase: Phase
    tokens: int
    provider: str | None


async def read_victims(host: Host, session_id: str) -> tuple[Victim, ...] | str:
    """Return a session's unfinished requests, or why the engine does not say."""
    reply = await ask(host, "completion:session_status", session_id=session_id)
    error = refusal(reply)
    if error is not None:
        return error
    listed = [e for e in reply.get("completions", ()) if e.get("status") in UNFINISHED]
    return tuple(_victim(host, entry) for entry in listed)


def _victim(host: Host, entry: Mapping[str, Any]) -> Victim:
    request_id, status = str(entry["request_id"]), str(entry["status"])
    query = client.SnapshotQuery(
        active_limit=0, queue_limit=0, lock_limit=0, trend_points=1, request_id=request_id
    )
    live = host.client.snapshot(query).live if host.client is not None else None
    return Victim(
        request_id=request_id,
        status=status,
        phase=live.phase if live else _PHASE_OF[status],
        tokens=live.tokens if live else 0,
        provider=live.provider if live and live.phase.running else None,
    )


def frees(chosen: Sequence[Victim]) -> str:
    """Return what stopping these gives back."""
    slots: dict[str, int] = {}
    for victim in chosen:
        if victim.provider is not None:
            slots[victim.provider] = slots.get(victim.provider, 0) + 1
    parts = [
        f"{count} {'slot' if count == 1 else 'slots'} at {name_of(provider)}"
        for provider, count in slots.items()
    ]
    parts.append("the locks they took" if slots else "their places in the queue")
    return ", ".join(parts)


def victim_line(victim: Victim) -> Line:
    """Return what one is doing and what happens to it."""
    phase = formats.phase(victim.phase)
    tokens = formats.exact(victim.tokens, estimated=True) if victim.tokens else formats.NOTHING
    happens = "close stream, keep text" if victim.phase.running else "never sent"
    if victim.status == "retrying":
        happens = "no further attempt"
    return line(
        f"  {fit.pad(fit.middle(name_of(victim.request_id), 8), 8)} ",
        Span(fit.pad(phase.text, 14), phase.tone),
        f"{tokens:>8}  {happens}",
    )


def changes(before: dict[str, str], after: dict[str, str]) -> str:
    """Return how two readings differ, in words."""
    said = [f"{name_of(rid)} ended by itself" for rid in before if rid not in after]
    said += [f"{name_of(rid)} is new" for rid in after if rid not in before]
    said += [
        f"{name_of(rid)} is {after[rid]}, was {was}"
        for rid, was in before.items()
        if rid in after and after[rid] != was
    ]
    return "; ".join(said[:3]) + ("; …" if len(said) > 3 else "")
