"""What is piped into a thin command, where it is nothing, no text, or cannot be read."""

from __future__ import annotations

import argparse
import io
from types import SimpleNamespace

import pytest

from ksi_tui.commands.thin import events, submit
from ksi_tui.engine.errors import InputError


class Piped(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return self.getvalue()


class Broken(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (None, "cannot read stdin: it is closed"),
        (Piped(b'{"\xff"}'), r"stdin is not UTF-8 text \(byte 3\)"),
        (Broken(), "cannot read stdin: Input/output error"),
    ],
)
@pytest.mark.parametrize("command", ["emit", "submit"])
def test_what_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, raw: io.BytesIO | None, told: str, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", raw and SimpleNamespace(buffer=raw))
    options = {"data": "-"} if command == "emit" else {"prompt": "-", "stream": False}
    execute = {"emit": events.execute, "submit": submit.execute}[command]
    with pytest.raises(InputError, match=told):
        execute(argparse.Namespace(command=command, **options))
