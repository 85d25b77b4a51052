"""mediarithmics.md section 4: what an execution shows, when, and how it is cancelled."""

import base64
import csv
import datetime
import io
import re

import pytest

BAD = b'{"operation":"UPSERT","user_account_id":"x"}\n'


@pytest.fixture
def frozen(api):
    api.emulator.clock.freeze()
    return api


def test_the_life_of_an_execution(frozen):
    api, clock = frozen, frozen.emulator.clock
    api.emulator.settings(start_delay=4, run_seconds=2.5)
    import_id = api.create()
    created = clock.now()
    execution_id = api.uploaded(import_id, api.lines(1, 2) + BAD)
    pending = api.execution(import_id, execution_id)
    assert (pending["status"], pending["parameters"], pending["start_date"]) == ("PENDING", None, None)
    assert "end_date" not in pending
    clock.advance(3.999)
    assert api.execution(import_id, execution_id)["status"] == "PENDING"
    clock.advance(0.001)
    running = api.execution(import_id, execution_id)
    assert running["status"] == "RUNNING"
    assert running["start_date"] == created + 4_000
    assert running["parameters"]["number_of_lines"] == 3
    assert (running["num_tasks"], running["completed_tasks"], running["result"]) == (3, None, None)
    assert "end_date" not in running
    clock.advance(2.5)
    over = api.execution(import_id, execution_id)
    assert over["status"] == "SUCCEEDED"
    assert over["end_date"] == created + 6_500
    assert over["end_date"] - over["start_date"] == over["duration"] == 2_500
    assert over["creation_date"] == created
    assert (over["num_tasks"], over["completed_tasks"], over["erroneous_tasks"]) == (3, 2, 1)
    assert (over["retry_count"], over["user_id"], over["debug"], over["is_retryable"]) == (
        0,
        None,
        None,
        False,
    )
    assert base64.b64decode(over["permalink_uri"]).decode().startswith("1:0:0:")


def finished(api, body, content_type="application/x-ndjson", **fields):
    import_id = api.create(**fields)
    execution_id = api.uploaded(import_id, body, content_type)
    api.emulator.clock.advance(1)
    return import_id, api.execution(import_id, execution_id)


def test_parameters_and_result(frozen):
    import_id, execution = finished(frozen, frozen.lines(1, 2) + BAD)
    parameters, result = execution["parameters"], execution["result"]
    name, uri = parameters["input_file_name"], parameters["file_uri"]
    assert re.fullmatch(r"requestBody\d+asRaw", name)
    made = datetime.datetime.fromtimestamp(execution["creation_date"] / 1000, datetime.UTC)
    stem = f"mics://data_file/tenants/900/datamarts/3300/document_imports/{import_id}/{name}-{made:%Y-%m-%d_%H.%M.%S}-"
    assert re.fullmatch(re.escape(stem) + r"[A-Za-z0-9]{10}\.json", uri)
    assert parameters == {
        "datamart_id": 3300,
        "document_import_id": int(import_id),
        "mime_type": "APPLICATION_X_NDJSON",
        "document_type": "USER_PROFILE",
        "input_file_name": name,
        "file_uri": uri,
        "number_of_lines": 3,
        "segment_id": None,
    }
    assert result == {
        "total_success": 2,
        "total_failure": 1,
        "input_file_name": name,
        "input_file_uri": uri,
        "error_file_uri": uri.removesuffix(".json") + "_errors.csv",
        "possible_issue_on_identifiers": False,
        "top_identifiers": {},
    }


def test_error_message_and_error_file_name_the_failed_lines(frozen):
    _, execution = finished(frozen, frozen.lines(1) + BAD + b"\n" + b"[]\n")
    head, saved, *errors = execution["error"]["message"].split("\n")
    assert (head, saved) == ("1 success, 2 failures", "Saved errors:")
    assert errors.pop() == ""
    ids = [re.fullmatch(r".+ Error id = ([0-9a-f-]{36})\.", error)[1] for error in errors]
    answer = frozen.call("GET", "/data_file/data", params={"uri": execution["result"]["error_file_uri"]})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["line_number"], row["error_id"]) for row in rows] == [("2", ids[0]), ("4", ids[1])]
    assert all(row["message"] for row in rows)


def test_the_message_names_only_so_many(frozen):
    frozen.emulator.settings(saved_errors=2)
    _, execution = finished(frozen, BAD * 10)
    assert execution["error"]["message"].startswith("0 success, 10 failures\n")
    assert execution["error"]["message"].count("Error id = ") == 2


def test_every_line_failed_is_still_succeeded(frozen):
    _, execution = finished(frozen, BAD * 4)
    assert execution["status"] == "SUCCEEDED"
    assert execution["result"]["total_success"] == 0
    assert execution["erroneous_tasks"] == 4


def test_without_failures_there_is_no_error_but_an_error_file_uri(frozen):
    _, execution = finished(frozen, frozen.lines(1))
    assert execution["error"] is None
    answer = frozen.call("GET", "/data_file/data", params={"uri": execution["result"]["error_file_uri"]})
    assert answer.text == "line_number,error_id,message\n"


def test_messages_quote_lines_only_when_asked(frozen):
    canary = b'{"operation":"UPSERT","user_account_id":"ada.lovelace"}\n'
    assert "ada.lovelace" not in str(finished(frozen, canary)[1])
    frozen.emulator.settings(messages_quote_lines=True)
    assert "ada.lovelace" in finished(frozen, canary)[1]["error"]["message"]


def test_identifier_fields_follow_the_settings(frozen):
    frozen.emulator.settings(possible_issue_on_identifiers=True, top_identifiers={"crm-1": 40})
    result = finished(frozen, frozen.lines(1))[1]["result"]
    assert (result["possible_issue_on_identifiers"], result["top_identifiers"]) == (True, {"crm-1": 40})


def test_blank_lines_and_line_ends_are_not_counted(frozen):
    body = b"\n" + frozen.lines(1).replace(b"\n", b"\r\n") + b"  \n\r\n" + frozen.lines(2).rstrip(b"\n")
    import_id, execution = finished(frozen, body)
    assert execution["parameters"]["number_of_lines"] == 2
    assert frozen.emulator.held(import_id) == {frozen.profile(1): 1, frozen.profile(2): 1}


def test_blank_lines_can_be_counted(frozen):
    frozen.emulator.settings(count_blank_lines=True)
    _, execution = finished(frozen, frozen.lines(1) + b"\n" + frozen.lines(2))
    assert execution["parameters"]["number_of_lines"] == execution["num_tasks"] == 3
    assert execution["result"]["total_failure"] == 1


CSV = b"operation,user_account_id,email_hash,segment_id,expiration_duration\nUPDATE,a,,8,60\nDELETE,,b,8,\n"


@pytest.mark.parametrize(("counted", "lines"), [(False, 2), (True, 3)])
def test_a_csv_header_is_no_line_unless_asked(frozen, counted, lines):
    frozen.emulator.settings(count_csv_header=counted)
    fields = {"document_type": "USER_SEGMENT", "mime_type": "TEXT_CSV"}
    import_id, execution = finished(frozen, CSV, "text/csv", **fields)
    assert execution["parameters"]["number_of_lines"] == lines
    assert (execution["result"]["total_success"], execution["result"]["total_failure"]) == (1, 1)
    assert frozen.emulator.held(import_id) == {"UPDATE,a,,8,60": 1}


def test_lists_are_newest_first_and_paged(frozen):
    import_id = frozen.create()
    ids = []
    for number in range(5):
        ids.insert(0, frozen.uploaded(import_id, frozen.lines(number)))
        frozen.emulator.clock.advance(number % 2)
    seen = []
    for first in (0, 2, 4):
        page = {"first_result": first, "max_results": 2}
        envelope = frozen.imports("GET", f"/{import_id}/executions", params=page).json()
        assert (envelope["total"], envelope["first_result"], envelope["max_result"]) == (5, first, 2)
        assert envelope["count"] == len(envelope["data"])
        seen += [one["id"] for one in envelope["data"]]
    assert seen == ids
    assert [one["id"] for one in frozen.emulator.executions(import_id)] == ids[::-1]


def test_executions_belong_to_their_import(frozen):
    first, second = frozen.create(), frozen.create()
    execution_id = frozen.uploaded(first, frozen.lines(1))
    for wrong in (execution_id, "1", "x", "9" * 30):
        frozen.error(frozen.imports("GET", f"/{second}/executions/{wrong}"), 404)
        frozen.error(frozen.cancel(second, wrong), 404)
    assert frozen.imports("GET", f"/{second}/executions").json()["total"] == 0


def test_cancel_while_pending(frozen):
    import_id = frozen.create()
    execution_id = frozen.uploaded(import_id, frozen.lines(1))
    answer = frozen.cancel(import_id, execution_id)
    assert answer.status_code == 200
    cancelled = answer.json()["data"]
    assert (cancelled["status"], cancelled["cancel_status"]) == ("CANCELED", "REQUESTED")
    for field in ("start_date", "result", "parameters", "permalink_uri", "duration", "num_tasks", "error"):
        assert cancelled[field] is None
    assert "end_date" not in cancelled
    assert cancelled["community_id"] == "900"
    frozen.emulator.clock.advance(3600)
    assert frozen.execution(import_id, execution_id) == cancelled
    assert frozen.emulator.held() == {}


@pytest.mark.parametrize("seconds", [0.2, 0.3, 10])
def test_cancel_is_refused_once_it_runs(frozen, seconds):
    import_id = frozen.create()
    execution_id = frozen.uploaded(import_id, frozen.lines(1))
    frozen.emulator.clock.advance(seconds)
    before = frozen.execution(import_id, execution_id)
    assert before["status"] in frozen.error(frozen.cancel(import_id, execution_id), 400)
    frozen.emulator.settings(refused_cancel_status=200)
    answer = frozen.cancel(import_id, execution_id)
    assert (answer.status_code, answer.json()["data"]) == (200, before)
    assert frozen.execution(import_id, execution_id) == before
    assert frozen.emulator.held(import_id) == {frozen.profile(1): 1}


def test_cancelling_twice_is_refused(frozen):
    import_id = frozen.create()
    execution_id = frozen.uploaded(import_id, frozen.lines(1))
    frozen.cancel(import_id, execution_id)
    assert "CANCELED" in frozen.error(frozen.cancel(import_id, execution_id), 400)


@pytest.mark.parametrize(
    "body", [{}, {"action": "cancel"}, {"action": "RETRY"}, {"action": "CANCEL", "force": True}]
)
def test_only_the_documented_action_exists(frozen, body):
    import_id = frozen.create()
    execution_id = frozen.uploaded(import_id, frozen.lines(1))
    frozen.error(frozen.imports("POST", f"/{import_id}/executions/{execution_id}/action", json=body), 400)
    assert frozen.execution(import_id, execution_id)["status"] == "PENDING"


def test_input_file_can_be_read_back_with_header_or_query_token(frozen):
    import_id = frozen.create()
    body = frozen.lines(1) + BAD
    execution_id = frozen.uploaded(import_id, body)
    frozen.emulator.clock.advance(0.2)
    running = frozen.execution(import_id, execution_id)
    uri = running["parameters"]["file_uri"]
    assert frozen.call("GET", "/data_file/data", params={"uri": uri}).content == body
    del frozen.session.headers["Authorization"]
    params = {"uri": uri, "access_token": frozen.emulator.token}
    assert frozen.call("GET", "/data_file/data", params=params).content == body
    frozen.error(frozen.call("GET", "/data_file/data", params={**params, "access_token": "nobody"}), 401)
    frozen.error(frozen.call("GET", "/data_file/data", params={**params, "uri": uri[:-1]}), 404)
    frozen.error(frozen.call("GET", "/data_file/data", params={**params, "uri": ""}), 400)
    # The error file is there when the execution is over, not before.
    errors = {**params, "uri": uri.removesuffix(".json") + "_errors.csv"}
    frozen.error(frozen.call("GET", "/data_file/data", params=errors), 404)
    frozen.emulator.clock.advance(1)
    assert frozen.call("GET", "/data_file/data", params=errors).text.count("\n") == 2
