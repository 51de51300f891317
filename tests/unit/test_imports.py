"""What a process loads, looked at where it counts: in `sys.modules` of a fresh one.

The static side of the same rule is the import contract in pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SCREEN = {"textual", "rich"}
SDK = {"litellm", "openai", "boto3"}


def loaded_by(code: str) -> set[str]:
    """Return the modules, whole names and top packages, that `code` brings into a process."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    names = set(done.stdout.split())
    return names | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import ksi_tui", {"pydantic", "asyncio", "platformdirs"} | SCREEN | SDK),
        ("import ksi_tui.cli", {"pydantic", "asyncio", "sqlite3"} | SCREEN | SDK),
        ("import ksi_tui.engine", {"pydantic", "asyncio", "sqlite3"} | SCREEN | SDK),
        ("from ksi_tui.engine import CompletionEngine", SCREEN | SDK),
        ("import ksi_tui.commands.run", SCREEN | SDK | {"aiohttp"}),
        ("import ksi_tui.commands.results", SCREEN | SDK),
        ("import ksi_tui.commands.serve", SCREEN | SDK | {"aiohttp"}),
        ("import ksi_tui.door.opening", SCREEN | SDK | {"aiohttp"}),
        ("import ksi_tui.door.server", SCREEN | SDK | {"sqlite3"}),
        ("import ksi_tui.commands.usage", SCREEN | SDK),
        ("import ksi_tui.commands.thin.submit, ksi_tui.commands.thin.events", SCREEN | SDK),
        ("import ksi_tui.commands.thin.why, ksi_tui.commands.thin.locks", SCREEN | SDK),
        ("import ksi_tui.remote.client", SCREEN | SDK),
        ("import ksi_tui.commands.status", SCREEN | SDK),
        ("import ksi_tui.commands.web, ksi_tui.web.serving", SCREEN | SDK),
        ("import ksi_tui.commands.config", {"sqlite3", "asyncio"} | SCREEN | SDK),
        (
            "import ksi_tui.commands.dashboard",
            {"ksi_tui.engine.completion_service", "sqlite3", "aiosqlite", "aiohttp"} | SDK,
        ),
    ],
)
def test_what_is_never_loaded(code: str, never: set[str]) -> None:
    loaded = loaded_by(code)
    assert "ksi_tui" in loaded
    assert not loaded & never
