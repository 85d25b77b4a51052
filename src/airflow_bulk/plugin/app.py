"""The routes of the page: what they answer, to whom.

Airflow mounts a plugin's application without asking who calls (airflow.md section 11.1), so every route asks: 401 without a
login, 403 for a DAG that the reader may not see. The list holds nothing of such a DAG, not even its name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, Query, Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_bulk.plugin import words
from airflow_bulk.plugin.details import Detail, read_detail, read_jobs
from airflow_bulk.plugin.drawing import draw_chart, draw_graph
from airflow_bulk.plugin.listing import LAST_PAGE, Filters, find_row, last_rows, list_rows
from airflow_bulk.plugin.rows import KINDS, STATE_GROUPS
from airflow_bulk.shown import PLATFORMS

#: Runs in the chart of a task.
CHART_RUNS = 30
#: Nothing but this application's own files; no script and no style within a page.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
#: Days that can be asked for; beyond them, databases and calendars end.
EARLIEST, LATEST = date(1970, 1, 1), date(2900, 1, 1)
#: Characters of what is looked for; no name of an import is longer than a row holds of it.
LONGEST_FIND = 500
STATIC = Path(__file__).parent / "static"
_ENTITIES = (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
#: What a reader needs: task instances and XCom of the DAG that is asked for, or of any where none is.
READS = [Depends(requires_access_dag("GET", entity)) for entity in _ENTITIES]

_pages = Environment(
    loader=PackageLoader("airflow_bulk.plugin"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters |= words.FILTERS


def _page(template: str, **values: Any) -> HTMLResponse:
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(_pages.get_template(template).render(values), headers=headers)


def _may_read(user: Any) -> Callable[[str], bool]:
    """Whether a user may see the bulk work of a DAG."""
    manager = get_auth_manager()
    readable = manager.get_authorized_dag_ids(user=user, method="GET")

    def may_read(dag_id: str) -> bool:
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        return dag_id in readable and all(
            manager.is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)
            for entity in _ENTITIES
        )

    return may_read


def show_list(
    user: GetUserDep,
    session: SessionDep,
    dag_id: str = "",
    run_id: str = "",
    platform: str = "",
    state: str = "",
    find: str = "",
    day: str = "",
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
) -> HTMLResponse:
    """All bulk work that the reader may see, newest first; or that of one DAG run, for its tab."""
    filters = Filters(
        dag_id=dag_id,
        run_id=run_id,
        platform=platform if platform in PLATFORMS else "",
        state=state if state in STATE_GROUPS else "",
        find=find.strip()[:LONGEST_FIND],
        day=_day(day),
        page=page,
    )
    listing = list_rows(session, filters, _may_read(user))
    return _page(
        "list.html",
        filters=filters,
        listing=listing,
        platforms=PLATFORMS,
        states=list(STATE_GROUPS),
        live=any(row.is_live for row in listing.rows),
    )


def show_run(
    session: SessionDep,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: str = "-1",
    part_page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> HTMLResponse:
    """One task instance."""
    # Airflow leaves {MAP_INDEX} as it is where a task is not mapped (airflow.md section 11.1).
    place = {
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "map_index": int(map_index) if map_index.isdecimal() and len(map_index) < 10 else -1,
    }
    row = find_row(session, place)
    if row is None:
        return _page("none.html", **place)
    chart = draw_chart(last_rows(session, dag_id, task_id, CHART_RUNS))
    if row.kind == KINDS["group"]:
        jobs = read_jobs(session, place)
        return _page("group.html", row=row, jobs=jobs, graph=draw_graph(jobs), live=row.is_live)
    detail: Detail = read_detail(session, place, part_page=part_page - 1)
    return _page("run.html", row=row, detail=detail, chart=chart, part_page=part_page, live=row.is_live)


def show_style() -> FileResponse:
    """The style sheet."""
    return FileResponse(STATIC / "bulk.css", media_type="text/css")


def show_script() -> FileResponse:
    """The script: it follows Airflow's colours, opens Airflow's pages, and asks again while something runs."""
    return FileResponse(STATIC / "bulk.js", media_type="text/javascript")


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        return None
    return day if day is not None and EARLIEST <= day <= LATEST else None


def make_app() -> FastAPI:
    """Make the application that Airflow mounts."""
    app = FastAPI(title="Bulk", docs_url=None, redoc_url=None, openapi_url=None, dependencies=READS)
    app.get("/list", response_class=HTMLResponse)(show_list)
    app.get("/run", response_class=HTMLResponse)(show_run)
    app.get("/bulk.css", response_class=Response)(show_style)
    app.get("/bulk.js", response_class=Response)(show_script)
    return app
