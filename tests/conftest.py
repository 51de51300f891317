"""What all tests share: quick files and databases, untimed property tests, nobody's own files."""

import gc
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from ksi_tui.engine.store import migrations
from tests.servers import forked, warm
from tests.servers.forked import AVAILABLE, Template

_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _UNTIMED)  # as `make explore` has it: other examples each time
settings.register_profile("repeat", _UNTIMED, derandomize=True, database=None)
settings.load_profile("repeat")

_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30

# Each engine syncs its database at every commit, and a disk takes longer for that than all the
# rest takes. What a crash leaves is told by killed processes, and memory outlives those too.
if (
    "TMPDIR" not in os.environ
    and os.access(_IN_MEMORY, os.W_OK | os.X_OK)
    and shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_IN_MEMORY)


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a test does not place itself (responses, logs) out of the user's state folder."""
    folder: Path = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run half as many tests again as there are cores: a third of a test is waiting."""
    return len(os.sched_getaffinity(0)) * 3 // 2 if AVAILABLE else os.cpu_count() or 1


def pytest_sessionstart() -> None:
    """Draw no examples from constants of our own modules where examples are to be repeated.

    Which of them are imported by then, and so what is drawn, would depend on the tests before.
    """
    if settings.get_current_profile_name() == "repeat":
        none_found = providers._local_constants
        providers._get_local_constants = lambda: none_found


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without collecting garbage; leave what the run needs out of it for good."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    """Undo what a command that runs in the tests' own process does to the garbage collector.

    What it leaves there freezes the survivors of a long collection, and who then looks for what
    refers to an object, as Hypothesis does once in a process, finds nothing.
    """
    threshold, callbacks, enabled = gc.get_threshold(), gc.callbacks[:], gc.isenabled()
    yield
    gc.set_threshold(*threshold)
    gc.callbacks[:] = callbacks
    (gc.enable if enabled else gc.disable)()


@pytest.fixture(scope="session")
def template() -> Iterator[Template | None]:
    """What commands are forked from; None where each has to start from nothing."""
    if not AVAILABLE:
        yield None
        return
    with forked.template() as running:
        yield running


@pytest.fixture(scope="session")
def warm_worker() -> Iterator[Sequence[str] | None]:
    """What forks a provider worker; None where each has to start from nothing."""
    if not AVAILABLE:
        yield None
        return
    with warm.warm() as command:
        yield command


@pytest.fixture(scope="module")
def warm_workers(warm_worker: Sequence[str] | None) -> Iterator[None]:
    """Have the pools of a module's tests fork their workers."""
    with pytest.MonkeyPatch.context() as patch:
        if warm_worker is not None:
            warm.used(warm_worker, patch)
        yield


_migrate = migrations.migrate


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies() -> Iterator[None]:
    """Run the migrations once for all new databases: they take longer than most tests of those."""
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as new,
        pytest.MonkeyPatch.context() as patch,
    ):
        _migrate(new, 0)
        newest = migrations.latest()

        def migrate(connection: sqlite3.Connection, version: int) -> None:
            if version == 0 and migrations.latest() == newest:
                new.backup(connection)
                version = newest
            _migrate(connection, version)

        patch.setattr(migrations, "migrate", migrate)
        yield


@pytest.fixture
def own_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test of the migrations have them as they are."""
    monkeypatch.setattr(migrations, "migrate", _migrate)
