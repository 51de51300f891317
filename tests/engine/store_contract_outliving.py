"""What any `Store` must do with what outlives requests: sessions, locks, providers, pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from ksi_tui.engine.models import (
    Lock,
    Message,
    Pause,
    PauseScope,
    State,
)
from ksi_tui.engine.store.base import (
    Admitted,
    LockGone,
    LockSaved,
    PauseGone,
    PauseSaved,
    ProviderSaved,
    SessionSeen,
    Store,
    TurnsForgotten,
    Write,
)
from tests.engine.store_values import (
    T0,
    accepted,
    finished,
)

Open = Callable[[], Awaitable[Store]]


class OutlivingContract:
    """The part of `StoreContract` that is about more than one request."""

    # --- sessions, locks, providers -------------------------------------------------------

    async def test_a_session_counts_its_requests_and_turns(self, store: Store) -> None:
        first = SessionSeen(session_id="s", created_at=T0, last_activity=T0, agent_id="a2")
        turn = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})
        await store.write(first, accepted(1, session_id="s", agent_id="a1"))
        await store.write(
            accepted(2, session_id="s", at=T0 + 7), finished(1, 1, session_id="s", turn=turn)
        )
        found = await store.session("s")
        assert found is not None
        assert (found.created_at, found.last_activity) == (T0, T0 + 7)
        assert (found.request_count, found.turn_count) == (2, 1)
        assert found.agents == ("a1", "a2")

    async def test_load_brings_sessions_that_are_in_use(self, store: Store) -> None:
        await store.write(
            accepted(1, agent_id="a1"),
            SessionSeen(session_id="s-1", created_at=T0, last_activity=T0, agent_id="a2"),
            accepted(2),
            finished(2, 1, was=State.QUEUED),
            SessionSeen(session_id="locked", created_at=T0, last_activity=T0),
            LockSaved(lock=_lock("locked")),
            SessionSeen(session_id="idle", created_at=T0, last_activity=T0, ended_at=T0 + 1),
        )
        found = {session.session_id: session for session in (await store.load()).sessions}
        assert set(found) == {"s-1", "locked"}
        assert sorted(found["s-1"].agents) == ["a1", "a2"]

    async def test_sessions_are_known_by_their_names(self, store: Store) -> None:
        ended = SessionSeen(session_id="b", created_at=T0, last_activity=T0, ended_at=T0 + 1)
        await store.write(accepted(1, session_id="a"), ended)
        assert await store.sessions_named(["a", "b", "c"]) == {"a", "b"}
        assert await store.sessions_named([]) == frozenset()

    async def test_the_last_word_on_a_lock_counts(self, store: Store) -> None:
        kept = replace(_lock("kept"), extended=2, request_id="r-9")
        await store.write(LockSaved(lock=_lock("kept")), LockSaved(lock=_lock("gone")))
        await store.write(
            LockGone(session_id="kept"), LockSaved(lock=kept), LockGone(session_id="gone")
        )
        assert (await store.load()).locks == [kept]

    async def test_the_last_state_of_a_provider_counts(self, store: Store) -> None:
        await store.write(
            ProviderSaved(provider="openai", state={"open": False}),
            ProviderSaved(provider="openai", state={"open": True, "until": None}),
        )
        await store.write(ProviderSaved(provider="azure", state={}))
        assert (await store.load()).providers == {
            "openai": {"open": True, "until": None},
            "azure": {},
        }

    async def test_the_last_call_of_each_number_counts_against_a_limit(self, store: Store) -> None:
        assert (await store.load()).admissions == {}
        first = Admitted(provider="openai", number=0, at=T0, tokens=500)
        await store.write(first, Admitted(provider="openai", number=1, at=T0 + 1, tokens=7))
        await store.write(
            Admitted(provider="openai", number=0, at=T0 + 61, tokens=9),
            Admitted(provider="openai", number=0, at=T0 + 61, tokens=3),
            Admitted(provider="azure", number=0, at=T0 + 2, tokens=0),
        )
        found = (await store.load()).admissions
        assert {provider: sorted(rows) for provider, rows in found.items()} == {
            "openai": [(0, T0 + 61, 3), (1, T0 + 1, 7)],
            "azure": [(0, T0 + 2, 0)],
        }

    async def test_turns_are_the_newest_whole_pairs_that_fit(self, store: Store) -> None:
        pairs = [_pair(number) for number in range(1, 31)]
        for number, pair in enumerate(pairs, start=1):
            store.write(
                accepted(number, session_id="s"),
                finished(number, number, session_id="s", turn=pair),
            )
        await store.write(accepted(99), finished(99, 99, session_id="other", turn=_pair(1)))
        assert await store.turns("s", 100 * 30) == [message for pair in pairs for message in pair]
        assert await store.turns("s", 250) == [*pairs[28], *pairs[29]]
        assert await store.turns("s", 99) == []
        assert await store.turns("nobody", 1000) == []

    async def test_a_sessions_newest_requests_come_oldest_first(self, store: Store) -> None:
        await store.write(*[accepted(number, session_id="s") for number in range(1, 6)])
        await store.write(accepted(6), finished(5, 1, session_id="s", text="t"))
        found = await store.session_requests("s", 3)
        assert [one.spec.request_id for one in found] == ["r-3", "r-4", "r-5"]
        assert found[2].text is None  # replies are long, and a list shows none

    # --- pauses ---------------------------------------------------------------------------

    async def test_what_is_paused_is_found_until_it_is_resumed(
        self, store: Store, open_again: Open
    ) -> None:
        engine = Pause(scope=PauseScope.ENGINE, since=T0 + 2, by="op1", reason="déploy \ud800")
        session = Pause(scope=PauseScope.SESSION, id="s-1", since=T0 + 1)
        provider = Pause(scope=PauseScope.PROVIDER, id="s-1", since=T0, by="op2")
        gone = Pause(scope=PauseScope.SESSION, id="s-2", since=T0)
        await store.write(PauseSaved(pause=engine), PauseSaved(pause=session))
        await store.write(
            PauseSaved(pause=gone),
            PauseGone(scope=PauseScope.SESSION, id="s-2"),
            PauseGone(scope=PauseScope.PROVIDER, id="s-1"),
            PauseSaved(pause=provider),
        )
        expected = [provider, session, replace(engine, reason="déploy ?")]
        assert await store.pauses() == expected
        await store.aclose()
        again = await open_again()
        recovery = await again.load()
        await again.write(PauseGone(scope=PauseScope.ENGINE, id=None))
        left = await again.pauses()
        await again.aclose()
        assert recovery.pauses == expected
        assert left == [provider, session]

    # --- a conversation that begins anew ---------------------------------------------------

    @pytest.mark.parametrize("together", [False, True])
    async def test_forgotten_turns_are_gone_and_later_ones_stay(
        self, store: Store, *, together: bool
    ) -> None:
        before = [finished(n, n, session_id="s", turn=_pair(n)) for n in (1, 2)]
        after = finished(3, 3, session_id="s", turn=_pair(3))
        other = finished(4, 4, session_id="t", turn=_pair(4))
        await store.write(*[accepted(n, session_id="st"[n == 4]) for n in (1, 2, 3, 4)])
        writes: list[Write] = [*before, other, TurnsForgotten(session_id="s"), after]
        for group in [writes] if together else [[write] for write in writes]:
            await store.write(*group)
        assert await store.turns("s", 10**6) == list(_pair(3))
        assert await store.turns("t", 10**6) == list(_pair(4))
        counted = [await store.session(name) for name in "st"]
        assert [found.turn_count for found in counted if found] == [1, 1]
        # The record stays.
        assert len(await store.results()) == 4

    async def test_forgetting_a_session_that_is_none_makes_none(self, store: Store) -> None:
        await store.write(TurnsForgotten(session_id="s"))
        assert await store.session("s") is None


def _lock(session_id: str) -> Lock:
    return Lock(session_id=session_id, holder="a7", granted_at=T0, expires_at=T0 + 30, hold_s=30.0)


def _pair(number: int) -> tuple[Message, Message]:
    """A pair of turns of 100 characters together."""
    question = f"question {number:3}".ljust(60, ".")
    return {"role": "user", "content": question}, {"role": "assistant", "content": "a" * 40}
