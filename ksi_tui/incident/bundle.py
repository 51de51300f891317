"""One file that holds an incident: a zip of JSON, private, written whole or not at all.

Reading trusts nothing: the file may come from a stranger. Sizes are bounded before anything
is unpacked, and every part is checked for its shape.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksi_tui.incident.errors import BundleError

FORMAT = "ksi-tui incident bundle"
VERSION = 1
MOST_UNPACKED = 256_000_000
"""Bytes that a part of a bundle may unpack to."""
_LISTS = ("frames", "events", "journal", "requests", "records", "lives")

Data = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An incident. `about` says what, when, by whom; `answers` are replies by `gather.key_of`.

    Lists are plain JSON: frames, events and requests oldest first, journal newest first.
    """

    about: Data
    settings: Data
    answers: dict[str, Data]
    frames: Sequence[Data] = ()
    events: Sequence[Data] = ()
    journal: Sequence[Data] = ()
    requests: Sequence[Data] = ()
    records: Sequence[Data] = ()
    lives: Sequence[Data] = ()


def write_bundle(bundle: Bundle, path: Path) -> int:
    """Write a bundle to a new private file and return its size in bytes.

    Raises BundleError when the file is there already or cannot be written; nothing half
    written is left behind.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BundleError(f"{path} is already there; it was not touched") from None
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}") from None
    try:
        with (
            open(handle, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed,
        ):
            packed.writestr("about.json", json.dumps(bundle.about | _HEAD, indent=1))
            packed.writestr("settings.json", json.dumps(bundle.settings, indent=1))
            packed.writestr("answers.json", json.dumps(bundle.answers))
            for name in _LISTS:
                lines = (json.dumps(item) for item in getattr(bundle, name))
                packed.writestr(f"{name}.jsonl", "\n".join(lines))
        return path.stat().st_size
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BundleError(f"cannot write {path}: {error.strerror}") from None


_HEAD = {"format": FORMAT, "version": VERSION}


def read_bundle(path: Path) -> Bundle:
    """Return the bundle of a file; BundleError says what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as packed:
            about = _object(packed, "about.json")
            _check_head(about, path)
            lists = {name: _list(packed, f"{name}.jsonl") for name in _LISTS}
            answers = _object(packed, "answers.json")
            settings = _object(packed, "settings.json")
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        raise BundleError(f"{path}: no incident bundle, or a damaged one") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not lists["frames"]:
        raise BundleError(f"{path}: holds no picture")
    kept = {key: value for key, value in answers.items() if isinstance(value, dict)}
    return Bundle(about=about, settings=settings, answers=kept, **lists)


def _check_head(about: Mapping[str, Any], path: Path) -> None:
    if about.get("format") != FORMAT:
        raise BundleError(f"no incident bundle, though a zip: {path.name}")
    if about.get("version") != VERSION:
        raise BundleError(
            f"written in version {str(about.get('version'))[:20]} of the format; "
            f"this program reads version {VERSION}"
        )


def _part(packed: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = packed.getinfo(name)
    except KeyError:
        raise BundleError(f"{name} is missing") from None
    if info.file_size > MOST_UNPACKED:
        raise BundleError(f"{name} would unpack to more than {MOST_UNPACKED:,} bytes")
    with packed.open(info) as part:  # the size that is declared may be a lie
        data = part.read(MOST_UNPACKED + 1)
    if len(data) > MOST_UNPACKED:
        raise BundleError(f"{name} would unpack to more than {MOST_UNPACKED:,} bytes")
    return data


def _object(packed: zipfile.ZipFile, name: str) -> Data:
    found = _json(_part(packed, name), name)
    if not isinstance(found, dict):
        raise BundleError(f"{name}: found {type(found).__name__}, expected an object")
    return found


def _list(packed: zipfile.ZipFile, name: str) -> list[Data]:
    found = []
    for number, text in enumerate(_part(packed, name).splitlines(), start=1):
        item = _json(text, f"{name}, line {number}")
        if not isinstance(item, dict):
            raise BundleError(f"{name}, line {number}: expected an object")
        found.append(item)
    return found


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BundleError(f"{where}: not valid JSON") from None
