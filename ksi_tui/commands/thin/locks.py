"""`ksi-tui locks`: who holds which conversation, for how long, and who waits for it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Final

from ksi_tui.codec import plain
from ksi_tui.commands.output import columns, write
from ksi_tui.commands.thin.line import NAME_CHARS, conversed
from ksi_tui.engine.views import LockView, SnapshotQuery
from ksi_tui.exits import OK
from ksi_tui.remote.call import Call
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.formats import countdown

_MOST: Final = 1_000
_LOCKS: Final = SnapshotQuery(
    active_limit=0,
    queue_limit=0,
    pause_limit=0,
    attention_limit=0,
    trend_points=1,
    lock_limit=_MOST,
)


def execute(options: argparse.Namespace) -> int:
    """Print the locks that are held."""
    return conversed(options, lambda call: _locks(call, options))


async def _locks(call: Call, options: argparse.Namespace) -> int:
    found = await call.snapshot(_LOCKS)
    if options.json:
        held = [plain(lock) for lock in found.locks]
        write(f"{json.dumps({'locks': held, 'total': found.locks_total})}\n")
    else:
        write(_told(found.locks, found.locks_total))
    return OK


def _told(locks: Sequence[LockView], total: int) -> str:
    if not locks:
        return "no conversation is locked\n"
    rows = [("SESSION", "HOLDER", "LEFT", "EXTENDED", "WAITING", "HOLDER DOES")]
    rows += [
        (
            clean(lock.session_id, NAME_CHARS),
            clean(lock.holder, NAME_CHARS),
            countdown(lock.left_s),
            str(lock.extended),
            str(lock.waiting),
            clean(lock.doing, NAME_CHARS),
        )
        for lock in locks
    ]
    more = f"{len(locks):,} of {total:,}\n" if total > len(locks) else ""
    return columns(rows, right=frozenset({2, 3, 4})) + more
