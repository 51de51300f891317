"""Whether a request that is there already was asked what a line of `run` asks.

A line may bring an id of its own, so that the same line goes on instead of running again. What
another line or program asked under that id is no answer to it. Compared is what an answer
depends on; what a line leaves to defaults may have had others then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.engine.models import RequestSpec
from ksi_tui.engine.payloads import Completion, parse

Specs = Callable[[Sequence[str]], Awaitable[Mapping[str, RequestSpec]]]
"""Returns what was asked in those of the given requests that exist."""

_AT_ONCE: Final = 500
_COMPARED: Final = ("prompt", "system", "messages", "model", "session_id", "history")


async def of_others(lines: Sequence[tuple[RequestLine, str]], specs: Specs) -> dict[int, BadLine]:
    """Return, by their numbers, those lines whose id is that of another request."""
    found: dict[int, BadLine] = {}
    for at in range(0, len(lines), _AT_ONCE):
        some = lines[at : at + _AT_ONCE]
        stored = await specs([request_id for _, request_id in some])
        for line, request_id in some:
            before = stored.get(request_id)
            if before is not None and (differing := _differing(line.data, before)):
                found[line.number] = BadLine(
                    number=line.number, reason=_told(request_id, differing)
                )
    return found


def _told(request_id: str, differing: Sequence[str]) -> str:
    return (
        f"the request_id {request_id!r} is that of another request, with other "
        f"{', '.join(differing)}; give this line one of its own, or none"
    )


def _differing(data: Mapping[str, Any], before: RequestSpec) -> list[str]:
    item = parse(Completion, data, "completion:batch")
    now = item.spec(
        request_id=before.request_id,
        session_id=item.session_id or before.session_id,
        model=item.model or before.model,
        timeout_s=before.timeout_s,
        max_attempts=before.max_attempts,
        lock_timeout_s=before.timeout_s,
        inject=False,
    )
    differing = [name for name in _COMPARED if getattr(now, name) != getattr(before, name)]
    names = sorted({*now.params, *before.params})
    return differing + [n for n in names if now.params.get(n) != before.params.get(n)]
