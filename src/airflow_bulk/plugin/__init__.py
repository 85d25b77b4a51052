"""The page "Bulk" in Airflow: all bulk work in the navigation, and a tab on each DAG run and task instance.

Airflow loads plugins in every component, so this module loads nothing: the application is made at its first request, which
only the API server gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.plugins_manager import AirflowPlugin

#: The path below Airflow's own, without slashes.
PREFIX = "bulk"
#: Operators whose task instances have the tab where Airflow can tell (from 3.4 on); their subclasses are on the other pages.
OPERATORS = (
    "ApplyDocumentsOperator",
    "CentrapayBatchOperator",
    "ExtractLoadBatchOperator",
    "ImportDocumentsOperator",
    "RunIntegrationBatchOperator",
    "UploadDocumentsOperator",
)


class _AppAtFirstRequest:
    """The ASGI application of the page."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from airflow_bulk.plugin.app import make_app

            self._app = make_app()
        await self._app(scope, receive, send)


def _view(destination: str, route: str, href: str, **more: Any) -> dict[str, Any]:
    # Relative: the browser resolves it against the base of Airflow's page, which knows the base path.
    return {
        "name": "Bulk",
        "href": f"{PREFIX}/{href}",
        "destination": destination,
        "url_route": route,
        **more,
    }


def summary(ti: Any, task_ids: str | Sequence[str] | None = None) -> str:
    """Say in a few lines how bulk work ended: ``{{ macros.bulk.summary(ti) }}`` in the text of any notifier.

    :param ti: the task instance of the template's context.
    :param task_ids: whose work; None is that of the task itself.
    """
    from airflow_bulk.notifications.reading import summaries_of, text_of

    context = {"ti": ti}
    return text_of(context, summaries_of(context, [task_ids] if isinstance(task_ids, str) else task_ids))


class BulkPlugin(AirflowPlugin):
    """What Airflow shows of this package, besides the tasks themselves."""

    name = "bulk"
    macros = [summary]  # noqa: RUF012
    fastapi_apps = [  # noqa: RUF012  (the base class declares it so)
        {"app": _AppAtFirstRequest(), "url_prefix": f"/{PREFIX}", "name": "Bulk"}
    ]
    external_views = [  # noqa: RUF012
        _view("nav", "bulk", "list", category="browse"),
        _view("dag_run", "bulk_dag_run", "list?dag_id={DAG_ID}&run_id={RUN_ID}"),
        _view(
            "task_instance",
            "bulk_task",
            "run?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
            applies_to={"operator_name": list(OPERATORS)},
        ),
    ]
