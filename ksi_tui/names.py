"""What a name in the settings looks like, and how that is said. Nothing else."""

from __future__ import annotations

from typing import Final

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
NAME_WORDS: Final = "letters and digits of ASCII, and . _ : - after the first of them"
