"""The page as Airflow serves it: what it shows, and to whom. Over HTTP, from rows in Airflow's own tables."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest

from page_server import PageServer
from recorded_work import BEGAN, import_record, import_row

ROUTES = ("list", "run", "bulk.css", "bulk.js")


def words(page: str) -> str:
    """The text of a page as a person reads it, blanks put together."""
    body = re.sub(r"<title>.*?</title>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


@pytest.fixture(scope="module")
def this(page_server: PageServer) -> dict[str, Any]:
    """A finished import with rejected and failed lines, over two tries."""
    return page_server.work.work(
        "this_dag",
        "load_customers",
        row=import_row(name="Customers of <b>today</b>"),
        record=import_record(),
        try_number=2,
    )


@pytest.fixture(scope="module")
def foreign(page_server: PageServer) -> dict[str, Any]:
    """An import of a DAG that `reader` may not read."""
    return page_server.work.work("other_dag", "hidden_task", row=import_row(name="Hidden import"))


def test_every_route_asks_for_a_login(page_server: PageServer, this: dict[str, Any]) -> None:
    for route in ROUTES:
        params = this if route == "run" else {}
        assert page_server.get(route, user=None, **params).status_code == 401, route
    assert page_server.get("openapi.json", user="admin").status_code == 404


def test_each_reader_sees_what_airflow_lets_the_reader_see(
    page_server: PageServer, this: dict[str, Any], foreign: dict[str, Any]
) -> None:
    assert [page_server.get(route, user="nobody", **this).status_code for route in ROUTES] == [403] * 4
    for user, mine, others in (("reader", this, foreign), ("other", foreign, this)):
        assert page_server.get("run", user=user, **mine).status_code == 200
        # Whether a DAG is there or not, its answer is the same.
        assert page_server.get("run", user=user, **others).status_code == 403
        assert page_server.get("run", user=user, **{**others, "dag_id": "no_such_dag"}).status_code == 403
        assert page_server.get("list", user=user, dag_id=others["dag_id"]).status_code == 403
        shown = page_server.get("list", user=user)
        assert shown.status_code == 200
        assert mine["dag_id"] in shown.text
        for secret in (others["dag_id"], others["run_id"], others["task_id"]):
            assert secret not in shown.text
    assert "Hidden import" not in page_server.get("list", user="reader").text


def test_what_the_run_page_tells(page_server: PageServer, this: dict[str, Any]) -> None:
    answer = page_server.get("run", **this)
    told = words(answer.text)
    assert "1,000 read = 4 rejected before sending + 990 accepted + 6 failed on the platform" in told
    assert "does not close" not in told
    assert "4 user_profile is missing, UPSERT needs it" in told
    assert "customers.ndjson 17 user_profile is missing" in told
    assert "3 bad compartment *" in told
    assert "12 times: unknown property" in told
    # The first try has sent one part; the newest execution when the second began was that part's.
    assert re.search(r"2 ✓ success \S+ \S+ \S+ \S+ 2 ", told)
    assert (
        "1 customers.ndjson , line 1 299 1 900 bytes 51 SUCCEEDED 297 2 2026-11-01 03:00:00 03:00:05 03:01:05"
        in told
    )
    # Nothing that a run has recorded becomes a tag, and the page takes nothing from elsewhere.
    assert "&lt;b&gt;today" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script>|<style|style=|onclick|https?://(?!console\.example)", answer.text)


def test_a_sum_that_does_not_close_is_said(page_server: PageServer) -> None:
    place = page_server.work.work("this_dag", "open", state="failed", row=import_row(lines_accepted=900))
    told = words(page_server.get("run", **place).text)
    assert "The sum does not close: 90 missing." in told
    assert "sum-open" in page_server.get("run", **place).text


def test_a_running_import_is_not_judged(page_server: PageServer) -> None:
    row = import_row(phase="submitted", lines_accepted=None, lines_failed=None, seconds=None)
    now = {
        "phase": "waiting",
        "why": "1 of 3 executions is not over",
        "executions": {"succeeded": 2, "running": 1},
    }
    now |= {"accepted": 600, "failed": 0, "at": BEGAN.timestamp() + 90}
    each = [["51", "SUCCEEDED", 300, 0], ["52", "RUNNING", None, None], ["53", "SUCCEEDED", 300, 0]]
    record = {key: value for key, value in import_record().items() if ".executions." not in key}
    place = page_server.work.work(
        "this_dag", "waits", state="deferred", row=row, now={**now, "each": each}, record=record
    )
    page = page_server.get("run", **place).text
    told = words(page)
    assert "data-live" in page
    assert "2 succeeded, 1 running" in told
    assert "1 of 3 executions is not over." in told
    assert "396 not counted yet" in told
    assert "does not close" not in told
    assert re.search(r"52 RUNNING \u2013 \u2013", told)


def test_a_failed_one_says_why(page_server: PageServer) -> None:
    reason = "170 of 1700 lines (10%) break a rule, more than max_failures=2%. Nothing was sent."
    row = import_row(phase="checked", lines_accepted=None, lines_failed=None, id=None, reason=reason)
    place = page_server.work.work("this_dag", "refused", state="failed", row=row)
    told = words(page_server.get("run", **place).text)
    assert reason in told
    assert "nothing sent" in told


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({}, id="empty"),
        pytest.param("text", id="a text"),
        pytest.param([1, 2], id="a list"),
        pytest.param(
            {"kind": 7, "name": {"a": 1}, "started": "x", "parts": -1, "lines_read": True}, id="wrong types"
        ),
        pytest.param({"started": 1e300, "at": -1e300, "seconds": 1e400}, id="times out of range"),
        pytest.param(
            {"console_url": "javascript:alert(1)", "rejects_uri": "javascript:alert(2)"}, id="a script"
        ),
        pytest.param(
            {"kind": "group", "name": "g", "jobs": [["n", "t", [9]], 3, "x", ["a", 5, ["b"]]]}, id="jobs"
        ),
    ],
)
def test_whatever_xcom_holds_is_shown(page_server: PageServer, row: Any) -> None:
    """A person, or another version of this package, may have written it."""
    key = "bulk.extract_load_group" if isinstance(row, dict) and row.get("kind") == "group" else "bulk.other"
    place = page_server.work.work("this_dag", "odd", row=row, key=key, now=row, record={"g1.plan": {}})
    for route, params in (("run", place), ("list", {"run_id": place["run_id"], "dag_id": "this_dag"})):
        answer = page_server.get(route, **params)
        assert answer.status_code == 200
        assert 'href="javascript' not in answer.text


@pytest.mark.parametrize(
    "garbage",
    [
        7,
        "text",
        [],
        {},
        [[]],
        [7],
        {"files": 7},
        {"first": 1},
        {"first": [[1, 2]]},
        {"number": "x"},
        [["x"] * 13],
        [list(range(13))],
    ],
    ids=repr,
)
@pytest.mark.parametrize("key", ["plan", "found", "try", "parts.0", "executions.0"])
def test_whatever_the_state_holds_is_shown(page_server: PageServer, key: str, garbage: Any) -> None:
    """One piece cannot be read, and the others are shown all the same."""
    record = {**import_record(), f"g1.{key}": garbage}
    place = page_server.work.work("this_dag", "garbage", row=import_row(), record=record)
    answer = page_server.get("run", **place)
    assert answer.status_code == 200
    assert "990 accepted" in words(answer.text)


def test_urls_past_every_end(page_server: PageServer, this: dict[str, Any]) -> None:
    assert page_server.get("run", **{**this, "map_index": "9" * 40}).status_code == 200
    for day in ("9999-12-31", "0001-01-01", "2026-13-45"):
        assert page_server.get("list", day=day).status_code == 200


def test_a_task_without_bulk_work(page_server: PageServer, this: dict[str, Any]) -> None:
    answer = page_server.get("run", **{**this, "task_id": "another"})
    assert answer.status_code == 200
    assert "No bulk work here" in answer.text
    # Airflow leaves the placeholder as it is where a task is not mapped.
    assert "1,000" in page_server.get("run", **{**this, "map_index": "{MAP_INDEX}"}).text


def test_filters_and_pages(page_server: PageServer) -> None:
    rows = [
        {
            "dag_id": "many",
            "run_id": f"r{number}",
            "task_id": "load",
            "began": BEGAN + timedelta(hours=number),
            "state": "failed" if number % 10 == 0 else "success",
            "key": "bulk.centrapay" if number % 7 == 0 else "bulk.mediarithmics",
            "row": import_row(name=f"Import {number}", started=(BEGAN + timedelta(hours=number)).timestamp()),
        }
        for number in range(120)
    ]
    page_server.work.works(rows)

    def names(**params: Any) -> list[str]:
        text = page_server.get("list", dag_id="many", **params).text
        return re.findall(r">(Import \d+)<", text)

    assert names() == [f"Import {number}" for number in range(119, 69, -1)]
    assert names(page=3) == [f"Import {number}" for number in range(19, -1, -1)]
    assert names(state="failed") == [f"Import {number}" for number in range(110, -1, -10)]
    assert names(platform="centrapay", state="failed") == ["Import 70", "Import 0"]
    assert names(day="2026-11-02") == [f"Import {number}" for number in range(44, 20, -1)]
    assert names(platform="no such", day="no day", state="none") == names()
    assert names(find="import 11", page=1) == [f"Import {number}" for number in [*range(119, 109, -1), 11]]
    assert "&amp;find=IMPORT&amp;page=2" in page_server.get("list", find="IMPORT").text
    assert "&amp;find=IMPORT&amp;page=1" in page_server.get("list", find="IMPORT", page=2).text
    assert page_server.get("list", page=0).status_code == 422
    assert "Older" in page_server.get("list", dag_id="many").text
    assert "Older" not in page_server.get("list", dag_id="many", page=3).text


def test_from_a_name_in_the_console_to_the_task(page_server: PageServer) -> None:
    """The platform's console shows an id, and a name with the marker; no field of its own leads back to Airflow."""
    ours = {"name": "Orders of 100% [north]", "id": "80811", "marker": "9b0c47d1e2f3"}
    place = page_server.work.work("labelled", "load_orders", row=import_row(**ours))
    other = {"name": "Orders of 100 shops", "id": "808110", "marker": "0b0c47d1e2f3"}
    page_server.work.work("labelled", "load_shops", row=import_row(**other))

    def found(text: str, **more: Any) -> set[str]:
        answer = page_server.get("list", find=text, **more)
        assert answer.status_code == 200
        return set(re.findall(r"load_(?:orders|shops)", words(answer.text)))

    for text in (
        "Orders of 100% [north] [3f2a91c0] [9b0c47d1e2f3]",
        "[9b0c47d1e2f3]",
        "9b0c47d1e2f3",
        " 80811 ",
        "of 100%",
        "orders OF 100% [NORTH]",
    ):
        assert found(text) == {"load_orders"}, text
    assert found("Orders") == {"load_orders", "load_shops"}
    assert found("Orders", state="failed") == set()
    assert found("no such") == found("%") - {"load_orders"} == found("Orders' OR 1=1 --") == set()
    shown = page_server.get("list", find="9b0c47d1e2f3")
    assert html.escape(place["run_id"]) in shown.text
    assert "labelled" not in page_server.get("list", user="reader", find="9b0c47d1e2f3").text


def test_parts_in_pages(page_server: PageServer) -> None:
    place = page_server.work.work("this_dag", "large", row=import_row(parts=250), record=import_record(250))
    first, last = (page_server.get("run", **place, part_page=page).text for page in (1, 3))
    assert "Page 1 of 3" in words(first)
    assert "101 customers.ndjson" not in words(first)
    assert "250 customers.ndjson , line 74701 299 1 900 bytes 300 SUCCEEDED" in words(last)


def test_a_group_as_a_graph(page_server: PageServer) -> None:
    run_id = "group_run"
    jobs = [
        ["extract:Account", "g.extract", []],
        ["snapshot:accounts", "g.snap", []],
        ["apply:accounts", "g.apply", [0, 1]],
    ]
    row = {
        "kind": "group",
        "name": "g",
        "phase": "begun",
        "tasks": 3,
        "jobs": jobs,
        "started": BEGAN.timestamp(),
    }
    results = {
        "g.extract": {"records": 12},
        "g.snap": {"records": 3},
        "g.apply": {"created": 9, "updated": 2, "deleted": 0, "unchanged": 1, "records": 12},
    }
    lead = page_server.work.work(
        "this_dag",
        "g.extract",
        run_id=run_id,
        row=row,
        key="bulk.extract_load_group",
        xcom={"return_value": results["g.extract"]},
    )
    for task in ("g.snap", "g.apply"):
        began = BEGAN + timedelta(seconds=120)
        page_server.work.work(
            "this_dag", task, run_id=run_id, began=began, xcom={"return_value": results[task]}, key=None
        )
    page = page_server.get("run", **lead).text
    told = words(page)
    assert "apply:accounts ✓ success · 9 created · 2 updated · 1 kept" in told
    assert "apply:accounts ✓ success 9 2 0 1" in told
    assert page.count('class="edge"') == 2
    assert "took 3 min 00 s" in told
    assert "tasks: 3 success" in words(page_server.get("list", dag_id="this_dag", run_id=run_id).text)


WRITING = {
    "phase": "writing",
    "why": "created 1,200 of 50,000",
    "done": 1200,
    "total": 50_000,
    "created": 1200,
    "updated": 7,
    "deleted": 0,
    "at": BEGAN.timestamp() + 90,
}


def test_an_apply_that_writes(page_server: PageServer) -> None:
    """In its group and, where it stands alone, on a row of its own."""
    jobs = [["snapshot:accounts", "w.snap", []], ["apply:accounts", "w.apply", [0]]]
    row = {"kind": "group", "name": "w", "phase": "begun", "tasks": 2, "jobs": jobs}
    lead = page_server.work.work(
        "this_dag", "w.snap", run_id="writing", row=row, key="bulk.extract_load_group", xcom={}
    )
    page_server.work.work(
        "this_dag", "w.apply", run_id="writing", state="running", key=None, now=WRITING, xcom={}
    )
    told = words(page_server.get("run", **lead).text)
    assert "▶ running · created 1,200 of 50,000" in told
    assert "apply:accounts ▶ running created 1,200 of 50,000 1,200 7 0" in told

    row = {"kind": "apply", "name": "bills", "phase": "writing", "started": BEGAN.timestamp()}
    alone = page_server.work.work(
        "this_dag", "alone", state="running", row=row, key="bulk.extract_load", now=WRITING
    )
    page = page_server.get("run", **alone).text
    assert 'aria-label="2 percent"' in page
    assert "extract/load apply" in words(page)
    assert words(page).count("created 1,200 of 50,000") == 1
    assert "created 1,200 of 50,000" in words(
        page_server.get("list", run_id=alone["run_id"], dag_id="this_dag").text
    )
    over = {**row, "phase": "over", "seconds": 80.0}
    ended = page_server.work.work("this_dag", "alone", row=over, key="bulk.extract_load")
    assert "took 1 min 20 s" in words(page_server.get("run", **ended).text)


def test_the_last_runs_of_a_task(page_server: PageServer) -> None:
    for number in range(35):
        began = BEGAN + timedelta(days=number)
        place = page_server.work.work(
            "this_dag",
            "daily",
            began=began,
            row=import_row(lines_accepted=900 + number, started=began.timestamp()),
        )
    page = page_server.get("run", **place).text
    assert page.count('class="piece-accepted"') == 30
    assert page.count('class="duration"') == 30
    assert "934 accepted" in page
    assert "904 accepted" not in page
