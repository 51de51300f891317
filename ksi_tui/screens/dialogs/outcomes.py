"""How each request of a deed on many came out, read from the engine's reply; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.screens.dialogs.stakes import named
from ksi_tui.widgets.clean import clean

ERROR_LIMIT = 200
CHUNK = 10_000
"""How many requests one event may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request of a reply: what it was, whether that changed, and why not. `error` is clean."""

    request_id: str
    was: str
    changed: bool
    error: str | None = None


def outcomes(entries: Iterable[Mapping[str, Any]]) -> tuple[Outcome, ...]:
    """Return the entries of `cancelled` or `retried`."""
    return tuple(
        Outcome(
            request_id=str(entry.get("request_id", "")),
            was=str(entry.get("was") or ""),
            changed=bool(entry.get("changed", True)),
            error=clean(str(entry["error"]), ERROR_LIMIT) if entry.get("error") else None,
        )
        for entry in entries
    )


def failures(found: Sequence[Outcome]) -> list[str]:
    """Return what failed and why in sentences, equal reasons together."""
    reasons = Counter(each.error for each in found if each.error)
    said = []
    for reason, count in reasons.most_common():
        names = [named(each.request_id) for each in found if each.error == reason]
        more = f" and {count - 1:,} more" if count > 1 else ""
        said.append(f"{names[0]}{more}: {reason}")
    return said


def steps(event: str, ids: Sequence[str], **data: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that do the same to many requests, as many as one may name each."""
    if len(ids) == 1:
        return [(event, {"request_id": ids[0], **data})]
    return [
        (event, {"request_ids": list(ids[first : first + CHUNK]), **data})
        for first in range(0, len(ids), CHUNK)
    ]
