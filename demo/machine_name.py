"""The name of a component that has a machine of its own in a distributed stack: Airflow shows it as the host of a task or a trigger."""

import os

VARIABLE = "DISTRIBUTED_MACHINE"


def machine_name() -> str:
    """What ``[core] hostname_callable`` calls."""
    return os.environ[VARIABLE]
