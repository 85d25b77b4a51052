"""What is secret or a person's stands in no repr and no text of hooks, operators, triggers, results and errors."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_bulk.documents.chosen_lines import BadLine
from airflow_bulk.documents.error_files import ErrorRow
from airflow_bulk.documents.error_join import FailedLine, UnjoinedRow
from airflow_bulk.documents.result_rows import read_rows
from airflow_bulk.documents.sent_lines import SentLine
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.operators.extract_load import ExtractLoadBatchOperator
from airflow_bulk.operators.integration_batch import EnsureIntegrationBatchOperator, string_property
from airflow_bulk.platforms import centrapay, extract_load
from airflow_bulk.platforms.call import Reply
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics import document_import_calls, integration_batch_calls
from airflow_bulk.sensors.centrapay_batch import CentrapayBatchSensor
from airflow_bulk.triggers.centrapay_batch import CentrapayBatchTrigger
from airflow_bulk.triggers.document_import import DocumentImportTrigger
from airflow_bulk.triggers.extract_load import ExtractLoadBatchTrigger
from scripted_server import ScriptedServer

TOKEN = "Canary-Token-Never-Told"
PERSON = "Jane-Canary-Doe"
SIGNED = f"https://files.example.org/a.jsonl?sig={TOKEN}"
OBJECT_ID = "0123456789abcdef01234567"


def shown(thing: Any) -> str:
    """All that a log, a debugger's list or an f-string shows of a thing."""
    return f"{thing!r}\n{thing!s}\n{thing:}\n{[thing]}"


def assert_silent(text: str) -> None:
    for canary in (TOKEN, PERSON, "sig="):
        assert canary not in text, text


def test_the_search_finds_what_is_shown() -> None:
    with pytest.raises(AssertionError):
        assert_silent(shown({"told": PERSON}))


@pytest.fixture
def careless() -> Iterator[ScriptedServer]:
    """A platform that repeats the credentials and a line in every message."""
    said = f'cannot read {{"name": "{PERSON}"}} with {TOKEN}'
    body = {"status": "error", "error": said, "message": said, "error_id": "e"}
    with ScriptedServer((400, {"Content-Type": "application/json"}, json.dumps(body).encode())) as server:
        yield server


HOOKS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "mediarithmics": (MediarithmicsHook, lambda hook: hook.get_document_import("7", "3300")),
    "batches": (MediarithmicsHook, lambda hook: hook.get_batch_instance("7")),
    "centrapay": (
        CentrapayHook,
        lambda hook: hook.create_batch(
            batch_type="farmlands-external-asset", url=SIGNED, account_id="a", test=None
        ),
    ),
    "extract_load": (ExtractLoadHook, lambda hook: hook.get_batch(OBJECT_ID)),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_and_their_errors(name: str, careless: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make, call = HOOKS[name]
    extra = {"proxies": {"https": f"http://me:{TOKEN}@127.0.0.1:9"}}
    connection = {"conn_type": make.conn_type, "host": careless.url, "password": TOKEN, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_TOLD", json.dumps(connection))
    hook = make("told")
    session = hook.get_conn()
    with pytest.raises(PlatformError) as raised:
        call(hook)
    (asked,) = careless.asked
    assert TOKEN in str(asked.headers)
    error = raised.value
    assert "400" in str(error)
    # The connection is Airflow's own object, whose repr shows what it holds: nothing of ours shows that.
    held = [value for value in vars(hook).values() if type(value).__module__.startswith("airflow_bulk.")]
    for thing in (hook, session, session.auth, error, error.args, *held):
        assert_silent(shown(thing))
    assert_silent("".join(traceback.format_exception(error)))


ERROR = {"error": {"message": f'Not an object: "{PERSON}"'}}
RESULTS: dict[str, Callable[[], Any]] = {
    "execution": lambda: _read(
        document_import_calls.get_execution("3300", "7", "8"),
        {"data": {"id": "8", "status": "FAILED", **ERROR}},
    ),
    "batch execution": lambda: _read(
        integration_batch_calls.get_batch_execution("7", "8"),
        {"data": {"id": "8", "status": "FAILED", **ERROR}},
    ),
    "properties": lambda: _read(
        integration_batch_calls.list_instance_properties("7"),
        {"data": [{"technical_name": "n", "property_type": "STRING", "value": {"value": TOKEN}}]},
    ),
    "Centrapay batch": lambda: _read(
        centrapay.get_batch("b"),
        {
            "id": "b",
            "url": SIGNED,
            "errors": [{"message": f"{PERSON} is unknown", "externalId": PERSON, "index": 3}],
        },
    ),
    "asset": lambda: _read(
        centrapay.get_asset("a"), {"id": "a", "externalId": PERSON, "description": PERSON, "balance": "7"}
    ),
    "stored batch": lambda: _read(
        extract_load.get_batch(OBJECT_ID),
        {
            "id": OBJECT_ID,
            "source_connection_id": TOKEN,
            "errors": {"Vendor": {"messages": [{"message": PERSON}]}},
        },
    ),
}


def _read(call: Any, answer: dict[str, Any]) -> Any:
    content = json.dumps({"status": "ok", **answer}).encode()
    return call.parse(Reply(200, {"Content-Type": "application/json"}, content))


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    assert_silent(shown(RESULTS[name]()))


def test_lines_and_rows_about_them() -> None:
    columns = {"who": PERSON}
    (row,) = read_rows(
        [
            json.dumps(
                {"schema": 1, "state": "failed", "part": 3, "raw": PERSON, "raw_base64": PERSON}
                | {"reasons": [PERSON], "columns": columns, "source": SIGNED}
            ).encode()
        ],
        "results",
    )
    assert row.raw == PERSON
    for thing, kept in (
        (row, "part=3"),
        (ErrorRow(3, PERSON, PERSON, PERSON, columns), "line_number=3"),
        (ErrorRow(raw=PERSON.encode()), "None"),
        (FailedLine(0, 7, 8, 9, PERSON.encode(), [PERSON], columns), "line=7"),
        (UnjoinedRow(PERSON, columns, "it does not say"), "it does not say"),
        (SentLine(1, 0, 7, 8, PERSON.encode()), "line=7"),
        (BadLine(PERSON, "failed", (PERSON,), "a.ndjson", 7, columns), "line=7"),
    ):
        assert_silent(shown(thing))
        assert kept in repr(thing)


def test_calls() -> None:
    """A call is a value that errors of other libraries may show."""
    body = {"url": SIGNED, "value": TOKEN}
    for call in (
        centrapay.create_batch(body),
        centrapay.get_asset_by_external_id("farmlands.nzd.main", PERSON),
        extract_load.create_batch({"jobs": [], "source_connection_id": TOKEN}),
        integration_batch_calls.update_instance_property("7", "n", body),
    ):
        assert_silent(shown(call))


def test_operators_and_what_airflow_shows_of_them() -> None:
    properties = [string_property("password", TOKEN)]
    named: dict[str, Any] = {"group_id": "g", "artifact_id": "a", "version_id": "1", "name": "n"}
    for operator in (
        CentrapayBatchOperator(task_id="t", type="farmlands-external-asset", url=SIGNED),
        CentrapayBatchSensor(task_id="s", batch_id="b"),
        EnsureIntegrationBatchOperator(
            task_id="e", plugin_properties=properties, instance_properties=properties, **named
        ),
        ImportDocumentsOperator(task_id="i", document_type="USER_PROFILE", name="n", source="s"),
        ExtractLoadBatchOperator(task_id="x", definition={"jobs": []}, check=False),
    ):
        assert_silent(shown(operator))
        for field in operator.template_fields:
            assert_silent(shown(getattr(operator, field)))


def test_triggers() -> None:
    """They hold ids and times: Airflow stores what ``serialize`` returns."""
    times: dict[str, Any] = {"started": 1.0, "deadline": 2.0}
    for trigger in (
        CentrapayBatchTrigger(centrapay_conn_id="c", batch_id="b", **times),
        ExtractLoadBatchTrigger(extract_load_conn_id="c", batch_id=OBJECT_ID, **times),
        DocumentImportTrigger(conn_id="c", datamart_id="3300", import_id="7", executions=["8"], **times),
    ):
        assert_silent(shown(trigger) + shown(trigger.serialize()))
        kept = set(trigger.serialize()[1])
        assert not kept & {"token", "password", "url", "headers", "source"}
