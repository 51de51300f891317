"""A crash leaves no picture of the memory on disk: there are keys in it.

For processes that hold keys, and nothing else. Whoever wants one after all raises the limit of a
process that runs: `prlimit --core=unlimited --pid PID`.
"""

from __future__ import annotations

import resource


def leave_none() -> None:
    """Let this process and those that it starts leave no core dump."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
