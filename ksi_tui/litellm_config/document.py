"""A YAML file as plain data, with the line of everything in it, for messages that say where.

Reading and naming only; what the data means is for the modules beside this one. Keys
that stand twice, and files that contain themselves, are refused: YAML's own reader takes
the last of the one and never ends with the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ksi_tui import named_file
from ksi_tui.config import MOST
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.nesting import MOST_DEEP
from ksi_tui.engine.payload_errors import shown
from ksi_tui.provider_params import ENV_REFERENCE
from ksi_tui.redaction import looks_secret

_MOST_VALUES: Final = 100_000
_MOST_COUNT: Final = 2**53 - 2
"""One more is still told from its neighbours, and some of ours are one more than theirs."""
_TOO_DEEP: Final = f"nested too deep: {MOST_DEEP} levels at most"

Path_ = tuple[str | int, ...]
"""Keys and indices that lead to a value, from the top of the file."""


class Document:
    """One file. `data` is its top mapping; `warnings` gathers what cannot be done."""

    def __init__(self, file: Path, data: Mapping[str, Any], lines: Mapping[Path_, int]) -> None:
        self.file = file
        self.data = data
        self.warnings: list[str] = []
        self._lines = lines

    def _place(self, path: Path_) -> str:
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        return f"{self.file}:{self._lines.get(known, 1)}: {key.lstrip('.')}"

    def error(self, path: Path_, message: str) -> ConfigError:
        """Return an error that names file, line and key."""
        return ConfigError(f"{self._place(path)}: {message}")

    def warn(self, path: Path_, message: str) -> None:
        """Note something that the file says and that cannot be done."""
        self.warnings.append(f"{self._place(path)}: {message}")

    def table(self, path: Path_, value: Any) -> Mapping[str, Any]:
        """Return a mapping, empty for nothing; raises ConfigError for anything else."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(path, f"must be a mapping; found {_kind(value)}")
        for key in value:
            if not isinstance(key, str):
                raise self.error(path, f"keys must be strings; found {key!r}")
        return value

    def listed(self, path: Path_, value: Any) -> list[Any]:
        """Return a list, empty for nothing; raises ConfigError for anything else."""
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(path, f"must be a list; found {_kind(value)}")
        return value

    def reference(self, path: Path_, value: Any) -> str:
        """Return a text that is not empty, and a reference to the environment as it stands.

        Raises ConfigError for anything else.
        """
        if not isinstance(value, str) or not value:
            raise self.error(path, f"must be a text; found {_kind(value)}")
        self.variable(path, value)
        return value

    def text(self, path: Path_, value: Any) -> str:
        """Return a text that is not empty, or the one of the variable that it refers to.

        Raises ConfigError for anything else, also where the variable is not set, or holds a
        secret by its name: what is read here is shown.
        """
        text = self.reference(path, value)
        variable = self.variable(path, text)
        if variable is not None and looks_secret(variable):
            said = "is named like a secret, which is not read into what is shown"
            raise self.error(path, f"the environment variable {variable} {said}")
        return self._resolved(path, text)

    def variable(self, path: Path_, text: str) -> str | None:
        """Return the name of the variable that a text refers to, None where it is no reference."""
        name = text.removeprefix(ENV_REFERENCE)
        if not name and text:
            raise self.error(path, f"{ENV_REFERENCE} has to be followed by a variable's name")
        return None if name == text else name

    def _resolved(self, path: Path_, text: str) -> str:
        if (variable := self.variable(path, text)) is None:
            return text
        if not (value := os.environ.get(variable)):
            raise self.error(path, f"the environment variable {variable} is not set")
        return value

    def number(
        self,
        path: Path_,
        value: Any,
        least: float,
        most: float | None = None,
        *,
        whole: bool = False,
    ) -> float:
        """Return a number from `least` to `most`, also of the environment; ConfigError else.

        Nothing else said, `most` is that of times, or of counts where it is `whole`.
        """
        kind = f"must be a {'whole ' if whole else ''}number of"
        if isinstance(value, str):
            value = _as_number(self._resolved(path, value))
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise self.error(path, f"{kind} at least {least:g}; found {_kind(value)}")
        if whole and value != float("inf") and value != int(value):
            raise self.error(path, f"{kind} at least {least:g}; found {value!r}")
        if most is None:
            most = _MOST_COUNT if whole else MOST
        if value > most:
            raise self.error(path, f"{kind} at most {most:,}; found {_kind(value)}")
        return int(value) if whole else value


def read_document(file: Path) -> Document:
    """Read a YAML file; raises ConfigError that names the file and the line."""
    try:
        text = named_file.read_text(file)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such LiteLLM configuration") from None
    noted = _Lines(file)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                noted.note(node, (), ())
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}{_line(error)}: not valid YAML: {_reason(error)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: not valid YAML: {_first_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{file}: {_TOO_DEEP}") from None
    except (AttributeError, LookupError, TypeError):  # so the reader fails at `!!bool maybe`
        raise ConfigError(f"{file}: not valid YAML: a value is not what its !! says") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: must be a mapping with a model_list; found {_kind(data)}")
    return Document(file, data, noted.lines)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's safe reader, for which a date is the text that it is written as.

    No setting of LiteLLM's is a date; `api_version: 2024-10-21` is meant as a text.
    """


_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


class _Lines:
    """Notes the line of every value, and refuses what YAML's own reader would let pass.

    An alias counts with all that it stands for: nine lines of nine aliases each are a billion
    values to whoever goes through them.
    """

    def __init__(self, file: Path) -> None:
        self.lines: dict[Path_, int] = {}
        self._file = file
        self._values = 0

    def note(self, node: yaml.Node, path: Path_, above: tuple[int, ...]) -> None:
        """Note a value and all in it; raises ConfigError. `above` are those that it is in."""
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._values += 1
        if id(node) in above:
            raise ConfigError(f"{self._file}:{line}: contains itself")
        if self._values > _MOST_VALUES:
            raise ConfigError(
                f"{self._file}:{line}: holds more than {_MOST_VALUES:,} values, each alias "
                "counted with what it stands for"
            )
        if len(above) > MOST_DEEP:
            raise ConfigError(f"{self._file}:{line}: {_TOO_DEEP}")
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.note(item, (*path, index), above)
        elif isinstance(node, yaml.MappingNode):
            self._note_keys(node, path, above)

    def _note_keys(self, node: yaml.MappingNode, path: Path_, above: tuple[int, ...]) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self._file}:{line}: a key must be a text")
            name = str(key.value)
            if name in seen:
                raise ConfigError(f"{self._file}:{line}: {name}: stands here twice")
            if name != "<<":
                seen.add(name)
            self.lines.setdefault((*path, name), line)
            self.note(value, (*path, name), above)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}" if mark is not None else ""


def _reason(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)


def _as_number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _kind(value: Any) -> str:
    """Return what a value is, in words; a text is not repeated, since it may be a secret."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool() | int() | float():
            return shown(value)
        case str():
            return "a text" if value else "an empty text"
        case _:
            return f"a {type(value).__name__}"
