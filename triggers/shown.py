"""What a trigger tells the page about a task that waits (:mod:`airflow_bulk.shown`).

A trigger reaches neither the task's state nor its row, so what changes while a task waits is a value of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Self

from airflow_bulk.judging import KeepWaiting
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.shown import NOW_KEY, Pace, waiting_state
from airflow_bulk.unblocked_log import UnblockedLog

log = UnblockedLog(logging.getLogger(__name__))

#: Seconds for one write.
WRITING_SECONDS = 10.0


class ShownWaiting:
    """The state of one waiting task, written on change and at the pace of all that wait in this triggerer.

    :param task_instance: the trigger's ``task_instance``, as the triggerer has set it; None writes nothing.
    """

    #: How many tasks wait in this triggerer.
    waiting = 0
    __slots__ = ("_pace", "_ti")

    def __init__(self, task_instance: Any) -> None:
        self._ti = task_instance
        self._pace = Pace()

    def __enter__(self) -> Self:
        """Count this task among those that wait."""
        ShownWaiting.waiting += 1
        return self

    def __exit__(self, *_: object) -> None:
        ShownWaiting.waiting -= 1

    @property
    def again_at(self) -> float:
        """When a state is to be written although nothing changes any more, by the monotonic clock."""
        return self._pace.again_at

    async def tell(self, seen: Sequence[RemoteSnapshot], verdict: KeepWaiting) -> None:
        """Write what was seen, if it has changed and it is time; a value that cannot be written is left out."""
        if self._ti is None:
            return
        state = waiting_state(seen, verdict)
        if not self._pace.is_due(state, ShownWaiting.waiting):
            return
        from airflow.sdk import BaseXCom

        map_index = self._ti.map_index
        writing = BaseXCom.aset(
            NOW_KEY,
            {**state, "at": time.time()},
            dag_id=self._ti.dag_id,
            task_id=self._ti.task_id,
            run_id=self._ti.run_id,
            map_index=-1 if map_index is None else map_index,
        )
        try:
            # The wait has a deadline of its own, and a write that never ends must not hold it up.
            await asyncio.wait_for(writing, WRITING_SECONDS)
        except Exception as error:  # noqa: BLE001  (what people see must not end a wait)
            self._pace.forget()
            log.debug("The page does not learn of this: %s.", type(error).__name__)
