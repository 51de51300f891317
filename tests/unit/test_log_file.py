"""A record is rendered once on its way into the log's file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ksi_tui.log_file import JsonLines, file_handler


def test_a_record_is_formatted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    formatted = JsonLines.format

    def count(lines: JsonLines, record: logging.LogRecord) -> str:
        rendered.append(record.getMessage())
        return formatted(lines, record)

    monkeypatch.setattr(JsonLines, "format", count)
    handler = file_handler(tmp_path / "logs" / "a.log")
    handler.handle(logging.makeLogRecord({"msg": "once"}))
    handler.close()
    assert rendered == ["once"]
    assert '"once"' in (tmp_path / "logs" / "a.log").read_text()
