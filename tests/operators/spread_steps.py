"""A spread import without a scheduler: its five steps as tasks over their tries, each as a worker runs it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from one_task import MemoryStore, Task

from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.operators.spread_import import (
    ImportSpreadOperator,
    JudgeSpreadCheckOperator,
    JudgeSpreadOperator,
    PlanSpreadOperator,
)

_runs = itertools.count()
ARGUMENTS: dict[str, Any] = {
    "document_type": "USER_PROFILE",
    "name": "profiles",
    "sending": SendingOptions(max_part_bytes=10_000, settle=0.2),
    "poll_interval": 0.2,
}
UNJUDGED = {"max_failures": "100%", "on_empty": "ok"}


class Spread:
    """One run of a spread import; what a step returns is what the next one gets.

    :param source: as a DAG's author gives it.
    :param spread: how many groups are asked for.
    :param arguments: of the imports.
    :ivar groups: what ``plan`` has returned, and later ``judge_check``.
    :ivar results: of the imports, by the number of the group.
    """

    def __init__(
        self,
        source: Path | str | list[str],
        spread: int = 3,
        *,
        max_failures: Any = 0,
        on_empty: str = "fail",
        clears_discard: bool = False,
        **arguments: Any,
    ) -> None:
        self.spread, self.max_failures, self.on_empty = spread, max_failures, on_empty
        self.arguments = {**ARGUMENTS, **arguments}
        self.arguments["source"] = source if isinstance(source, list) else str(source)
        self._run_id, self._clears_discard = f"spread-{next(_runs)}", clears_discard
        self._tasks: dict[tuple[str, int], Task] = {}
        self.groups: list[dict[str, Any]] = []
        self.results: dict[int, dict[str, Any]] = {}

    def task(self, step: str, make: Any, index: int = -1, store: MemoryStore | None = None) -> Task:
        """The task of a step, the same at every try."""
        one = self._tasks.setdefault(
            (step, index), Task(make, store, run_id=self._run_id, clears_discard=self._clears_discard)
        )
        one.make, one.task_id, one.map_index = make, f"load.{step}", index
        return one

    def plan(self) -> list[dict[str, Any]]:
        """Cut the source."""
        options = {**self.arguments, "on_empty": self.on_empty}
        one = self.task("plan", lambda: PlanSpreadOperator(task_id="plan", spread=self.spread, **options))
        self.groups = one.run()
        return self.groups

    def check(self) -> list[dict[str, Any]]:
        """Check all groups; the last one first, for nobody says in which order they run."""
        found = []
        for index, group in reversed(list(enumerate(self.groups))):
            options = {**self.arguments, **UNJUDGED, "dry_run": True, "group": group}
            one = self.task(
                "check", lambda options=options: ImportSpreadOperator(task_id="check", **options), index
            )
            found.append(one.run())
        return found

    def judge_check(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Judge what was checked."""
        options = {
            "groups": self.groups,
            "results": found,
            "max_failures": self.max_failures,
            "max_deletions": self.arguments.get("max_deletions"),
            "on_empty": self.on_empty,
        }
        one = self.task("judge_check", lambda: JudgeSpreadCheckOperator(task_id="judge_check", **options))
        self.groups = one.run()
        return self.groups

    def before(self) -> list[dict[str, Any]]:
        """All that comes before a line is sent."""
        self.plan()
        return self.judge_check(self.check())

    def sender(self, index: int, store: MemoryStore | None = None, **more: Any) -> Task:
        """The task that sends a group."""
        options = {**self.arguments, **UNJUDGED, "group": self.groups[index], **more}
        return self.task("send", lambda: ImportSpreadOperator(task_id="send", **options), index, store)

    def send(self, index: int) -> dict[str, Any]:
        """Send one group, or go on with it."""
        result: dict[str, Any] = self.sender(index).run()
        self.results[result["group"]] = result
        return result

    def judge(self, results: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Add up and judge."""
        given = list(self.results.values()) if results is None else results
        options = {"groups": self.groups, "results": given, "max_failures": self.max_failures}
        one = self.task("judge", lambda: JudgeSpreadOperator(task_id="judge", **options))
        result: dict[str, Any] = one.run()
        return result

    def clear(self) -> None:
        """Clear all tasks."""
        for one in self._tasks.values():
            one.clear()

    def run(self) -> dict[str, Any]:
        """All steps."""
        for index in range(len(self.before())):
            self.send(index)
        return self.judge()
