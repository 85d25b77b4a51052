"""What the page Bulk costs Airflow's database: the list over many recorded imports, and one write of progress.

    python benchmarks/page.py [--imports 10000] [--database postgresql+psycopg2://...]

Makes a database of its own (SQLite, or the empty one that is named), writes that many imports of many DAGs into Airflow's
tables, with four other tasks in each DAG run, and prints medians of what the page asks of it. The yardstick is Airflow's own
query for one page of task instances, newest first, in the same database.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

ROUNDS = 15
DAGS = 20
OTHER_TASKS = 4
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugin"))


def median(call: Callable[[], Any]) -> float:
    """Seconds of a call: the median of some rounds, after one that does not count."""
    call()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def fill(work: Any, imports: int) -> None:
    """Write the imports, and the other tasks of their runs."""
    from recorded_work import BEGAN, import_row

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(imports):
            one = {
                "dag_id": f"dag_{number % DAGS}",
                "run_id": f"r{number}",
                "began": BEGAN + timedelta(minutes=number),
            }
            state = "failed" if number % 50 == 0 else "success"
            yield {**one, "task_id": "load", "state": state, "row": import_row(name=f"Import {number}")}
            for other in range(OTHER_TASKS):
                yield {**one, "task_id": f"other_{other}", "xcom": {"return_value": number}}

    work.works(rows())


def measure(imports: int, database: str) -> None:
    """Print the table."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import delete, event, insert, select, text
    from sqlalchemy.orm import Session

    from airflow_bulk.plugin.listing import Filters, find_row, last_rows, list_rows
    from recorded_work import BEGAN, RecordedWork, xcom_model

    work = RecordedWork(database)
    fill(work, imports)
    with work.engine.begin() as connection:
        connection.execute(text("ANALYZE"))  # as the database does by itself, some time after such a load
    readable = {f"dag_{number}" for number in range(DAGS)}.__contains__
    statements: list[str] = []
    event.listen(work.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    def asked(call: Callable[[Session], Any]) -> Callable[[], Any]:
        def ask() -> Any:
            with Session(work.engine) as session:
                return call(session)

        return ask

    place = {"dag_id": "dag_1", "run_id": "r1", "task_id": "load", "map_index": -1}
    airflows_own = select(TaskInstance).order_by(TaskInstance.start_date.desc()).limit(50)
    calls = {
        "Airflow's own: 50 task instances, newest first": asked(
            lambda session: session.execute(airflows_own).all()
        ),
        "the list, first page": asked(lambda session: list_rows(session, Filters(), readable)),
        "the list, page 150": asked(lambda session: list_rows(session, Filters(page=150), readable)),
        "the list, failed ones": asked(lambda session: list_rows(session, Filters(state="failed"), readable)),
        "the list, one day": asked(lambda session: list_rows(session, Filters(day=BEGAN.date()), readable)),
        "the list, an id on the platform": asked(
            lambda session: list_rows(session, Filters(find="70811x"), readable)
        ),
        "the row of one task": asked(lambda session: find_row(session, place)),
        "the last 30 runs of one task": asked(lambda session: last_rows(session, "dag_1", "load", 30)),
    }
    print(
        f"{imports:,} imports among {imports * (OTHER_TASKS + 1):,} task instances, {work.engine.dialect.name}"
    )
    for name, call in calls.items():
        call()
        statements.clear()
        call()
        count = len(statements)
        print(f"  {name:<48} {1000 * median(call):8.1f} ms, {count} queries")

    xcoms = xcom_model().__table__
    with work.engine.begin() as connection:
        row = connection.execute(select(xcoms).limit(1)).mappings().one()
    same = [column == row[column.name] for column in xcoms.primary_key.columns]

    def write() -> None:
        with work.engine.begin() as connection:
            connection.execute(delete(xcoms).where(*same))
            connection.execute(insert(xcoms).values(**row))

    print(f"  {'one write of progress (DELETE, INSERT, commit)':<48} {1000 * median(write):8.1f} ms")


def main() -> None:
    """Make the database and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imports", type=int, default=10_000)
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database; SQLite where none is named")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        database = options.database or f"sqlite:///{home}/airflow.db"
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        measure(options.imports, database)


if __name__ == "__main__":
    main()
