"""Lines of an input as they arrive, read beside the loop by a thread that nobody waits for.

A pipe may stay silent for as long as its other end likes: what has arrived is there at once, and
an end of the run is none of the pipe's business.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ksi_tui.commands.request_lines import BadLine, RequestLine

Line = RequestLine | BadLine

_MOST: Final = 1_000


class Arriving:
    """At most 1,000 lines that were read and not taken yet."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._here: deque[Line] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._fault: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the input was read and taken to its end."""
        with self._changed:
            return self._ended and not self._here

    def begin(self, on_news: Callable[[], object]) -> None:
        """Read; `on_news` is called in the running loop when there is something to take again."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(on_news)

        threading.Thread(target=self._read, args=(tell,), name="input", daemon=True).start()

    def take(self) -> list[Line]:
        """Return what has arrived, without waiting; raises what ended the reading too early."""
        with self._changed:
            if self._fault is not None:
                raise self._fault
            taken = list(self._here)
            self._here.clear()
            self._changed.notify()
        return taken

    def stop(self) -> None:
        """Tell no more, and read no further than the line that is awaited."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _read(self, tell: Callable[[], None]) -> None:
        try:
            for line in self._lines:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._here) < _MOST or self._stopped)
                    if self._stopped:
                        return
                    self._here.append(line)
                    if len(self._here) == 1:
                        tell()
        except Exception as error:  # the thread's boundary: who takes gets it
            self._fault = error
        with self._changed:
            self._ended = self._fault is None
            if not self._stopped:
                tell()
