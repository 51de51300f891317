"""Whether requests send their results into sessions that they do not run in. Pure.

To put text into a session by an event of its own is an operator's; a request may carry the same
order for its result, and whose caller may not is refused it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ksi_tui.engine.errors import EventError
from ksi_tui.engine.injection.policy import ORIGINATING
from ksi_tui.engine.payloads import Completion, parse

_ONE: Final = ("completion:async", "completion:inject")
_MANY: Final = "completion:batch"
_NAMES: Final = frozenset({"injection_config", "injection_metadata"})


def other_session(name: str, data: Mapping[str, Any]) -> str | None:
    """Return a session that an event's requests reach into and do not run in, or None.

    What the engine refuses anyway reaches nowhere.
    """
    for item in _requests(name, data):
        if not isinstance(item, Mapping) or _NAMES.isdisjoint(item):
            continue
        try:
            found = parse(Completion, item, name)
        except EventError:
            continue
        terms = found.injection_config and found.injection_config.terms()
        for target in terms.targets if terms else ():
            if target not in (ORIGINATING, found.session_id):
                return target
    return None


def _requests(name: str, data: Mapping[str, Any]) -> Iterator[Any]:
    if name in _ONE:
        yield data
    elif name == _MANY and isinstance(data.get("requests"), list):
        yield from data["requests"]
