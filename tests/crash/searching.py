"""Where a text stands in what an Airflow and the platforms have written, and in what Airflow shows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import sqlalchemy

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack


def places(stack: AirflowStack, emulators: Iterable[Emulator], *texts: str) -> list[set[str]]:
    """Return for each text where it stands: files, the database's tables, pages of tasks, calls of platforms.

    :param stack: its home holds the logs of tasks and components, and events of OpenLineage.
    :param texts: letters, so that no escaping hides them.
    """
    found: list[set[str]] = [set() for _ in texts]
    for place, content in _written(stack, list(emulators)):
        for text, there in zip(texts, found, strict=True):
            if text in content:
                there.add(place)
    return found


def _written(stack: AirflowStack, emulators: list[Emulator]) -> Iterator[tuple[str, str]]:
    files = [path for path in stack.home.rglob("*") if path.is_file()]
    for path in (*files, *(emulator.state / "server.log" for emulator in emulators)):
        yield f"file {path}", path.read_bytes().decode("latin-1")
    yield from _cells(stack)
    yield from _pages(stack)
    for emulator in emulators:
        for call in emulator.requests():
            yield f"call {call['method']} {call['path']}", json.dumps(call)


def _cells(stack: AirflowStack) -> Iterator[tuple[str, str]]:
    """Every cell of every table. In a file of SQLite a long value may be cut in pieces; a server's files are not here at all."""
    engine = sqlalchemy.create_engine(stack.database)
    with contextlib.closing(engine.connect()) as database:
        for table in sqlalchemy.inspect(engine).get_table_names():
            rows = database.execute(sqlalchemy.text(f'SELECT * FROM "{table}"'))
            yield from ((f"table {table}", _as_text(cell)) for row in rows for cell in row)
    engine.dispose()


def _as_text(cell: Any) -> str:
    return bytes(cell).decode("latin-1") if isinstance(cell, bytes | memoryview) else str(cell)


def _pages(stack: AirflowStack) -> Iterator[tuple[str, str]]:
    """What Airflow answers of each task: its fields as rendered, its trigger, its links, the page Bulk."""
    for dag in _listed(stack, "/dags", "dags"):
        for run in _listed(stack, f"/dags/{dag['dag_id']}/dagRuns", "dag_runs"):
            below = f"/dags/{dag['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
            for task in _listed(stack, below, "task_instances"):
                yield f"page {below}", json.dumps(task)
                place = {"dag_id": dag["dag_id"], "run_id": run["dag_run_id"]}
                place |= {"task_id": task["task_id"], "map_index": task["map_index"]}
                bulk = httpx.get(f"{stack.url}/bulk/run", params=place, timeout=60).raise_for_status()
                yield f"bulk page of {dag['dag_id']}.{task['task_id']}", bulk.text
                if task["state"] != "removed":  # Airflow shows no links of a task that its DAG does not have
                    path = f"{below}/{task['task_id']}/links"
                    answer = stack.api.call("GET", path, params={"map_index": task["map_index"]})
                    yield f"links {path}", json.dumps(answer)


def _listed(stack: AirflowStack, path: str, name: str) -> Iterator[dict[str, Any]]:
    offset = 0
    while found := stack.api.call("GET", path, params={"limit": 50, "offset": offset})[name]:
        yield from found
        offset += len(found)
