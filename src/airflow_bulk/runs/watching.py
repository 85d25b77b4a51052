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
from airflow_bulk.runs import failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_bulk.platforms.errors import PlatformError
    from airflow_bulk.platforms.status import RemoteSnapshot

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
        self.timeout = timeout
        self.progress = judging.WaitingProgress(logging.getLogger(type(self).__module__))
        #: As last seen; None while nothing was seen.
        self._last: Sequence[RemoteSnapshot] | None = None
        #: Why the last poll showed nothing; None where it showed something.
        self._unanswered: PlatformError | None = None

    @property
    @abstractmethod
    def thing(self) -> str:
        """What is watched, with its id, as the beginning of a sentence."""

    @abstractmethod
    def poll(self) -> Verdict:
        """Ask the platform once and judge what it shows."""

    def _judge(self, seen: Sequence[RemoteSnapshot]) -> Verdict:
        """Judge what a poll showed, and remember it for :meth:`say_late`."""
        self._last, self._unanswered = seen, None
        return judging.judge(seen, self.rules, time.time())

    def unanswered(self, error: PlatformError) -> KeepWaiting | PastDeadline:
        """Judge a poll that showed nothing: wait on, until the deadline."""
        self._unanswered = error
        now = time.time()
        if now >= self.deadline:
            return judging.past_deadline(self._last or ())
        return judging.KeepWaiting(
            judging.next_poll(self.rules, now), judging.add_up(()), "the platform could not be asked"
        )

    @abstractmethod
    def why_not_good(self, verdict: Finished | FailedBecause) -> str:
        """Say why what is over is not good; empty when it is."""

    def say_late(self) -> str:
        """Say that it is too late: what was last seen, what still goes on, and what a person can do.

        In the modes that leave the worker, each poll begins a new watch: it cannot say what an earlier one saw.
        """
        seen, said = "", []
        if self._last is not None:
            last = judging.past_deadline(self._last)
            seen, said = f"last seen: {self._describe(last)}", [self._goes_on(last)]
        if self._unanswered is not None:
            said.append(f"The last poll could not {self._unanswered.what}: {self._unanswered.why}.")
        return failures.say_late(
            self.thing, self.timeout, "the first poll", " ".join(said), seen=seen, then=failures.WAITS_ANEW
        )

    @abstractmethod
    def _describe(self, last: PastDeadline) -> str:
        """Say how it was last seen, in a few words."""

    @abstractmethod
    def _goes_on(self, last: PastDeadline) -> str:
        """Say what still goes on, and where a person can look."""

    @abstractmethod
    def result(self, verdict: Verdict) -> dict[str, Any]:
        """Make the sensor's result."""
