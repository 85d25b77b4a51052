"""Others learn of an end on a real Airflow: asset events, a webhook, a deadline, OpenLineage's own events in files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from one_task import write_profiles

from airflow_bulk.emulator.handle import Emulator
from airflow_stack import AirflowStack

LONG = 180.0
#: In a line that is refused; it may be nowhere.
CANARY = "canary-4f1c9b"


class Webhook:
    """A server on loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        posts = self.posts = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    posts: list[tuple[str, dict[str, Any]]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    running = Webhook()
    yield running
    running.close()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator.start(start_delay=0.2, run_seconds=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator,
    webhook: Webhook,
    repository: Path,
    new_airflow_database: Callable[[], str | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    """An Airflow whose OpenLineage writes a file an event."""
    home = tmp_path_factory.mktemp("told")
    (home / "lineage").mkdir()
    environment = {
        "AIRFLOW_CONN_MEDIARITHMICS_DEFAULT": emulator.connection_json(),
        "AIRFLOW_CONN_OPS_WEBHOOK": json.dumps({"conn_type": "http", "host": webhook.url}),
        "BULK_EXAMPLE_DATAMART": emulator.datamart_id,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(home / "lineage" / "event")}
        ),
        # A DAG's callback that comes while its file is parsed waits until the file is parsed again.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
    }
    folders = {"examples": home / "examples", "tests": Path(__file__).parent / "told_dags"}
    folders["examples"].mkdir()
    (folders["examples"] / "told_import.py").symlink_to(repository / "dags" / "told_import.py")
    with AirflowStack(home, folders, environment, database=new_airflow_database()) as running:
        for dag_id in ("told_workers", "told_deferred", "told_import", "after_told_import"):
            running.api.wait_for_dag(dag_id)
            running.api.unpause(dag_id)
        yield running


def posted(stack: AirflowStack, webhook: Webhook, path: str, run_id: str) -> dict[str, Any]:
    """The one body that was posted to a path about a run."""

    def look() -> dict[str, Any] | None:
        return next((body for to, body in webhook.posts if to == path and run_id in json.dumps(body)), None)

    return stack.api.wait_for(f"a post to {path} about {run_id}", look, LONG)


def lineage(stack: AirflowStack, job: str, kind: str, source: Path) -> dict[str, Any]:
    """The event of a task that read a file."""

    def look() -> dict[str, Any] | None:
        events = [
            json.loads(text)
            for path in (stack.home / "lineage").iterdir()
            if (text := path.read_text()).endswith("}\n") or text.endswith("}")
        ]
        return next(
            (
                one
                for one in events
                if (one["job"]["name"], one["eventType"]) == (job, kind) and str(source) in json.dumps(one)
            ),
            None,
        )

    return stack.api.wait_for(f"{kind} of {job}", look, 60)


def facts(dataset: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Namespace, name and statistics of a dataset."""
    found: dict[str, Any] = {}
    for where in ("inputFacets", "outputFacets"):
        for facet in dataset.get(where, {}).values():
            found |= {name: value for name, value in facet.items() if not name.startswith("_")}
    return dataset["namespace"], dataset["name"], found


def events_of(stack: AirflowStack, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    """The extras of the asset events of a run, by the name of the asset."""
    found = stack.api.call(
        "GET", "/assets/events", params={"source_dag_id": dag_id, "source_run_id": run_id}
    )["asset_events"]
    return {one["name"]: one["extra"] for one in found}


@pytest.mark.parametrize("dag_id", [pytest.param("told_workers", marks=pytest.mark.slow), "told_deferred"])
def test_a_good_end_is_told(
    stack: AirflowStack, emulator: Emulator, webhook: Webhook, tmp_path: Path, dag_id: str
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 40)
    with source.open("a") as file:
        file.write(f'"{CANARY}"\n')
    run_id = stack.api.trigger(dag_id, conf={"source": str(source)})
    assert stack.api.wait_for_run(dag_id, run_id, LONG) == "success", stack.api.log(dag_id, run_id, "load")
    result = stack.api.xcom(dag_id, run_id, "load")
    counts = {"lines_read": 41, "lines_rejected": 1, "lines_accepted": 40, "lines_failed": 0}
    target = f"mediarithmics://{emulator.datamart_id}", "USER_PROFILE"

    events = events_of(stack, dag_id, run_id)
    assert set(events) == {dag_id, "/".join(target)}
    by_alias = events["/".join(target)]
    assert by_alias | counts == by_alias
    told = {name: result[name] for name in ("import_id", "rejects_uri")} | {"executions": 1}
    own = events[dag_id]
    if dag_id == "told_workers":
        assert (own["lines_read"], own["cycle"]) == ("mine", 7), "the author's own stays"
        own["lines_read"] = 41
    assert own | counts | told == own

    event = lineage(stack, f"{dag_id}.load", "COMPLETE", source)
    rejects, results = (Path(result[name]) for name in ("rejects_uri", "results_uri"))
    assert {rejects, results} == set((source.parent / "profiles.ndjson.rejects").iterdir())
    assert [facts(one) for one in event["inputs"]] == [
        ("file", str(source), {"rowCount": 41, "fileCount": 1})
    ]
    assert [facts(one) for one in event["outputs"]] == [
        (*target, {"rowCount": 40, "size": result["bytes"]}),
        ("file", str(rejects), {"rowCount": 1}),
        ("file", str(results), {}),
    ]
    facet = event["run"]["facets"]["bulk_summary"]
    assert (facet["id"], facet["linesRejected"], facet["linesFailed"]) == (result["import_id"], 1, 0)

    body = posted(stack, webhook, "/load/good", run_id)
    assert body["text"].startswith(f"40 of 41; {dag_id}, run {run_id}, task load\nload: told")
    assert "41 read = 1 rejected + 40 accepted + 0 failed" in body["text"]
    (one,) = body["bulk"]
    assert one | counts | {"id": result["import_id"], "phase": "over", "reason": None} == one
    of_dag = posted(stack, webhook, "/dag", run_id)
    assert [(one["task_id"], one["lines_accepted"]) for one in of_dag["bulk"]] == [("load", 40)]


@pytest.mark.parametrize("dag_id", ["told_workers", pytest.param("told_deferred", marks=pytest.mark.slow)])
def test_a_bad_end_is_told(
    stack: AirflowStack, emulator: Emulator, webhook: Webhook, tmp_path: Path, dag_id: str
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 10)
    with source.open("a") as file:
        file.write(f'"{CANARY}"\n' * 4)
    run_id = stack.api.trigger(dag_id, conf={"source": str(source)})
    assert stack.api.wait_for_run(dag_id, run_id, LONG) == "failed"
    assert events_of(stack, dag_id, run_id) == {}
    event = lineage(stack, f"{dag_id}.load", "FAIL", source)
    assert facts(event["inputs"][0]) == ("file", str(source), {"rowCount": 14, "fileCount": 1})
    facets = event["run"]["facets"]
    assert facets["bulk_summary"]["linesRejected"] == 4
    assert "4 of 14 lines" in facets["errorMessage"]["message"]
    body = posted(stack, webhook, "/load/bad", run_id)
    (one,) = body["bulk"]
    assert (one["lines_read"], one["lines_rejected"], one["lines_accepted"]) == (14, 4, None)
    assert "max_failures=10%" in one["reason"] and one["reason"] in body["text"]
    assert [one["task_id"] for one in posted(stack, webhook, "/dag", run_id)["bulk"]] == ["load"]


@pytest.mark.slow  # a deadline of Airflow is looked at only now and then
def test_a_late_run_is_told(
    stack: AirflowStack, emulator: Emulator, webhook: Webhook, tmp_path: Path
) -> None:
    """The deadline of 15 s passes while the import waits; the triggerer reads its summary and posts it."""
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 5)
    emulator.settings(start_delay=40)
    try:
        run_id = stack.api.trigger("told_deferred", conf={"source": str(source)})
        body = posted(stack, webhook, "/late", run_id)
        assert body == {"run": run_id, "said": "5 lines of told, waiting: True"}
    finally:
        emulator.settings(start_delay=0.2)
    assert stack.api.wait_for_run("told_deferred", run_id, LONG) == "success"


def test_the_example_starts_another_dag(
    stack: AirflowStack, emulator: Emulator, webhook: Webhook, tmp_path: Path
) -> None:
    write_profiles(tmp_path / "profiles.ndjson", 120, bad=(7,))
    before = {one["dag_run_id"] for one in stack.api.runs("after_told_import")}
    run_id = stack.api.trigger("told_import", conf={"source": str(tmp_path / "profiles.ndjson")})
    assert stack.api.wait_for_run("told_import", run_id, LONG) == "success"
    result = stack.api.xcom("told_import", run_id, "load_profiles")

    def started() -> str | None:
        for one in stack.api.runs("after_told_import"):
            if one["dag_run_id"] in before or one["state"] != "success":
                continue
            if (stack.api.xcom("after_told_import", one["dag_run_id"], "use_counts") or {}).get(
                "import_id"
            ) == result["import_id"]:
                return str(one["dag_run_id"])
        return None

    after = stack.api.wait_for("the asset's DAG", started, LONG)
    extra = stack.api.xcom("after_told_import", after, "use_counts")
    assert (extra["lines_read"], extra["lines_rejected"], extra["lines_accepted"]) == (120, 1, 119)
    assert extra["rejects_uri"] == result["rejects_uri"]
    (one,) = posted(stack, webhook, "/", run_id)["bulk"]
    assert one["id"] == result["import_id"]


def test_no_line_got_out(stack: AirflowStack, webhook: Webhook) -> None:
    """What was refused is in the reject files alone."""
    told = [json.dumps(webhook.posts), *(path.read_text() for path in (stack.home / "lineage").iterdir())]
    told.append(json.dumps(stack.api.call("GET", "/assets/events")))
    assert len(told) > 5 and not [one for one in told if CANARY in one]
