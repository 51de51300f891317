"""Which settings file applies, and what stands in it: TOML as it is, nothing validated.

Apart from `config` so that the dashboard's first frame, which needs a look at `[ui]`, does
not wait for pydantic (measured: 75 ms). What the settings mean is `config`'s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ksi_tui import paths
from ksi_tui.engine.errors import ConfigError


def config_file(explicit: Path | None = None) -> Path | None:
    """Return the settings file that applies, or None when there is none.

    In this order: the given path, `$KSI_TUI_CONFIG`, `ksi-tui.toml` in this folder,
    the user's config folder. One that was named has to exist (ConfigError).
    """
    named = explicit or (Path(env) if (env := os.environ.get("KSI_TUI_CONFIG")) else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: no such settings file; `ksi-tui config init` writes one")
        return named
    for candidate in (Path("ksi-tui.toml"), paths.user_config_file()):
        if candidate.is_file():
            return candidate
    return None


def display_name(file: Path | None) -> str:
    """Return what an engine is called: by its settings file, where that has a name."""
    return f"ksi-tui {file.stem}" if file and file.stem != "ksi-tui" else "ksi-tui"


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a settings file holds; ConfigError says why it cannot be read."""
    import tomllib  # noqa: PLC0415 - 2 ms that a start without a file need not wait for

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
