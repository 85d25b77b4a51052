"""``Retry-After``: how long a platform asks to be left alone, read and said."""

from __future__ import annotations

import email.utils
import math
import time
from contextlib import suppress

#: A ``Retry-After`` beyond this many seconds is left to Airflow's retry delay.
LONGEST_RETRY_AFTER = 120.0


def say_wait(status: int, asked: float | None) -> str:
    """Say how long a platform asks to be left alone, after a comma; a 429 is silent about it at worst.

    :param asked: seconds of its ``Retry-After``; None: it sent none that can be read.
    """
    if asked is not None:
        return f", and asks to wait {asked:.0f} s"
    return ", and does not say how long to wait" if status == 429 else ""


def say_retry(retry: str, asked: float | None) -> str:
    """Say what a retry does; an early one cannot help where the platform asks for more than a call waits.

    :param asked: seconds of the platform's ``Retry-After``; None: it sent none that can be read.
    """
    long = asked is not None and asked > LONGEST_RETRY_AFTER
    return f"{retry} Let it come later than that, by the task's retry_delay." if long else retry


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (seconds or a date), or None."""
    if not value:
        return None
    with suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
