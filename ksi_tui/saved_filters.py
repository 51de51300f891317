"""Filters that a person keeps: saved under a name, recalled by `@name`, and the last ones typed.

One private file in the state folder, read when first needed and written whole. Those of the
settings (`ui.filters`) stand beside the saved ones and are not written. A file that cannot be
read or written is told once in words and never stops anybody from filtering. What a filter
means must not go here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ksi_tui.engine.errors import ConfigError, FilterError
from ksi_tui.engine.filter import parse
from ksi_tui.named_file import read_text
from ksi_tui.paths import private_dir

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
NAMES_ALLOWED: Final = "letters, digits, . _ and -, at most 40"
_MOST_HISTORY: Final = 100
_MOST_SAVED: Final = 500
_RECALLED: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|(?<!\S)(-?)@(\S*)')
"""A quoted text, passed over, or `@name` where a term begins."""


class FilterBook:
    """Saved filters and the history. `file` None keeps them in memory only."""

    def __init__(self, file: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._file = file
        self._settings = dict(settings or {})
        self._saved: dict[str, str] | None = None
        self._history: list[str] = []

    # --- what is kept ----------------------------------------------------------------

    @property
    def saved(self) -> Mapping[str, str]:
        """All filters with a name, in the order of their names."""
        return dict(sorted({**self._settings, **self._own()}.items()))

    @property
    def history(self) -> tuple[str, ...]:
        """The filters that were kept, the last one last."""
        self._own()
        return tuple(self._history)

    def used(self, text: str) -> str | None:
        """Note a filter that was kept; returns what went wrong with the file, or None."""
        self._own()
        if not text or self._history[-1:] == [text]:
            return None
        self._history = [*(known for known in self._history if known != text), text][
            -_MOST_HISTORY:
        ]
        return self._write()

    def save(self, name: str, text: str) -> str | None:
        """Keep a filter under a name, an empty one removes it; returns what went wrong, or None."""
        if not NAME.fullmatch(name):
            return f"a name has {NAMES_ALLOWED}"
        own = self._own()
        if not text:
            if name not in own:
                return f"no filter {name!r} was saved"
            del own[name]
            return self._write()
        if name not in own and len(own) >= _MOST_SAVED:
            return f"there are {_MOST_SAVED} saved filters already"
        try:
            parse(self.written_out(text))
        except FilterError as error:
            return error.message
        own[name] = self.written_out(text)
        return self._write()

    def written_out(self, text: str) -> str:
        """Return a typed filter with every `@name` replaced by what was saved under it.

        Raises FilterError at the position in what was typed.
        """
        saved = self.saved
        for found in _RECALLED.finditer(text):
            if found[2] is not None and found[2] not in saved:
                there = ", ".join(f"@{name}" for name in saved) or "none yet: ctrl+s saves one"
                quoted = "in quotes it is looked for as text"
                message = f"no saved filter @{found[2]}; there are {there}; {quoted}"
                raise FilterError(found.start(), message)
            if found[1]:
                raise FilterError(found.start(), "- stands before one term, not before @name")
        # Errors in what was typed are told where they stand there, not in what it becomes.
        parse(_RECALLED.sub(lambda found: "x" * len(found[0]) if found[2] else found[0], text))
        return _RECALLED.sub(lambda found: saved[found[2]] if found[2] else found[0], text)

    # --- the file --------------------------------------------------------------------

    def _own(self) -> dict[str, str]:
        if self._saved is None:
            self._saved = {}
            self._read()
        return self._saved

    def _read(self) -> None:
        if self._file is None or self._saved is None:
            return
        try:
            found = json.loads(read_text(self._file))
            saved, history = dict(found["saved"]), list(found["history"])
        except (OSError, ConfigError, ValueError, RecursionError, KeyError, TypeError):
            return  # none yet, or not ours: the next one saved replaces it
        self._saved |= {
            name: text
            for name, text in saved.items()
            if isinstance(text, str) and NAME.fullmatch(name)
        }
        self._history = [text for text in history if isinstance(text, str)][-_MOST_HISTORY:]

    def _write(self) -> str | None:
        if self._file is None:
            return None
        text = json.dumps({"saved": self._saved, "history": self._history}, indent=1)
        beside = self._file.with_suffix(".new")
        try:
            private_dir(self._file.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.open(beside, flags, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            beside.replace(self._file)
        except (OSError, ConfigError) as error:
            return f"not kept for next time: {error}"
        return None
