"""Imports files one after the other in a process of its own: ``memory_script.py REJECTS FILE...``.

Prints a line of JSON for each: the import's result, where its reject file lies now, and the most memory (kB) that the
process held meanwhile.
"""

import json
import sys
from pathlib import Path

from one_task import Task, importing
from process_memory import forget_highest_memory, highest_memory

from airflow_bulk.arguments import SendingOptions

rejects, *files = sys.argv[1:]
for number, file in enumerate(files):
    forget_highest_memory()
    sending = SendingOptions(max_part_bytes=2_000_000)
    result = Task(importing(file, max_failures="2%", rejects_path=rejects, sending=sending)).run()
    memory = highest_memory()
    rows = Path(result["rejects_uri"]).rename(f"{rejects}/{number}")
    print(json.dumps({"result": result, "rejects": str(rows), "memory": memory}), flush=True)
