"""The page in Chromium, within Airflow's own pages: what a person sees, clicks and follows.

``BULK_SCREENSHOTS=folder`` keeps a picture of each page for a person to look at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, expect, sync_playwright

from page_server import PageServer
from recorded_work import BEGAN, TRIES_ARE_ROWS, import_record, import_row, xcom_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CHROMIUM_REQUIRED"),
    reason="there is no Chromium on this machine",
)
WAIT = 30_000  # milliseconds
#: When the works of these tests began: later than all of other tests in the same database.
LATER = BEGAN + timedelta(days=300)
#: The least contrast of a text with its ground (WCAG 2.2, AA).
CONTRAST = 4.5
CONTRAST_OF = """(element) => {
  const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [parts(getComputedStyle(element).color), parts(getComputedStyle(document.body).backgroundColor)].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Browser, page_server: PageServer) -> Callable[..., Any]:
    """``with opened(user, width, scheme) as page``: a page of a reader who is logged in; no error in its console."""

    @contextmanager
    def open_page(user: str = "admin", width: int = 1400, scheme: Any = "light") -> Iterator[Page]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(WAIT)
        host = page_server.url.partition("/base")[0]
        context.add_cookies([{"name": "_token", "value": page_server.token(user), "url": host}])
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        context.close()
        assert [one for one in said if "/bulk/" in one or "Content Security Policy" in one] == []

    return open_page


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("BULK_SCREENSHOTS"):
        Path(folder).mkdir(exist_ok=True)
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder) / f"{name}.png")


def frame(page: Page) -> Frame:
    """The page Bulk within Airflow's."""
    handle = page.wait_for_selector("iframe", timeout=WAIT)
    assert handle is not None
    inner = handle.content_frame()
    assert inner is not None
    inner.wait_for_selector("#page h1")
    return inner


@pytest.fixture(scope="module")
def works(page_server: PageServer) -> dict[str, dict[str, Any]]:
    """One of each state, in a DAG that `reader` may read."""
    now = {"phase": "waiting", "executions": {"succeeded": 2, "running": 1}, "accepted": 600, "failed": 0}
    now |= {"why": "1 of 3 executions is not over", "at": BEGAN.timestamp() + 90}
    open_row = {"lines_accepted": None, "lines_failed": None, "seconds": None}
    waiting = import_row(name="Deferred import", phase="submitted", **open_row)
    sending = import_row(name="Running import", phase="sending", **open_row)
    sent = {"phase": "sending", "parts_sent": 1, "rate": 2e6, "left": 40.0, "at": BEGAN.timestamp() + 90}
    refused = import_row(
        name="Failed import",
        phase="checked",
        **open_row | {"seconds": 3.0},
        reason="4 of 1000 lines break a rule.",
    )
    record = {key: value for key, value in import_record().items() if ".executions." not in key}
    work, later = page_server.work.work, LATER
    return {
        "finished": work(
            "this_dag", "seen", row=import_row(name="Finished import"), record=import_record(), began=later
        ),
        "deferred": work(
            "this_dag", "seen", state="deferred", row=waiting, now=now, record=record, began=later
        ),
        "running": work(
            "this_dag", "seen", state="running", row=sending, now=sent, record=record, began=later
        ),
        "failed": work("this_dag", "seen", state="failed", row=refused, record=record, began=later),
    }


def run_url(page_server: PageServer, place: dict[str, Any]) -> str:
    return f"{page_server.url}/dags/{place['dag_id']}/runs/{place['run_id']}/tasks/{place['task_id']}/plugin/bulk_task"


def test_the_list_within_airflow(
    opened: Any, page_server: PageServer, works: dict[str, dict[str, Any]]
) -> None:
    with opened("reader") as page:
        page.goto(f"{page_server.url}/plugin/bulk")
        inner = frame(page)
        for name in ("Finished", "Deferred", "Running", "Failed"):
            expect(inner.get_by_role("link", name=f"{name} import")).to_be_visible()
        keep(page, "list")
        inner.get_by_role("link", name="Finished import").click()
        expect(inner.get_by_text("Everything is accounted for")).to_be_visible()
        page.reload()  # Airflow's own address has followed
        expect(frame(page).get_by_text("Everything is accounted for")).to_be_visible()
        frame(page).get_by_role("link", name="seen", exact=True).click()
        page.wait_for_url(f"**/tasks/{works['finished']['task_id']}*", timeout=WAIT)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("name", ["finished", "deferred", "running", "failed"])
def test_each_state(
    name: str, width: int, scheme: str, opened: Any, page_server: PageServer, works: dict[str, dict[str, Any]]
) -> None:
    """Nothing is wider than the window, and every text stands out from its ground."""
    with opened("reader", width, scheme) as page:
        page.goto(
            f"{page_server.url}/bulk/run?" + "&".join(f"{key}={one}" for key, one in works[name].items())
        )
        expect(page.locator("h1")).to_contain_text(f"{name.capitalize()} import")
        keep(page, f"{name}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for told in page.locator("h1 .state, .quiet, .rejected, .accepted, .failed, a, p").all():
            assert told.evaluate(CONTRAST_OF) >= CONTRAST, told.inner_text()


@pytest.mark.parametrize("width", [1400, 420])
def test_a_group_whose_apply_writes(opened: Any, page_server: PageServer, width: int) -> None:
    jobs = [
        ["extract:Account", "b.e", []],
        ["snapshot:accounts", "b.s", []],
        ["apply:accounts", "b.a", [0, 1]],
    ]
    row = {"kind": "group", "name": "b", "phase": "begun", "tasks": 3, "jobs": jobs}
    work, run_id = page_server.work.work, f"writes_{width}"
    lead = work("this_dag", "b.e", run_id=run_id, row=row, key="bulk.extract_load_group")
    work("this_dag", "b.s", run_id=run_id, key=None, xcom={"return_value": {"records": 49_000}})
    now = {"phase": "writing", "why": "created 1,200 of 50,000", "created": 1200, "updated": 7, "deleted": 0}
    work("this_dag", "b.a", run_id=run_id, state="running", key=None, now={**now, "at": BEGAN.timestamp()})
    with opened("reader", width) as page:
        page.goto(f"{page_server.url}/bulk/run?" + "&".join(f"{key}={one}" for key, one in lead.items()))
        expect(page.locator("table").get_by_text("created 1,200 of 50,000")).to_be_visible()
        keep(page, f"writes-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for told in page.locator("td .quiet").all():
            assert told.evaluate(CONTRAST_OF) >= CONTRAST, told.inner_text()
        text = page.locator("text.box-counts", has_text="created")
        box, words = text.locator("..").locator("rect").bounding_box(), text.bounding_box()
        assert box is not None
        assert words is not None
        assert words["x"] + words["width"] <= box["x"] + box["width"]


def test_an_empty_list(opened: Any, page_server: PageServer, works: Any) -> None:
    with opened("reader") as page:
        page.goto(f"{page_server.url}/bulk/list?day=2001-01-01")
        expect(page.get_by_text("Nothing matches.")).to_be_visible()
        keep(page, "empty")


def test_a_page_follows_its_run(opened: Any, page_server: PageServer) -> None:
    """While it runs, without a reload; no look at the platform, which is not there at all."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, update

    row = import_row(name="Followed", phase="submitted", lines_accepted=None, lines_failed=None, seconds=None)
    place = page_server.work.work("this_dag", "followed", state="deferred", row=row)
    with opened() as page:
        page.goto(f"{page_server.url}/bulk/run?" + "&".join(f"{key}={one}" for key, one in place.items()))
        expect(page.locator("h1")).to_contain_text("deferred")
        tasks, xcoms = TaskInstance.__table__, xcom_model().__table__
        of_run = tasks.c.run_id == place["run_id"]
        of_task = (
            xcoms.c.task_instance_id == select(tasks.c.id).where(of_run).scalar_subquery()
            if TRIES_ARE_ROWS
            else xcoms.c.run_id == place["run_id"]
        )
        over = {"state": "success", "end_date": BEGAN + timedelta(seconds=60)}
        with page_server.work.engine.begin() as connection:
            connection.execute(update(tasks).where(of_run).values(**over))
            connection.execute(update(xcoms).where(of_task).values(value=import_row(name="Followed")))
        expect(page.locator("h1")).to_contain_text("success", timeout=WAIT)
        expect(page.get_by_text("990 accepted")).to_be_visible()


def test_by_keyboard(opened: Any, page_server: PageServer, works: Any) -> None:
    with opened("reader") as page:
        page.goto(f"{page_server.url}/bulk/list?day={LATER.date()}")
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "document.activeElement.name || document.activeElement.textContent.trim()"
            )
            reached.add(focused)
        assert {"platform", "dag_id", "state", "day", "Show", "Finished import", "log"} <= reached


def test_it_looks_as_airflow_does(opened: Any, page_server: PageServer, works: Any) -> None:
    with opened("reader") as page:
        page.goto(f"{page_server.url}/plugin/bulk")
        inner = frame(page)
        for theme in ("dark", "light"):
            page.evaluate("(theme) => { document.documentElement.className = theme }", theme)
            inner.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'", timeout=WAIT)
            if theme == "dark":
                keep(page, "list-dark")


def test_ten_thousand(opened: Any, page_server: PageServer) -> None:
    page_server.work.works(
        {
            "dag_id": "large",
            "run_id": f"r{number}",
            "task_id": "load",
            "began": BEGAN - timedelta(minutes=number),
            "row": import_row(name=f"Import {number}"),
        }
        for number in range(10_000)
    )
    with opened() as page:
        page.goto(f"{page_server.url}/bulk/list?dag_id=large")
        expect(page.get_by_role("link", name="Import 0", exact=True)).to_be_visible()
        keep(page, "ten-thousand")
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_role("link", name="Import 50", exact=True)).to_be_visible()


def test_without_red_and_green(opened: Any, page_server: PageServer, works: Any) -> None:
    """Each state has a sign of its own, and each kind of lines a word: no colour is needed to tell them."""
    with opened("reader") as page:
        client = page.context.new_cdp_session(page)
        client.send("Emulation.setEmulatedVisionDeficiency", {"type": "deuteranopia"})
        page.goto(f"{page_server.url}/bulk/list?dag_id=this_dag&day={LATER.date()}")
        keep(page, "deuteranopia")
        told = {state.inner_text().split()[0] for state in page.locator("td .state").all()}
        assert (
            len(told)
            == len({state.inner_text().split()[1] for state in page.locator("td .state").all()})
            == 4
        )
