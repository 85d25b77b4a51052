"""Which execution a committed part is: only what fits one alone is adopted."""

from __future__ import annotations

import pytest
from one_task import ME, MemoryStore

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.reconcile import Reconciliation, StaysUnclear
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.recorded_parts import PartState, RecordedParts


class Shown:
    """What the platform shows."""

    def __init__(self, *seen: RemoteSnapshot) -> None:
        self.seen = list(seen)

    def snapshots(self) -> list[RemoteSnapshot]:
        return self.seen

    def cancel(self, execution_id: str) -> RemoteSnapshot:
        raise AssertionError("nothing is PENDING")


@pytest.mark.parametrize("own", [True, False])
def test_one_that_tells_no_lines_is_nobodys_while_another_fits(own: bool) -> None:
    """FAILED before it counted: it may be the part's, and so may the other."""
    record = Record(MemoryStore(), max_tries=1, clear_number=0, try_number=1, identity=ME)
    recorded = RecordedParts.empty(record)
    recorded.add([Part(index=0, file=0, start=0, length=100, lines=10, body=100)])
    recorded.entries[0].state = PartState.COMMIT
    recorded.save(recorded.entries[0])
    silent = RemoteSnapshot(id="11", status="FAILED", remote_status=RemoteStatus.FAILED, lines=None)
    counted = RemoteSnapshot(id="10", status="SUCCEEDED", remote_status=RemoteStatus.SUCCEEDED, lines=10)
    settling = Reconciliation(
        Shown(silent, counted), recorded, SendingOptions(settle=0), own=own, exclusive=True, baseline="9"
    )
    with pytest.raises(StaysUnclear, match="candidates: 11, 10"):
        settling.run()
    (entry,) = RecordedParts(record).entries
    assert entry.state is PartState.COMMIT
    assert not entry.executions
