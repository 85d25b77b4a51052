"""A parent with sending children, to be killed: ``pool_script.py SOURCE URL``. Prints its children's pids."""

import sys

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.hooks.sending.pool import SenderPool
from airflow_bulk.hooks.sending.protocol import Job, LineRules, Target

source, url = sys.argv[1:]


class Gate:
    """Lets everything pass."""

    def __init__(self):
        self.parts = []

    def checked(self, part, findings):
        self.parts.append(part)

    def may_begin(self, part):
        pass

    may_finish = may_begin

    def answered(self, part, answer):
        pass

    lost = answered


gate = Gate()
with SenderPool(
    files=find_files(source),
    rules=LineRules(document_type="USER_PROFILE"),
    layout=Layout(max_part_bytes=11_000_000, workers=2),
    workers=2,
) as pool:
    print([child._process.pid for child in pool._engine.children], flush=True)
    pool.run(pool.first_pass(), gate)
    pool.aim(Target(url=url, headers={"Authorization": "canary-token"}))
    pool.run(lambda in_flight: Job(part=gate.parts.pop(0), check=False) if gate.parts else None, gate)
