"""Prints the measured ratios beside their targets: `python -m tests.benchmarks [--rounds N]`.

Every load runs in a process of its own, peers in turn, so that a machine whose speed
drifts hits both. Medians decide; the spread says how noisy the run was. The raw samples
follow as JSON, so that anybody can work the verdicts out again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure: which loads it needs and how it follows from one sample of each."""

    what: str
    loads: tuple[str, ...]
    figure: Callable[..., float]
    target: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure meets the target."""
        return value >= self.target if self.at_least else value <= self.target


def _per_request(name: str) -> Callable[[Sample, Sample], float]:
    def ratio(ours: Sample, peers: Sample) -> float:
        return float((ours[name] / ours["requests"]) / (peers[name] / peers["requests"]))

    return ratio


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
)


def _sample(load: str) -> Sample:
    """Run one load in a process of its own; raises RuntimeError with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load", load],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{load} ended with {done.returncode}: {done.stderr[-2000:]}")
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def _report(lines: Sequence[Line], samples: dict[str, list[Sample]]) -> bool:
    every = True
    for line in lines:
        rounds = zip(*(samples[load] for load in line.loads), strict=True)
        figures = sorted(line.figure(*each) for each in rounds)
        middle = statistics.median(figures)
        every = every and line.met(middle)
        sign = "≥" if line.at_least else "≤"
        verdict = "met" if line.met(middle) else "NOT MET"
        spread = f"{figures[0]:.3g} to {figures[-1]:.3g}"
        print(f"{middle:>9.3g}  {sign} {line.target:<6g} {verdict:8} {line.what}  ({spread})")
    return every


def main() -> int:
    """Measure and print; 0 when every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each load (3)")
    parser.add_argument("--only", nargs="*", help="only the lines whose loads have these names")
    asked = parser.parse_args()
    lines = [line for line in LINES if not asked.only or set(asked.only) & set(line.loads)]
    loads = list(dict.fromkeys(load for line in lines for load in line.loads))
    samples: dict[str, list[Sample]] = {load: [] for load in loads}
    for _ in range(asked.rounds):
        for load in loads:
            samples[load].append(_sample(load))
    met = _report(lines, samples)
    print(json.dumps(samples))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
