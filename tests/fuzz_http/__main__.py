"""Has schemathesis ask a real `serve` whatever its description allows, and what it does not.

`python -m tests.fuzz_http --schemathesis PATH [--seconds N] [--examples N] [--seed N]`. First what
only reads and the gateway, then the events, which may stop the queue as they may. At the end the
process is alive, nothing failed inside it, it answers, and, told to go on, completes a request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp

from tests.benchmarks.screen import environ
from tests.fuzz_http.served import Service, asked, serving

_CHECKS: Final = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,unsupported_method"
)
_NEVER: Final = ("/events", "/events/system:shutdown")
"""A stream that has no end, and the end."""
_PARTS: Final = (
    ("what is read, and the gateway", ("--exclude-path-regex", "^/events")),
    ("the events", ("--include-path-regex", "^/events/")),
)


def main() -> int:
    """Fuzz and look after it; 0 where nothing was found, 1 where something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_http")
    parser.add_argument("--schemathesis", type=_command, default="schemathesis", help="its command")
    parser.add_argument("--seconds", type=int, default=60, help="for each of the two parts (60)")
    parser.add_argument("--examples", type=int, default=40, help="most of an operation (40)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_fuzzed(options, Path(folder)))


def _command(named: str) -> str:
    """Return the place of a command: it runs in a folder of its own."""
    found = shutil.which(named)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no {named}")
    return str(Path(found).absolute())


async def _fuzzed(options: argparse.Namespace, folder: Path) -> int:
    found: list[str] = []
    async with serving(folder) as service:
        for name, where in _PARTS:
            print(f"--- {name}", flush=True)
            if await asyncio.to_thread(_schemathesis, options, service, where, folder):
                found.append(f"schemathesis found something in {name}")
        found += await _looked_after(service)
    for each in found:
        print(f"FOUND: {each}")
    if not found:
        print("nothing found")
    return 1 if found else 0


def _schemathesis(
    options: argparse.Namespace, service: Service, where: Sequence[str], folder: Path
) -> int:
    never = [part for path in _NEVER for part in ("--exclude-path", path)]
    command = [
        *(options.schemathesis, "run", f"{service.url}/openapi.json", "--checks", _CHECKS),
        *("--seed", str(options.seed), "--max-examples", str(options.examples)),
        *("--max-time", str(options.seconds), "--request-timeout", "20"),
        *("--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
        *where,
        *(never if "--include-path-regex" in where else ()),
    ]
    # Longer than its own budget only where a phase that it does not bound does not end.
    limit_s = 4 * options.seconds + 120
    return subprocess.run(
        command, check=False, timeout=limit_s, cwd=folder, env=environ(folder)
    ).returncode


async def _looked_after(service: Service) -> list[str]:
    """Return what is wrong with the service after all that."""
    found = []
    if (code := service.process.poll()) is not None:
        found.append(f"the process ended with {code}")
    else:
        try:
            found += await _works(service)
        except (TimeoutError, aiohttp.ClientError) as error:
            found.append(f"it does not answer any more: {type(error).__name__}: {error}")
    return found + [f"its log: {line[:2000]}" for line in service.faults()]


async def _works(service: Service) -> list[str]:
    """Have what was stopped go on and a request completed; returns what does not work."""
    async with aiohttp.ClientSession(service.url) as http:
        _, status = await asked(http, "checkpoint:collect")
        for pause in [{"scope": "engine"}, *status.get("pauses", ())]:
            await asked(http, "queue:resume", {"scope": pause["scope"], "id": pause.get("id")})
        await asked(http, "provider:reset", {"provider": "sim"})
        body = {"model": "sim/echo", "messages": [{"role": "user", "content": "still there?"}]}
        async with http.post("/v1/chat/completions", json=body) as response:
            answer = await response.text()
        if response.status != 200 or "still there?" not in answer:
            return [f"a request ends with {response.status}: {answer[:500]}"]
        await asked(http, "completion:status")
    return []


if __name__ == "__main__":
    try:
        sys.exit(main())
    except json.JSONDecodeError as error:
        raise SystemExit(f"what should be JSON is none: {error}") from None
