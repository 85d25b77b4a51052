"""Let a task end with its supervisor, so that an orphan does not burn bandwidth for hours.

Exactly once does not rest on it (the commit gate holds without), see airflow.md section 4.3.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1


def _supervised() -> bool:
    """Whether a real supervisor is the parent: in ``dag.test()`` the process is the user's own."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)) is CommsDecoder


@contextmanager
def ends_with_supervisor(enabled: bool = True) -> Iterator[None]:
    """Ask the kernel to kill this process when its supervisor dies (Linux; elsewhere nothing happens).

    :param enabled: False leaves the process alone, for ``run_as_user``, where it is lost anyway.
    """
    if not enabled or not sys.platform.startswith("linux") or not _supervised():
        yield
        return
    import ctypes

    libc = ctypes.CDLL(None)
    parent = os.getppid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_PDEATHSIG, 0)
