"""What stands beside the writes of an apply: the permit that each one needs, and what people hear of their progress."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from airflow.sdk import TaskInstanceState

from airflow_bulk.extract_load.applying import Applied, ApplyProgress
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.shown import ShownRun
from airflow_bulk.shown import ROW_KEYS

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Seconds between two questions to Airflow whether the try may still write.
_PERMIT_SECONDS = 1.0
#: Seconds between two lines of the log about an apply's progress.
LOG_SECONDS = 30.0
#: Seconds after which the page shows an apply's progress: one that is over before costs no write of its own.
SHOWN_AFTER = 2.0


class ApplyTask(Protocol):
    """An apply, as far as its permit and its progress need it."""

    task_id: str
    object_name: str
    stopped: bool

    @property
    def log(self) -> Any:
        """The task's log."""


class WritePermit:
    """May this try still write? Not once it was superseded, cleared or marked: Airflow is asked.

    Called in the task's own thread: before each write, and each second while all writes under way wait for an answer.
    A superseded try cannot write into its store. One that was cleared or marked still can, until its supervisor hears of
    it; but it no longer counts as running, so another run's apply may begin (``max_active_tis_per_dag``). Both are asked at
    most once a second: what an older try could still write meanwhile, a newer one waits for (``settle``).
    """

    def __init__(self, context: Context, task: ApplyTask) -> None:
        self._store = context.get("task_state_store")
        self._ti = context["ti"]
        self._task = task
        self._asked = 0.0

    def __call__(self) -> None:
        """Ask, unless it was asked a moment ago.

        :raises Exception: this try may write no further.
        """
        if self._task.stopped:
            raise TaskStopped(f"{self._task.task_id} was stopped")
        if self._store is not None and time.monotonic() - self._asked >= _PERMIT_SECONDS:
            self._store.set("apply.writing", datetime.now(UTC).isoformat())
            self._check_state()
            self._asked = time.monotonic()

    def _check_state(self) -> None:
        ti = self._ti
        found = ti.get_task_states(
            dag_id=ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
        )
        if (states := set(found.get(ti.run_id, {}).values())) != {TaskInstanceState.RUNNING}:
            told = ", ".join(sorted(map(str, states))) or "gone"
            raise TaskStopped(
                f"{self._task.task_id} is {told} now, so this try writes no further; what it wrote stays, and the next"
                " try finds it"
            )


class ApplyShown:
    """Tells people how far an apply is: the log, every half minute and at the end of each stage, and the page.

    A ``with`` block around the writes. An apply that ends early says how far it came. The page shows the applies of a group
    as jobs of the group's row; one that stands alone has a row of its own, once it has written for :data:`SHOWN_AFTER` seconds.
    """

    def __init__(self, context: Context, task: ApplyTask) -> None:
        self._task = task
        self._shown = ShownRun(context["ti"], ROW_KEYS["extract_load"])
        self._alone = not hasattr(getattr(task, "task_group", None), "tasks_by_node")
        self._progress = ApplyProgress()
        self._applied = Applied()
        self._began = self._logged = time.monotonic()
        self._started = time.time()

    def told(self, progress: ApplyProgress, applied: Applied) -> None:
        """Hear of a write that has ended, or of a stage that has."""
        self._progress, self._applied = progress, applied
        now = time.monotonic()
        if now - self._began >= SHOWN_AFTER:
            if self._alone:
                self._shown.tell(self._row("writing"))
            self._shown.tell_now(self._state())
        if now - self._logged >= LOG_SECONDS or progress.over:
            self._logged = now
            self._task.log.info("%s: %s", self._task.object_name, say_progress(progress))

    def _row(self, phase: str) -> dict[str, Any]:
        return {
            "kind": "apply",
            "name": self._task.object_name,
            "phase": phase,
            "started": self._started,
        }

    def _state(self) -> dict[str, Any]:
        applied = self._applied
        return {
            "phase": "writing",
            "why": say_progress(self._progress),
            "done": self._progress.done,
            "total": self._progress.total,
            "created": applied.created,
            "updated": applied.updated,
            "deleted": applied.deleted,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TaskStopped):
            self._say_early()
        elif error is not None:
            self._say_early()
            if self._shown.row:
                self._shown.tell_failure(f"{type(error).__name__}; the log of the task has its text.")
        elif self._shown.row:
            self._shown.tell({**self._row("over"), "seconds": time.time() - self._started})

    def _say_early(self) -> None:
        progress, applied = self._progress, self._applied
        if not progress.stage:
            return
        unanswered = (
            f" Of {progress.unanswered} more nobody knows whether they were carried out."
            if progress.unanswered
            else ""
        )
        self._task.log.warning(
            "%s: the apply ends early: %s. Written in all: %d updated, %d created, %d deleted; that stays.%s",
            self._task.object_name,
            say_progress(progress),
            applied.updated + applied.second_writes,
            applied.created,
            applied.deleted,
            unanswered,
        )


def say_progress(progress: ApplyProgress) -> str:
    """How far a stage is, in words: ``created 1,200 of 50,000``."""
    if progress.stage == "referenced":  # how many of them need a write shows as they come
        return f"filled in {progress.done:,} references to new records"
    return f"{progress.stage} {progress.done:,} of {progress.total:,}"
