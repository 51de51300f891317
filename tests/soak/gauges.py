"""What a process holds, as the system sees it: memory, files, threads, children. Linux only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


def rss_mb(pid: int | None = None) -> float:
    """Return a process's resident memory; 0 for one that is gone."""
    try:
        status = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    words = [line.split() for line in status.splitlines() if line.startswith("VmRSS")]
    return int(words[0][1]) / 1024 if words else 0.0


def files(pid: int | None = None) -> int:
    """Return how many file handles a process has open; 0 for one that is gone."""
    try:
        return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))
    except OSError:
        return 0


def threads(pid: int | None = None) -> int:
    """Return how many threads a process has; 0 for one that is gone."""
    try:
        return len(os.listdir(f"/proc/{pid or os.getpid()}/task"))
    except OSError:
        return 0


def children(pid: int | None = None) -> int:
    """Return how many child processes a process has."""
    found = 0
    own = str(pid or os.getpid())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            found += stat.rpartition(") ")[2].split()[1] == own
    return found


def named_tasks() -> int:
    """Return how many tasks this loop has that somebody has named: all of the product's are."""
    return sum(1 for task in asyncio.all_tasks() if not task.get_name().startswith("Task-"))
