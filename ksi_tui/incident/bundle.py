"""One file that holds an incident: a zip of JSON, private, written whole or not at all.

Reading trusts nothing: the file may come from a stranger. Sizes are bounded before anything
is unpacked, and every part is checked for its shape.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ksi_tui.incident.errors import BundleError
from ksi_tui.numbers import decimal, nothing_else, whole

FORMAT: Final = "ksi-tui incident bundle"
VERSION: Final = 1
MOST_BYTES: Final = 256_000_000
"""Bytes that a file may have, and that its frames may unpack to."""
MOST_UNPACKED: Final = 64_000_000
"""Bytes that any other part may unpack to; what would be over it is left out when written."""
MOST_LINES: Final = 20_000
_FRAMES: Final = "frames"
_LISTS: Final = ("events", "journal", "requests", "records", "lives")
_HEAD: Final = {"format": FORMAT, "version": VERSION}

Data = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An incident. `about` says what, when, by whom; `answers` are replies by `gather.key_of`.

    Lists are plain JSON: events and requests oldest first, journal newest first. `frames` are
    as they stand in the file, oldest first: one is read when it is shown.
    """

    about: Data
    settings: Data
    answers: dict[str, Data]
    frames: Sequence[bytes] = ()
    events: Sequence[Data] = ()
    journal: Sequence[Data] = ()
    requests: Sequence[Data] = ()
    records: Sequence[Data] = ()
    lives: Sequence[Data] = ()


# --- writing --------------------------------------------------------------------------------


def write_bundle(
    path: Path,
    *,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Any]],
    lists: Mapping[str, Iterable[Mapping[str, Any] | str]],
) -> int:
    """Write a bundle to a new private file and return its size in bytes.

    `lists` are a `Bundle`'s, frames included; they are gone through once, and an item may be
    JSON already. Raises BundleError when the file is there already or cannot be written;
    nothing half written is left behind.
    """
    if path.exists():
        raise BundleError(f"{path} is already there; it was not touched")
    part = path.with_name(f".{path.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with (
            open(handle, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed,
        ):
            packed.writestr("settings.json", json.dumps(settings, indent=1))
            left_out = {
                name: _write_lines(packed, name, lists.get(name, ())) for name in (_FRAMES, *_LISTS)
            }
            left_out["answers"] = _write_answers(packed, answers)
            told = {"left_out": {name: count for name, count in left_out.items() if count}}
            packed.writestr("about.json", json.dumps({**about, **told, **_HEAD}, indent=1))
        part.rename(path)
        return path.stat().st_size
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _write_lines(
    packed: zipfile.ZipFile, name: str, items: Iterable[Mapping[str, Any] | str]
) -> int:
    """Write a list, an item a line; return how many items were too much."""
    room, left_out = _most(name), 0
    with packed.open(f"{name}.jsonl", "w") as part:
        for item in items:
            text = (item if isinstance(item, str) else json.dumps(item)).encode() + b"\n"
            room -= len(text)
            if room < 0:
                left_out += 1
            else:
                part.write(text)
    return left_out


def _write_answers(packed: zipfile.ZipFile, answers: Mapping[str, Mapping[str, Any]]) -> int:
    """Write answers as one object, piece by piece: the encoder lets nobody go on meanwhile."""
    room, left_out, before = MOST_UNPACKED - 2, 0, b""
    with packed.open("answers.json", "w") as part:
        part.write(b"{")
        for key, answer in answers.items():
            text = before + f"{json.dumps(key)}: {json.dumps(answer)}".encode()
            if len(text) > room:
                left_out += 1
                continue
            room, before = room - len(text), b",\n"
            part.write(text)
        part.write(b"}")
    return left_out


def _most(name: str) -> int:
    return MOST_BYTES if name == _FRAMES else MOST_UNPACKED


# --- reading --------------------------------------------------------------------------------


def read_bundle(path: Path) -> Bundle:
    """Return the bundle of a file; BundleError says what is wrong with it."""
    try:
        _check_file(path)
        with zipfile.ZipFile(path) as packed:
            about = _object(packed, "about.json")
            _check_head(about, path)
            frames = _lines(packed, _FRAMES)
            lists = {name: _list(packed, name) for name in _LISTS}
            answers = _object(packed, "answers.json")
            settings = _object(packed, "settings.json")
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise BundleError(f"{path}: no incident bundle, or a damaged one") from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise BundleError(f"{path}: cannot be read: {said or error}") from None
    if not frames:
        raise BundleError(f"{path}: holds no picture")
    kept = {key: value for key, value in answers.items() if isinstance(value, dict)}
    return Bundle(about=about, settings=settings, answers=kept, frames=frames, **lists)


def _check_file(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BundleError("cannot be read: it is no file")
    if found.st_size > MOST_BYTES:
        raise BundleError(f"holds more than {MOST_BYTES:,} bytes")


def _check_head(about: Mapping[str, Any], path: Path) -> None:
    if about.get("format") != FORMAT:
        raise BundleError(f"no incident bundle, though a zip: {path.name}")
    if about.get("version") != VERSION:
        raise BundleError(
            f"written in version {str(about.get('version'))[:20]} of the format; "
            f"this program reads version {VERSION}"
        )


def _part(packed: zipfile.ZipFile, name: str, most: int) -> bytes:
    try:
        info = packed.getinfo(name)
    except KeyError:
        raise BundleError(f"{name} is missing") from None
    if info.file_size > most:
        raise BundleError(f"{name} would unpack to more than {most:,} bytes")
    with packed.open(info) as part:  # the size that is declared may be a lie
        data = part.read(most + 1)
    if len(data) > most:
        raise BundleError(f"{name} would unpack to more than {most:,} bytes")
    return data


def _object(packed: zipfile.ZipFile, name: str) -> Data:
    found = parsed(_part(packed, name, MOST_UNPACKED), name)
    if not isinstance(found, dict):
        raise BundleError(f"{name}: found {type(found).__name__}, expected an object")
    return found


def _lines(packed: zipfile.ZipFile, name: str) -> list[bytes]:
    lines = _part(packed, f"{name}.jsonl", _most(name)).splitlines()
    if len(lines) > MOST_LINES:
        raise BundleError(f"{name}.jsonl has more than {MOST_LINES:,} lines")
    return lines


def _list(packed: zipfile.ZipFile, name: str) -> list[Data]:
    found = []
    for number, text in enumerate(_lines(packed, name), start=1):
        item = parsed(text, f"{name}.jsonl, line {number}")
        if not isinstance(item, dict):
            raise BundleError(f"{name}.jsonl, line {number}: expected an object")
        found.append(item)
    return found


def parsed(text: bytes, where: str) -> Any:
    """Return JSON from outside; BundleError names `where` it is none.

    Numbers that no clock and no counter of ours could show are none.
    """
    try:
        return json.loads(text, parse_int=whole, parse_float=decimal, parse_constant=nothing_else)
    except (ValueError, RecursionError):
        raise BundleError(f"{where}: not valid JSON") from None
