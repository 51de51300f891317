"""The input of `run`: one request a line.

A line whose first character is `{` is a `completion:async` object in JSON, any other
is a prompt. Empty lines are skipped. What a request's keys may hold is the engine's
business; here is only what makes a line a line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from ksi_tui.commands.endable_file import endable
from ksi_tui.engine.errors import InputError

MAX_LINE_BYTES = 16 * 1024 * 1024
_SNIFFED_BYTES = 8192
_BOM = b"\xef\xbb\xbf"
_KEY_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """A line that holds a request. `key` tells its text from others; None: it names its own id."""

    number: int
    data: dict[str, Any]
    key: str | None

    def request(self, run: int) -> dict[str, Any]:
        """Return the request with an id, made of line number, text and which run of it this is.

        The same text at the same line of the same run gets the same id again, which is
        what lets `run FILE --resume` go on instead of paying twice.
        """
        if self.key is None:
            return self.data
        suffix = f".{run}" if run else ""
        return {**self.data, "request_id": f"L{self.number}-{self.key}{suffix}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that holds no request, and why."""

    number: int
    reason: str


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open the input, `-` for stdin. Raises InputError when that cannot be, or it is binary."""
    if name == "-" and sys.stdin is None:
        raise InputError("cannot read stdin: it is closed")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(endable(sys.stdin.fileno() if name == "-" else name))
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}") from None
        _refuse_binary(name, file)
        yield file


def _refuse_binary(name: str, file: BinaryIO) -> None:
    try:
        head = file.peek(_SNIFFED_BYTES)[:_SNIFFED_BYTES]  # type: ignore[attr-defined]
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{_called(name)} is UTF-16 text; requests are read as UTF-8")
    if b"\0" in head:
        raise InputError(f"{_called(name)} is binary, not text; requests are lines of UTF-8 text")


def _called(name: str) -> str:
    return "stdin" if name == "-" else name


def request_lines(file: BinaryIO, name: str) -> Iterator[RequestLine | BadLine]:
    """Yield every line that is not empty, never holding more than one of them.

    Raises InputError when reading fails.
    """
    number = 0
    while raw := _next_line(file, name):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if len(raw) > MAX_LINE_BYTES:
            yield BadLine(number=number, reason=f"longer than {MAX_LINE_BYTES // 1024**2} MB")
        elif raw.strip():
            yield _line(number, raw)


def _next_line(file: BinaryIO, name: str) -> bytes:
    try:
        raw = file.readline(MAX_LINE_BYTES + 1)
        rest = raw
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {_called(name)}: {error.strerror}") from None
    return raw


def _line(number: int, raw: bytes) -> RequestLine | BadLine:
    try:
        text = raw.decode().rstrip("\r\n")
        data = _object(text) if text.startswith("{") else {"prompt": text}
    except UnicodeDecodeError as error:
        return BadLine(number=number, reason=f"not UTF-8 text (byte {error.start + 1})")
    except (ValueError, RecursionError) as error:
        return BadLine(number=number, reason=f"not a JSON object: {_told(error)}")
    key = None if data.get("request_id") is not None else _key(text)
    return RequestLine(number=number, data=data, key=key)


def _object(text: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(text, parse_constant=_refuse_constant)
    if "\\u" in text:
        json.dumps(data, ensure_ascii=False).encode()
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed in JSON")


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a surrogate pair"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)


def _key(text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()
