"""An auth manager in which rights are by DAG: the simple one of Airflow knows roles alone."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: User -> the DAGs that the user may read; None: all.
READS: dict[str, set[str] | None] = {
    "admin": None,
    "reader": {"this_dag"},
    "other": {"other_dag"},
    "nobody": set(),
}


class ThreeReaders(SimpleAuthManager):
    """Each user reads the DAGs of :data:`READS`."""

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None
    ) -> bool:
        reads = READS[user.username]
        if reads is None:
            return True
        if details is None or details.id is None:
            return method == "GET" and bool(reads)
        return method == "GET" and details.id in reads
