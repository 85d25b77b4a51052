"""When a sensor's waiting began: the one thing that a sensor writes into its task's state.

Airflow counts a sensor's timeout over reschedules and their retries, anew for each try in poke mode, and not at all
for deferrals. The task's state survives all of these (airflow-crash-facts.md section 2), so one start serves all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "waiting_since"


def waiting_since(context: Context) -> float:
    """Return the seconds since 1970 of the first look, and record them at the first look.

    A clear begins anew: it changes ``max_tries``, and nothing else does (airflow-crash-facts.md section 2). Without a
    task state, as in a test that calls ``poke`` by hand, waiting begins now.
    """
    now = time.time()
    store: Any = context.get("task_state_store")
    if store is None:
        return now
    max_tries = context["ti"].max_tries
    known = store.get(KEY)
    if isinstance(known, dict) and known.get("max_tries") == max_tries:
        return float(known["since"])
    store.set(KEY, {"since": now, "max_tries": max_tries})
    return now
