"""What has to happen under faults that come in floods: too much, too odd, from nowhere.

Rows as in `tests.faults.matrix`, for the storm alone: what they cost is too much for every check.
"""

from __future__ import annotations

from ksi_tui.engine.errors import ErrorKind
from tests.faults.matrix import Ends, Fault
from tests.servers.slow_door import SLOW_ACCEPT

_K = ErrorKind
_OK = Ends()
_TOO_LARGE = Ends(kind=_K.PROVIDER_ERROR)
_NO_REPLY = Ends(kind=_K.TIMEOUT, clock="reply")
_NO_TOKEN = Ends(kind=_K.TIMEOUT, clock="first token")
_OVER = Ends(kind=_K.DEADLINE_EXCEEDED, clock="deadline", timeout_s=4.0)


def _row(mode: str, whole: Ends | None, stream: Ends | None) -> Fault:
    ends = {False: whole, True: stream}
    return Fault(name=mode, mode=mode, ends={k: v for k, v in ends.items() if v is not None})


FLOODS = (
    _row("big", _TOO_LARGE, _TOO_LARGE),
    _row("bomb", _TOO_LARGE, _TOO_LARGE),
    _row("endless", _TOO_LARGE, _OVER),
    _row("endless_line", _TOO_LARGE, _TOO_LARGE),
    _row("bad_utf8", Ends(kind=_K.PROVIDER_ERROR), Ends(kind=_K.PROVIDER_ERROR)),
    _row("surrogate", _OK, _OK),
    _row("zipped", _OK, _OK),
    _row("twice", None, _OK),
    _row("disorder", None, _OK),
    _row("disorder@done", None, Ends(kind=_K.PROVIDER_ERROR)),
    _row("redirect", _OK, _OK),
    _row("redirect@302", Ends(kind=_K.TEMPORARY_FAILURE), Ends(kind=_K.TEMPORARY_FAILURE)),
    _row("redirect@loop", Ends(kind=_K.PROVIDER_ERROR), Ends(kind=_K.PROVIDER_ERROR)),
    _row("rst", Ends(kind=_K.NETWORK_ERROR), Ends(kind=_K.NETWORK_ERROR)),
    _row("half_open", Ends(kind=_K.NETWORK_ERROR), Ends(kind=_K.NETWORK_ERROR)),
    _row("deaf", _NO_REPLY, _NO_TOKEN),
    _row(SLOW_ACCEPT, _OK, _OK),
)
