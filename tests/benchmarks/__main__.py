"""Prints the measured ratios beside their targets: `python -m tests.benchmarks [--rounds N]`.

Every load runs in a process of its own, peers in turn, so that a machine whose speed
drifts hits both. Medians decide; the spread says how noisy the run was. The raw samples
follow as JSON, so that anybody can work the verdicts out again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.benchmarks import proxy_place

Sample = dict[str, Any]

_LOAD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure: which loads it needs and how it follows from one sample of each."""

    what: str
    loads: tuple[str, ...]
    figure: Callable[..., float]
    target: float
    at_least: bool = False
    floor: Callable[..., float] | None = None
    """The same of what does the least that could be done; `floor_of` says what that is."""
    floor_of: str = "litellm alone"

    def met(self, value: float) -> bool:
        """Whether a figure meets the target."""
        return value >= self.target if self.at_least else value <= self.target


def _per_request(name: str) -> Callable[[Sample, Sample], float]:
    def ratio(ours: Sample, peers: Sample) -> float:
        return float((ours[name] / ours["requests"]) / (peers[name] / peers["requests"]))

    return ratio


def _gateway(work: str) -> Callable[[Sample], float]:
    return lambda sample: float(sample[work]["ratio"])


def _floor(work: str) -> Callable[[Sample], float]:
    return lambda sample: float(sample[work]["floor"])


def _rate(work: str) -> Callable[[Sample], float]:
    return lambda sample: 1 / float(sample[work]["ratio"])


LINES = (
    Line(
        what="engine wall ms/completion ÷ litellm.Router's, mocked, 64 in flight, 2 workers",
        loads=("engine_mocked", "router_mocked"),
        figure=_per_request("wall_s"),
        target=0.5,
    ),
    Line(
        what="the same for CPU, all processes added",
        loads=("engine_mocked", "router_mocked"),
        figure=_per_request("cpu_s"),
        target=0.8,
    ),
    Line(
        what="durable completions/s with a null provider",
        loads=("durable_null",),
        figure=lambda ours: float(ours["requests"] / ours["wall_s"]),
        target=5000,
        at_least=True,
    ),
    Line(
        what="the floor of it: bare SQLite, the same rows and waits, completions/s",
        loads=("floor",),
        figure=lambda bare: float(bare["requests"] / bare["wall_s"]),
        target=5000,
        at_least=True,
    ),
    Line(
        what="CPU per completion with 100,000 queued ÷ with 1,000 queued",
        loads=("backlog",),
        figure=lambda ours: float(ours["ratio"]),
        target=1.2,
    ),
    Line(
        what="the same with 1,000,000 queued",
        loads=("backlog_million",),
        figure=lambda ours: float(ours["ratio"]),
        target=1.2,
    ),
    Line(
        what="the same with 100,000 queued in 100,000 sessions ÷ in 10",
        loads=("sessions",),
        figure=lambda ours: float(ours["ratio"]),
        target=1.2,
    ),
    Line(
        what="restart with 100,000 queued until the first dispatch, s",
        loads=("restart",),
        figure=lambda ours: float(ours["started_s"]),
        target=2,
    ),
    Line(
        what="memory per queued request, KB",
        loads=("restart",),
        figure=lambda ours: float(ours["kb_per_request"]),
        target=1,
    ),
    Line(
        what="first frame ÷ first frame of a bare Textual app",
        loads=("first_frame",),
        figure=lambda ours: float(ours["ratio"]),
        target=1.3,
    ),
    Line(
        what="CPU of the idle dashboard, % of a core",
        loads=("idle",),
        figure=lambda ours: float(ours["cpu_percent"]),
        target=2,
    ),
    Line(
        what="loop stall p99 ms, 10,000 sessions, 100,000 queued, 1,000 events/s",
        loads=("crowd",),
        figure=lambda ours: float(ours["stall_p99_ms"]),
        target=20,
    ),
    Line(
        what="CPU of the same, % of a core, over that of the load without a screen",
        loads=("crowd", "crowd_unseen"),
        figure=lambda ours, unseen: float(ours["cpu_percent"] - unseen["cpu_percent"]),
        target=10,
    ),
    Line(
        what="memory of the same after 20,000 more events, MB",
        loads=("crowd",),
        figure=lambda ours: float(ours["grown_mb"]),
        target=2,
    ),
    Line(
        what="loop stall p99 ms, 32 streams of 50 tokens/s through litellm, dashboard on",
        loads=("stall_streams",),
        figure=lambda ours: float(ours["stall_p99_ms"]),
        target=20,
    ),
    Line(
        what="the same while a worker starts",
        loads=("stall_start",),
        figure=lambda ours: float(ours["stall_p99_ms"]),
        target=20,
    ),
    Line(
        what="a filter over 100,000 queued and 100,000 ended requests, ms, the slowest",
        loads=("finding",),
        figure=lambda ours: float(ours["common_ms"]),
        target=300,
    ),
    Line(
        what="the same for what only memory knows (why, waiting), ms, the slowest",
        loads=("finding",),
        figure=lambda ours: float(ours["walk_ms"]),
        target=1000,
    ),
    Line(
        what="loop stall p99 ms while they are asked",
        loads=("finding",),
        figure=lambda ours: float(ours["stall_p99_ms"]),
        target=10,
    ),
    Line(
        what="the same while 10,000 requests are cancelled at once and taken back",
        loads=("finding",),
        figure=lambda ours: float(ours["bulk_stall_p99_ms"]),
        target=20,
    ),
    Line(
        what="cancel to upstream closed, ms, p99 of 1,000 streams cancelled in one call",
        loads=("cancelled",),
        figure=lambda ours: float(ours["bulk_p99_ms"]),
        floor=lambda ours: float(ours["barely_p99_ms"]),
        floor_of="a bare client that shuts 1,000 sockets",
        target=100,
    ),
    Line(
        what="the same, each cancelled in a call of its own, all at once",
        loads=("cancelled",),
        figure=lambda ours: float(ours["together_p99_ms"]),
        target=100,
    ),
    Line(
        what="the same, one after the other",
        loads=("cancelled",),
        figure=lambda ours: float(ours["one_by_one_p99_ms"]),
        target=100,
    ),
    Line(
        what="usage report over 1,000,000 records, ms, the slowest of its questions",
        loads=("usage_million",),
        figure=lambda ours: float(ours["slowest_ms"]),
        target=50,
    ),
    Line(
        what="gateway wall ms/call ÷ LiteLLM's proxy's, one worker each, one at a time",
        loads=("gateway",),
        figure=_gateway("calls_1"),
        floor=_floor("calls_1"),
        target=0.5,
    ),
    Line(
        what="the same, 32 at once",
        loads=("gateway",),
        figure=_gateway("calls_32"),
        floor=_floor("calls_32"),
        target=0.5,
    ),
    Line(
        what="gateway wall ms/streamed chunk ÷ the proxy's, one stream at a time",
        loads=("gateway",),
        figure=_gateway("streams_1"),
        floor=_floor("streams_1"),
        target=0.5,
    ),
    Line(
        what="the same, 32 streams at once",
        loads=("gateway",),
        figure=_gateway("streams_32"),
        floor=_floor("streams_32"),
        target=0.5,
    ),
    Line(
        what="gateway requests/s ÷ the proxy's, 64 at once",
        loads=("gateway",),
        figure=_rate("calls_64"),
        target=2,
        at_least=True,
    ),
    Line(
        what="client leaves the gateway until its upstream is closed, ms p99, one by one",
        loads=("leaving",),
        figure=lambda ours: float(ours["one_by_one"]["p99_ms"]),
        target=100,
    ),
    Line(
        what="the same, 50 leave their streams at once",
        loads=("leaving",),
        figure=lambda ours: float(ours["streams_at_once"]["p99_ms"]),
        target=100,
    ),
    Line(
        what="the same, 50 who wait for a whole answer",
        loads=("leaving",),
        figure=lambda ours: float(ours["whole_at_once"]["p99_ms"]),
        target=100,
    ),
    Line(
        what="one attached dashboard cancels until another draws it, ms, the slowest of 20",
        loads=("seeing",),
        figure=lambda ours: float(ours["worst_ms"]),
        target=200,
    ),
)


def _sample(load: str) -> Sample:
    """Run one load in a process of its own; raises RuntimeError with what it said."""
    command = [sys.executable, "-m", "tests.benchmarks.load", load]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            out, err = running.communicate(timeout=_LOAD_S)
        finally:
            with suppress(ProcessLookupError):  # what a load that was cut short has started
                os.killpg(running.pid, signal.SIGKILL)
    if running.returncode:
        raise RuntimeError(f"{load} ended with {running.returncode}: {err[-2000:]}")
    sample: Sample = json.loads(out.splitlines()[-1])
    return sample


def _prepared(loads: Sequence[str]) -> dict[str, str]:
    """Make what loads need before anything is measured; returns why which cannot run."""
    if "gateway" not in loads:
        return {}
    try:
        proxy_place.made()
    except proxy_place.ProxyMissing as missing:
        return {"gateway": str(missing)}
    return {}


def _report(
    lines: Sequence[Line], samples: dict[str, list[Sample]], missing: dict[str, str]
) -> bool:
    every = True
    for line in lines:
        if why := next((missing[load] for load in line.loads if load in missing), None):
            every = False
            print(f"{'–':>9}  {'':8} {'NOT RUN':8} {line.what}  ({why})")
            continue
        rounds = list(zip(*(samples[load] for load in line.loads), strict=True))
        figures = sorted(line.figure(*each) for each in rounds)
        middle = statistics.median(figures)
        every = every and line.met(middle)
        sign = "≥" if line.at_least else "≤"
        verdict = "met" if line.met(middle) else "NOT MET"
        spread = f"{figures[0]:.3g} to {figures[-1]:.3g}"
        if line.floor is not None:
            floor = statistics.median(line.floor(*each) for each in rounds)
            spread += f"; {line.floor_of} {floor:.3g}"
        print(f"{middle:>9.3g}  {sign} {line.target:<6g} {verdict:8} {line.what}  ({spread})")
    return every


def main() -> int:
    """Measure and print; 0 when every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each load (3)")
    parser.add_argument("--only", nargs="*", help="only the lines whose loads have these names")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    lines = [line for line in LINES if not asked.only or set(asked.only) & set(line.loads)]
    loads = list(dict.fromkeys(load for line in lines for load in line.loads))
    samples: dict[str, list[Sample]] = {load: [] for load in loads}
    missing = _prepared(loads)
    for _ in range(asked.rounds):
        for load in loads:
            if load not in missing:
                samples[load].append(_sample(load))
    met = _report(lines, samples, missing)
    print(json.dumps(samples))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
