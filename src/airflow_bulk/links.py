"""Extra links into the platforms' consoles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class DocumentImportLink(BaseOperatorLink):
    """The import in the mediarithmics console; shown once the task knows it (mediarithmics.md section 10)."""

    name = "Document import"

    @property
    def xcom_key(self) -> str:
        """Where the task pushes the link."""
        return "console_url"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the link that the task pushed, or nothing.

        Airflow asks at the end of each try. To ask for one XCom that is not there is an error in the log, and a task that
        failed before anything existed has pushed none: so all of the task are listed first.
        """
        from airflow.sdk import BaseXCom

        pushed = BaseXCom.get_all(
            key=self.xcom_key, dag_id=ti_key.dag_id, task_id=ti_key.task_id, run_id=ti_key.run_id
        )
        if not any(pushed or ()):  # Airflow stores the empty text that this returns, too
            return ""
        if ti_key.map_index is None or ti_key.map_index < 0:
            return str(pushed[0] or "")
        return BaseXCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""  # type: ignore[arg-type]


class IntegrationBatchLink(DocumentImportLink):
    """The batch instance in the computing console; shown when its base URL is configured (section 10)."""

    name = "Integration batch"
