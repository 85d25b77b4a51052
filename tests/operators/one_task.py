"""A task without a scheduler: the real operator, the real HTTP, and a task state that survives tries.

What only a scheduler can do (kill, clear, defer and resume) is tested in ``tests/crash`` and ``tests/dags``.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bulk.runs.record_copy import record_asset

#: What names the task.
ME = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)


class MemoryStore:
    """The task state store's contract: values are JSON, a superseded try is refused."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.refused = False

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert value is not None
        if self.refused:
            raise BrokenPipeError("a newer try exists")
        self.values[key] = json.dumps(value)


class AssetState:
    """An asset's state: no clear touches it, and no try is refused."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


class DyingStore(MemoryStore):
    """Dies at one write, before or after it counts: the try ends there, as by SIGKILL."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.at = at
        self.after = after
        self.writes = 0

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.writes += 1
        if self.writes == self.at and not self.after:
            raise Killed
        super().set(key, value, retention=retention)
        if self.writes == self.at:
            raise Killed


class Task:
    """One task instance over its tries: each ``run`` builds the operator anew, as a worker does.

    :param make: builds the operator.
    :param store: the task state.
    :param run_id: of its DAG run; another one for each task unless it is named.
    :param clears_discard: a clear deletes the task state, as from Airflow 3.4 on.
    :ivar pushed: what was pushed to XCom, but for the page.
    :ivar shown: what the page is told.
    :ivar place: where in a loop it is.
    :ivar map_index: of the task.
    :ivar task_ids: the other tasks of its DAG.
    :ivar active_runs: ids of DAG runs that are not over.
    :ivar others: the states of the run's other task instances, by task id and map index.
    :ivar xcom_of_others: what those pushed, by task id and key.
    """

    _runs = itertools.count()

    def __init__(
        self,
        make: Any,
        store: MemoryStore | None = None,
        *,
        run_id: str | None = None,
        clears_discard: bool = False,
    ) -> None:
        self.make = make
        self.run_id = run_id or f"r{next(self._runs)}"
        self.store = store or MemoryStore()
        self.asset_state = AssetState() if clears_discard else None
        self.state = "running"
        self.task_id = "t"
        self.map_index = -1
        self.task_ids = ["t", "mapped"]
        self.active_runs: set[str] = set()
        self.others: dict[tuple[str, int], str] = {}
        self.xcom_of_others: dict[str, dict[str, Any]] = {}
        self.place: dict[str, Any] = {}
        self.pushed: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}
        self.try_number = 0
        self.max_tries = 2
        self.clear_number = 0
        self.operator: Any = None

    def context(self, **params: Any) -> dict[str, Any]:
        ti = SimpleNamespace(
            id=f"id-{self.try_number}",
            dag_id="d",
            task_id=self.task_id,
            run_id=self.run_id,
            map_index=self.map_index,
            try_number=self.try_number,
            max_tries=self.max_tries,
            **self.place,
            xcom_push=self.push,
            get_dr_count=lambda dag_id, run_ids, states: len(self.active_runs & set(run_ids)),
            xcom_pull=lambda task_ids, key, map_indexes: self.xcom_of_others.get(task_ids, {}).get(key),
        )
        run = SimpleNamespace(clear_number=self.clear_number, run_id=self.run_id)
        context = {
            "ti": ti,
            "dag_run": run,
            "task_state_store": self.store,
            "run_id": self.run_id,
            "params": params,
        }
        if self.asset_state is not None:
            context["asset_state_store"] = {record_asset(): self.asset_state}
        if self.asset_state is not None or self.others:
            ti.task = SimpleNamespace(
                on_success_callback=[], dag=SimpleNamespace(task_ids=[*self.task_ids, self.task_id])
            )
            ti.get_task_states = self.task_states
        return context

    def push(self, key: str, value: Any) -> None:
        (self.shown if key.startswith("bulk") else self.pushed)[key] = json.loads(json.dumps(value))

    def task_states(
        self, *, map_index: int, task_ids: list[str] | None = None, **asked: Any
    ) -> dict[str, dict[str, str]]:
        """Those of the run with this map index, named as Airflow names them: of this task, and of others, which may be gone."""
        states = {(self.task_id, self.map_index): self.state, **self.others}
        return {
            self.run_id: {
                task_id if index < 0 else f"{task_id}_{index}": state
                for (task_id, index), state in states.items()
                if index == map_index and task_id in (task_ids or [task_id])
            }
        }

    def run(self, **params: Any) -> Any:
        """One try, and what Airflow calls after a success."""
        self.try_number += 1
        self.state = "running"
        self.operator = self.make()
        context = self.context(**params)
        self.operator.render_template_fields(context)
        result = self.operator.execute(context)
        self.state = "success"
        for call in getattr(getattr(context["ti"], "task", None), "on_success_callback", ()):
            call(context)
        return result

    def run_past_deadline(self) -> None:
        """One try that sends everything and is deferred; its deadline passes before it is resumed."""
        from airflow.sdk.exceptions import TaskDeferred

        make = self.make
        self.make = lambda: self._deferring(make())
        with pytest.raises(TaskDeferred):
            self.run()
        self.make = make
        key = next(key for key in self.store.values if key.endswith(".started"))
        started = self.store.get(key)
        self.store.values[key] = json.dumps({**started, "at": started["at"] - 7 * 24 * 3600})
        self.try_number -= 1
        self.run()

    @staticmethod
    def _deferring(operator: Any) -> Any:
        operator.deferrable = True
        return operator

    def clear(self) -> None:
        """What a person's clear does to the numbers (airflow.md section 2.1)."""
        self.max_tries = self.try_number + 2
        self.clear_number += 1
        if self.asset_state is not None:
            self.store.values.clear()


@contextmanager
def killed_after(seconds: float, kill: Callable[[], None]) -> Iterator[None]:
    """Call in the main thread, in the middle of whatever it does, as Airflow's handler of SIGTERM is."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: kill())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    from airflow_bulk.runs.failures import TaskStopped

    try:
        with pytest.raises(TaskStopped):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def importing(source: Path | str | list[str], **more: Any) -> Any:
    """A DAG author's operator over profiles, in parts of some hundred lines."""
    from airflow_bulk.operators.document_import import ImportDocumentsOperator, SendingOptions

    return lambda: ImportDocumentsOperator(
        **{
            "task_id": "t",
            "document_type": "USER_PROFILE",
            "name": "profiles",
            "source": source if isinstance(source, list) else str(source),
            "sending": SendingOptions(max_part_bytes=20_000, settle=0.2),
            "poll_interval": 0.2,
            **more,
        }
    )


def importing_records(function: Callable[..., Any], spool: Path | str, **more: Any) -> Any:
    """A DAG author's decorated function, as the operator that it becomes."""
    from airflow_bulk.operators.document_import import SendingOptions
    from airflow_bulk.operators.document_import_task import import_documents_task

    call = more.pop("call", {})
    arguments: dict[str, Any] = {
        "task_id": "t",
        "document_type": "USER_PROFILE",
        "name": "profiles",
        "spool_path": str(spool),
        "sending": SendingOptions(max_part_bytes=20_000, settle=0.2),
        "poll_interval": 0.2,
        **more,
    }
    return lambda: import_documents_task(**arguments)(function)(**call).operator  # type: ignore[call-arg]


def profile(number: int, **more: Any) -> str:
    """A good USER_PROFILE line."""
    line = {
        "operation": "UPSERT",
        "compartment_id": "4100",
        "user_account_id": f"crm-{number}",
        "user_profile": {"score": number},
    }
    return json.dumps(line | more, separators=(",", ":"))


def write_profiles(path: Path, count: int, bad: tuple[int, ...] = ()) -> list[str]:
    """Write profiles; the lines whose 1-based number is in ``bad`` break a rule. Returns the good lines."""
    lines = [profile(n) if n not in bad else '{"operation":"UPSERT"}' for n in range(1, count + 1)]
    path.write_text("\n".join(lines) + "\n")
    return [line for n, line in enumerate(lines, 1) if n not in bad]


def once(lines: list[str]) -> Counter[str]:
    """Each line held exactly once."""
    return Counter(dict.fromkeys(lines, 1))


def running(instance_id: str, **more: Any) -> Any:
    """A DAG author's operator that runs a batch."""
    from airflow_bulk.operators.integration_batch import RunIntegrationBatchOperator

    options = {"poll_interval": 0.2, "settle": 0.1, **more}
    return lambda: RunIntegrationBatchOperator(task_id="t", instance_id=instance_id, **options)


def dies_at_outcome(store: MemoryStore, count: int) -> Any:
    write = store.set

    def set_(key: str, value: Any, *, retention: Any = None) -> None:
        write(key, value)
        if ".parts." in key and sum("sent" in row for row in value) == count:
            store.set = write  # type: ignore[method-assign]
            raise Killed

    return set_
