"""The one registry of what a user can do: footer, help, palette and bindings derive from it.

An action is listed here only when its key works. How it is done is the screens' business;
a screen carries `action_<do>` for each of its actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from textual.binding import Binding, BindingType


class Where(StrEnum):
    """Where an action applies. PANE: the focused pane that scrolls."""

    ANY = "any screen"
    OVERVIEW = "overview"
    REQUEST = "request"
    PANE = "panes"


class Group(StrEnum):
    """Under which heading help lists an action."""

    ACT = "Act"
    LOOK = "Look"
    MOVE = "Move"
    PROGRAM = "Program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing a user can do.

    `key` may list several keys, the first is the one shown. `footer` is the rank in the
    footer (0: not there); ranks from 90 stand at its right end. `do` names the method.
    """

    id: str
    key: str
    label: str
    tooltip: str
    group: Group
    where: tuple[Where, ...]
    footer: int = 0
    do: str = ""

    @property
    def method(self) -> str:
        """The action as a binding names it."""
        return self.do or self.id


_BOTH = (Where.OVERVIEW, Where.REQUEST)
_OVERVIEW = (Where.OVERVIEW,)

_PANES = ("Queues", "Active", "Providers", "Locks", "Tokens")


def _pane(number: int) -> Action:
    name = _PANES[number - 1]
    return Action(
        id=f"pane_{number}",
        key=str(number),
        label=name,
        tooltip=f"Go to the pane {name}; on a request, to its tab {number}",
        group=Group.MOVE,
        where=_BOTH if number < len(_PANES) else _OVERVIEW,
        do=f"pane({number})",
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        id="open",
        key="enter",
        label="open",
        tooltip="Open the request under the cursor",
        group=Group.LOOK,
        where=_OVERVIEW,
        footer=10,
    ),
    Action(
        id="submit",
        key="s",
        label="submit",
        tooltip="Write a prompt and send it",
        group=Group.ACT,
        where=_BOTH,
        footer=20,
    ),
    Action(
        id="cancel",
        key="c",
        label="cancel",
        tooltip="Stop this request or its whole session, after a confirmation",
        group=Group.ACT,
        where=_BOTH,
        footer=30,
    ),
    Action(
        id="retry",
        key="r",
        label="retry",
        tooltip="Try a failed or cancelled request again; one in backoff goes now",
        group=Group.ACT,
        where=_BOTH,
        footer=40,
    ),
    Action(
        id="elsewhere",
        key="n",
        label="elsewhere",
        tooltip="Stop this attempt and go on at the next provider, under the same id",
        group=Group.ACT,
        where=_BOTH,
        footer=50,
    ),
    Action(
        id="force_lock",
        key="F",
        label="force lock",
        tooltip="Take the lock under the cursor from its holder, after a confirmation",
        group=Group.ACT,
        where=_OVERVIEW,
        footer=55,
    ),
    Action(
        id="demo",
        key="D",
        label="demo",
        tooltip="Start or stop demo load with faults (simulated providers only)",
        group=Group.ACT,
        where=_OVERVIEW,
        footer=60,
    ),
    Action(
        id="providers",
        key="K",
        label="providers",
        tooltip="How to add a provider: keys in the environment, or settings",
        group=Group.LOOK,
        where=_OVERVIEW,
        footer=65,
    ),
    Action(
        id="copy",
        key="y",
        label="copy",
        tooltip="Copy the id under the cursor; on a request its answer, on a receipt its text",
        group=Group.LOOK,
        where=_BOTH,
        footer=70,
    ),
    Action(
        id="zoom",
        key="z",
        label="zoom",
        tooltip="Give the whole screen to the focused pane, and back",
        group=Group.LOOK,
        where=_OVERVIEW,
        footer=75,
    ),
    Action(
        id="freeze",
        key="f",
        label="freeze",
        tooltip="Hold the picture still; the engine goes on",
        group=Group.LOOK,
        where=_BOTH,
        footer=80,
    ),
    *(_pane(number) for number in range(1, 6)),
    Action(
        id="next_pane",
        key="tab",
        label="pane",
        tooltip="Go to the next pane",
        group=Group.MOVE,
        where=_BOTH,
        footer=85,
        do="step_pane(1)",
    ),
    Action(
        id="previous_pane",
        key="shift+tab",
        label="pane back",
        tooltip="Go to the pane before",
        group=Group.MOVE,
        where=_BOTH,
        do="step_pane(-1)",
    ),
    Action(
        id="down",
        key="j,down",
        label="down",
        tooltip="One row down",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="move(1)",
    ),
    Action(
        id="up",
        key="k,up",
        label="up",
        tooltip="One row up",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="move(-1)",
    ),
    Action(
        id="top",
        key="g,home",
        label="top",
        tooltip="To the first row",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="first",
    ),
    Action(
        id="bottom",
        key="G,end",
        label="bottom",
        tooltip="To the last row",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="last",
    ),
    Action(
        id="page_down",
        key="pagedown",
        label="page down",
        tooltip="One page down",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="page(1)",
    ),
    Action(
        id="page_up",
        key="pageup",
        label="page up",
        tooltip="One page up",
        group=Group.MOVE,
        where=(Where.PANE,),
        do="page(-1)",
    ),
    Action(
        id="palette",
        key="ctrl+p,colon",
        label="palette",
        tooltip="Find any of these by name",
        group=Group.PROGRAM,
        where=(Where.ANY,),
        do="command_palette",
    ),
    Action(
        id="back",
        key="escape",
        label="back",
        tooltip="Back to where you came from; nothing is changed",
        group=Group.PROGRAM,
        where=(Where.REQUEST,),
        footer=1,
    ),
    Action(
        id="help",
        key="question_mark",
        label="help",
        tooltip="Every key",
        group=Group.PROGRAM,
        where=(Where.ANY,),
        footer=90,
    ),
    Action(
        id="quit",
        key="q",
        label="quit",
        tooltip="Leave; with work in flight it asks what becomes of it",
        group=Group.PROGRAM,
        where=(Where.ANY,),
        footer=95,
        do="leave",
    ),
)

BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}


def actions_of(where: Where) -> Iterator[Action]:
    """Yield the actions that apply on a screen, in the order of the registry."""
    return (action for action in ACTIONS if where in action.where)


def bindings(where: Where) -> list[BindingType]:
    """Return the bindings of a screen, each under its action's id so that a keymap can move it."""
    return [
        Binding(
            action.key,
            action.method,
            action.label,
            show=False,
            tooltip=action.tooltip,
            id=action.id,
        )
        for action in actions_of(where)
    ]


_SHOWN = {
    "question_mark": "?",
    "colon": ":",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def shown_key(action: Action, keymap: Mapping[str, str]) -> str:
    """Return the key as footer and help write it, the first of several, after the user's keymap."""
    first = keymap.get(action.id, action.key).split(",")[0].strip()
    return _SHOWN.get(first, first)


def footer_actions(where: Where, applies: Callable[[str], bool]) -> list[Action]:
    """Return what a screen's footer lists: its own and the common actions that apply now."""
    listed = [*actions_of(where), *actions_of(Where.ANY)]
    chosen = [action for action in listed if action.footer and applies(action.id)]
    return sorted(chosen, key=lambda action: action.footer)


def wrong_keymap(keymap: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a user's keymap, one line an unknown action."""
    return [
        f"ui.keymap: no action {name!r}; there are {', '.join(sorted(BY_ID))}"
        for name in keymap
        if name not in BY_ID
    ]
