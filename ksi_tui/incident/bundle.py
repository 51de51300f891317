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

from ksi_tui.engine.nesting import too_deep
from ksi_tui.incident.errors import BundleError
from ksi_tui.numbers import decimal, nothing_else, whole

FORMAT: Final = "ksi-tui incident bundle"
VERSION: Final = 1
MOST_BYTES: Final = 256_000_000
"""Bytes that a file may have, and that its frames may unpack to."""
MOST_UNPACKED: Final = 64_000_000
"""Bytes that any other part may unpack to; what would be over it is left out when written."""
MOST_LINES: Final = 20_000
MOST_HELD: Final = 500_000
"""Lists and objects that any other part may hold, or one frame, counted by their opening signs:
each takes up to 80 times as much memory as it takes room in the file."""
_TOO_MUCH: Final = f"holds more than {MOST_HELD:,} lists and objects"
_MOST_DIRECTORY: Final = 65_536
"""Bytes of the zip's own list of parts; ours names nine."""
_MOST_DEEP: Final = 500
"""Levels of a part: half of what can be written as JSON again."""
_END_WITHIN: Final = 22 + 65_535
"""Bytes at a zip's end in which its last record begins: its size, and that of a comment."""
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
    room, left_out = _Room(_most(name), None if name == _FRAMES else MOST_HELD), 0
    with packed.open(f"{name}.jsonl", "w") as part:
        for item in items:
            text = (item if isinstance(item, str) else json.dumps(item)).encode() + b"\n"
            if room.takes(text):
                part.write(text)
            else:
                left_out += 1
    return left_out


def _write_answers(packed: zipfile.ZipFile, answers: Mapping[str, Mapping[str, Any]]) -> int:
    """Write answers as one object, piece by piece: the encoder lets nobody go on meanwhile."""
    room, left_out, before = _Room(MOST_UNPACKED - 2, MOST_HELD - 1), 0, b""
    with packed.open("answers.json", "w") as part:
        part.write(b"{")
        for key, answer in answers.items():
            text = before + f"{json.dumps(key)}: {json.dumps(answer)}".encode()
            if not room.takes(text):
                left_out += 1
                continue
            before = b",\n"
            part.write(text)
        part.write(b"}")
    return left_out


class _Room:
    """What is left of a part's bounds; `held` None: of its bytes alone."""

    def __init__(self, most_bytes: int, held: int | None) -> None:
        self._bytes, self._held = most_bytes, held

    def takes(self, text: bytes) -> bool:
        """Return whether a text fits, and then take its room."""
        held = 0 if self._held is None else self._held - _held(text)
        if len(text) > self._bytes or held < 0:
            return False
        self._bytes -= len(text)
        if self._held is not None:
            self._held = held
        return True


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
            frames = _lines(f"{_FRAMES}.jsonl", _part(packed, f"{_FRAMES}.jsonl", MOST_BYTES))
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
    if _directory_bytes(path) > _MOST_DIRECTORY:
        raise BundleError("no incident bundle, though a zip: it names too many parts")


def _directory_bytes(path: Path) -> int:
    """Return how long the list of parts is, 0 where no end is found that would tell.

    Before `zipfile` reads it, an object a part. Source: APPNOTE.TXT of PKWARE, 4.3.16.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_WITHIN))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    length = tail[end + 12 : end + 16] if end >= 0 else b""
    return int.from_bytes(length, "little") if len(length) == 4 else 0


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


def _list(packed: zipfile.ZipFile, name: str) -> list[Data]:
    name, found = f"{name}.jsonl", []
    data = _part(packed, name, MOST_UNPACKED)
    if _held(data) > MOST_HELD:
        raise BundleError(f"{name}: {_TOO_MUCH}")
    for number, text in enumerate(_lines(name, data), start=1):
        item = parsed(text, f"{name}, line {number}")
        if not isinstance(item, dict):
            raise BundleError(f"{name}, line {number}: expected an object")
        found.append(item)
    return found


def _lines(name: str, data: bytes) -> list[bytes]:
    # Counted before they are made: each takes more than the byte that ends it.
    if data.count(b"\n") + data.count(b"\r") > MOST_LINES:
        raise BundleError(f"{name} has more than {MOST_LINES:,} lines")
    return data.splitlines()


def _held(data: bytes) -> int:
    """Return how many lists and objects JSON holds at most."""
    return data.count(b"[") + data.count(b"{")


def parsed(text: bytes, where: str) -> Any:
    """Return JSON from outside; BundleError names `where` it is none.

    Numbers that no clock and no counter of ours could show are none.
    """
    if _held(text) > MOST_HELD:
        raise BundleError(f"{where}: {_TOO_MUCH}")
    try:
        found = json.loads(text, parse_int=whole, parse_float=decimal, parse_constant=nothing_else)
    except (ValueError, RecursionError):
        raise BundleError(f"{where}: not valid JSON") from None
    if too_deep(found, _MOST_DEEP):
        raise BundleError(f"{where}: nested too deep")
    return found
