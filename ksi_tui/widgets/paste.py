"""Takes pasted text from the terminal as text, whatever bytes it holds.

Textual 8.2 looks for escape sequences inside a bracketed paste too, drops what it recognises
and hands the rest on as keys: a paste with raw ESC bytes then presses enter, quits, or stays
half-way. Here the bytes pass a filter first, by which nothing of a paste can be a key. What
a widget does with the text is its own business.
"""

from __future__ import annotations

import os
import selectors
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

START, END = "\x1b[200~", "\x1b[201~"
QUIET_S = 0.1
"""What comes within this time of a paste's end, in seconds, may be its rest; see `PasteFilter`.

A mark whose bytes are further apart is none: Textual gives up on a sequence by then, too.
"""
_READ_BYTES = 65_536
_POLL_S = 0.1
_ESC = "\x1b"


class PasteFilter:
    """Passes a terminal's input on, without the escape bytes of what is pasted.

    A paste may hold the marks of pastes; terminals do not all take them out. So what follows an
    end at once is held back: if another mark comes, it was pasted and goes on as a part of
    the paste; if the terminal stays quiet for QUIET_S, it was typed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._inside = False
        self._seen = ""
        self._held: str | None = None
        self._heard_at = 0.0

    @property
    def holds(self) -> bool:
        """Whether something waits for the terminal to be quiet."""
        return self._held is not None

    def feed(self, data: str) -> str:
        """Return what may be read of the input so far."""
        now = self._clock()
        if not self._inside and now - self._heard_at > QUIET_S:
            self._seen = ""
        self._heard_at = now
        return "".join([self._take(char) for char in data])

    def tick(self) -> str:
        """Return what was held back, when the terminal has been quiet long enough."""
        if self._held is None or self._clock() - self._heard_at < QUIET_S:
            return ""
        held, self._held = self._held, None
        return END + held

    def _take(self, char: str) -> str:
        if self._inside:
            return self._pasted(char)
        if self._held is not None:
            return self._after(char)
        # A start is told from keys by its last character; until then both look the same.
        self._seen = (self._seen + char)[-len(START) :]
        if self._seen == START:
            self._inside, self._seen = True, ""
        return char

    def _pasted(self, char: str) -> str:
        """Pass a character of a paste; what may be its end waits until that is known."""
        seen = self._seen + char
        if END.startswith(seen):
            self._seen = seen
            if seen == END:
                self._inside, self._seen, self._held = False, "", ""
            return ""
        self._seen = _ESC if char == _ESC else ""
        return (seen[:-1] if char == _ESC else seen).replace(_ESC, "")

    def _after(self, char: str) -> str:
        """Hold what follows an end, until it is known what that was."""
        held = (self._held or "") + char
        self._held = held
        for mark in (END, START):
            if held.endswith(mark):
                self._held = "" if mark == END else None
                self._inside = mark == START
                return held.removesuffix(mark).replace(_ESC, "")
        return ""


class PasteSafeParser(XTermParser):
    """Textual's parser behind a `PasteFilter`."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._filter = PasteFilter()

    def feed(self, data: str) -> Iterable[Message]:
        """Yield the messages of what may be read; empty data is the end of the input."""
        passed = self._filter.feed(data)
        return super().feed(passed) if passed or not data else ()

    @property
    def holds(self) -> bool:
        """Whether something waits to be known as pasted or typed."""
        return self._filter.holds

    def tick(self) -> Iterable[Message]:
        """Yield what has waited long enough."""
        if released := self._filter.tick():
            yield from super().feed(released)
        yield from super().tick()


class PasteSafeDriver(LinuxDriver):
    """Textual's driver with that parser."""

    def run_input_thread(self) -> None:
        """Read the terminal until the driver ends."""
        parser = PasteSafeParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        selector = selectors.SelectSelector()
        selector.register(self.fileno, selectors.EVENT_READ)
        try:
            while not self.exit_event.is_set():
                if selector.select(QUIET_S if parser.holds else _POLL_S):
                    read = os.read(self.fileno, _READ_BYTES)
                    if not read:  # nothing is connected: no reason to spin
                        self.exit_event.wait(_POLL_S)
                    if text := decode(read):
                        self._hand_on(parser.feed(text))
                self._hand_on(parser.tick())
        finally:
            selector.close()

    def _hand_on(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)
