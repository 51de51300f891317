"""Which settings file applies, and what stands in it: TOML as it is, nothing validated.

Apart from `config` so that the dashboard's first frame, which needs a look at `[ui]`, does
not wait for pydantic (measured: 75 ms). What the settings mean is `config`'s.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from ksi_tui import named_file, paths
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.nesting import MOST_DEEP, too_deep

_TOO_DEEP: Final = f"nested too deep: {MOST_DEEP} levels at most"

_MANY_DOTS: Final = re.compile(
    r"""(?:\.[ \t]*+(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+){50}"""
)
"""A key of so many parts is nobody's, and the parser's time grows with their square."""


def config_file(explicit: Path | None = None) -> Path | None:
    """Return the settings file that applies, or None when there is none.

    In this order: the given path, `$KSI_TUI_CONFIG`, `ksi-tui.toml` in this folder,
    the user's config folder. One that was named has to exist (ConfigError).
    """
    named = explicit or (Path(env) if (env := os.environ.get("KSI_TUI_CONFIG")) else None)
    if named is not None:
        if not _is_file(named):
            if named.exists():
                raise ConfigError(f"{named}: this is no plain file, as a settings file is")
            raise ConfigError(f"{named}: no such settings file; `ksi-tui config init` writes one")
        return named
    for candidate in (Path("ksi-tui.toml"), paths.user_config_file()):
        if _is_file(candidate):
            return candidate
    return None


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def display_name(file: Path | None) -> str:
    """Return what an engine is called: by its settings file, where that has a name."""
    return f"ksi-tui {file.stem}" if file and file.stem != "ksi-tui" else "ksi-tui"


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a settings file holds; ConfigError says why it cannot be read."""
    import tomllib  # noqa: PLC0415 - 2 ms that a start without a file need not wait for

    try:
        text = named_file.read_text(file)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such settings file") from None
    if _MANY_DOTS.search(text):
        raise ConfigError(f"{file}: {_TOO_DEEP}")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{file}: {_TOO_DEEP}") from None
    except ValueError as error:  # beside TOML's own: a number that Python takes for too long
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    if too_deep(found):
        raise ConfigError(f"{file}: {_TOO_DEEP}")
    return found
