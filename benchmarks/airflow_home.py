"""The environment of a measured process that has Airflow's modules, and an Airflow of its own that nothing else uses."""

from __future__ import annotations

import os


def environment(home: str) -> dict[str, str]:
    """This process's environment with AIRFLOW_HOME in ``home``, and without what a plain Airflow would load or log beside."""
    return {
        **os.environ,
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
