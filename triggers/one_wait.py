"""One trigger's wait: which polls concern it, and what it makes of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, TypeVar

from airflow_bulk import judging
from airflow_bulk.judging import Crowd, KeepWaiting, WaitingProgress, WaitingRules
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.triggers.looks import Look
from airflow_bulk.triggers.shown import ShownWaiting

S = TypeVar("S", bound=RemoteSnapshot)

#: How many first lines a second tasks of a crowd write that begin to wait at once; each is a message to another process.
LINES_A_SECOND = 20.0


class OneWait(Generic[S]):
    """Judges the polls that concern one trigger.

    A poll concerns it when something has changed that counts for it, and when it is time for another verdict, a line in the
    task's log or a word to the page. Other polls wake nobody: ten thousand triggers may wait.

    :param rules: the rules of the waiting.
    :param named: ids of the executions that alone count; None where others may.
    :param counting: given what is listed of these ids, what counts.
    :param log: the trigger's logger.
    :param task_instance: the trigger's ``task_instance``, as the triggerer has set it.
    """

    __slots__ = ("_counting", "_named", "_progress", "_rules", "_tell_at", "_until", "shown")

    def __init__(
        self,
        rules: WaitingRules,
        named: Collection[str] | None,
        counting: Callable[[Sequence[S]], list[S]],
        log: Any,
        task_instance: Any,
    ) -> None:
        self._rules = rules
        self._named = named
        self._counting = counting
        self._progress = WaitingProgress(log)
        self.shown = ShownWaiting(task_instance)
        #: In seconds since 1970, and by the monotonic clock. The first poll is always judged.
        self._until, self._tell_at = -math.inf, math.inf

    def interval(self, look: Look[S]) -> float:
        """Seconds until the next poll."""
        return judging.next_poll(self._rules, time.time())

    def heeds(self, look: Look[S]) -> bool:
        """Whether a poll concerns this trigger."""
        return look.concerns(self._named) or time.time() >= self._until or time.monotonic() >= self._tell_at

    async def judge(self, look: Look[S]) -> judging.Verdict | None:
        """Judge, and tell of a wait that goes on; None then."""
        counting = self._counting(look.of(self._named))
        verdict = judging.judge(counting, self._rules, time.time())
        if not isinstance(verdict, KeepWaiting):
            return verdict
        crowd = Crowd(look.waiting, ShownWaiting.waiting / LINES_A_SECOND) if look.waiting > 1 else None
        self._progress.tell(verdict.totals, verdict.why, verdict.unknown, crowd)
        await self.shown.tell(counting, verdict)
        self._until = verdict.until
        self._tell_at = min(self._progress.again_at, self.shown.again_at)
        return None
