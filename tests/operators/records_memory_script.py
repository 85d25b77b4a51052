"""Imports records of a generator in a process of its own, checked only: ``records_memory_script.py FOLDER COUNT...``.

Prints a line of JSON for each count: the lines read, and the most memory (kB) that the process held meanwhile.
"""

import json
import sys
from pathlib import Path

from one_task import Task, importing_records

from airflow_bulk.arguments import SendingOptions


def forget_highest_memory() -> None:
    """Loading Airflow takes more for a moment than it keeps, which would hide what an import takes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def highest_memory() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


folder, *counts = sys.argv[1:]
for count in map(int, counts):
    forget_highest_memory()

    def records(count: int = count):
        for number in range(count):
            yield {
                "operation": "UPSERT",
                "compartment_id": "4100",
                "user_account_id": f"crm-{number}",
                "user_profile": {"score": number, "note": "x" * 50},
            }

    sending = SendingOptions(max_part_bytes=20_000_000)
    result = Task(importing_records(records, folder, dry_run=True, sending=sending)).run()
    print(json.dumps({"lines": result["lines_read"], "memory": highest_memory()}), flush=True)
