"""Prints the measured ratios beside their targets: `python -m tests.benchmarks [--rounds N]`.

Every load runs in a process of its own, peers in turn, so that a machine whose speed
drifts hits both. Medians decide; the spread says how noisy the run was, and so does a piece of
work that is done again and again between the loads. The raw samples follow as JSON, so that
anybody can work the verdicts out again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.benchmarks import noise, proxy_place
from tests.benchmarks.lines import LINES, Line, Sample

_LOAD_S = 600.0


class LoadFailed(Exception):
    """A load came to no figures; the message says why, in one line."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What was measured: samples by load, why some have none, and how noisy it was."""

    samples: dict[str, list[Sample]]
    missing: dict[str, str] = field(default_factory=dict)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    noise: list[noise.Piece] = field(default_factory=list)

    def measure(self, rounds: int) -> None:
        """Take a sample of each load, so many times over."""
        for _ in range(rounds):
            for load, samples in self.samples.items():
                if load in self.missing:
                    continue
                self.noise += noise.pieces()
                began = time.monotonic()
                try:
                    samples.append(_sample(load))
                except LoadFailed as failed:
                    self.missing[load] = str(failed)
                self.took_s.setdefault(load, []).append(time.monotonic() - began)
                print(f"{load}: {self.took_s[load][-1]:.0f} s", file=sys.stderr, flush=True)

    def told(self, line: Line) -> tuple[bool, str]:
        """Return whether a line's target is met, and the line of the table."""
        if why := next((self.missing[load] for load in line.loads if load in self.missing), None):
            return False, f"{'–':>9}  {'':8} {'NOT RUN':8} {line.what}  ({why})"
        rounds = list(zip(*(self.samples[load] for load in line.loads), strict=True))
        figures = sorted(line.figure(*each) for each in rounds)
        middle = statistics.median(figures)
        sign = "≥" if line.at_least else "≤"
        verdict = "met" if line.met(middle) else "NOT MET"
        spread = f"{figures[0]:.3g} to {figures[-1]:.3g}"
        if line.floor is not None:
            floor = statistics.median(line.floor(*each) for each in rounds)
            spread += f"; floor {floor:.3g}, {line.floor_of}: {middle / floor:.2f} of it"
        what = f"{middle:>9.3g}  {sign} {line.target:<6g} {verdict:8} {line.what}"
        return line.met(middle), f"{what}  ({spread})"


def _sample(load: str) -> Sample:
    """Run one load in a process of its own; raises LoadFailed with what it said."""
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
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"it took more than {_LOAD_S:g} s") from None
        finally:
            with suppress(ProcessLookupError):  # what a load that was cut short has started
                os.killpg(running.pid, signal.SIGKILL)
    if running.returncode:
        said = (err.strip() or "it said nothing").splitlines()[-1]
        raise LoadFailed(f"it ended with {running.returncode}: {said[:500]}")
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


def main() -> int:
    """Measure and print; 0 when every target is met, else 1."""
    names = ", ".join(dict.fromkeys(load for line in LINES for load in line.loads))
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each load (3)")
    parser.add_argument(
        "--only", nargs="*", metavar="LOAD", help=f"only the lines of these loads: {names}"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    lines = [line for line in LINES if not asked.only or set(asked.only) & set(line.loads)]
    loads = list(dict.fromkeys(load for line in lines for load in line.loads))
    run = Run(samples={load: [] for load in loads}, missing=_prepared(loads))
    run.measure(asked.rounds)
    verdicts = [run.told(line) for line in lines]
    met = sum(good for good, _ in verdicts)
    for _, told in verdicts:
        print(told)
    print(f"{met} of {len(lines)} targets met")
    print(noise.told(run.noise))
    print(json.dumps({"samples": run.samples, "noise": run.noise, "took_s": run.took_s}))
    return 0 if met == len(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
