"""Which execution a committed part is: only what fits one alone is adopted."""

from __future__ import annotations

import pytest
from one_task import MemoryStore

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.operators.document_import import SendingOptions
from airflow_bulk.platforms.status import Seen, Standing
from airflow_bulk.runs.reconcile import NotSettled, Settling
from airflow_bulk.runs.record import PartLedger, Record, State


class Shown:
    """What the platform shows."""

    def __init__(self, *seen: Seen) -> None:
        self.seen = list(seen)

    def look(self) -> list[Seen]:
        return self.seen

    def cancel(self, execution_id: str) -> Seen:
        raise AssertionError("nothing is PENDING")


@pytest.mark.parametrize("own", [True, False])
def test_one_that_tells_no_lines_is_nobodys_while_another_fits(own: bool) -> None:
    """FAILED before it counted: it may be the part's, and so may the other."""
    record = Record(MemoryStore(), max_tries=1, clear_number=0, try_number=1)
    ledger = PartLedger.empty(record)
    ledger.add([Part(index=0, file=0, start=0, length=100, lines=10, body=100)])
    ledger.entries[0].state = State.COMMIT
    ledger.save(ledger.entries[0])
    silent = Seen(id="11", status="FAILED", standing=Standing.FAILED, lines=None)
    counted = Seen(id="10", status="SUCCEEDED", standing=Standing.SUCCEEDED, lines=10)
    settling = Settling(
        Shown(silent, counted), ledger, SendingOptions(settle=0), own=own, exclusive=True, baseline="9"
    )
    with pytest.raises(NotSettled, match="candidates: 11, 10"):
        settling.run()
    (entry,) = PartLedger(record).entries
    assert entry.state is State.COMMIT
    assert not entry.executions
