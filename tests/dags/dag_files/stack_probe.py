"""A DAG that shows whether the whole-Airflow harness works: it runs, it defers, it can be killed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import dag, task


@dag(schedule=None, tags=["test"], params={"nap": 0})
def stack_probe() -> None:
    """Sleep as long as the run says, remember it in the task's state, then wait in the triggerer."""

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def remember(params: Any = None, ti: Any = None, task_state_store: Any = None) -> dict[str, int]:
        tries = [*task_state_store.get("tries", []), ti.try_number]
        task_state_store.set("tries", tries)
        print("the probe naps")
        time.sleep(params["nap"] if len(tries) == 1 else 0)
        return {"tries": len(tries)}

    remember() >> TimeDeltaSensor(task_id="wait", delta=timedelta(seconds=4), deferrable=True)


stack_probe()
