"""The rules of every documented line format, one by one, as check_line tells them."""

from __future__ import annotations

import json

import pytest
from line_samples import ACTIVITY, BAD, GONE, GOOD, PROFILE, changed
from null_lines import with_nulls, with_required_as_null

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.checking import LineChecker


@pytest.mark.parametrize(("document_type", "line"), [(kind, line) for kind in GOOD for line in GOOD[kind]])
def test_good_lines_have_no_reasons(document_type: str, line: str) -> None:
    assert check_line(document_type, line) == []
    assert check_line(document_type, line.encode() + b"\r\n") == []


@pytest.mark.parametrize(("document_type", "line"), [(kind, line) for kind in GOOD for line in GOOD[kind]])
def test_a_null_counts_as_absent_in_every_optional_property(document_type: str, line: str) -> None:
    for text in with_nulls(document_type, line):
        assert check_line(document_type, text) == [], text
        checker = LineChecker(document_type)
        assert checker.check((text + b"\n") * 20).findings == []
        assert list(checker._reading.suspects([text] * 20)) == []  # type: ignore[union-attr]


@pytest.mark.parametrize(("document_type", "line"), [(kind, line) for kind in GOOD for line in GOOD[kind]])
def test_a_null_in_a_required_property_is_missing(document_type: str, line: str) -> None:
    for as_null, left_out in with_required_as_null(document_type, line):
        reasons = check_line(document_type, as_null)
        assert reasons
        assert reasons == check_line(document_type, left_out)
        assert len(LineChecker(document_type).check(as_null).findings) == 1


def test_merging_into_a_replaced_profile_is_refused() -> None:
    line = changed(PROFILE, update_strategy=GONE, force_replace=True, merge_objects=True)
    assert check_line("USER_PROFILE", json.dumps(line)) == [
        "force_replace and merge_objects cannot both be true"
    ]
    for force, merge in ((True, False), (False, True), (False, False), (True, None), (None, True)):
        line = changed(line, force_replace=force, merge_objects=merge)
        assert check_line("USER_PROFILE", json.dumps(line)) == []
    deletion = {"operation": "DELETE", "email_hash": "5b0f", "force_replace": True, "merge_objects": True}
    assert check_line("USER_PROFILE", json.dumps(deletion)) == []


@pytest.mark.parametrize(("document_type", "line", "reasons"), BAD)
def test_broken_rules_are_named(document_type: str, line: object, reasons: list[str]) -> None:
    assert check_line(document_type, json.dumps(line)) == reasons


def test_all_reasons_of_a_line_are_listed() -> None:
    line = '{"operation":"UPSERT","email_hash":"","user_agent_id":5,"force_replace":1,"update_strategy":"x"}'
    assert check_line("USER_PROFILE", line) == [
        "email_hash has to be a non-empty string, but is an empty string",
        "user_agent_id has to be a non-empty string, but is a number",
        "user_profile is missing, UPSERT needs it",
        "update_strategy has to be PARTIAL_UPDATE, PARTIAL_DELETE or FORCE_REPLACE",
        "force_replace has to be true or false, but is a number",
        "exactly one identifier is needed, found 2: email_hash and user_agent_id",
        "update_strategy and force_replace cannot stand together",
    ]


def test_what_does_not_depend_on_the_operation_is_said_without_one() -> None:
    assert check_line("USER_SEGMENT", '{"segment_id":"","user_agent_id":5}') == [
        "operation is missing",
        "user_agent_id has to be a non-empty string, but is a number",
        "expiration_duration is missing",
        "segment_id has to be a non-empty string or an integer, but is an empty string",
    ]


BAD_BYTES = [
    (b'{"a":"\xff"}', "the line is not valid UTF-8"),
    (b'{"\xc3":1}', "the line is not valid UTF-8"),
    (b'{"a":"\0"}', "the line holds a NUL byte"),
    (b"[]", "the line has to be a JSON object, but is an array"),
    (b'"x"', "the line has to be a JSON object, but is a string"),
    (b"12", "the line has to be a JSON object, but is a number"),
    (b"null", "the line has to be a JSON object, but is null"),
    (b"{}{}", "exactly one JSON object is needed, something follows the first"),
    (b"{} {}", "exactly one JSON object is needed, something follows the first"),
    (b"{},", "exactly one JSON object is needed, something follows the first"),
    (b'{"a":1', "the line is not valid JSON: it ends too early"),
    (b'{"a":NaN}', "the line is not valid JSON: invalid character (byte 5)"),
    (b'{"a":-Infinity}', "the line is not valid JSON: invalid character (byte 6)"),
    (b'{"a":01}', "the line is not valid JSON: invalid number (byte 6)"),
    (b"{'a':1}", "the line is not valid JSON: expected '\"' (byte 1)"),
    (b'{"a":1,}', "the line is not valid JSON: trailing comma in object (byte 7)"),
    (b'\xef\xbb\xbf{"a":1}', "the line is not valid JSON: invalid character (byte 0)"),
    (b'{"a":\n1}', "a command has to stand on one line, a line break was found inside"),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the JSON of the line is nested too deeply"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_BYTES)
def test_lines_that_are_no_json_object(line: bytes, reason: str) -> None:
    for document_type in ("USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS", "USER_PROFILE"):
        assert check_line(document_type, line) == [reason]


def test_text_that_is_no_unicode_is_a_reason_and_no_crash() -> None:
    assert check_line("USER_PROFILE", '{"a":"\ud800"}') == ["the line is not valid UTF-8"]


def test_an_escaped_nul_is_text() -> None:
    line = '{"operation":"UPSERT","email_hash":"5b0f","user_profile":{"note":"\\u0000"}}'
    assert check_line("USER_PROFILE", line) == []


@pytest.mark.parametrize("line", ["", "\n", "\r\n", "   ", "\t \r\n", b"", b" \r"])
def test_blank_lines_have_no_reasons(line: str | bytes) -> None:
    assert check_line("USER_PROFILE", line) == []


def test_of_a_repeated_property_the_last_counts() -> None:
    assert (
        check_line("USER_PROFILE", '{"operation":"X","operation":"DELETE","email_hash":"","email_hash":"a"}')
        == []
    )
    assert check_line("USER_PROFILE", '{"operation":"DELETE","email_hash":"a","email_hash":""}') == [
        "email_hash has to be a non-empty string, but is an empty string"
    ]


def test_reasons_are_bounded() -> None:
    line = changed(ACTIVITY, _events=[{}] * 10_000)
    assert len(check_line("USER_ACTIVITY", json.dumps(line))) == 50


CANARY = "canary-7f3a"


@pytest.mark.parametrize(("document_type", "line", "reasons"), BAD)
def test_reasons_hold_no_content(document_type: str, line: object, reasons: list[str]) -> None:
    """Every string of the line becomes a canary, and a property of the customer's own is added."""

    def poisoned(value: object) -> object:
        if isinstance(value, dict):
            return {name: poisoned(inner) for name, inner in value.items()} | {CANARY: CANARY}
        if isinstance(value, list):
            return [poisoned(inner) for inner in value]
        return CANARY if isinstance(value, str) else value

    found = check_line(document_type, json.dumps(poisoned(line)))
    assert not any(CANARY in reason for reason in found)
    for cut in (3, 10, 25):
        found += check_line(document_type, json.dumps(poisoned(line))[:-cut])
    assert not any("canary" in reason for reason in found)


@pytest.mark.parametrize(
    ("document_type", "mime_type", "header", "message"),
    [
        ("USER_PROFILES", "APPLICATION_X_NDJSON", None, "unknown document type 'USER_PROFILES'"),
        (
            "USER_PROFILE",
            "TEXT_CSV",
            "operation",
            "USER_PROFILE comes as APPLICATION_X_NDJSON, not as 'TEXT_CSV'",
        ),
        ("USER_SEGMENT", "text/csv", None, "USER_SEGMENT comes as APPLICATION_X_NDJSON or TEXT_CSV"),
        ("USER_SEGMENT", "TEXT_CSV", None, "without their header"),
        ("USER_SEGMENT", "TEXT_CSV", "a,b", "unknown column"),
    ],
)
def test_wrong_calls_are_errors(document_type: str, mime_type: str, header: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_line(document_type, "{}", mime_type, header=header)
