"""Imports files of which every line fails, one after the other in a process of its own: ``results_memory_script.py FOLDER FILE...``.

Prints a line of JSON for each: the import's result, and the most memory (kB) that the process held after its lines were sent.
"""

import json
import sys

from one_task import Task, importing
from process_memory import forget_highest_memory, highest_memory

from airflow_bulk.arguments import SendingOptions

folder, *files = sys.argv[1:]
for file in files:
    forget_highest_memory()
    make = importing(file, max_failures="100%", rejects_path=folder, sending=SendingOptions())
    result = Task(make).run()
    print(json.dumps({"result": result, "memory": highest_memory()}), flush=True)
