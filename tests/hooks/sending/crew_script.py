"""A parent with sending children, to be killed: ``crew_script.py SOURCE URL``. Prints its children's pids."""

import sys

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.hooks.sending.pool import Crew
from airflow_bulk.hooks.sending.protocol import Job, Rules, Target

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
with Crew(
    files=find_files(source),
    rules=Rules(document_type="USER_PROFILE"),
    layout=Layout(max_part_bytes=11_000_000, workers=2),
    workers=2,
) as crew:
    print([child._process.pid for child in crew._engine.children], flush=True)
    crew.run(crew.first_pass(), gate)
    crew.aim(Target(url=url, headers={"Authorization": "canary-token"}))
    crew.run(lambda in_flight: Job(part=gate.parts.pop(0), check=False) if gate.parts else None, gate)
