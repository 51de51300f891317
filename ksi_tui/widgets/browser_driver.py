"""Textual's driver for a browser, on pipes that may go: what `ksi-tui web` starts paints by it.

Textual 8.2's own takes a paste as keys (see `paste`), goes on for ever when whoever started it
has died, and takes a write that a signal cut short as whole, after which no packet can be read.
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable
from functools import partial
from typing import Any

from textual.drivers._byte_stream import ByteStream
from textual.drivers.web_driver import WebDriver
from textual.message import Message
from textual.messages import ExitApp

from ksi_tui.widgets.paste import QUIET_S, PasteSafeParser

_READ_BYTES = 65_536
_POLL_S = 0.1
_STDIN = 0


class BrowserDriver(WebDriver):
    """Paints into packets on stdout and reads packets from stdin; leaves when that ends."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._write = partial(self._write_whole)

    def _write_whole(self, data: bytes) -> int:
        """Write all of it; nobody reads any more once stdin has ended, and that ends the app."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.fileno, left) :]
        except BrokenPipeError:
            pass
        return len(data)

    def run_input_thread(self) -> None:
        """Read packets until the driver ends, or until there are no more to come."""
        parser, packets = PasteSafeParser(self._debug), ByteStream()
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(_STDIN, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(QUIET_S if parser.holds else _POLL_S):
                    read = os.read(_STDIN, _READ_BYTES)
                    if not read:
                        self.send_message(ExitApp())
                        return
                    for kind, payload in packets.feed(read):
                        if kind == "D":
                            self._hand_on(parser.feed(decode(payload)))
                        else:
                            self._on_meta(kind, payload)
                self._hand_on(parser.tick())

    def _hand_on(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)
