"""The notifier and the macro: what is posted over real HTTP, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from airflow_bulk.notifications.summary import BulkSummaryNotifier, NotPosted

ROW = {
    "kind": "upload", "phase": "over", "name": "profiles", "id": "12", "lines_read": 1201, "lines_rejected": 1,
    "lines_accepted": 1200, "lines_failed": 0, "rejects_uri": "s3://aws@b/rejects", "at": 1.0, "noun": "unlisted",
}  # fmt: skip


class Instance:
    """What a notifier uses of a task instance."""

    dag_id, task_id, run_id, map_index = "nightly", "load", "r1", -1

    def __init__(self, rows: dict[tuple[str, str], Any]) -> None:
        self.rows = rows

    def xcom_pull(self, task_ids: Any, key: str, map_indexes: Any = "unset") -> Any:
        if isinstance(task_ids, str):
            assert map_indexes == self.map_index
            return self.rows.get((task_ids, key))
        return [self.rows.get((one, key)) for one in task_ids]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[Any], list[int]]]:
    posts: list[Any] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posts.append((self.path, self.headers.get("X-Team"), body))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = {
        "conn_type": "http",
        "host": f"http://127.0.0.1:{server.server_port}/hook-secret",
        "extra": {"X-Team": "crm"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(connection))
    yield posts, answers
    server.shutdown()
    server.server_close()


def context(**rows: Any) -> dict[str, Any]:
    return {"ti": Instance({("load", f"bulk.{platform}"): row for platform, row in rows.items()})}


def test_the_default_says_everything(webhook: Any) -> None:
    BulkSummaryNotifier(http_conn_id="ops")(context(mediarithmics=ROW))
    ((path, team, body),) = webhook[0]
    assert (path, team) == ("/hook-secret", "crm") or (path, team) == ("/hook-secret/", "crm")
    assert body["text"].splitlines() == [
        "nightly, run r1, task load",
        "load: profiles (12): over",
        "1,201 read = 1 rejected + 1,200 accepted + 0 failed",
        "rejects_uri: s3://aws@b/rejects",
    ]
    (one,) = body["bulk"]
    assert (one["task_id"], one["lines_accepted"], one["results_uri"]) == ("load", 1200, None)
    assert "noun" not in one, "only what is documented"


def test_a_failure_says_why(webhook: Any) -> None:
    row = {**ROW, "phase": "submitted", "lines_accepted": None, "lines_failed": None, "reason": "Too late."}
    BulkSummaryNotifier(http_conn_id="ops")(context(centrapay=row))
    text = webhook[0][0][2]["text"]
    assert "load: profiles (12): Too late." in text and "1,201 read = 1 rejected\n" in text


def test_templates_know_the_summaries(webhook: Any) -> None:
    notifier = BulkSummaryNotifier(
        http_conn_id="ops",
        endpoint="{{ ti.task_id }}",
        payload={"blocks": [{"text": "{{ bulk[0].lines_rejected }} of {{ bulk[0].lines_read }}"}]},
    )
    given = context(other=ROW)
    notifier(given)
    path, _, body = webhook[0][0]
    assert path.endswith("/hook-secret/load") and body == {"blocks": [{"text": "1 of 1201"}]}
    assert set(given) == {"ti"}, "a context is shared with other callbacks"


def test_a_dag_tells_of_the_tasks_that_are_named(webhook: Any) -> None:
    rows = {("a", "bulk.mediarithmics"): ROW, ("b", "bulk.centrapay"): {**ROW, "id": "13"}}
    BulkSummaryNotifier(http_conn_id="ops", task_ids=["a", "b", "c"])(
        {"ti": Instance(rows), "reason": "success"}
    )
    body = webhook[0][0][2]
    assert [(one["task_id"], one["id"]) for one in body["bulk"]] == [("a", "12"), ("b", "13")]


def test_nothing_known_is_said(webhook: Any) -> None:
    BulkSummaryNotifier(http_conn_id="ops")({"run_id": "r1", "reason": "timed_out"})
    assert webhook[0][0][2] == {"text": "run r1\nNo summary of bulk work is known.", "bulk": []}


def test_in_the_triggerer_of_a_deadline(webhook: Any) -> None:
    """XCom cannot be read outside of Airflow: the notification comes all the same."""
    run = {"dag_id": "nightly", "dag_run_id": "r1"}
    notifier = BulkSummaryNotifier(
        http_conn_id="ops", task_ids="load", context={"dag_run": run, "deadline": {"id": "1"}}
    )

    async def late() -> None:
        await notifier

    asyncio.run(late())
    assert webhook[0][0][2]["text"].startswith("nightly, run r1: the deadline has passed")


def test_a_refusal_names_no_secret(webhook: Any, caplog: pytest.LogCaptureFixture) -> None:
    webhook[1].append(403)
    with pytest.raises(NotPosted, match="'ops' answered 403") as refused:
        BulkSummaryNotifier(http_conn_id="ops")(context(mediarithmics=ROW))
    assert "hook-secret" not in f"{refused.value}{caplog.text}"


def test_silence_names_no_secret(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": "http://127.0.0.1:9/hook-secret"})
    )
    with pytest.raises(NotPosted, match="did not answer: ConnectionError") as refused:
        BulkSummaryNotifier(http_conn_id="ops")(context(mediarithmics=ROW))
    assert "hook-secret" not in f"{refused.value}{caplog.text}" and refused.value.__cause__ is None
