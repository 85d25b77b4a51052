"""How long a batch of 1,000 jobs takes to parse, side by side with the same DAG written by hand.

* by hand: the same operator classes, arguments and edges, made by plain Python statements;
* from the definition: ``compile_batch`` and ``ExtractLoadTaskGroup``, from a dict; reading the YAML file is told apart.

Both are interleaved, one process; printed are medians of its CPU time (other load does not count) and their ratio.
Ends with 1 if the ratio is above the limit.

``python benchmarks/parse_batch.py --jobs 1000 --rounds 9``
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import DAG, TaskGroup

from airflow_bulk.extract_load import LoadMapping, load_definition
from airflow_bulk.operators.extract_load import (
    ApplyOperator,
    ExtractLoadTaskGroup,
    ExtractOperator,
    SnapshotOperator,
)

LIMIT = 1.2
STAGING = "/tmp/staging/{{ run_id }}"


def definition(jobs: int) -> dict[str, Any]:
    """Half extracts, half loads; each load requires its extract, another one's snapshot and the one before it."""
    half = jobs // 2
    extracts = [{"type": "extract", "object": f"Object{number}"} for number in range(half)]
    loads = [
        {
            "type": "load",
            "object": f"objects{number}",
            "required_objects": {
                "extract": [f"Object{number}"],
                "load": [f"objects{(number + 7) % half}"],
                "load_result": [f"objects{number - 1}"] if number % 10 else [],
            },
        }
        for number in range(half)
    ]
    return {"since": "2013-01-01", "jobs": [*extracts, *loads]}


def from_definition(batch: dict[str, Any]) -> DAG:
    """The DAG as an author writes it."""
    with DAG("from_definition", schedule=None) as dag:
        ExtractLoadTaskGroup("batch", definition=batch, source="a", destination="b", staging=STAGING)
    return dag


def by_hand(jobs: int) -> DAG:
    """The same tasks and edges, without a definition."""
    half = jobs // 2
    with DAG("by_hand", schedule=None) as dag, TaskGroup("batch"):
        extracts, snapshots, applies = {}, {}, {}
        for number in range(half):
            extracts[number] = ExtractOperator(
                task_id=f"extract_Object{number}",
                source="a",
                object_name=f"Object{number}",
                since="2013-01-01T00:00:00+00:00",
                staging=STAGING,
                doc_md=f"`extract:Object{number}`",
            )
            snapshots[number] = SnapshotOperator(
                task_id=f"snapshot_objects{number}",
                destination="b",
                object_name=f"objects{number}",
                staging=STAGING,
                doc_md=f"`snapshot:objects{number}`",
            )
            applies[number] = ApplyOperator(
                task_id=f"apply_objects{number}",
                destination="b",
                object_name=f"objects{number}",
                mapping=LoadMapping(feeds=(f"Object{number}",)),
                extracts=[f"batch.extract_Object{number}"],
                snapshot=f"batch.snapshot_objects{number}",
                staging=STAGING,
                doc_md=f"`apply:objects{number}`",
            )
        for number in range(half):
            before = [extracts[number], snapshots[number], snapshots[(number + 7) % half]]
            if number % 10:
                before.append(applies[number - 1])
            before >> applies[number]
    return dag


def seconds(make: Callable[[], Any]) -> float:
    gc.collect()
    began = time.process_time()
    make()
    return time.process_time() - began


def same(first: DAG, second: DAG) -> bool:
    """Whether two DAGs have the same tasks and edges."""
    return {task.task_id: task.upstream_task_ids for task in first.tasks} == {
        task.task_id: task.upstream_task_ids for task in second.tasks
    }


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    batch = definition(options.jobs)
    if not same(from_definition(batch), by_hand(options.jobs)):
        print("the two DAGs differ: nothing to compare")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "batch.yaml")
        file.write_text(yaml.safe_dump(batch))
        times: dict[str, list[float]] = {
            "by hand": [],
            "from the definition": [],
            "reading the YAML file": [],
        }
        for _ in range(options.rounds):
            times["by hand"].append(seconds(lambda: by_hand(options.jobs)))
            times["from the definition"].append(seconds(lambda: from_definition(batch)))
            times["reading the YAML file"].append(seconds(lambda: load_definition(file)))
    for name, values in times.items():
        print(f"{name:24} {statistics.median(values) * 1000:8.1f} ms")
    # Round by round: what disturbs the machine disturbs both.
    ratio = statistics.median(
        ours / theirs for ours, theirs in zip(times["from the definition"], times["by hand"], strict=True)
    )
    print(f"{options.jobs} jobs: {ratio:.2f} times the time of the same DAG by hand (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
