"""The three sides of ``benchmarks/load.py``: each reads the same two files, and finds and writes the same changes.

Each runs in a process of its own, loads what it needs inside its function, and returns what it has found, its seconds, and the most
memory that its process had.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from load_records import FIELDS, HELD, SOURCE, CountingDestination
from process_memory import highest

#: What each side does, in this order, as the columns of the table.
PHASES = ("source", "held", "compare", "write", "result")
OBJECT, LOAD = "Customer", "customers"
#: The fields of a wanted record, with the one that is matched.
PATHS = {"qbd_id": "Id", **FIELDS}


class Clock:
    """Seconds of one phase after the other, and of the processor from the first on.

    :ivar before: the most memory of the process before its first phase.
    """

    def __init__(self) -> None:
        self.before = highest()
        self.phases: dict[str, float] = {}
        self._begun = time.process_time()
        self._last = time.perf_counter()

    @property
    def processor(self) -> float:
        """Seconds of the processor, of all threads of this process."""
        return time.process_time() - self._begun

    def over(self, phase: str, at: float | None = None) -> None:
        """A phase ends now, or has ended *at* this time."""
        now = time.perf_counter() if at is None else at
        self.phases[phase] = now - self._last
        self._last = now


# This package.


class Store:
    """A task's state, in memory: a write costs nothing here."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._values[key] = value


class Run:
    """The first try of a task in the first run of its DAG, as far as a step asks for it."""

    dag_id, run_id, map_index, try_number = "bench", "r", -1, 1

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def get_dr_count(self, *, dag_id: str, states: list[str]) -> int:
        return int("running" in states)

    def get_task_states(self, **asked: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: {self.task_id: "running"}}

    @property
    def context(self) -> dict[str, Any]:
        return {"ti": self, "dag_run": SimpleNamespace(run_type="manual"), "task_state_store": Store()}


def read(file: Path, decode: Callable[[bytes], Any]) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        yield from map(decode, lines)


class FileSource:
    """A source whose records are lines of a file: to decode them is what it costs."""

    def __init__(self, file: Path, decode: Callable[[bytes], Any]) -> None:
        self._file, self._decode = file, decode

    def extract(self, name: str, **bounds: Any) -> Iterator[dict[str, Any]]:
        from airflow_bulk.extract_load.readings import RecordReading

        return RecordReading(read(self._file, self._decode), "the end of the file")

    def changed_at(self, name: str, record: dict[str, Any]) -> datetime:
        return datetime.fromisoformat(record["MetaData"]["LastUpdatedTime"])


class FileDestination(CountingDestination):
    """A destination that holds the lines of a file, and counts what is written to it."""

    def __init__(self, file: Path, decode: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._file, self._decode = file, decode

    def snapshot(self, name: str) -> Iterator[dict[str, Any]]:
        return read(self._file, self._decode)


def ours(folder: Path) -> dict[str, Any]:
    """Run the three steps one after the other, as the operators call them."""
    import msgspec
    from airflow.sdk import DAG
    from airflow.sdk.execution_time import task_runner  # noqa: F401 - every task has it loaded, and a step asks it

    from airflow_bulk.extract_load import LoadMapping
    from airflow_bulk.operators.extract_load import ApplyOperator, ExtractOperator, SnapshotOperator
    from airflow_bulk.runs.extract_load import apply_steps, reading_steps

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    source = FileSource(folder / SOURCE, decode)
    destination = FileDestination(folder / HELD, decode)
    staged = {"staging": str(folder / "staged")}
    to = {"destination": destination, "object_name": LOAD, **staged}
    mapping = LoadMapping(feeds=OBJECT, fields=FIELDS)
    with DAG("bench", schedule=None, max_active_runs=1):
        extract = ExtractOperator(task_id="extract", source=source, object_name=OBJECT, **staged)
        snapshot = SnapshotOperator(task_id="snapshot", **to)
        apply = ApplyOperator(task_id="apply", mapping=mapping, deletions="10%", **to)
    clock = Clock()
    apply.extracts = [reading_steps.extract(extract, Run("extract").context)]
    clock.over("source")
    apply.snapshot = reading_steps.take_snapshot(snapshot, Run("snapshot").context)
    clock.over("held")
    result = apply_steps.apply(apply, Run("apply").context)
    ended = time.perf_counter()
    # The destination knows when the writes began and ended; what the step does before and after them is its own.
    clock.over("compare", destination.first)
    clock.over("write", destination.last)
    clock.over("result", ended)
    if result["deletions_refused"]:
        raise SystemExit(f"this package refused to delete: {result['deletions_refused']}")
    told = {name: result[name] for name in ("created", "updated", "deleted", "unchanged")}
    if told != {**counted(destination), "unchanged": told["unchanged"]}:
        raise SystemExit(f"this package tells {told}, and the destination got {counted(destination)}")
    return found(told, clock, destination, records=result["records"])


# pandas.


def with_pandas(folder: Path) -> dict[str, Any]:
    """Merge two frames on the key, and write the rows that differ.

    The frames are Arrow's: read_json of 100,000 such records takes 1.6 s and 600 MB without it, 0.2 s and 110 MB with it.
    """
    import pandas as pd
    import pyarrow as pa

    def frame_of(name: str) -> pd.DataFrame:
        return pd.read_json(folder / name, lines=True, engine="pyarrow", dtype_backend="pyarrow")

    def column(frame: pd.DataFrame, path: str) -> pd.Series:
        name, *steps = path.split(".")
        return frame[name].struct.field(steps) if steps else frame[name]

    def rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
        # Rows of Python's own values, with None and not NA, and never all of them at once.
        for batch in pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=10_000):
            yield from batch.to_pylist()

    destination, clock = CountingDestination(), Clock()
    source = frame_of(SOURCE)
    clock.over("source")
    held = frame_of(HELD)
    # Text that looks like a time was made one, and has to be written back as it was.
    held["created_at"] = held["created_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype("string[pyarrow]")
    clock.over("held")
    wanted = pd.DataFrame({name: column(source, path) for name, path in PATHS.items()})
    del source
    merged = held.merge(wanted, how="outer", on="qbd_id", suffixes=("_held", ""), indicator="side")
    kept = [
        "id",
        "qbd_id",
        *FIELDS,
        *(name for name in held.columns if name not in {"id", "qbd_id", *FIELDS}),
    ]
    del held, wanted
    both, differs = merged["side"] == "both", pd.Series(False, index=merged.index)
    for name in FIELDS:
        new, old = merged[name], merged[f"{name}_held"]
        differs |= (new != old).fillna(True).astype(bool) & ~(new.isna() & old.isna())
    clock.over("compare")
    for row in rows(merged.loc[both & differs, kept]):
        destination.update(LOAD, row.pop("id"), row)
    for row in rows(merged.loc[merged["side"] == "right_only", ["qbd_id", *FIELDS]]):
        destination.create(LOAD, row)
    for record_id in merged.loc[merged["side"] == "left_only", "id"]:
        destination.delete(LOAD, record_id)
    clock.over("write")
    told = {**counted(destination), "unchanged": int((both & ~differs).sum())}
    return found(told, clock, destination)


# PostgreSQL.

COLUMNS = {
    "qbd_id": "text",
    **dict.fromkeys(FIELDS, "text"),
    "balance": "double precision",
    "active": "boolean",
}
HELD_COLUMNS = {
    "id": "text",
    **COLUMNS,
    **dict.fromkeys(("created_at", "created_by", "loyalty_card"), "text"),
}


def with_sql(folder: Path) -> dict[str, Any]:
    """COPY both files into staging tables, make typed tables of them, and MERGE one into the other.

    The tables are temporary, so nothing of a run stays. ``POSTGRES_URL`` says where the server is.
    """
    import psycopg2

    clock = Clock()
    with (
        contextlib.closing(psycopg2.connect(os.environ["POSTGRES_URL"])) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET work_mem = '256MB'")
        copy(cursor, "source_lines", folder / SOURCE)
        clock.over("source")
        copy(cursor, "held_lines", folder / HELD)
        typed = ", ".join(f"{name} {kind}" for name, kind in HELD_COLUMNS.items())
        cursor.execute(
            f"CREATE TEMP TABLE held AS SELECT row.* FROM held_lines, jsonb_to_record(record) AS row({typed})"
        )
        clock.over("held")
        picked = ", ".join(
            f"(record #>> '{{{path.replace('.', ',')}}}')::{COLUMNS[name]} AS {name}"
            for name, path in PATHS.items()
        )
        cursor.execute(f"CREATE TEMP TABLE wanted AS SELECT {picked} FROM source_lines")
        cursor.execute("ANALYZE held")
        cursor.execute("ANALYZE wanted")
        clock.over("compare")
        told = merge(cursor)
        connection.commit()
        clock.over("write")
        told_by = found(told, clock, server=server_costs(cursor))
        names = ", ".join(COLUMNS)
        cursor.execute(
            f"SELECT count(*) FROM (SELECT {names} FROM wanted EXCEPT SELECT {names} FROM held) AS missing"
        )
        if missing := cursor.fetchone()[0]:
            raise SystemExit(f"PostgreSQL does not hold {missing} of the records after its MERGE")
        return told_by


def copy(cursor: Any, table: str, file: Path) -> None:
    """Load one record a line; a quote and a delimiter that no JSON holds make each line one value."""
    cursor.execute(f"CREATE TEMP TABLE {table} (record jsonb)")
    with file.open("rb") as lines:
        cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')", lines)


def merge(cursor: Any) -> dict[str, int]:
    """Make ``held`` what ``wanted`` says, and return the counts."""
    sets = ", ".join(f"{name} = wanted.{name}" for name in FIELDS)
    old, new = (", ".join(f"{table}.{name}" for name in FIELDS) for table in ("held", "wanted"))
    statement = f"""
        MERGE INTO held USING wanted ON held.qbd_id = wanted.qbd_id
        WHEN MATCHED AND ({old}) IS DISTINCT FROM ({new}) THEN UPDATE SET {sets}
        WHEN NOT MATCHED THEN INSERT (id, {", ".join(COLUMNS)})
            VALUES (gen_random_uuid()::text, {", ".join(f"wanted.{name}" for name in COLUMNS)})
    """
    cursor.execute("SELECT count(*) FROM held")
    there = cursor.fetchone()[0]
    if cursor.connection.server_version >= 170000:
        cursor.execute(
            f"WITH merged AS ({statement} WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action() AS action)"
            " SELECT action, count(*) FROM merged GROUP BY action"
        )
        done = dict(cursor.fetchall())
        created, updated, deleted = (done.get(action, 0) for action in ("INSERT", "UPDATE", "DELETE"))
    else:
        # Before 17, MERGE deletes nothing that has no counterpart, and tells the sum of what it has done.
        cursor.execute(statement)
        changed = cursor.rowcount
        cursor.execute(
            "DELETE FROM held WHERE NOT EXISTS (SELECT FROM wanted WHERE wanted.qbd_id = held.qbd_id)"
        )
        deleted = cursor.rowcount
        cursor.execute("SELECT count(*) FROM held")
        created = cursor.fetchone()[0] + deleted - there
        updated = changed - created
    return {
        "created": created,
        "updated": updated,
        "deleted": deleted,
        "unchanged": there - updated - deleted,
    }


def server_costs(cursor: Any) -> dict[str, float] | None:
    """Memory and seconds of the processor of this connection's process at the server; ``None`` where it is not on this machine."""
    cursor.execute("SELECT pg_backend_pid()")
    process = Path(f"/proc/{cursor.fetchone()[0]}")
    with contextlib.suppress(OSError):
        if (process / "comm").read_text().strip() == "postgres":
            # The name in the second field may hold blanks; user and system time are the 14th and the 15th.
            times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            spent = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            return {"memory": highest(process.name), "processor": spent}
    return None


# What each returns.


def counted(destination: CountingDestination) -> dict[str, int]:
    """What a destination got."""
    return {name: getattr(destination, name) for name in ("created", "updated", "deleted")}


def found(
    counts: dict[str, int],
    clock: Clock,
    destination: CountingDestination | None = None,
    *,
    records: int | None = None,
    server: dict[str, float] | None = None,
) -> dict[str, Any]:
    """What a side tells: counts, seconds, bytes of memory.

    :param records: how many records its result file has, where it writes one.
    :param server: memory and processor of the server's process.
    """
    return {
        "counts": counts,
        "check": destination and destination.check,
        "phases": clock.phases,
        "processor": clock.processor + (server["processor"] if server else 0),
        "memory": highest(),
        "before": clock.before,
        "records": records,
        "server": server and server["memory"],
    }


SIDES = {"this package": ours, "pandas": with_pandas, "PostgreSQL": with_sql}
