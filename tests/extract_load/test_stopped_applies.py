"""An apply whose try does not count any more stops before its next write."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_bulk.operators.extract_load import ApplyOperator
from airflow_bulk.runs.extract_load.staging import write_records
from airflow_bulk.runs.failures import TaskStopped


class Airflow:
    """What a try asks of Airflow: the first time all is well, then no more."""

    def __init__(self, *, superseded=False, state="running"):
        self.superseded = superseded
        self.state = state
        self.asked = 0
        ids = {"dag_id": "d", "run_id": "r", "task_id": "apply", "map_index": -1}
        self.ti = SimpleNamespace(**ids, try_number=1, get_task_states=self.get_task_states)

    @property
    def context(self):
        return {"ti": self.ti, "task_state_store": self}

    def set(self, key, value):
        self.asked += 1
        if self.superseded and self.asked > 1:
            raise RuntimeError("Task instance not found")

    def get_task_states(self, **asked):
        assert (asked["task_ids"], asked["run_ids"]) == (["apply"], ["r"])
        return {"r": {"apply": "running" if self.asked == 1 else self.state}}


@pytest.fixture
def apply(extract_load, tmp_path):
    """An apply of 50 records, each taking a while."""
    extract_load.emulator.fault("slow", path=r"accounts\.json", method="POST", answer_delay=0.3)
    records = ({"Id": str(number), "Name": f"a{number}"} for number in range(50))
    staged, count = write_records(str(tmp_path), "accounts", records)
    bounds = {"since": None, "updated_since": None}
    return ApplyOperator(
        task_id="apply",
        destination="el_destination",
        object_name="accounts",
        staging=str(tmp_path),
        extracts=[{"node": "e", "object": "Account", "uri": staged, "records": count, **bounds}],
    )


def test_a_superseded_try_writes_no_further(extract_load, apply):
    """Airflow's store refuses a try that a newer one has replaced."""
    with pytest.raises(RuntimeError, match="not found"):
        apply.execute(Airflow(superseded=True).context)
    assert 1 <= len(extract_load.destination("accounts")) <= 5


@pytest.mark.parametrize("state", ["restarting", "failed"])
def test_a_cleared_or_marked_try_writes_no_further(extract_load, apply, state):
    """It still may write into its store, but another run's apply may begin."""
    with pytest.raises(TaskStopped, match=f"apply is {state} now, so this try writes no further"):
        apply.execute(Airflow(state=state).context)
    assert 1 <= len(extract_load.destination("accounts")) <= 5
