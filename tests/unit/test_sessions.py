"""Sessions, their agents, and conversation locks; no clock, no I/O."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import Lock
from ksi_tui.engine.session_manager import RENEWED_S, LockTable, Session, SessionManager

AGENTS = ("a1", "a2", "a3")


# --- sessions -----------------------------------------------------------------------------


def test_agents_and_sessions_map_both_ways() -> None:
    sessions = SessionManager()
    sessions.seen("s1", "a1", 1)
    sessions.seen("s2", "a1", 2)
    both = sessions.seen("s1", "a2", 3)
    assert both.agents == {"a1", "a2"}
    assert sessions.sessions_of("a1") == {"s1", "s2"}
    assert sessions.sessions_of("a2") == {"s1"}
    assert sessions.sessions_of("nobody") == frozenset()
    assert (len(sessions), sessions.agent_count) == (2, 2)


def test_the_end_of_a_session_ends_it_in_both_maps() -> None:
    sessions = SessionManager()
    sessions.seen("s1", "a1", 1)
    sessions.seen("s1", "a2", 1)
    sessions.seen("s2", "a1", 1)
    assert sessions.end("s1") is not None
    assert sessions.sessions_of("a1") == {"s2"}
    assert sessions.sessions_of("a2") == frozenset()
    assert (len(sessions), sessions.agent_count) == (1, 1)
    assert sessions.end("s1") is None


def test_a_request_without_agent_joins_nobody() -> None:
    sessions = SessionManager()
    assert sessions.seen("s", None, 1).agents == set()
    assert sessions.agent_count == 0


def test_activity_is_the_last_time_seen_and_creation_the_first() -> None:
    sessions = SessionManager()
    sessions.seen("s", None, 10)
    session = sessions.seen("s", None, 25)
    assert (session.created_at, session.last_activity) == (10, 25)
    assert sessions.idle_since(25) == []
    assert sessions.idle_since(25.1) == [session]


def test_a_restored_session_brings_its_agents() -> None:
    sessions = SessionManager()
    old = Session(session_id="s", created_at=1, last_activity=2, turn_count=4, agents={"a1"})
    sessions.restore(old)
    assert sessions.seen("s", "a2", 9) is old
    assert sessions.sessions_of("a1") == {"s"}
    assert old.turn_count == 4


# --- locks --------------------------------------------------------------------------------


def test_a_lock_keeps_everybody_out_but_its_holder() -> None:
    locks = LockTable()
    assert locks.acquire("s", "a1", 10, 100, None) is not None
    assert locks.blocks("s", "a1", 105) is None
    assert locks.blocks("s", "a2", 105) is not None
    assert locks.blocks("s", None, 105) is not None
    assert locks.blocks("other", "a2", 105) is None
    assert locks.acquire("s", "a2", 10, 105, None) is None


def test_it_ends_at_its_expiry_exactly() -> None:
    locks = LockTable()
    locks.acquire("s", "a1", 10, 100, None)
    assert locks.blocks("s", "a2", 109.999) is not None
    assert locks.blocks("s", "a2", 110) is None
    taken = locks.acquire("s", "a2", 10, 110, None)
    assert taken is not None
    assert (taken.holder, taken.extended, taken.granted_at) == ("a2", 0, 110)


def test_the_holder_extends_and_never_shortens() -> None:
    locks = LockTable()
    locks.acquire("s", "a1", 100, 0, None)
    shorter = locks.acquire("s", "a1", 5, 50, None)
    assert shorter is not None
    assert (shorter.expires_at, shorter.extended, shorter.granted_at) == (100, 1, 0)
    longer = locks.acquire("s", "a1", 100, 60, None)
    assert longer is not None
    assert (longer.expires_at, longer.extended) == (160, 2)


def test_an_extension_by_hand_makes_a_requests_lock_the_agents_own() -> None:
    locks = LockTable()
    locks.acquire("s", "a1", 10, 0, "r-1")
    by_hand = locks.acquire("s", "a1", 10, 1, None)
    assert by_hand is not None
    assert by_hand.request_id is None


def test_renewing_is_no_extension_by_hand() -> None:
    locks = LockTable()
    locks.acquire("s", "a1", 10, 0, "r-1")
    renewed = locks.renew("s", 9)
    assert renewed is not None
    assert (renewed.expires_at, renewed.extended, renewed.request_id) == (19, 0, "r-1")
    locks.acquire("short", "a", 0.001, 0, "r-2")
    again = locks.renew("short", 9)
    assert again is not None
    assert (again.expires_at, again.hold_s) == (9 + RENEWED_S, 0.001)
    assert locks.renew("free", 9) is None


def test_releasing_returns_what_was_held() -> None:
    locks = LockTable()
    held = locks.acquire("s", "a1", 10, 0, None)
    assert list(locks) == [held]
    assert locks.release("s") == held
    assert locks.release("s") is None
    assert len(locks) == 0


def test_a_restored_lock_holds() -> None:
    locks = LockTable()
    locks.restore(Lock(session_id="s", holder="a1", granted_at=0, expires_at=50, hold_s=50))
    assert locks.blocks("s", "a2", 49) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acquire", "release", "pass"]),
            st.sampled_from(AGENTS),
            st.floats(0.5, 20),
        ),
        max_size=40,
    )
)
def test_never_two_holders_and_never_a_holder_after_its_expiry(
    steps: list[tuple[str, str, float]],
) -> None:
    locks, now, mine = LockTable(), 0.0, dict[str, float]()
    for what, agent, amount in steps:
        if what == "pass":
            now += amount
        elif what == "acquire":
            granted = locks.acquire("s", agent, amount, now, None)
            in_force = {who for who, until in mine.items() if until > now}
            assert (granted is not None) == (in_force <= {agent})
            if granted is not None:
                mine = {agent: max(now + amount, mine.get(agent, 0) if in_force else 0)}
                assert granted.expires_at == mine[agent]
        else:
            locks.release("s")
            mine = {}
        for who in AGENTS:
            others = any(until > now for holder, until in mine.items() if holder != who)
            assert (locks.blocks("s", who, now) is not None) == others


def test_as_many_sessions_of_an_agent_as_are_asked_for() -> None:
    sessions = SessionManager()
    for number in range(5):
        sessions.seen(f"s{number}", "a1", 0)
    assert len(sessions.sessions_of("a1", 3)) == 3
    assert (
        sessions.sessions_of("a1", 3) < sessions.sessions_of("a1", 9) == sessions.sessions_of("a1")
    )
