"""What all tests share: files in memory, property tests untimed, and nobody's own files touched."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

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
