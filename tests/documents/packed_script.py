"""Checks a packed source and reads its bodies in a process of its own: ``packed_script.py FILE``.

Prints JSON: lines, rejected lines and bytes of the bodies, and the most memory (kB) that it took beyond what it began with.
"""

import json
import resource
import sys

from airflow_bulk.documents.source.bodies import BodyReader
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.reader import LineRules, SourceReader
from airflow_bulk.documents.source_check import SourceCheck


def highest_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


rules, layout = LineRules(document_type="USER_PROFILE"), Layout(max_part_bytes=10_000_000)
before = highest_memory()
found = find_files([sys.argv[1]])
check = SourceCheck(found, rules, layout)
check.run()
sent = 0
view = memoryview(bytearray(1 << 20))
with SourceReader(found, rules, layout.max_part_bytes) as reader:
    for part in check.parts:
        if part.lines and not part.rejected:
            body = BodyReader(reader, part, iter(()))
            while count := body.readinto(view):
                sent += count
            assert body.digest == part.digest
print(
    json.dumps(
        {
            "lines": sum(part.lines for part in check.parts),
            "rejected": sum(part.rejected for part in check.parts),
            "sent": sent,
            "memory": highest_memory() - before,
        }
    )
)
