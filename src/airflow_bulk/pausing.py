"""How a call waits before it leaves: ``time.sleep``, unless whoever sends several at once has said otherwise. Pure.

A call that waits for its place in a rate limit, or for the end of a ``Retry-After``, leaves long after it was asked for. So who
may have to stop it meanwhile says how it waits, and raises in there: what has not left then never leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_pause: ContextVar[Callable[[float], None]] = ContextVar("airflow_bulk_pause", default=time.sleep)


def pause(seconds: float) -> None:
    """Wait in this thread, the way that was chosen for it; what that way raises means: do not leave any more."""
    _pause.get()(seconds)


@contextmanager
def pausing_by(way: Callable[[float], None]) -> Iterator[None]:
    """Let the calls of the block wait in another way.

    :param way: waits for so many seconds, and raises where the call shall not leave afterwards.
    """
    before = _pause.set(way)
    try:
        yield
    finally:
        _pause.reset(before)
