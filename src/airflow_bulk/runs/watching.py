"""What a sensor sees of the thing it waits for, and since when it waits.

Airflow counts a sensor's timeout over reschedules and their retries, anew for each try in poke mode, and not at all
for deferrals. The task's state survives all of these (airflow.md section 1.4), so one start serves all. That
start is the one thing that a sensor writes into its task's state.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from airflow_bulk import judging
from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline, Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "waiting_since"


def waiting_since(context: Context) -> float:
    """Return the seconds since 1970 of the first poll, and record them at the first poll.

    A clear begins anew: it changes ``max_tries``, and nothing else does (airflow.md section 2.1). Without a
    task state, as in a test that calls ``poke`` by hand, waiting begins now.
    """
    now = time.time()
    store: Any = context.get("task_state_store")
    if store is None:
        return now
    max_tries = context["ti"].max_tries
    known = store.get(KEY)
    if isinstance(known, dict) and known.get("max_tries") == max_tries:
        return float(known["since"])
    store.set(KEY, {"since": now, "max_tries": max_tries})
    return now


class Watch(ABC):
    """What a sensor sees of the thing it waits for.

    :param started: seconds since 1970 of the first poll.
    :param timeout: seconds from then to the deadline.
    :param poll_interval: seconds between two polls.
    :param rules: more of :class:`airflow_bulk.judging.WaitingRules`.
    """

    def __init__(self, *, started: float, timeout: float, poll_interval: float, **rules: Any) -> None:
        self.deadline = started + timeout
        self.rules = judging.WaitingRules(
            started=started, deadline=self.deadline, poll_interval=poll_interval, **rules
        )
        self.progress = judging.WaitingProgress(logging.getLogger(type(self).__module__))

    def wait_on(self) -> KeepWaiting:
        """Go on without having seen anything."""
        seconds = judging.next_poll(self.rules, time.time())
        return judging.KeepWaiting(seconds, judging.add_up(()), "the platform could not be asked")

    @abstractmethod
    def poll(self) -> Verdict:
        """Ask the platform once and judge what it shows."""

    @abstractmethod
    def why_not_good(self, verdict: Finished | FailedBecause) -> str:
        """Say why what is over is not good; empty when it is."""

    @abstractmethod
    def say_late(self, verdict: PastDeadline, timeout: float) -> str:
        """Say that it is too late, and what still goes on."""

    @abstractmethod
    def result(self, verdict: Verdict) -> dict[str, Any]:
        """Make the sensor's result."""
