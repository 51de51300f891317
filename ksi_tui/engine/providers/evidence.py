"""Collects what an SDK's exception tells of a failed call, by attribute names alone.

litellm wraps the errors of the layers below it and changes their status on the way (a
413 becomes a 429, a 529 a 500); the HTTP answer itself hangs at the innermost of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from traceback import clear_frames
from typing import Any

from ksi_tui.engine.providers.faults import BROKEN_CAUSES, Evidence, message_in


def evidence_of(error: BaseException, *, mid_stream: bool) -> Evidence:
    """Return what the exception and everything behind it tell."""
    chain = list(_chain(error))
    source = next((e for e in chain if not _is_wrapper(e)), error)
    status, headers = _answer(chain)
    bodies = [getattr(link, "body", None) for link in chain]
    broken = (str(link) for link in chain if _names(link) & BROKEN_CAUSES)
    return Evidence(
        text=next(filter(None, map(_sentence, bodies)), None) or _text(source),
        status=status,
        said_status=_status(source),
        headers=headers,
        code=_code(bodies),
        names=frozenset(_names(source)),
        causes=frozenset(name for link in chain for name in _names(link)),
        broken=next(broken, None),
        mid_stream=mid_stream,
    )


def let_go(error: BaseException) -> None:
    """Let the frames that failed go of what they hold, such as the 32 MB of a reply read so far.

    Errors and their frames point at each other, and the collector comes by the number of objects,
    not by their size: a hundred such replies would stay in memory together.
    """
    for link in _chain(error):
        clear_frames(link.__traceback__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what is behind it, outermost first."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [getattr(link, "original_exception", None), link.__cause__, link.__context__]


def _is_wrapper(error: BaseException) -> bool:
    """Whether the error only carries another one, as litellm's does for a broken stream."""
    return isinstance(getattr(error, "original_exception", None), BaseException)


def _answer(chain: list[BaseException]) -> tuple[int | None, dict[str, str]]:
    """Return status and headers of the HTTP answer: an invented one has no headers."""
    for link in reversed(chain):
        response = getattr(link, "response", None)
        headers = getattr(response, "headers", None)
        status = getattr(response, "status_code", None)
        if headers and isinstance(status, int) and status >= 400:
            return status, {str(name): str(value) for name, value in headers.items()}
    return None, {}


def _names(error: BaseException) -> set[str]:
    return {base.__name__ for base in type(error).__mro__}


def _text(error: BaseException) -> str:
    return str(getattr(error, "message", None) or error)


def _sentence(body: Any) -> str | None:
    return message_in(body) if isinstance(body, Mapping) else None


def _code(bodies: list[Any]) -> str | None:
    """Return the error's own code and type words, by which kinds of 429 and 400 differ."""
    for body in bodies:
        if isinstance(body, Mapping):
            error = body["error"] if isinstance(body.get("error"), Mapping) else body
            words = [str(error[name]) for name in ("code", "type") if error.get(name)]
            if words:
                return " ".join(words)
    return None


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None
