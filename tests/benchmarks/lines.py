"""What is measured, and what it has to come to: one line of the table each.

Which loads a line needs, how its figure follows from one sample of each, its target, and what the
same would be where only the least is done that could be. No measuring and no printing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.litellm_side import LITELLM, ROUTER

Sample = dict[str, Any]
Figure = Callable[..., float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure. `floor`: the same of what does the least; `floor_of` says what that is."""

    what: str
    loads: tuple[str, ...]
    figure: Figure
    target: float
    at_least: bool = False
    floor: Figure | None = None
    floor_of: str = ""

    def met(self, value: float) -> bool:
        """Whether a figure meets the target."""
        return value >= self.target if self.at_least else value <= self.target


def _of(*path: str | int) -> Figure:
    """Return what is at a path of the first load's sample."""

    def figure(sample: Any, *_: Sample) -> float:
        for key in path:
            sample = sample[key]
        return float(sample)

    return figure


def _line(what: str, load: str, *path: str | int, target: float, **more: Any) -> Line:
    return Line(what=what, loads=(load,), figure=_of(*path), target=target, **more)


def _per_s(sample: Sample) -> float:
    return float(sample["requests"] / sample["wall_s"])


# --- cost of a completion ------------------------------------------------------------------------


def _beside(what: str, work: str, peer: str, *, target: float, of: str = "wall") -> Line:
    return _line(
        what,
        "peers",
        *(work, of, peer),
        target=target,
        floor=_of(work, f"floor_{of}", peer),
        floor_of="litellm alone in two processes",
    )


_PEERS: Final = (
    _beside(
        "engine wall ms/completion ÷ litellm.Router's, mocked, 64 in flight, 2 workers",
        *("mocked", ROUTER),
        target=0.5,
    ),
    _beside("the same for CPU, all processes added", "mocked", ROUTER, target=0.8, of="cpu"),
    _beside("the same by the wall, 32 streams at once", "mocked_streams", ROUTER, target=1),
    _beside("the same, a server on loopback", "served", ROUTER, target=1),
    _beside("the same, a server on loopback, streamed", "served_streams", ROUTER, target=1),
    _beside("engine wall ms/completion ÷ bare acompletion's, mocked", "mocked", LITELLM, target=1),
    _beside("the same, streamed", "mocked_streams", LITELLM, target=1),
    _beside("the same, a server on loopback", "served", LITELLM, target=1),
    _beside("the same, a server on loopback, streamed", "served_streams", LITELLM, target=1),
)
_DURABLE: Final = (
    Line(
        what="durable completions/s with a null provider",
        loads=("durable_null", "floor"),
        figure=lambda ours, _: _per_s(ours),
        floor=lambda _, bare: _per_s(bare),
        floor_of="bare SQLite, the same rows and waits",
        target=5000,
        at_least=True,
    ),
    _line(
        "submit until it is on disk, ms p99, 64 clients as fast as they are answered",
        *("submitting", "submit_p99_ms"),
        floor=_of("bare_p99_ms"),
        floor_of="a bare transaction of 64 requests",
        target=50,
    ),
)

# --- what must not grow --------------------------------------------------------------------------


def _grown(what: str, load: str, nth: int) -> Line:
    alike = {"floor": _of("alike"), "floor_of": "two that are alike"}
    return _line(what, load, "ratios", nth, target=1.2, **alike)


_GROWTH: Final = (
    _grown("CPU per completion with 10,000 queued ÷ with 1,000 queued", "backlog", 0),
    _grown("the same with 100,000 queued", "backlog", 1),
    _grown("the same with 1,000,000 queued", "backlog_million", 0),
    _grown("the same with 100,000 queued in 1,000 sessions ÷ in 10", "sessions", 0),
    _grown("the same in 100,000 sessions", "sessions", 1),
    _line(
        "restart with 100,000 queued until the first dispatch, s",
        *("restart", "started_s"),
        floor=_of("read_s"),
        floor_of="SQLite alone, handing out the rows",
        target=2,
    ),
    _line("memory per queued request, KB", "restart", "kb_per_request", target=1),
    _line(
        "what the process keeps for each of 1,000,000 queued, KB",
        *("backlog_million", "resident_kb_per_request", -1),
        target=1,
    ),
    _line(
        "usage report over 1,000,000 records, ms, the slowest of its questions",
        *("usage_million", "slowest_ms"),
        floor=_of("barely_ms"),
        floor_of="SQLite alone, the same statements",
        target=50,
    ),
)

# --- the dashboard -------------------------------------------------------------------------------


def _stall(what: str, load: str, *, target: float = 20) -> Line:
    bare = {"floor": _of("bare_stall_p99_ms"), "floor_of": "a process beside it that only ticks"}
    return _line(what, load, "stall_p99_ms", target=target, **bare)


_SCREEN: Final = (
    _line(
        "first frame ÷ first frame of a bare Textual app",
        *("first_frame", "ratio"),
        floor=_of("cpu_ratio"),
        floor_of="by CPU",
        target=1.3,
    ),
    _line("CPU of the idle dashboard, % of a core", "idle", "cpu_percent", target=2),
    _stall("loop stall p99 ms, 10,000 sessions, 100,000 queued, 1,000 events/s", "crowd"),
    Line(
        what="CPU of the same, % of a core, over that of the load without a screen",
        loads=("crowd", "crowd_unseen"),
        figure=lambda ours, unseen: float(ours["cpu_percent"] - unseen["cpu_percent"]),
        target=10,
    ),
    _line("memory of the same after 20,000 more events, MB", "crowd", "grown_mb", target=2),
    _stall(
        "loop stall p99 ms, 32 streams of 50 tokens/s through litellm, dashboard on",
        "stall_streams",
    ),
    _stall("the same while a worker starts", "stall_start"),
    _line(
        "a filter over 100,000 queued and 100,000 ended requests, ms, the slowest",
        *("finding", "common_ms"),
        target=300,
    ),
    _line(
        "the same for what only memory knows (why, waiting), ms, the slowest",
        *("finding", "walk_ms"),
        target=1000,
    ),
    _line("loop stall p99 ms while they are asked", "finding", "stall_p99_ms", target=10),
    _line(
        "the same while 10,000 requests are cancelled at once and taken back",
        *("finding", "bulk_stall_p99_ms"),
        target=20,
    ),
    _line(
        "one attached dashboard cancels until another draws it, ms, the slowest of 20",
        *("seeing", "worst_ms"),
        target=200,
    ),
)

# --- leaving -------------------------------------------------------------------------------------


def _cancel(what: str, way: str) -> Line:
    bare = {"floor": _of("barely_p99_ms"), "floor_of": "a bare client that shuts 1,000 sockets"}
    return _line(what, "cancelled", f"{way}_p99_ms", target=100, **bare)


_CANCEL: Final = (
    _cancel("cancel to upstream closed, ms, p99 of 1,000 streams cancelled in one call", "bulk"),
    _cancel("the same, each cancelled in a call of its own, all at once", "together"),
    _cancel("the same, one after the other", "one_by_one"),
    _line(
        "client leaves the gateway until its upstream is closed, ms p99, one by one",
        *("leaving", "one_by_one", "p99_ms"),
        target=100,
    ),
    _line(
        "the same, 50 leave their streams at once",
        *("leaving", "streams_at_once", "p99_ms"),
        target=100,
    ),
    _line(
        "the same, 50 who wait for a whole answer",
        *("leaving", "whole_at_once", "p99_ms"),
        target=100,
    ),
)

# --- the gateway ---------------------------------------------------------------------------------

_LEAST: Final = "a handler around bare litellm, which keeps nothing"


def _gateway(what: str, work: str) -> Line:
    floor = {"floor": _of(work, "floor"), "floor_of": _LEAST}
    return _line(what, "gateway", work, "ratio", target=0.5, **floor)


_GATEWAY: Final = (
    _gateway("gateway wall ms/call ÷ LiteLLM's proxy's, one worker each, one at a time", "calls_1"),
    _gateway("the same, 32 at once", "calls_32"),
    _gateway("gateway wall ms/streamed chunk ÷ the proxy's, one stream at a time", "streams_1"),
    _gateway("the same, 32 streams at once", "streams_32"),
    Line(
        what="gateway requests/s ÷ the proxy's, 64 at once",
        loads=("gateway",),
        figure=lambda sample: 1 / _of("calls_64", "ratio")(sample),
        floor=lambda sample: 1 / _of("calls_64", "floor")(sample),
        floor_of=_LEAST,
        target=2,
        at_least=True,
    ),
)

LINES: Final = (*_PEERS, *_DURABLE, *_GROWTH, *_SCREEN, *_CANCEL, *_GATEWAY)
