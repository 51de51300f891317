"""Heavy loads with a verdict: `python -m tests.soak storm|cancel|soak [options]`; 1 when it is bad.

`storm`: every fault, many at once. `cancel`: a thousand calls cancelled at once. `soak`: an
hour's worth of everything, and what grows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.stage import worker
from tests.soak.cancelling import IN_FLIGHT, cancelled, p99
from tests.soak.closing import closed_barely
from tests.soak.enduring import GAUGES, endured
from tests.soak.processes import raise_file_limit
from tests.soak.storm import Storm, cases
from tests.soak.upstream import Upstream

TARGET_MS = 100.0
_GROWN = 1.15
"""How much more memory the last round of a storm may leave than the one before it."""
_GROWN_MB = 20.0


async def _storm(asked: argparse.Namespace) -> bool:
    began = time.monotonic()
    print(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory() as folder:
        async with worker() as pool, Upstream() as up:
            storm = Storm(Path(folder), up, pool, in_flight=asked.in_flight)
            played = cases(asked.only)
            for number in range(asked.rounds):
                rng = random.Random(asked.seed + number)
                await storm.play(played, each=asked.each, rng=rng)
                try:
                    await up.quiet()
                except TimeoutError as error:
                    storm.report.left.append(f"round {number + 1}: {error}")
                left = storm.report.rounds[-1]
                told = ", ".join(f"{name} {value:.0f}" for name, value in left.items())
                print(f"round {number + 1}: {time.monotonic() - began:.0f} s, {told}", flush=True)
            await pool.aclose()
            report = storm.report
            if open_ones := await up.connections_left():
                report.left.append(f"{open_ones} connections after the workers' end")
    if len(report.rounds) > 1:
        before, last = report.rounds[-2:]
        for name, value in last.items():
            room = _GROWN_MB if name.endswith("MB") else 0
            if value > before[name] * (_GROWN if room else 1) + room:
                report.left.append(f"{name} grew from {before[name]:.0f} to {value:.0f}")
    for line in sorted(set(report.wrong)) + report.left:
        print(f"  {line}")
    verdict = "as it has to be" if report.clean else "NOT as it has to be"
    print(f"{len(played)} cases, {report.requests} requests: {verdict}")
    return report.clean


async def _cancel(asked: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        seen = await cancelled(Path(folder), count=asked.count, workers=asked.workers)
    floor = p99(await closed_barely(asked.count))
    good = not seen["connections_left"] and not any(seen["left"].values())
    for way, values in seen["ways"].items():
        met = p99(values) <= TARGET_MS
        good = good and met
        print(
            f"{way:11} p50 {statistics.median(values):6.1f} ms  p99 {p99(values):6.1f} ms  "
            f"{'met' if met else 'NOT MET'} (≤ {TARGET_MS:g})"
        )
    print(f"the floor, a bare client that shuts as many sockets: p99 {floor:.1f} ms")
    print(f"left over: {seen['connections_left']} connections, {seen['left']}")
    return good


async def _soak(asked: argparse.Namespace) -> bool:
    print(f"seed {asked.seed}")
    names = [gauge.name for gauge in GAUGES] + ["rows kept", "upstreams"]
    print("cycle  " + "  ".join(f"{name:>10}" for name in names))

    def told(number: int, cycle: dict[str, float]) -> None:
        print(f"{number + 1:>5}  " + "  ".join(f"{cycle[n]:>10.1f}" for n in names), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        seen = await endured(Path(folder), seconds=asked.seconds, seed=asked.seed, on_cycle=told)
    grown = seen.grown()
    print(f"done: {dict(seen.deeds.most_common())}")
    for gauge in GAUGES:
        early, late = (statistics.median(half) for half in seen.halves(gauge.name))
        verdict = "GROWS" if gauge in grown else "flat"
        allowed = f"{gauge.share:.0%} + {gauge.room:g}"
        print(f"{gauge.name:>10}: {early:10.1f} → {late:10.1f}  {verdict:5} (may grow {allowed})")
    for line in sorted(set(seen.wrong)):
        print(f"  {line}")
    if grown:
        print(f"more of: {seen.more_of()}")
    return not grown and not seen.wrong


def main() -> int:
    """Run what is asked for; 0 when it is as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    loads = parser.add_subparsers(dest="load", required=True)
    storm = loads.add_parser("storm", help="every fault, many at once")
    storm.add_argument("--seed", type=int, default=random.randrange(10**6))
    storm.add_argument("--each", type=int, default=4, help="requests of each case (4)")
    storm.add_argument("--in-flight", type=int, default=100, help="at once (100)")
    storm.add_argument("--rounds", type=int, default=2, help="rounds, the last ones compared (2)")
    storm.add_argument("--only", nargs="*", default=(), help="only these modes")
    cancel = loads.add_parser("cancel", help="a thousand calls cancelled at once")
    cancel.add_argument("--count", type=int, default=IN_FLIGHT)
    cancel.add_argument("--workers", type=int, default=1)
    soak = loads.add_parser("soak", help="an hour's worth of everything, and what grows")
    soak.add_argument("--seconds", type=float, default=90.0, help="how long the hour lasts (90)")
    soak.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    raise_file_limit()
    run = {"storm": _storm, "cancel": _cancel, "soak": _soak}[asked.load]
    return 0 if asyncio.run(run(asked)) else 1


if __name__ == "__main__":
    sys.exit(main())
