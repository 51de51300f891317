"""The grammar of `run`'s input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.commands import request_lines as module
from ksi_tui.commands.request_lines import BadLine, RequestLine, opened, request_lines
from ksi_tui.engine.errors import InputError


def lines(content: bytes) -> list[RequestLine | BadLine]:
    return list(request_lines(io.BytesIO(content), "in"))


def only(content: bytes) -> RequestLine | BadLine:
    (line,) = lines(content)
    return line


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"hello", {"prompt": "hello"}),
        (b"hello\r\n", {"prompt": "hello"}),
        (b'{"prompt": "x"}\n', {"prompt": "x"}),
        (b' {"prompt": "x"}\n', {"prompt": ' {"prompt": "x"}'}),
        (b"[1, 2]\n", {"prompt": "[1, 2]"}),
        ("grüße\n".encode(), {"prompt": "grüße"}),
        (b"\xef\xbb\xbfhello\n", {"prompt": "hello"}),
        (b"a\x0bb\x85\n", None),
        (b"a\xc2\x85b\n", {"prompt": "a\x85b"}),
    ],
)
def test_what_a_line_holds(content: bytes, data: dict[str, str] | None) -> None:
    line = only(content)
    assert (line.data if isinstance(line, RequestLine) else None) == data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not a JSON object: Expecting property name enclosed in double quotes (column 2)"),
        (b'{"a": NaN}', "not a JSON object: NaN is not allowed in JSON"),
        (b'{"prompt": "\\ud800"}', "not a JSON object: it holds half of a surrogate pair"),
        (b'{"a": ' + b"[" * 100_000, "not a JSON object: nested too deeply"),
        (b"caf\xe9", "not UTF-8 text (byte 4)"),
    ],
)
def test_what_is_wrong_with_a_line(content: bytes, reason: str) -> None:
    assert only(content + b"\n") == BadLine(number=1, reason=reason)


def test_empty_lines_count_but_hold_nothing() -> None:
    found = lines(b"\n  \none\n\r\ntwo")
    assert [line.number for line in found] == [3, 5]


def test_a_line_that_is_too_long_is_skipped_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 10)
    found = lines(b"x" * 10 + b"\n" + b"y" * 35 + b"\nshort\n" + b"z" * 11)
    assert [line.number for line in found if isinstance(line, BadLine)] == [1, 2, 4]
    assert [line.data for line in found if isinstance(line, RequestLine)] == [{"prompt": "short"}]


def test_an_id_tells_lines_and_runs_apart_and_comes_again() -> None:
    first, second = lines(b"same\nsame\n")
    (again, _) = lines(b"same\nsame\n")
    assert isinstance(first, RequestLine)
    assert isinstance(second, RequestLine)
    assert isinstance(again, RequestLine)
    ids = [line.request(run)["request_id"] for line in (first, second) for run in (0, 1)]
    assert len(set(ids)) == 4
    assert again.request(1)["request_id"] == first.request(1)["request_id"]
    assert ids[0].startswith("L1-")


def test_a_line_keeps_its_own_id() -> None:
    line = only(b'{"prompt": "x", "request_id": "mine"}')
    assert isinstance(line, RequestLine)
    assert line.request(3) == {"prompt": "x", "request_id": "mine"}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=8))
def test_every_prompt_comes_through(prompts: list[str]) -> None:
    prompts = [prompt for prompt in prompts if prompt.encode().strip()]
    as_objects = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts).encode()
    found = [line.data for line in lines(as_objects) if isinstance(line, RequestLine)]
    assert found == [{"prompt": prompt} for prompt in prompts]


def test_input_that_goes_away_while_it_is_read() -> None:
    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="cannot read in: Input/output error"):
        list(request_lines(Broken(b"x"), "in"))


def test_closed_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="stdin: it is closed"), opened("-"):
        pass


def test_a_file_is_closed_after_use(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"hello\n")
    with opened(str(path)) as file:
        assert len(list(request_lines(file, "in"))) == 1
    assert file.closed
