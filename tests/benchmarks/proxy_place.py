"""Where LiteLLM's proxy is run from: an environment of its own, made once and kept.

What the proxy needs is a server's worth of packages that this project does not want beside its
own. `PROXY_VENV` names another environment that has the same version of litellm already.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_MADE_WITHIN_S: Final = 900.0


class ProxyMissing(Exception):
    """LiteLLM's proxy cannot be had here; the message says why, in one line."""


def place() -> Path:
    """Return the folder of the environment, there or not."""
    return Path(os.environ.get("PROXY_VENV") or _ROOT / ".venv-proxy")


def proxy_command() -> Path:
    """Return the proxy's command of an environment that holds it; raises ProxyMissing."""
    command = place() / "bin" / "litellm"
    if not (command.exists() and _holds(place(), _version())):
        raise ProxyMissing(f"{place()} holds no litellm {_version()} with its proxy")
    return command


def made() -> Path:
    """Return the same, and make the environment where it is not there yet; raises ProxyMissing."""
    try:
        return proxy_command()
    except ProxyMissing:
        if os.environ.get("PROXY_VENV"):
            raise
    print(f"making {place()} for LiteLLM's proxy, once", file=sys.stderr)
    _run(sys.executable, "-m", "venv", str(place()))
    python = str(place() / "bin" / "python")
    _run(python, "-m", "pip", "install", "--quiet", f"litellm[proxy]=={_version()}")
    return proxy_command()


def _version() -> str:
    """Return the version of litellm that the engine is held to: both sides run the same."""
    constraints = (_ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(r"^litellm==(\S+)$", constraints, flags=re.MULTILINE)
    if found is None:
        raise ProxyMissing("constraints.txt names no version of litellm")
    return found[1]


def _holds(folder: Path, version: str) -> bool:
    return any(folder.glob(f"lib/python3*/site-packages/litellm-{version}.dist-info"))


def _run(*command: str) -> None:
    """Run a step of the installation; the last line it said is why it failed."""
    environ = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_MADE_WITHIN_S,
            check=False,
            env={**environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxyMissing(f"LiteLLM's proxy cannot be installed: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ProxyMissing(f"LiteLLM's proxy cannot be installed: {said}")
