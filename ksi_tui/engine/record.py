"""Declares the values of which each completion makes many.

They are frozen for whoever writes code, as the type checker sees to it, and plain for the
interpreter: a frozen dataclass sets each of its fields through a call, which for the twenty
values of a completion was a twelfth of all that the engine takes for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, slots, kw_only=False):
        """Return what makes a class a dataclass that compares and hashes as a frozen one does."""
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=frozen)


__all__ = ["record"]
