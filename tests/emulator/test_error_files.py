"""Error files in the layout that was asked for; lines that fail by a fault; files that are none."""

from __future__ import annotations

import csv
import io

import pytest
import requests

HEADER = b"operation,user_account_id,segment_id,expiration_duration\n"


@pytest.fixture
def frozen(api):
    api.emulator.clock.freeze()
    return api


def failed(api, body: bytes, content_type: str = "application/x-ndjson", **fields):
    """Every second line fails: the execution, and the rows of its error file."""
    api.emulator.fault("failing_lines", every=2)
    import_id = api.create(**fields)
    execution_id = api.uploaded(import_id, body, content_type)
    api.emulator.clock.advance(10)
    execution = api.execution(import_id, execution_id)
    answer = api.call("GET", "/data_file/data", params={"uri": execution["result"]["error_file_uri"]})
    return execution, list(csv.reader(io.StringIO(answer.text)))


def test_lines_fail_by_a_fault_and_are_not_held(frozen):
    execution, rows = failed(frozen, frozen.lines(1, 2, 3, 4, 5))
    assert (execution["result"]["total_success"], execution["result"]["total_failure"]) == (3, 2)
    assert sorted(frozen.emulator.held()) == sorted(frozen.profile(n) for n in (1, 3, 5))
    assert [row[0] for row in rows] == ["line_number", "2", "4"]


@pytest.mark.parametrize("layout", ["identifier", "line", "message", "line_number"])
def test_layouts_of_ndjson(frozen, layout):
    frozen.emulator.settings(error_file_layout=layout)
    _, (names, *rows) = failed(frozen, frozen.lines(1, 2, 3, 4))
    first = {
        "identifier": ["crm-2", "crm-4"],
        "line": [frozen.profile(2), frozen.profile(4)],
        "line_number": ["2", "4"],
    }
    if layout == "message":
        assert names == ["error_id", "message"]
    else:
        assert names == [layout, "error_id", "message"]
        assert [row[0] for row in rows] == first[layout]
    assert {row[-1] for row in rows} == {"Refused by a fault"} and len({row[-2] for row in rows}) == 2


@pytest.mark.parametrize("layout", ["identifier", "line"])
def test_layouts_of_csv(frozen, layout):
    frozen.emulator.settings(error_file_layout=layout)
    lines = ['UPDATE,"crm,1",880,60', 'UPDATE,"crm,2",880,60', 'UPDATE,"crm,3",880,60']
    body = HEADER + "".join(line + "\r\n" for line in lines).encode()
    _, rows = failed(frozen, body, "text/csv", document_type="USER_SEGMENT", mime_type="TEXT_CSV")
    assert [row[0] for row in rows] == [layout, "crm,2" if layout == "identifier" else lines[1]]


def test_a_line_without_an_identifier_is_named_by_nothing(frozen):
    frozen.emulator.settings(error_file_layout="identifier")
    _, rows = failed(frozen, b"[]\n\xff\n")
    assert [row[0] for row in rows] == ["identifier", "", ""]


def test_only_the_first_rows(frozen):
    frozen.emulator.settings(error_file_rows=2)
    execution, rows = failed(frozen, frozen.lines(*range(1, 11)))
    assert execution["result"]["total_failure"] == 5
    assert [row[0] for row in rows] == ["line_number", "2", "4"]


def test_what_is_no_error_file(frozen):
    execution, _ = failed(frozen, frozen.lines(1, 2))
    params = {"uri": execution["result"]["error_file_uri"]}
    frozen.emulator.fault("error_file", content="not_utf8", times=1)
    with pytest.raises(UnicodeDecodeError):
        frozen.call("GET", "/data_file/data", params=params).content.decode()
    frozen.emulator.fault("error_file", times=1)
    answer = frozen.call("GET", "/data_file/data", params=params, stream=True)
    assert int(answer.headers["content-length"]) == 10**13
    with pytest.raises(requests.RequestException):
        answer.raise_for_status()
        list(answer.iter_content(1000))
    assert frozen.call("GET", "/data_file/data", params=params).text.startswith("line_number")


def test_the_name_of_a_file_is_what_the_settings_say(frozen):
    frozen.emulator.settings(input_file_name="../../evil")
    execution, rows = failed(frozen, frozen.lines(1, 2))
    assert "/../../evil-" in execution["result"]["input_file_uri"] and len(rows) == 2


def test_layouts_are_named(frozen):
    with pytest.raises(Exception, match="error_file_layout is one of line_number, identifier, line, message"):
        frozen.emulator.settings(error_file_layout="other")
