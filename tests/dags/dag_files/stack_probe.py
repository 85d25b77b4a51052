"""A DAG that shows whether the whole-Airflow harness works: it runs, it defers, it can be killed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag, task


class Wait(BaseOperator):
    """Waits four seconds in the triggerer, from when it is asked: a wait since the run's begin may be over by then."""

    def execute(self, context: Any) -> None:
        """Defer, whatever the time is."""
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=4)), method_name="over")

    def over(self, context: Any, event: Any) -> None:
        """Nothing is left to do."""


@dag(schedule=None, tags=["test"], params={"nap": 0})
def stack_probe() -> None:
    """Sleep as long as the run says, remember it in the task's state, then wait in the triggerer."""

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def remember(params: Any = None, ti: Any = None, task_state_store: Any = None) -> dict[str, int]:
        tries = [*task_state_store.get("tries", []), ti.try_number]
        task_state_store.set("tries", tries)
        print("the probe naps")
        time.sleep(params["nap"] if ti.try_number == 1 else 0)
        return {"tries": len(tries)}

    remember() >> Wait(task_id="wait")


stack_probe()
