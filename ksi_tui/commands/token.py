"""`ksi-tui token`: makes, lists and revokes the tokens that the listener asks for.

A token's text goes to stdout once, alone, so that a script can take it; all words about it go to
stderr. What is kept of it is `access.tokens`'s.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ksi_tui.access.roles import Role
from ksi_tui.access.tokens import TokenRecord, add, default_file, make, read_any, revoke
from ksi_tui.commands.output import columns, say, write
from ksi_tui.exits import OK


def execute(options: argparse.Namespace) -> int:
    """Perform the action that was asked for; raises TokenFault and InputError."""
    file = (options.tokens or default_file()).absolute()
    match options.action:
        case "new":
            _new(file, Role(options.role), options.name)
        case "list":
            _list(file, as_json=options.json)
        case "revoke":
            gone = revoke(file, options.id)
            write(f"revoked {gone.id} ({gone.name}); a listener that runs knows it at once\n")
    return OK


def _new(file: Path, role: Role, name: str | None) -> None:
    token, record = make(role, name)
    add(file, record)
    say(f"token {record.id} ({record.name}) may {role}; shown this once, kept as a hash in {file}")
    write(f"{token}\n")


def _list(file: Path, *, as_json: bool) -> None:
    records = read_any(file)
    if as_json:
        write("".join(f"{json.dumps(_told(record))}\n" for record in records))
    elif not records:
        write(f"no token in {file}; `ksi-tui token new --role view --tokens {file}` makes one\n")
    else:
        write(_table(records))


def _told(record: TokenRecord) -> dict[str, str]:
    return {"id": record.id, "name": record.name, "role": record.role, "created": record.created}


def _table(records: Sequence[TokenRecord]) -> str:
    rows = [(each.id, each.name, str(each.role), each.created) for each in records]
    return columns([("ID", "NAME", "ROLE", "CREATED"), *rows], right=frozenset())
