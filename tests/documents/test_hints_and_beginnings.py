"""Hints are counted and never reject; the first line can refuse a whole file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_bulk.documents.lines import hints
from airflow_bulk.documents.lines.checking import LineChecker, looks_like
from airflow_bulk.documents.lines.formats import UNKNOWN_ACTIVITY_TYPE

PROFILE = {"operation": "UPSERT", "email_hash": "5b0f", "user_profile": {"anything": 1}}
ACTIVITY = {
    "$user_agent_id": "vec:1",
    "$type": "TOUCH",
    "$session_status": "NO_SESSION",
    "$ts": 1,
    "$events": [{"$ts": 1, "$event_name": "e", "$properties": {"any": 1}}],
}
SEGMENT = {"operation": "UPDATE", "email_hash": "5b0f", "segment_id": "1", "expiration_duration": 0}
ASSOCIATION = {
    "identifiers": [
        {"type": "USER_EMAIL", "hash": "5b0f", "email": ""},
        {"type": "USER_AGENT", "user_agent_id": "x"},
    ]
}


@pytest.mark.parametrize(
    ("document_type", "line", "kind"),
    [
        ("USER_PROFILE", PROFILE, None),
        ("USER_PROFILE", PROFILE | {"canary": 1}, hints.UNKNOWN_PROPERTY),
        ("USER_PROFILE", PROFILE | {"merge_objects": True}, hints.MERGE_WITHOUT_EFFECT),
        ("USER_PROFILE", PROFILE | {"merge_objects": False, "force_replace": True}, None),
        ("USER_PROFILE", PROFILE | {"canary": None, "merge_objects": None}, None),
        ("USER_PROFILE", PROFILE | {"merge_objects": True, "force_replace": False}, None),
        ("USER_SEGMENT", SEGMENT, None),
        ("USER_SEGMENT", SEGMENT | {"segment_technical_name": "vip"}, hints.TWO_SEGMENTS),
        ("USER_ACTIVITY", ACTIVITY, None),
        ("USER_ACTIVITY", ACTIVITY | {"shop": "Lyon", "$topics": {}, "$site_id": "1"}, None),
        ("USER_ACTIVITY", ACTIVITY | {"$canary": 1}, hints.UNKNOWN_PROPERTY),
        ("USER_ACTIVITY", ACTIVITY | {"$type": "CANARY"}, UNKNOWN_ACTIVITY_TYPE),
        ("USER_ACTIVITY", ACTIVITY | {"$type": "USER_SCENARIO_START"}, None),
        ("USER_ACTIVITY", ACTIVITY | {"$events": []}, hints.NO_EVENTS),
        (
            "USER_ACTIVITY",
            ACTIVITY | {"$events": [ACTIVITY["$events"][0] | {"canary": 1}]},
            hints.UNKNOWN_PROPERTY,
        ),
        ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", ASSOCIATION, None),
        (
            "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
            {"identifiers": ASSOCIATION["identifiers"][:1]},
            hints.ONE_ASSOCIATED,
        ),
        (
            "USER_CHOICE",
            {"operation": "DELETE", "email_hash": "a", "user_choice": {"$processing_id": "1", "mine": 1}},
            None,
        ),
        ("USER_DEVICE_POINTS_DELETION", {"type": "USER_AGENT", "user_agent_id": "x"}, None),
        ("USER_POINTS_DELETION", {"type": "USER_EMAIL", "hash": "x", "canary": 1}, hints.UNKNOWN_PROPERTY),
        ("USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS", {"canary": 1}, None),
    ],
)
def test_hints_are_counted_by_kind_and_reject_nothing(
    document_type: str, line: object, kind: str | None
) -> None:
    checker = LineChecker(document_type)
    block = (json.dumps(line) + "\n").encode() * 3
    assert checker.check(block).findings == []
    assert dict(checker.hints) == ({kind: 3} if kind else {})
    assert "canary" not in repr(checker.hints).lower()


@pytest.mark.parametrize(
    "line",
    [
        b'{"operation":"DELETE","email_hash":"a","email_hash":"b"}',
        b'{"operation":"UPSERT","email_hash":"a","user_profile":{"n":[{"b":1,"b":' + b"9" * 5000 + b"}]}}",
    ],
)
def test_a_property_that_is_named_twice_is_a_hint(line: bytes) -> None:
    checker = LineChecker("USER_PROFILE")
    assert checker.check(line + b"\n").findings == []
    assert dict(checker.hints) == {hints.REPEATED_PROPERTY: 1}


def test_rows_give_hints_too() -> None:
    header = b"operation,email_hash,segment_id,segment_technical_name,expiration_duration"
    checker = LineChecker("USER_SEGMENT", "TEXT_CSV", header=header)
    assert checker.check(b"UPDATE,a,1,vip,0\nbad\n\n").lines == 3
    assert dict(checker.hints) == {hints.TWO_SEGMENTS: 1}


def test_bad_and_blank_lines_give_no_hints() -> None:
    checker = LineChecker("USER_ACTIVITY")
    checker.check(b'{"$type":"X"}\n\n[]\n')
    assert not checker.hints


def test_hints_are_sampled_so_that_they_cost_little() -> None:
    checker = LineChecker("USER_PROFILE")
    block = (json.dumps(PROFILE | {"x": 1}) + "\n").encode() * 100
    for _ in range(50):
        checker.check(block)
    seen = checker.hints[hints.UNKNOWN_PROPERTY]
    assert 4 * 10 <= seen <= 4 * 16 + 46


def test_unknown_activity_types_are_counted_over_all_lines() -> None:
    checker = LineChecker("USER_ACTIVITY")
    known, unknown = (
        (json.dumps(ACTIVITY | {"$type": kind}) + "\n").encode() for kind in ("TOUCH", "PURCHASE")
    )
    for block in (known * 50, unknown * 50, (known * 9 + unknown) * 5, known * 50):
        for _ in range(30):
            assert checker.check(block + b'{"$type":"PURCHASE"}\n').lines == 51
    assert checker.hints[UNKNOWN_ACTIVITY_TYPE] == 30 * (50 + 5)


@pytest.mark.parametrize(
    "line",
    [b"[", b"[\n", b'[{"operation":"UPSERT"},', b'\xef\xbb\xbf [{"a":1}]\n', b'  [{"operation":"UPSERT"'],
)
def test_an_array_is_refused_whole(line: bytes) -> None:
    assert "jq -c '.[]'" in (looks_like(1, line) or "")


@pytest.mark.parametrize(
    "line",
    [
        b"{\n",
        b"{\r\n",
        b"\xef\xbb\xbf{\n",
        b'{ "operation": "UPSERT",\n',
        b'{"user_profile": {\n',
        b'{"a": [\n',
    ],
)
def test_a_pretty_printed_document_is_refused_whole(line: bytes) -> None:
    assert "jq -c ." in (looks_like(1, line) or "")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"operation":"UPSERT"}\r\n',
        b'{"operation":"UPSERT","user_account_id":"cut of',
        b'{"operation":"UPSERT",',
        b'{"operation":"UPS\n',
        b"operation,user_account_id\n",
        b"canary\n",
    ],
)
def test_other_first_lines_are_for_the_line_rules(line: bytes) -> None:
    assert looks_like(1, line) is None


def test_the_room_loads_nothing_until_a_line_is_checked() -> None:
    code = (
        "import sys, airflow_bulk.documents as room; assert 'msgspec' not in sys.modules; "
        "room.check_line('USER_PROFILE', '{}'); assert 'airflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
