"""`ksi-tui run`: requests from a file, without a screen, all the way to the end."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksi_tui.access.opening import opened_listener
from ksi_tui.client import EngineClient
from ksi_tui.commands.listen import taken_place
from ksi_tui.commands.output import pauses_told, result_lines, say, write
from ksi_tui.commands.request_lines import BadLine, RequestLine, opened, request_lines
from ksi_tui.commands.runner import MAX_BATCH, LineRun, Printer, Record, ResumedRun, Run
from ksi_tui.commands.settings import as_typed, settings
from ksi_tui.commands.writable import watched
from ksi_tui.config import Config
from ksi_tui.door.opening import opened_door
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.models import RequestSpec
from ksi_tui.engine.store.sqlite import open_reader
from ksi_tui.engine.views import Level
from ksi_tui.exits import BAD_USAGE, INTERRUPTED, OK, SOME_FAILED
from ksi_tui.streams import OutputLost, flush_stdout

if TYPE_CHECKING:
    from ksi_tui.commands.progress import Bar

MakeRun = Callable[[EngineClient, Printer], Run]

_NOTE_EVERY_S = 0.5
_PAGE = 500
_DOOR_AFTER_S = 0.5
"""A run that is over by then needs nobody to look at it, nor the wait for the door's code."""


def execute(options: argparse.Namespace) -> int:
    """Run what was asked for; returns the exit code of section "Exit codes" in the README."""
    config = settings(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.resume and options.file is None:
        return asyncio.run(_Life(options, config, resume=True).live(ResumedRun))
    name = options.file or "-"
    if name == "-" and sys.stdin is not None and sys.stdin.isatty():
        say("one request a line, then ctrl+d")
    with opened(name) as file:
        lines = request_lines(file, "stdin" if name == "-" else name)
        return _run_lines(options, config, lines)


def _run_lines(
    options: argparse.Namespace, config: Config, lines: Iterator[RequestLine | BadLine]
) -> int:
    bad: list[BadLine] = []

    def complain(line: BadLine) -> None:
        bad.append(line)
        say(f"line {line.number}: {line.reason}")

    first: list[RequestLine] = []
    room = min(config.engine.max_queue_depth, MAX_BATCH)
    for line in lines:
        if isinstance(line, BadLine):
            complain(line)
        else:
            first.append(line)
            if len(first) == room:
                break
    code = OK
    if first:
        code = asyncio.run(
            _Life(options, config, resume=False).live(
                lambda engine, printer: LineRun(
                    engine,
                    printer,
                    first=first,
                    more=lines,
                    complain=complain,
                    specs=partial(_specs, config.engine.database_path),
                    again=options.resume,
                )
            )
        )
    elif not bad:
        say("no requests in the input")
    return BAD_USAGE if bad and code != INTERRUPTED else code


async def _specs(database: Path, request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
    async with await open_reader(database) as reader:
        return await reader.specs(request_ids)


class _Life:
    """One engine's life around one run: signals, output, progress, and what to say at the end."""

    def __init__(self, options: argparse.Namespace, config: Config, *, resume: bool) -> None:
        self._options = options
        self._config = config
        self._resume = resume
        self._stop = asyncio.Event()
        self._pipe_broken = False
        self._writer = ThreadPoolExecutor(1, "stdout")
        self._bar: Bar | None = None

    async def live(self, make: MakeRun) -> int:
        """Run to the end, or until a signal; returns the exit code, bad lines left aside."""
        with taken_place(self._options) as place, self._writer, self._signals(), self._progress():
            if place is not None:
                say(place.told)
            after_s = _DOOR_AFTER_S if place is None else 0.0
            async with (
                CompletionEngine(self._config, resume=self._resume) as engine,
                opened_door(engine, self._config, "ksi-tui run", after_s=after_s) as host,
                opened_listener(host, place) as client,
            ):
                run = make(client, self._print)
                whole = await self._complete_or_stop(client, run)
            if not whole and not self._pipe_broken:
                await self._print_rest(run)
        return self._ended(run, whole=whole)

    def _ended(self, run: Run, *, whole: bool) -> int:
        left = run.total - run.finished
        if not whole:
            if left or not self._pipe_broken:
                say(f"interrupted: {left} of {run.total} not finished; {self._how_to_go_on(run)}")
            return INTERRUPTED
        if run.held:
            say(
                f"paused: {left} of {run.total} not finished, held by {pauses_told(run.paused)};"
                " they stay on disk, and a run cannot resume what is paused: resume it in the"
                f" dashboard, then {self._how_to_go_on(run)}"
            )
            return SOME_FAILED
        if sys.stderr.isatty():
            say(", ".join(f"{count} {status}" for status, count in sorted(run.by_status.items())))
        if self._resume and not run.finished:
            say("nothing was unfinished")
        return OK if run.by_status["completed"] == run.finished else SOME_FAILED

    def _how_to_go_on(self, run: Run) -> str:
        if run.on_disk:
            return f"go on with: {as_typed(self._options, 'run --resume')}"
        file = shlex.quote(self._options.file or "-")
        again = as_typed(self._options, f"run {file} --resume")
        return f"the input is not all on disk, so give it again: {again}"

    async def _complete_or_stop(self, engine: EngineClient, run: Run) -> bool:
        """Return whether the run came to its end by itself.

        Raises StoreUnavailable when it never can.
        """
        job = asyncio.create_task(run.complete(), name="run")
        watch = asyncio.create_task(watched(engine), name="writable")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        others: list[asyncio.Task[Any]] = [watch, stop]
        if self._bar:
            others.append(asyncio.create_task(self._show(engine, run, self._bar), name="progress"))
        try:
            await asyncio.wait({job, watch, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (job, *others):
                task.cancel()
            await asyncio.wait({job, *others})
        if not watch.cancelled():
            watch.result()
        if job.cancelled():
            return False
        try:
            job.result()
        except BrokenPipeError:
            self._pipe_broken = True
        except OutputLost as error:
            say(error)
            self._pipe_broken = True
        return not self._pipe_broken

    async def _print(self, records: Sequence[Record]) -> None:
        """Write in a thread: a reader that is slow to take them must not hold the engine up."""
        text = result_lines(records, as_json=self._options.json)
        writing = asyncio.get_running_loop().run_in_executor(self._writer, _write_now, text)
        await asyncio.shield(writing)

    async def _print_rest(self, run: Run) -> None:
        """Print what finished while the engine drained."""
        if run.cursor is None:
            return
        reader = await open_reader(self._config.engine.database_path)
        try:
            while rows := await reader.results(after=run.cursor, limit=_PAGE):
                run.cursor = rows[-1][0]
                await self._print(run.take([record for _, record in rows]))
        finally:
            await reader.aclose()

    @contextmanager
    def _progress(self) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        from ksi_tui.commands.progress import Bar  # noqa: PLC0415 - 45 ms that a pipe needs not pay

        with Bar() as self._bar:
            yield

    async def _show(self, engine: EngineClient, run: Run, bar: Bar) -> None:
        while True:
            verdict = engine.snapshot().verdict
            calm = verdict.level in (Level.OK, Level.STARTING)
            failed = run.finished - run.by_status["completed"]
            note = "" if calm else f"{verdict.level.value}: {verdict.cause}"
            bar.show(
                done=run.finished,
                total=run.total,
                note=f"{failed} not completed  {note}" if failed else note,
            )
            await asyncio.sleep(_NOTE_EVERY_S)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        ending = [signal.SIGINT, signal.SIGTERM]
        for number in ending:
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            ending.append(signal.SIGHUP)
            # A terminal that goes may tell it twice, which is no second word of anybody's.
            loop.add_signal_handler(signal.SIGHUP, self._stop.set)
        try:
            yield
        finally:
            for number in ending:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._bar:
            self._bar.stop()
        if self._stop.is_set():
            say(f"stopped at once; go on with: {as_typed(self._options, 'run --resume')}")
            os._exit(INTERRUPTED)
        self._stop.set()
        if sys.stderr.isatty():
            grace_s = self._config.engine.shutdown_grace_s
            say(f"stopping: what runs may take {grace_s:g} s more; again to stop at once")


def _write_now(text: str) -> None:
    write(text)
    flush_stdout()
