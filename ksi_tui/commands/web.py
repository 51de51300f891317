"""`ksi-tui web`: the dashboard of an engine that runs, in browsers on this machine.

Every visitor's dashboard is a `ksi-tui attach` of its own, so that what they see and do goes
through the engine's door like everybody's. Where no engine runs that is said at once, as `attach`
does.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from contextlib import AsyncExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ksi_tui.access.connections import bound, parsed, url_of
from ksi_tui.commands.attaching import how_to_start, socket_at
from ksi_tui.commands.output import say
from ksi_tui.commands.settings import settings
from ksi_tui.door.place import answers
from ksi_tui.engine.errors import ConfigError
from ksi_tui.exits import OK
from ksi_tui.remote.errors import DoorClosed
from ksi_tui.web.key import kept_key, key_file

if TYPE_CHECKING:
    from ksi_tui.web.serving import Served

DEFAULT = "127.0.0.1:8000"
_TUNNEL = (
    "it serves this machine's loopback only; from another one go through SSH: "
    "ssh -L 8000:127.0.0.1:8000 HOST"
)
_NAME_CHARS = 56
"""Of the operator's name, which ` (web 8)` comes after: together no longer than a name may be."""


def execute(options: argparse.Namespace) -> int:
    """Serve until a signal ends it; raises DoorClosed where no engine answers, and ConfigError."""
    _need_textual_serve()
    from ksi_tui.web.serving import Served  # noqa: PLC0415 - brings textual-serve

    config = settings(options)
    place = socket_at(options.place or config.engine.database_path).absolute()

    def absent() -> str | None:
        if answers(place):
            return None
        return f"no engine answers at {place}; {how_to_start(options, options.place)}"

    if (why := absent()) is not None:
        raise DoorClosed(why)
    address = options.listen or DEFAULT
    with closing(bound(address, anywhere=False, instead=_TUNNEL)) as sock:
        served = Served(
            sock=sock,
            host=parsed(address)[0],
            key=kept_key(key_file()),
            command=lambda number: _command(options, place, config.ui.operator, number),
            absent=absent,
        )
        asyncio.run(_until_ended(served))
    say("ended; the engine goes on")
    return OK


def _need_textual_serve() -> None:
    """Raise ConfigError where it was not installed: it is an extra."""
    if find_spec("textual_serve") is None:
        install = f"{shlex.quote(sys.executable)} -m pip install textual-serve"
        raise ConfigError(f"this needs textual-serve, which is not installed: {install}")


async def _until_ended(served: Served) -> None:
    """Serve until SIGTERM, SIGINT or the end of the terminal."""
    from ksi_tui.web.serving import serving  # noqa: PLC0415 - brings textual-serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
            stack.callback(loop.remove_signal_handler, number)
        await stack.enter_async_context(serving(served))
        _tell(served)
        await stop.wait()


def _tell(served: Served) -> None:
    """Say the address; its key goes to a terminal only, for a log keeps what it is given."""
    url = url_of(served.sock)
    if sys.stderr.isatty():
        say(f"open {url}/{served.key}/ in a browser on this machine; whoever has it may act")
    else:
        say(f"serving {url}/KEY/ with the key that {key_file()} holds")


def _command(options: argparse.Namespace, place: Path, operator: str, number: int) -> list[str]:
    """Return how the dashboard of visitor `number` is started."""
    words = [sys.executable, "-P", "-m", "ksi_tui", "--log-level", options.log_level]
    if options.config is not None:
        words += ["--config", str(options.config.absolute())]
    if options.ascii:
        words.append("--ascii")
    if options.read_only:
        words.append("--read-only")
    return [*words, "attach", "--operator", f"{operator[:_NAME_CHARS]} (web {number})", str(place)]
