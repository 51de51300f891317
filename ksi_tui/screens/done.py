"""What was done from this dashboard and can still be taken back, and the receipts of it.

Owned by the app, so that it outlives every screen; bounded in number and in age. It decides
nothing: how a deed is taken back, it was told when the deed was done. Leaf module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ksi_tui.widgets.spans import Line

UNDO_S = 600.0
"""For how long a deed can be taken back, in seconds."""
MOST_DEEDS, MOST_RECEIPTS = 50, 20

Step = tuple[str, Mapping[str, Any]]
"""An event of the engine and its data, without who and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that can be taken back. Texts are clean.

    `what` was done (`3 requests of globex-7 stopped (c-031249)`), `back` says what undoing
    does, `after` is said once it is undone. `steps` undo it; `at` is the app's clock.
    """

    what: str
    back: str
    after: str
    steps: tuple[Step, ...]
    at: float


class Receipt(Protocol):
    """What a receipt tells wherever it is looked at again."""

    id: str
    took_s: float
    deed: Deed | None

    @property
    def heading(self) -> str:
        """Its name and how it came out, clean."""
        ...

    def lines(self, clock_s: float, most: int, width: int) -> list[Line]:
        """Return it as lines at a moment of the app's clock."""
        ...

    def texts(self) -> list[tuple[str, str]]:
        """Return what had arrived of whom, by request id."""
        ...

    def ticket(self) -> str:
        """Return it in plain sentences, for a ticket."""
        ...

    def concerns(self, request_id: str | None, session_id: str | None) -> bool:
        """Whether it is about a request or a session."""
        ...


class Done:
    """Deeds that can be taken back, the last one first, and the receipts of this life."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deeds: deque[Deed] = deque(maxlen=MOST_DEEDS)
        self.receipts: deque[Receipt] = deque(maxlen=MOST_RECEIPTS)

    def note(self, *, what: str, back: str, after: str, steps: Sequence[Step]) -> Deed:
        """Keep a deed that can be taken back, and return it."""
        deed = Deed(what=what, back=back, after=after, steps=tuple(steps), at=self._clock())
        self._deeds.append(deed)
        return deed

    def last(self) -> Deed | None:
        """Return the youngest deed that can still be taken back, or None."""
        while self._deeds and self.left_s(self._deeds[-1]) <= 0:
            self._deeds.clear()  # the others are older
        return self._deeds[-1] if self._deeds else None

    def left_s(self, deed: Deed) -> float:
        """Return for how many seconds it can still be taken back; 0 when it no longer can."""
        if deed not in self._deeds:
            return 0.0
        return max(0.0, UNDO_S - (self._clock() - deed.at))

    def age_s(self, deed: Deed) -> float:
        """Return how long ago it was done, in seconds."""
        return self._clock() - deed.at

    def forget(self, deed: Deed) -> None:
        """Forget a deed: it was taken back, or turned out not to be takeable back."""
        if deed in self._deeds:
            self._deeds.remove(deed)

    def file(self, receipt: Receipt) -> None:
        """Keep a receipt; the oldest one makes room."""
        self.receipts.append(receipt)

    def receipt_about(self, request_id: str | None, session_id: str | None) -> Receipt | None:
        """Return the youngest receipt about a request or a session, or None."""
        found = (r for r in reversed(self.receipts) if r.concerns(request_id, session_id))
        return next(found, None)

    def fresh_id(self, stem: str) -> str:
        """Return `stem`, with a number behind it when a receipt has that name already."""
        taken = {receipt.id for receipt in self.receipts}
        names = [stem, *(f"{stem}-{number}" for number in range(2, MOST_RECEIPTS + 3))]
        return next(name for name in names if name not in taken)
