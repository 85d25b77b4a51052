"""Airflow's REST API as the demo and the tests need it: one method a question, waiting included.

Waits end at the first look that answers, and fail with what is known: states of all tasks, import errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

T = TypeVar("T")

RUN_ENDS = frozenset({"success", "failed"})
TASK_ENDS = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
#: Seconds between two looks at most.
LONGEST_PAUSE = 1.0


class AirflowApiError(RuntimeError):
    """Airflow answered with an error, or not in time."""


class AirflowApi:
    """A client of one Airflow that lets everybody in (``simple_auth_manager_all_admins``).

    :param base_url: for example ``http://127.0.0.1:8080``.
    :param is_alive: called while waiting; raises when waiting has become pointless (a component died).
    """

    def __init__(self, base_url: str, is_alive: Callable[[], None] = lambda: None) -> None:
        self.base_url = base_url
        self._is_alive = is_alive
        # No proxy of the shell's: this server is on loopback.
        self._client = httpx.Client(base_url=f"{base_url}/api/v2", timeout=60.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Send one request and return the decoded answer (None when it is empty).

        :param path: below ``/api/v2``.
        :param options: ``json``, ``params``, as httpx takes them.
        """
        answer = self._answer(method, path, **options)
        if answer.is_error:
            raise AirflowApiError(f"{method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        for again in range(3, -1, -1):
            try:
                answer = self._client.request(method, path, **options)
            except httpx.HTTPError as error:
                cut = isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
                if again and cut and method == "GET":
                    self._is_alive()
                    time.sleep(2.0 / again)  # a server that is busy, or being started again
                    continue
                raise AirflowApiError(f"{method} {path}: {error!r}") from error
            # SQLite under load: the lock was not to be had, the transaction was rolled back, nothing was done.
            locked = method == "GET" or "Database error" in answer.text
            if not again or answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR or not locked:
                break
        return answer

    def wait_for(self, what: str, look: Callable[[], T | None], timeout: float, pause: float = 0.25) -> T:
        """Ask ``look`` until it returns something that is not None.

        :param what: what is awaited, for the message.
        :param timeout: seconds.
        :param pause: seconds between the first two looks; it grows to ``LONGEST_PAUSE``, for each look is work for the API server.
        """
        deadline = time.monotonic() + timeout
        while (found := look()) is None:
            self._is_alive()
            if time.monotonic() > deadline:
                raise AirflowApiError(f"waited {timeout:.0f} s for {what}")
            time.sleep(pause)
            pause = max(pause, min(pause * 1.3, LONGEST_PAUSE))
        return found

    # -- the whole ---------------------------------------------------------------------------------------------

    def health(self) -> dict[str, str | None]:
        """State of each component: ``metadatabase``, ``scheduler``, ``triggerer``, ``dag_processor``."""
        return {name: part.get("status") for name, part in self.call("GET", "/monitor/health").items()}

    def import_errors(self) -> dict[str, str]:
        """DAG files that could not be parsed, each with its stack trace."""
        answer = self.call("GET", "/importErrors")
        return {error["filename"]: error["stack_trace"] for error in answer["import_errors"]}

    def add_connection(self, conn_id: str, connection: str) -> None:
        """Create a connection, or replace it.

        :param connection: as JSON, the value of an ``AIRFLOW_CONN_...`` variable.
        """
        fields = json.loads(connection)
        if "extra" in fields:
            fields["extra"] = json.dumps(fields["extra"])
        self._answer("DELETE", f"/connections/{quote(conn_id)}")
        self.call("POST", "/connections", json={"connection_id": conn_id, **fields})

    def set_variable(self, key: str, value: str) -> None:
        """Create a variable, or change it: there is no moment in which it does not exist."""
        fields = {"key": key, "value": value}
        if self._answer("PATCH", f"/variables/{quote(key)}", json=fields).is_error:
            self.call("POST", "/variables", json=fields)

    # -- DAGs and runs -----------------------------------------------------------------------------------------

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until the DAG processor has found a DAG; if it does not, say which files it could not read."""

        def look() -> dict[str, Any] | None:
            answer = self._answer("GET", f"/dags/{dag_id}")
            found = answer.status_code == httpx.codes.OK and not answer.json().get("is_stale")
            return dict(answer.json()) if found else None

        try:
            return self.wait_for(f"DAG {dag_id}", look, timeout)
        except AirflowApiError as error:
            unread = "".join(f"\n{file}: {trace}" for file, trace in self.import_errors().items())
            raise AirflowApiError(f"{error}{unread}") from error

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(
        self, dag_id: str, run_id: str | None = None, conf: dict[str, Any] | None = None, **fields: Any
    ) -> str:
        """Start a run without a logical date, as the form does; return its id.

        :param fields: more of the call, for example ``logical_date`` and the data interval.
        """
        body = (
            {"logical_date": None, "conf": conf or {}} | ({"dag_run_id": run_id} if run_id else {}) | fields
        )
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One DAG run."""
        return dict(self.call("GET", self._run(dag_id, run_id)))

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs of a DAG."""
        return list(self.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"])

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a run ``failed`` or ``success``; its running tasks are ended."""
        self.call("PATCH", self._run(dag_id, run_id), json={"state": state})

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 120.0) -> str:
        """Wait until a run is over; return ``success`` or ``failed``."""

        def look() -> str | None:
            state = str(self.run(dag_id, run_id)["state"])
            return state if state in RUN_ENDS else None

        try:
            return self.wait_for(f"run {run_id} of {dag_id}", look, timeout)
        except AirflowApiError as error:
            raise AirflowApiError(f"{error}; tasks: {self.states(dag_id, run_id)}") from error

    # -- tasks -------------------------------------------------------------------------------------------------

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run (``task_id``, ``map_index``, ``state``, ``try_number``, ``pid``, ...)."""
        found: list[dict[str, Any]] = []
        while True:
            # One answer holds no more than [api] maximum_page_limit of them, whatever is asked for.
            page = {"limit": 100, "offset": len(found), "order_by": "id"}
            answer = self.call("GET", f"{self._run(dag_id, run_id)}/taskInstances", params=page)
            found += answer["task_instances"]
            if not answer["task_instances"] or len(found) >= answer["total_entries"]:
                return found

    def states(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str | None]:
        """State of each task instance of a run, by task id and map index."""
        return {(ti["task_id"], ti["map_index"]): ti["state"] for ti in self.tasks(dag_id, run_id)}

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """One task instance."""
        for ti in self.tasks(dag_id, run_id):
            if (ti["task_id"], ti["map_index"]) == (task_id, map_index):
                return ti
        raise AirflowApiError(f"run {run_id} of {dag_id} has no task {task_id} [{map_index}]")

    def tries(self, dag_id: str, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """All tries of a task instance so far, oldest first."""
        return list(self.call("GET", f"{self._task(dag_id, run_id, task_id)}/tries")["task_instances"])

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Collection[str] = TASK_ENDS,
        *,
        map_index: int = -1,
        try_number: int = 0,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """Wait until a task instance is in one of ``states``, in try ``try_number`` or a later one."""

        def look() -> dict[str, Any] | None:
            ti = self.task(dag_id, run_id, task_id, map_index)
            return ti if ti["state"] in states and ti["try_number"] >= try_number else None

        try:
            return self.wait_for(f"{task_id} [{map_index}] to be {'/'.join(sorted(states))}", look, timeout)
        except AirflowApiError as error:
            raise AirflowApiError(f"{error}; tasks: {self.states(dag_id, run_id)}") from error

    def set_task_state(
        self, dag_id: str, run_id: str, task_id: str, state: str, *, map_index: int = -1
    ) -> None:
        """Mark a task instance ``failed``, ``success`` or ``skipped``, as the button does."""
        path = self._task(dag_id, run_id, task_id) + (f"/{map_index}" if map_index >= 0 else "")
        self.call("PATCH", path, json={"new_state": state})

    def clear(
        self, dag_id: str, run_id: str, *task_ids: str | tuple[str, int], downstream: bool = False
    ) -> None:
        """Clear tasks of a run whatever their state (all tasks when none is named), as the button does."""
        body = {
            "dag_run_id": run_id,
            "dry_run": False,
            "only_failed": False,
            "reset_dag_runs": True,
            "include_downstream": downstream,
        }
        if task_ids:
            body["task_ids"] = [list(t) if isinstance(t, tuple) else t for t in task_ids]
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1
    ) -> Any:
        """What a task pushed; None when it pushed nothing under ``key``."""
        answer = self._answer(
            "GET",
            f"{self._task(dag_id, run_id, task_id)}/xcomEntries/{key}",
            params={"map_index": map_index, "deserialize": False, "stringify": False},
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise AirflowApiError(f"XCom {key} of {task_id}: {answer.status_code} {answer.text[:1000]}")
        return answer.json()["value"]

    def task_state(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> dict[str, Any]:
        """A task instance's store: every key with its value, also while the task runs."""
        path = f"{self._task(dag_id, run_id, task_id)}/state-store"
        return {entry["key"]: entry["value"] for entry in self._pages(path, "task_state_store", map_index)}

    def links(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> dict[str, str | None]:
        """A task instance's extra links, by name."""
        path = f"{self._task(dag_id, run_id, task_id)}/links"
        return dict(self.call("GET", path, params={"map_index": map_index})["extra_links"])

    def log(self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1) -> str:
        """A try's log, one event a line, with its level and its other values."""
        answer = self.call(
            "GET",
            f"{self._task(dag_id, run_id, task_id)}/logs/{try_number}",
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "application/json"},
        )
        return "\n".join(
            " ".join(str(value) for name, value in event.items() if name != "timestamp")
            if isinstance(event, dict)
            else str(event)
            for event in answer["content"]
        )

    def _pages(self, path: str, name: str, map_index: int) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            answer = self.call("GET", path, params={"map_index": map_index, "limit": 200, "offset": offset})
            entries = answer[name]
            yield from entries
            offset += len(entries)
            if not entries or offset >= answer["total_entries"]:
                return

    @staticmethod
    def _run(dag_id: str, run_id: str) -> str:
        return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"

    def _task(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"{self._run(dag_id, run_id)}/taskInstances/{task_id}"
