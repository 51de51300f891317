"""The input of `run` where it is a pipe: what arrives late, in part, or not at all."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ksi_tui.commands.arriving import Arriving, Line
from ksi_tui.commands.endable_file import endable
from ksi_tui.commands.request_lines import BadLine
from ksi_tui.engine.errors import InputError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def lines(count: int) -> Iterator[Line]:
    for number in range(count):
        yield BadLine(number=number, reason="")


async def news(arriving: Arriving) -> list[int]:
    """Return the numbers of all lines, each taken as soon as it is told of."""
    told, numbers = asyncio.Event(), list[int]()
    arriving.begin(told.set)
    async with asyncio.timeout(10):
        while not arriving.over:
            await told.wait()
            told.clear()
            numbers += [line.number for line in arriving.take()]
    return numbers


async def test_every_line_comes_once_and_in_order() -> None:
    assert await news(Arriving(lines(5_000))) == list(range(5_000))


async def test_no_more_is_read_ahead_than_is_kept() -> None:
    read, ahead = [], threading.Event()

    def counted() -> Iterator[Line]:
        for line in lines(5_000):
            read.append(line)
            if len(read) == 1_001:
                ahead.set()
            yield line

    arriving = Arriving(counted())
    arriving.begin(lambda: None)
    assert await asyncio.to_thread(ahead.wait, 10)
    assert len(arriving.take()) == 1_000
    assert len(read) <= 2_001
    arriving.stop()


async def test_what_ends_the_reading_too_early_is_raised() -> None:
    def broken() -> Iterator[Line]:
        yield from lines(1)
        raise InputError("cannot read stdin: Input/output error")

    with pytest.raises(InputError, match="Input/output error"):
        await news(Arriving(broken()))


def test_a_read_that_waits_ends_with_the_file(pipe: tuple[int, int]) -> None:
    begun = threading.Event()
    os.write(pipe[1], b"one\nhalf")

    with endable(pipe[0]) as file:
        assert file.readline() == b"one\n"

        def read() -> None:
            begun.set()
            with suppress(ValueError):  # closed before it began
                file.readline()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        assert begun.wait(10)
    reading.join(10)
    assert not reading.is_alive()
    assert file.closed
    os.fstat(pipe[0])  # what was opened by others stays open


def test_a_file_that_is_not_there_leaves_nothing_open(tmp_path: Path) -> None:
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(FileNotFoundError), endable(str(tmp_path / "none")):
        pass
    path = tmp_path / "some"
    path.write_bytes(b"x")
    with endable(str(path)) as file:
        assert file.read() == b"x"
    assert set(os.listdir("/dev/fd")) == before
