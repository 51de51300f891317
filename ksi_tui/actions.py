"""The one registry of what a user can do: footer, help, palette and bindings derive from it.

An action is listed here only where its key works. How it is done is the screens' business;
a screen carries `action_<do>` for each of its actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial

from textual.binding import Binding, BindingType


class Where(StrEnum):
    """Where an action applies. PANE: the focused pane that scrolls."""

    ANY = "any screen"
    OVERVIEW = "overview"
    REQUESTS = "requests"
    FAILED = "failed"
    REQUEST = "request"
    WHY = "why"
    SESSION = "session"
    PROVIDER = "provider"
    USAGE = "usage"
    EVENTS = "events"
    COMPARE = "side by side"
    PANE = "panes"


RIGHT = 90
"""From this rank on an action stands at the right end of the footer."""


class Group(StrEnum):
    """Under which heading help lists an action. ACT: it changes something in the engine."""

    ACT = "Act"
    LOOK = "Look"
    GO = "Go"
    MOVE = "Move"
    PROGRAM = "Program"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do.

    `key` may list several keys, the first is the one shown; without one an action is in the
    palette only. `footer` is the rank in the footer (0: only where a screen's own order names
    it); ranks from `RIGHT` on stand at its right end. `do` names the method.
    """

    id: str
    key: str
    label: str
    tooltip: str
    where: tuple[Where, ...]
    footer: int = 0
    do: str = ""
    group: Group = Group.LOOK

    @property
    def method(self) -> str:
        """The action as a binding names it."""
        return self.do or self.id


_act = partial(Action, group=Group.ACT)
_look = partial(Action, group=Group.LOOK)
_go = partial(Action, group=Group.GO)
_move = partial(Action, group=Group.MOVE)
_program = partial(Action, group=Group.PROGRAM)

_OVERVIEW = (Where.OVERVIEW,)
_REQUEST = (Where.REQUEST,)
_LISTS = (Where.OVERVIEW, Where.REQUESTS, Where.FAILED, Where.SESSION)
"""Screens with rows of requests."""
_UNFINISHED = (Where.OVERVIEW, Where.REQUESTS, Where.REQUEST, Where.WHY, Where.SESSION)
_STOPS = (*_UNFINISHED, Where.COMPARE)
_SUB = (
    Where.REQUESTS,
    Where.FAILED,
    Where.REQUEST,
    Where.WHY,
    Where.SESSION,
    Where.PROVIDER,
    Where.USAGE,
    Where.EVENTS,
    Where.COMPARE,
)
_COMPARE = (Where.COMPARE,)
_FULL = (Where.OVERVIEW, *_SUB)
_SENT = (*_LISTS, Where.REQUEST)
_TRENDS = (Where.OVERVIEW, Where.PROVIDER, Where.USAGE)
_PANED = tuple(w for w in _FULL if w not in (Where.REQUESTS, Where.FAILED, Where.EVENTS))
_CHARTED = (Where.OVERVIEW, Where.REQUEST, Where.SESSION, Where.PROVIDER, Where.USAGE)
_HOLDS = (Where.OVERVIEW, Where.SESSION, Where.PROVIDER, Where.WHY)
_LOCKED = (Where.OVERVIEW, Where.SESSION, Where.WHY)


def _but(*left_out: Where) -> tuple[Where, ...]:
    return tuple(where for where in _FULL if where not in left_out)


def _pane(number: int) -> Action:
    return _move(
        f"pane_{number}",
        str(number),
        f"pane {number}",
        f"Go to the pane or tab {number}",
        _CHARTED,
        do=f"pane({number})",
    )


def _time(name: str, key: str, label: str, tooltip: str, footer: int, moments: int) -> Action:
    return _program(name, key, label, tooltip, (Where.ANY,), footer, f"step({moments})")


ACTIONS: tuple[Action, ...] = (
    _act("submit", "s", "submit", "Write a prompt and send it", _FULL, 20),
    _act("cancel", "c", "cancel", "Stop a request, its session or what is marked", _STOPS, 30),
    _act("retry", "r", "retry", "Try a failed or cancelled one again; in backoff: now", _SENT, 40),
    _act("elsewhere", "n", "elsewhere", "Go on at the next provider, same id", _UNFINISHED, 50),
    _act("pause", "p", "pause", "Pause, or let go on, what the cursor is on", _HOLDS, 52),
    _act("probe", "b", "probe", "Let one waiting request through as the probe now", _HOLDS, 16),
    _act("force_circuit", "B", "force", "Hold a circuit open or closed for a time", _HOLDS, 17),
    _act("force_lock", "F", "force lock", "Take the lock from its holder", _LOCKED, 18),
    _act("act_all", "a", "all", "Do it to all that wait for the same root", (Where.WHY,), 19),
    _act("edit", "e", "edit as new", "Change it and send it as new", _SENT, 60),
    _act("edit_outside", "E", "$EDITOR", "Change the prompt in $EDITOR, send as new", _SENT),
    _act("compare", "d", "side by side", "Send it to several models and compare", _SENT, 61),
    _act("undo", "u", "undo", "Take back what was done last, as long as it can be", _FULL, 19),
    _act("demo", "D", "demo", "Start or stop demo load (simulated providers only)", _OVERVIEW, 25),
    _look("open", "enter", "open", "Open what the cursor is on", _but(Where.REQUEST), 10),
    _look("why", "w", "why", "Why it waits, down to the root, and what frees it", _UNFINISHED, 15),
    _look("filter", "slash", "filter", "Show only what fits", (*_LISTS, Where.EVENTS), 54),
    _look("sort", "o", "sort", "Choose the column that rows are ordered by", _LISTS, 62),
    _look("mark", "space", "mark", "Mark this row, or not", _LISTS, 55),
    _look("mark_all", "asterisk", "mark all", "Mark all that match, or none", _LISTS),
    _look("copy", "y", "copy", "Copy: id, text, command, timeline, as there is", _FULL, 56),
    _look("zoom", "z", "zoom", "Give the whole screen to one pane, and back", _CHARTED, 57),
    _look("freeze", "f", "freeze", "Hold the picture still; the engine goes on", _FULL, 70),
    _look("hide_text", "t", "hide text", "Hide prompts and replies, or show them", _REQUEST),
    _look("difference", "v", "difference", "What differs, or the answers again", _COMPARE, 12),
    _move(
        "next_run",
        "right_square_bracket,right",
        "run",
        "The next run of each model",
        _COMPARE,
        13,
        "step_run(1)",
    ),
    _move(
        "previous_run",
        "left_square_bracket,left",
        "run back",
        "The run before",
        _COMPARE,
        0,
        "step_run(-1)",
    ),
    _look("raw", "v", "raw", "The raw record as JSON, or the readable view", _REQUEST, 67),
    _look("window_shorter", "left_square_bracket", "shorter", "A shorter time in charts", _TRENDS),
    _look(
        "window_longer", "right_square_bracket", "longer", "A longer time in charts", _TRENDS, 68
    ),
    _look("split", "v", "split", "Charts by provider, by model, or all in one", (Where.USAGE,), 16),
    _look("group", "o", "by", "What the table is by: time, provider, model …", (Where.USAGE,), 15),
    _look("providers", "K", "providers", "How to add a provider", _OVERVIEW, 26),
    _go("requests", "i", "requests", "All requests, history included", _but(Where.REQUESTS), 63),
    _go("failed", "x", "failed", "What failed, to be tried again", _but(Where.FAILED), 64),
    _go("usage", "m", "usage", "Tokens, cost and waste over time", _but(Where.USAGE), 65),
    _go("events", "l", "events", "The live log of what the engine does", _but(Where.EVENTS), 66),
    _move("attention", "exclamation_mark", "attention", "Go to Attention", _OVERVIEW),
    *(_pane(number) for number in range(1, 6)),
    _move("next_pane", "tab", "pane", "Go to the next pane", _PANED, 58, "step_pane(1)"),
    _move(
        "previous_pane", "shift+tab", "pane back", "To the pane before", _PANED, 0, "step_pane(-1)"
    ),
    _move("down", "j,down", "down", "One row down", (Where.PANE,), 0, "move(1)"),
    _move("up", "k,up", "up", "One row up", (Where.PANE,), 0, "move(-1)"),
    _move("top", "g,home", "top", "To the first row", (Where.PANE,), 0, "first"),
    _move("bottom", "G,end", "bottom", "To the last row", (Where.PANE,), 0, "last"),
    _move("page_down", "pagedown", "page down", "One page down", (Where.PANE,), 0, "page(1)"),
    _move("page_up", "pageup", "page up", "One page up", (Where.PANE,), 0, "page(-1)"),
    _program("back", "escape", "back", "Back to where you came from", _SUB, 1),
    _program(
        "palette",
        "ctrl+p,colon",
        "palette",
        "Find an action, session, request or provider by name",
        (Where.ANY,),
        0,
        "command_palette",
    ),
    _program(
        "suspend",
        "ctrl+z",
        "suspend",
        "Give the terminal back to the shell, fg returns; the engine stands still meanwhile",
        (Where.ANY,),
        0,
        "suspend_process",
    ),
    _time("step_back", "comma", "back in time", "One moment back, in a recording", 2, -1),
    _time("step_on", "full_stop", "on", "One moment on, in a recording", 3, 1),
    _time("minute_back", "less_than_sign", "minute back", "A minute back, in a recording", 0, -12),
    _time("minute_on", "greater_than_sign", "minute on", "A minute on, in a recording", 0, 12),
    _program(
        "save_bundle",
        "",
        "save an incident bundle",
        "What the screen was fed, in one file without secrets, for later and elsewhere",
        (Where.ANY,),
    ),
    _program("help", "question_mark", "help", "Every key of this screen", (Where.ANY,), 90),
    _program(
        "quit",
        "q",
        "quit",
        "Leave; with work in flight it asks what becomes of it",
        (Where.ANY,),
        95,
        "leave",
    ),
)

BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}
BY_METHOD: Mapping[str, str] = {
    action.method.partition("(")[0]: action.id for action in ACTIONS if action.group is Group.ACT
}
"""The ids of the actions that act, by the name of the method that does them."""


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
        if action.key
    ]


_SHOWN = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "asterisk": "*",
    "slash": "/",
    "comma": ",",
    "full_stop": ".",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "colon": ":",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def shown_key(action: Action, keymap: Mapping[str, str]) -> str:
    """Return the key as footer and help write it, the first of several, after the user's keymap.

    Empty where it has none, or where the keymap gave it to another action of the same screen.
    """
    own = keymap.get(action.id)
    keys = _keys_of(own if own is not None else action.key)
    if own is None and keymap:
        others = _beside(action).intersection(keymap)
        taken = {key for other in others for key in _keys_of(keymap[other])}
        keys = [key for key in keys if key not in taken]
    return _SHOWN.get(keys[0], keys[0]) if keys else ""


def _keys_of(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


@cache  # bounded by the registry
def _beside(action: Action) -> frozenset[str]:
    """Return the other actions that apply on a screen where this one does."""
    common = {Where.ANY, Where.PANE}
    places = set(action.where)
    return frozenset(
        other.id
        for other in ACTIONS
        if other is not action and (places & set(other.where) or common & (places | {*other.where}))
    )


_FOOTERS: Mapping[Where, tuple[str, str]] = {
    Where.OVERVIEW: (
        "open why submit demo providers cancel retry elsewhere pause probe force_circuit"
        " force_lock undo filter palette mark copy zoom next_pane",
        "open why submit cancel retry elsewhere filter",
    ),
    Where.REQUESTS: (
        "back open why filter submit cancel retry elsewhere mark sort undo copy edit compare",
        "back open why filter",
    ),
    Where.FAILED: (
        "back open retry filter mark submit sort undo copy edit compare",
        "back open retry filter",
    ),
    Where.REQUEST: (
        "back why cancel retry elsewhere edit compare undo copy next_pane",
        "back why cancel retry elsewhere edit copy next_pane",
    ),
    Where.WHY: (
        "back open elsewhere probe retry force_circuit force_lock cancel pause act_all undo copy"
        " next_pane",
        "back open elsewhere probe force_lock cancel copy",
    ),
    Where.SESSION: (
        "back open why cancel retry elsewhere pause force_lock undo filter mark copy zoom"
        " next_pane edit compare sort",
        "back open why cancel filter copy next_pane",
    ),
    Where.PROVIDER: (
        "back open pause probe force_circuit undo window_longer copy zoom next_pane",
        "back open pause probe force_circuit copy next_pane",
    ),
    Where.USAGE: (
        "back open group split window_longer copy zoom next_pane",
        "back open group split window_longer copy next_pane",
    ),
    Where.EVENTS: ("back open filter copy freeze", "back open filter copy"),
    Where.COMPARE: (
        "back open difference next_run next_pane cancel copy freeze",
        "back open difference next_run next_pane cancel copy",
    ),
}
"""By screen: what its footer begins with, in this order; and what of it stays to the last.

What is not named follows by rank, where there is room. The pictures of the screens are its source.
"""


def footer_actions(where: Where, applies: Callable[[str], bool]) -> list[Action]:
    """Return what a screen's footer lists: its own and the common actions that apply now."""
    order = {name: place for place, name in enumerate(_FOOTERS.get(where, ("", ""))[0].split())}
    listed = [*actions_of(where), *actions_of(Where.ANY)]
    chosen = [a for a in listed if (a.footer or a.id in order) and applies(a.id)]
    return sorted(chosen, key=lambda a: (a.footer >= RIGHT, order.get(a.id, len(order)), a.footer))


THROUGH_TIME = ("step_back", "step_on", "minute_back", "minute_on")
"""What steps through a recording, and does nothing elsewhere."""


def kept_in_footer(where: Where) -> frozenset[str]:
    """Return the actions that a screen's footer keeps to the last where there is little room."""
    return frozenset([*_FOOTERS.get(where, ("", ""))[1].split(), *THROUGH_TIME])


def wrong_keymap(keymap: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a user's keymap: unknown actions, one key for two of a screen."""
    unknown = [
        f"ui.keymap: no action {name!r}; there are {', '.join(sorted(BY_ID))}"
        for name in keymap
        if name not in BY_ID
    ]
    known = [BY_ID[name] for name in keymap if name in BY_ID]
    twice = [
        f"ui.keymap: {key} is both {one.id} and {other.id}"
        for at, one in enumerate(known)
        for other in known[at + 1 :]
        for key in _keys_of(keymap[one.id])
        if other.id in _beside(one) and key in _keys_of(keymap[other.id])
    ]
    return [*unknown, *twice]
