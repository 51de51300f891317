"""The command line: its grammar, the choice of the command, and the exit code.

Nothing heavy may be imported here. A command's module is imported when that command
was asked for: `--help` needs no settings, `run` no screen, the dashboard no engine
before its first frame. argparse and not typer: 2 ms against 70 to 130 before the first
frame.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ksi_tui import __version__, collector, core_dumps, logs, streams
from ksi_tui.engine.errors import DatabaseOwned, KsiError
from ksi_tui.exits import BAD_USAGE, INTERRUPTED, OK, OWNED, UNEXPECTED
from ksi_tui.starting import as_python_has_them, end_by_signals

_log = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  ksi-tui --demo                             look around, without a key
  printf 'hello\\nworld\\n' | ksi-tui run -    two prompts, no screen
  ksi-tui run prompts.txt --json > out.jsonl
  ksi-tui run --resume                       finish what was interrupted
  ksi-tui serve                              the engine as a service, without a screen
  ksi-tui attach                             the dashboard on an engine that runs
  ksi-tui web                                the same, in a browser
  ksi-tui submit "hello" --stream            a prompt to it, the reply as it comes
  ksi-tui usage --by model --since 24h
  ksi-tui open incident-20261122-031244.ksi.zip

exit codes: 0 all completed, 1 some failed or were cancelled, 2 bad usage, settings or
input, 3 another engine has the database, 130 interrupted (`run --resume` goes on)
"""

_STATES = ("completed", "failed", "cancelled")
_HELP = ("-h", "--help")
_SCREENS = ("open", "attach")
"""The commands that show the dashboard, beside none at all."""
_SHOWING = (*_SCREENS, "web")
"""Those, and what lets others show it."""
_GROUPS = ("agent", "model", "provider", "session", "day")


_LISTENING = (None, "run", "serve")
"""The commands that an engine runs in."""
_COMMON = (
    "--config",
    "--litellm-config",
    "--db",
    "--log-level",
    "--demo",
    "--ascii",
    "--read-only",
)


class _Parser(argparse.ArgumentParser):
    """argparse, with a word more where a common option stands after the command."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments") and any(
            option in message for option in _COMMON
        ):
            message += " (common options stand before the command)"
        super().error(message)


def parser(*, commands: bool = True) -> argparse.ArgumentParser:
    """Return the grammar of the command line, for the plain dashboard without its `commands`.

    Measured: those take 3 ms to make, and the first frame would wait for them.
    """
    top = _Parser(
        prog="ksi-tui",
        description="A control room for LLM completions. Without a command: the dashboard.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"ksi-tui {__version__}")
    top.add_argument("--config", type=Path, metavar="PATH", help="the settings file")
    top.add_argument(
        "--litellm-config",
        type=Path,
        metavar="PATH",
        help="LiteLLM's own config.yaml, whose models are served too",
    )
    top.add_argument("--db", type=Path, metavar="PATH", help="the database")
    top.add_argument(
        "--log-level",
        type=str.lower,
        choices=logs.LEVELS,
        default="info",
        metavar="LEVEL",
        help=f"least level that goes to the log file: {', '.join(logs.LEVELS)}",
    )
    top.add_argument(
        "--demo",
        action="store_true",
        help="the dashboard on a throw-away database, with simulated providers, load and faults",
    )
    top.add_argument(
        "--ascii", action="store_true", help="the dashboard without any sign beyond ASCII"
    )
    top.add_argument(
        "--read-only",
        action="store_true",
        help="the dashboard without its actions: it shows, and changes nothing",
    )
    _add_listening(top)
    added = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    if commands:
        _add_commands(added)
    return top


def _add_commands(commands: argparse._SubParsersAction[_Parser]) -> None:
    from ksi_tui.commands.thin.grammar import add_thin  # noqa: PLC0415 - the dashboard has none

    _add_run(commands)
    _add_serve(commands)
    _add_reports(commands)
    _add_config(commands)
    _add_token(commands)
    opened = commands.add_parser(
        "open",
        help="look at an incident bundle in the dashboard, read-only",
        description="Shows what a dashboard was fed, as it was saved from its palette (: save an "
        "incident bundle), in the same screens. , and . step through time by a moment, < and > "
        "by a minute. Lists and records are those of the last moment.",
        allow_abbrev=False,
    )
    opened.add_argument("bundle", type=Path, metavar="BUNDLE", help="the file")
    attach = commands.add_parser(
        "attach",
        help="the dashboard on an engine that runs elsewhere: started by somebody else, or serve",
        description="The same screens and keys, over the socket beside the engine's database. It "
        "comes back by itself when the line breaks or the engine is started again; leaving ends "
        "nothing of the engine.",
        allow_abbrev=False,
    )
    attach.add_argument(
        "place", nargs="?", type=Path, metavar="SOCKET|DB", help="else the settings' database"
    )
    attach.add_argument(
        "--operator",
        type=_operator,
        metavar="NAME",
        help="what your actions are recorded under, instead of the settings' [ui] operator",
    )
    _add_web(commands)
    add_thin(commands)


def _operator(text: str) -> str:
    if not (1 <= len(text) <= 64 and text.isprintable()):
        raise argparse.ArgumentTypeError("a name has 1 to 64 printable characters")
    return text


def _add_web(commands: argparse._SubParsersAction[_Parser]) -> None:
    web = commands.add_parser(
        "web",
        help="the dashboard of an engine that runs, in a browser on this machine",
        description="Serves `ksi-tui attach` to browsers, on loopback only, at an address with a "
        "secret in it: whoever has that acts with your rights. Common options go to the "
        "dashboards: --read-only before the command serves ones that change nothing.",
        allow_abbrev=False,
    )
    web.add_argument(
        "place", nargs="?", type=Path, metavar="SOCKET|DB", help="else the settings' database"
    )
    web.add_argument(
        "--listen",
        default=argparse.SUPPRESS,
        metavar="HOST:PORT",
        help="a loopback address (default 127.0.0.1:8000); port 0: a free one",
    )


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="run requests without a screen, all the way to the end",
        description="One request a line: a line whose first character is { is a completion:async "
        "object in JSON, any other is a prompt. Empty lines are skipped.",
        allow_abbrev=False,
    )
    run.add_argument("file", nargs="?", metavar="FILE", help="the requests; - or none: stdin")
    run.add_argument(
        "--resume",
        action="store_true",
        help="without FILE: read nothing, finish everything unfinished in the database; "
        "with FILE: go on with its last run instead of running it anew",
    )
    run.add_argument("--json", action="store_true", help="one JSON object a finished request")
    _add_listening(run, default=argparse.SUPPRESS)


def _add_serve(commands: argparse._SubParsersAction[_Parser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="the engine without a screen, until it is ended",
        description="Works on what comes through its door, a Unix socket beside the database, "
        "and logs JSON lines on stdout. SIGTERM or ctrl+c drains it, a second time interrupts "
        "what still runs; that goes on with the next start. Exit code 0 when it was drained, "
        "130 when something was interrupted, 3 when another engine has the database.",
        allow_abbrev=False,
    )
    _add_listening(serve, default=argparse.SUPPRESS)


def _add_reports(commands: argparse._SubParsersAction[_Parser]) -> None:
    results = commands.add_parser(
        "results", help="finished requests, in the order in which they finished", allow_abbrev=False
    )
    results.add_argument("--session", metavar="ID", help="of this session only")
    results.add_argument("--status", choices=_STATES, help="with this status only")
    results.add_argument("--json", action="store_true", help="one JSON object a request")

    usage = commands.add_parser("usage", help="tokens and cost", allow_abbrev=False)
    usage.add_argument("--by", choices=_GROUPS, help="one line for each of these")
    usage.add_argument(
        "--since", metavar="WHEN", help="30m, 24h, 7d ago, or an ISO date or time (UTC)"
    )
    usage.add_argument("--records", action="store_true", help="every single call instead of sums")
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a heading")

    status = commands.add_parser("status", help="what the database knows", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="one JSON object")


def _add_config(commands: argparse._SubParsersAction[_Parser]) -> None:
    config = commands.add_parser(
        "config", help="write, check and show settings", allow_abbrev=False
    )
    actions = config.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    init = actions.add_parser("init", help="write a commented example", allow_abbrev=False)
    init.add_argument(
        "target",
        nargs="?",
        metavar="PATH",
        help="where to (- is stdout); else --config, else the user's own settings file",
    )
    actions.add_parser("check", help="validate the settings that apply", allow_abbrev=False)
    actions.add_parser("show", help="print them, secrets hidden", allow_abbrev=False)
    actions.add_parser("path", help="say which file applies", allow_abbrev=False)


def _add_token(commands: argparse._SubParsersAction[_Parser]) -> None:
    token = commands.add_parser(
        "token",
        help="make, list and revoke the tokens that --listen --tokens asks for",
        allow_abbrev=False,
    )
    actions = token.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    new = actions.add_parser("new", help="make one and print it, once", allow_abbrev=False)
    new.add_argument(
        "--role",
        required=True,
        choices=("view", "submit", "operate"),
        help="view: look at everything; submit: and put requests in; operate: and act on any",
    )
    new.add_argument("--name", metavar="N", help="what its actions are recorded under")
    listed = actions.add_parser("list", help="say which there are", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="one JSON object a token")
    revoke = actions.add_parser("revoke", help="let one count no more", allow_abbrev=False)
    revoke.add_argument("id", metavar="ID", help="its id or its name")
    for action in (new, listed, revoke):
        action.add_argument(
            "--tokens",
            type=Path,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="the token file (default: the user's own)",
        )


def _add_listening(to: argparse.ArgumentParser, *, default: object = None) -> None:
    to.add_argument(
        "--listen",
        default=default,
        metavar="HOST:PORT",
        help="serve events, metrics and an OpenAI-compatible gateway there over plain HTTP (for "
        "TLS a proxy goes in front); port 0: a free one",
    )
    to.add_argument(
        "--tokens",
        type=Path,
        default=default,
        metavar="FILE",
        help="with --listen: let in who has a token of this file, also from other machines",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. No traceback reaches the user."""
    end_by_signals()
    try:
        return _main(arguments)
    finally:
        as_python_has_them()


def _main(arguments: Sequence[str] | None) -> int:
    core_dumps.leave_none()
    streams.keep_standard_places()
    given = sys.argv[1:] if arguments is None else arguments
    top = parser(commands=any(word in _HELP or not word.startswith("-") for word in given))
    options = top.parse_args(given)
    for option in ("demo", "ascii", "read-only"):
        shows = options.command is None or (options.command in _SHOWING and option != "demo")
        if getattr(options, option.replace("-", "_")) and not shows:
            top.error(f"--{option} is the dashboard's; it does not go with {options.command!r}")
    _check_listening(top, options)
    logs.start(options.log_level)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _execute(options)
    except DatabaseOwned as error:
        _say(error)
        return OWNED
    except KsiError as error:
        _say(error)
        return BAD_USAGE
    except BrokenPipeError:
        streams.silence(sys.stdout)
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _log.exception("unexpected")
        _say(f"ended by a fault of its own ({type(error).__name__}); {logs.path()} has the details")
        return UNEXPECTED


def _check_listening(top: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.command == "token":
        return
    if options.command == "web":
        if options.tokens is not None:
            top.error("--tokens does not go with 'web': it serves this machine's loopback only")
        return
    if options.listen is not None and options.command not in _LISTENING:
        top.error(f"--listen does not go with {options.command!r}: no engine runs in it")
    if options.tokens is not None and options.listen is None:
        top.error("--tokens goes with --listen HOST:PORT")


def _say(message: object) -> None:
    from ksi_tui.commands.output import say  # noqa: PLC0415 - the first frame waits for no words

    say(message)


def _execute(options: argparse.Namespace) -> int:
    _calm_the_collector(before_a_screen=options.command in (None, *_SCREENS))
    name = getattr(options, "module", None) or options.command or "dashboard"
    module = importlib.import_module(f"ksi_tui.commands.{name}")
    as_python_has_them()
    code = int(module.execute(options))
    try:
        streams.flush_stdout()
    except BrokenPipeError:  # the command's own code tells what became of it
        streams.silence(sys.stdout)
    return code


def _calm_the_collector(*, before_a_screen: bool) -> None:
    """Let garbage be collected seldom and shortly, and before a screen not at all.

    Measured: it would cost a twentieth of the time to the first frame; the dashboard turns the
    collector on after it.
    """
    collector.calm()
    if before_a_screen:
        gc.disable()
