"""Whatever a platform answers becomes a record or a PlatformError, and no error tells what the answer held.

Each call of ``platforms/`` goes through the transport, with a session that gives it the answer of the example. The answers
are those of the documentation, changed: another status, another value somewhere, bytes cut and put in.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_bulk.hooks.endpoint import Endpoint
from airflow_bulk.hooks.limits.rate import RateBudget
from airflow_bulk.hooks.transport import Transport
from airflow_bulk.platforms import centrapay, extract_load, extract_load_endpoints
from airflow_bulk.platforms.call import AnswerProblem, Call, Reply, run_calls
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.mediarithmics import document_import_calls, integration_batch_calls
from airflow_bulk.platforms.mediarithmics.document_imports import snapshot as execution_snapshot
from airflow_bulk.platforms.mediarithmics.integration_batches import run_report, run_snapshot
from airflow_bulk.platforms.status import RemoteSnapshot

#: Neither digits nor twelve letters in a row, so that no reduction of messages hides it by chance.
TOKEN = "Canary-Token-Never-Told"
#: A person whose line the platform repeats, as JSON or in quotes: a bare word cannot be told from the platform's own.
PERSON = "Jane-Canary-Doe"
OBJECT_ID = "0123456789abcdef01234567"

#: What the calls are made with; a call that none of these fits is named by the test below.
ARGUMENTS: dict[str, Any] = {
    "body": {"name": "n", "type": "farmlands-external-asset"},
    "definition": {"jobs": []},
    "resource": "batch",
    "identifier": OBJECT_ID,
    "uri": "mics://data_file/errors.csv",
    "path": "/records",
    "query": {},
    "records_key": "records",
    "next_key": "next",
    "bounds": {},
    "start": 1,
    "name": "Invoice",
    "realm": "77",
    "record": {"a": 1},
}
#: Functions of these modules that return a Call, and what is made of the record after that.
CALLS: dict[str, Callable[[], Call[Any]]] = {}
#: Ways to the state of something, by the call that reads it.
SNAPSHOTS: dict[str, Callable[[Any], Any]] = {
    "get_execution": execution_snapshot,
    "get_batch_execution": lambda run: run_report("77", run_snapshot(run)),
    "centrapay.get_batch": centrapay.snapshot,
    "extract_load.get_batch": lambda batch: (
        extract_load.snapshot(batch),
        extract_load.batch_report(batch, batch.id),
        extract_load.fingerprints(batch.raw),
        extract_load.masked(batch.raw),
    ),
}


def _made(function: Callable[..., Any]) -> Callable[[], Call[Any]]:
    given_names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    arguments = {name: ARGUMENTS.get(name, "77") for name in given_names}
    return lambda: function(**arguments)


for _module in (
    centrapay,
    document_import_calls,
    integration_batch_calls,
    extract_load,
    extract_load_endpoints,
):
    for _name, _function in inspect.getmembers(_module, inspect.isfunction):
        _returns = str(inspect.signature(_function).return_annotation)
        if _function.__module__ == _module.__name__ and _returns.startswith("Call[") and _name[0] != "_":
            _short = _module.__name__.rpartition(".")[2]
            CALLS[f"{_short}.{_name}"] = _made(_function)
PORT = document_import_calls.DocumentImports("3300")
PORT_CALLS: dict[str, Callable[[], Any]] = {
    "create": lambda: PORT.create("n [m]", {}),
    "get_execution": lambda: PORT.get_execution("7", "8"),
    "cancel_execution": lambda: PORT.cancel_execution("7", "8"),
    "find": lambda: PORT.find("m"),
    "list_executions": lambda: PORT.list_executions("7"),
}

EXECUTION = {
    "id": "9",
    "status": "SUCCEEDED",
    "parameters": {"number_of_lines": 3},
    "result": {"total_success": 2, "total_failure": 1, "error_file_uri": "mics://e"},
    "error": {"message": f'Not an object: {{"name": "{PERSON}"}} Error id = 5.'},
    "creation_date": 1932858000000,
    "start_date": 1932858000000,
    "organisation_id": "5",
    "num_tasks": "3",
    "completed_tasks": 3,
    "erroneous_tasks": None,
}
SAMPLES: list[Any] = [
    {"status": "ok", "data": EXECUTION},
    {"status": "ok", "data": [EXECUTION, {"id": "10", "status": "PENDING"}], "count": 2, "total": 2},
    {
        "status": "ok",
        "data": {
            **EXECUTION,
            "parameters": {"execution_type": "CRON", "expected_start_date": "1932858000000"},
        },
    },
    {"status": "ok", "data": {"id": "7", "name": "n [m]", "document_type": "USER_PROFILE"}},
    {"data": [{"technical_name": "name", "property_type": "STRING", "value": {"value": PERSON}}]},
    {"data": [{"id": "7", "version_id": "1.0.0", "name": "n [m]", "max_qps": 1.5}], "max_results": 1},
    {"status": "error", "error": f"No {TOKEN} for '{PERSON}'", "error_code": TOKEN, "error_id": TOKEN},
    {"status": "error", "error_id": PERSON, "error": [PERSON], "error_code": {PERSON: 1}},
    {"id": "b1", "status": "error", "count": "3", "errorCount": 1, "errors": [{"message": f"'{PERSON}'"}]},
    {"id": "b1", "status": "complete", "totalCount": 3, "errors": [f'"{PERSON}"'], "accountId": "a"},
    {"error": f'"{PERSON}"', "message": f"{TOKEN} https://x/?sig={PERSON}"},
    {"items": [{"id": "a", "balance": "12345678901234567890123"}], "nextPageKey": "k"},
    {
        "id": OBJECT_ID,
        "finished_at": "2031-01-01T00:00:00Z",
        "status": "failed",
        "errors": {"sales": {"messages": [{"type": "E", "message": f"'{PERSON}'"}]}},
        "jobs": [{"type": "load", "object": "sales", "required_objects": {"load": ["items"]}}],
    },
    [{"id": OBJECT_ID, "token": TOKEN}],
    {"QueryResponse": {"totalCount": 3, "Invoice": [{"Id": "1"}]}},
    {"records": [{"a": 1}], "next": 2},
]
#: What no reader may stumble over, each somewhere in an answer.
ODD: list[Any] = [
    None,
    "",
    "x",
    0,
    -1,
    1.5,
    True,
    2**63,
    10**400,
    "1e999999",
    "9" * 5000,
    [],
    {},
    [[]],
    [None],
]
ODD += [{"id": ""}, {"id": 7}, "\x00", "é", "NaN", {"message": None}, {"messages": [None, {}, "x"]}]
DEEP = [b"[" * 5000, b'{"data":' * 3000, b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}"]
DEEP += [b'{"error":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"]
LONG = [
    json.dumps({"status": "error", "error": one * 200_000, "message": one * 200_000}).encode()
    for one in ("a", ": ", "'")
]
NO_JSON = [
    b"",
    b"<html>no</html>",
    b"\xff\xfe\x00",
    b"null",
    b"7",
    b'"error"',
    b"[1]",
    b"{",
    b"NaN",
    b"1e999",
]
STATUSES = [200, 201, 204, 206, 301, 307, 400, 401, 403, 404, 409, 413, 418, 429, 500, 502, 503, 599]
CONTENT_TYPES = ["application/json", "application/json; charset=utf-8", "text/html", ""]


class Answered(NamedTuple):
    status_code: int
    headers: dict[str, str]
    content: bytes


class OneAnswer:
    """What the transport needs of a session: the same answer to each call, and an empty page in the end."""

    def __init__(self, answer: Answered) -> None:
        self._answer = answer
        self._asked = 0

    def request(self, *_: Any, **__: Any) -> Answered:
        self._asked += 1
        return self._answer if self._asked < 20 else Answered(200, {}, b'{"data": []}')


def changed_inside(value: Any, draw: Any) -> Any:
    """The value, with one odd thing somewhere in it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: changed_inside(value[name], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed_inside(value[place], draw), *value[place + 1 :]]
    return draw(st.sampled_from(ODD))


@st.composite
def bodies(draw: Any) -> bytes:
    fate = draw(st.integers(0, 9))
    if fate == 0:
        return draw(st.binary(max_size=40))
    if fate == 1:
        return draw(st.sampled_from([*NO_JSON, *DEEP, *LONG]))
    answer = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(0, 3))):
        answer = changed_inside(answer, draw)
    body = json.dumps(answer).encode()
    if fate == 2:
        place = draw(st.integers(0, len(body)))
        return body[:place] + draw(st.binary(max_size=3)) + body[place + draw(st.integers(0, 3)) :]
    return body


answers = st.builds(
    Answered,
    st.sampled_from(STATUSES) | st.just(200),
    st.fixed_dictionaries({"Content-Type": st.sampled_from(CONTENT_TYPES)}),
    bodies(),
)


def assert_told_nothing(text: str) -> None:
    assert TOKEN not in text and PERSON not in text, text
    assert "Traceback" not in text and len(text) < 1500


def assert_well_answered(name: str, made: Any, answer: Answered) -> None:
    """Carry a call or a sequence of calls out: a record, or a PlatformError that tells nothing of the answer."""
    endpoint = Endpoint(
        base_url="http://127.0.0.1:1", headers={"Authorization": f"api:{TOKEN}"}, secrets=(TOKEN,)
    )
    transport = Transport(endpoint, OneAnswer(answer), RateBudget())  # type: ignore[arg-type]

    def send(call: Call[Any]) -> Any:
        return transport.send(call, tries=1)

    try:
        record = run_calls(made, send) if isinstance(made, Generator) else send(made)
    except PlatformError as error:
        assert_told_nothing(str(error))
        assert error.__cause__ is None or isinstance(error.__cause__, PlatformError)
        return
    read = SNAPSHOTS.get(name) or SNAPSHOTS.get(name.rpartition(".")[2])
    for one in _snapshots(
        [record, read(record) if read and not isinstance(record, RemoteSnapshot) else None]
    ):
        assert_told_nothing(one.message)
        assert all(count is None or isinstance(count, int) for count in (one.lines, one.accepted, one.failed))


def _snapshots(value: Any) -> list[RemoteSnapshot]:
    if isinstance(value, RemoteSnapshot):
        return [value]
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [one for inner in value for one in _snapshots(inner)]
    return []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(answer=answers)
@example(answer=Answered(200, {}, DEEP[0]))
@example(answer=Answered(200, {}, DEEP[2]))
@example(answer=Answered(200, {}, b'{"data": [{"id": ""}]}'))
@example(answer=Answered(200, {}, b'{"data": {"id": ""}}'))
@example(answer=Answered(200, {}, b'{"data": {"id": "7", "creation_date": 1' + b"0" * 400 + b"}}"))
@example(answer=Answered(400, {}, LONG[0]))
@example(answer=Answered(400, {}, LONG[1]))
@example(answer=Answered(400, {}, DEEP[3]))
def test_every_call_reads_every_answer(answer: Answered) -> None:
    for name, make in {**CALLS, **PORT_CALLS}.items():
        assert_well_answered(name, make(), answer)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(answer=answers)
@example(answer=Answered(200, {}, b'{"data": {"id": ""}}'))
@example(answer=Answered(200, {}, DEEP[2]))
def test_an_answer_to_an_upload_is_an_execution_or_a_value_error(answer: Answered) -> None:
    """As ``runs/upload/gate.py`` asks a port: ``problem`` never fails, ``read_upload`` in three ways alone."""
    reply = Reply(answer.status_code, answer.headers, answer.content)
    problem = PORT.problem(reply)
    if problem is not None:
        assert isinstance(problem, AnswerProblem) and PERSON not in problem.message
        return
    try:
        taken = PORT.read_upload(reply)
    except (ValueError, KeyError, TypeError):
        return
    assert isinstance(taken, RemoteSnapshot) and taken.id
    assert_told_nothing(taken.message)


def test_the_calls_of_all_platforms_are_asked() -> None:
    assert len(CALLS) > 45, sorted(CALLS)
    assert {name.partition(".")[0] for name in CALLS} == {
        "centrapay",
        "document_import_calls",
        "integration_batch_calls",
        "extract_load",
        "extract_load_endpoints",
    }
    for make in CALLS.values():
        assert isinstance(make(), Call)
