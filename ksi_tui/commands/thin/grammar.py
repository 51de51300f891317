"""The grammar of the thin commands, apart from `cli` for its length. Nothing heavy is imported."""

from __future__ import annotations

from typing import Any

_PRIORITIES = ("critical", "high", "normal", "low", "background")
_SCOPES = ("engine", "session", "provider")

Commands = Any
"""What argparse's `add_subparsers` returns: private to it, and generic over our parser."""


def add_thin(commands: Commands) -> None:
    """Add the commands that speak to an engine that runs."""
    _add_submit(commands)
    _add_why(commands)
    _add_acting(commands)
    _add_provider(commands)
    _add_events(commands)


def _add(commands: Commands, name: str, module: str, help: str, more: str = "") -> Any:
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}. {more}Speaks to the engine that runs on the"
        " database; exit code 2 where none does.",
        allow_abbrev=False,
    )
    parser.set_defaults(module=f"thin.{module}")
    parser.add_argument("--json", action="store_true", help="JSON instead of words")
    return parser


def _add_submit(commands: Commands) -> None:
    submit = _add(
        commands,
        "submit",
        "submit",
        "send a prompt to the engine that runs",
        "Prints the request's id once it is on disk; with --wait its reply. ",
    )
    submit.add_argument("prompt", metavar="PROMPT", help="the prompt; - reads it from stdin")
    submit.add_argument("--wait", action="store_true", help="wait for the reply and print it")
    submit.add_argument("--stream", action="store_true", help="print the reply as it comes")
    submit.add_argument("--model", metavar="MODEL")
    submit.add_argument("--session", metavar="ID", help="go on in this session")
    submit.add_argument("--agent", metavar="ID", help="on behalf of this agent")
    submit.add_argument("--priority", choices=_PRIORITIES)
    submit.add_argument("--system", metavar="TEXT", help="the system prompt")
    submit.add_argument(
        "--id", metavar="ID", help="the request's id; a known one runs no second time"
    )


def _add_why(commands: Commands) -> None:
    why = _add(commands, "why", "why", "why a request waits, down to its root, and what frees it")
    why.add_argument("request", metavar="ID", help="the request")
    _add(commands, "locks", "locks", "who holds which conversation, and who waits for it")


def _add_acting(commands: Commands) -> None:
    for name, help in (
        ("cancel", "cancel requests, running ones too"),
        ("retry", "let failed or cancelled requests go again, or send one elsewhere"),
    ):
        parser = _add(commands, name, "acting", help)
        parser.add_argument("requests", nargs="*", metavar="ID", help="the requests")
        parser.add_argument("--session", metavar="ID", help="all of this session instead")
        parser.add_argument("--reason", metavar="TEXT", help="kept with the action")
        if name == "retry":
            parser.add_argument(
                "--avoid", action="append", metavar="P", help="not by this provider (repeatable)"
            )
            parser.add_argument("--model", metavar="MODEL", help="by this model instead")
    for name, help in (("pause", "hold what waits"), ("resume", "let it go on")):
        parser = _add(commands, name, "acting", help)
        parser.add_argument(
            "scope", nargs="?", choices=_SCOPES, default="engine", help="engine, if not given"
        )
        parser.add_argument("id", nargs="?", metavar="ID", help="the session or provider")
        parser.add_argument("--reason", metavar="TEXT", help="kept with the action")


def _add_provider(commands: Commands) -> None:
    provider = commands.add_parser(
        "provider", help="force, reset or probe a provider's circuit", allow_abbrev=False
    )
    deeds = provider.add_subparsers(dest="deed", metavar="DEED", required=True)
    for name, help in (
        ("open", "call it no more, until it is closed again"),
        ("close", "call it, whatever fails"),
        ("reset", "forget its state and statistics"),
        ("probe", "let one waiting request through now"),
    ):
        parser = _add(deeds, name, "provider", help)
        parser.add_argument("name", metavar="NAME", help="the provider")
        if name != "probe":
            parser.add_argument("--reason", metavar="TEXT", help="kept with the action")
        if name in ("open", "close"):
            parser.add_argument(
                "--for", dest="for_s", metavar="TIME", help="90s, 5m, 2h; then it ends"
            )


def _add_events(commands: Commands) -> None:
    emit = _add(
        commands, "emit", "events", "send any event and print its reply, which is JSON in any case"
    )
    emit.add_argument("event", metavar="EVENT", help="its name, such as completion:status")
    emit.add_argument(
        "data", nargs="?", default="{}", metavar="JSON", help="its data; - reads it from stdin"
    )
    tail = _add(
        commands,
        "tail",
        "events",
        "print what the engine tells, as it happens",
        "It goes on when the engine is started again; ctrl+c ends it. ",
    )
    tail.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="such as completion:* or *:paused",
    )
    tail.add_argument("--count", type=_count, metavar="N", help="end after so many")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
