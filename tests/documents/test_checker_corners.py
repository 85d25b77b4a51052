"""LineChecker where examples are better than chance: all combinations, long blocks, bytes, spans, lengths."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from line_reference import KINDS, is_good, line_by_line

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.checking import LineChecker, Report
from airflow_bulk.documents.lines.formats import UNKNOWN_ACTIVITY_TYPE
from airflow_bulk.emulator.line_rules import LineRules

ENTRY = {"$type": "USER_EMAIL", "$hash": "x"}
ACTIVITY = {"$ts": 1, "$type": "TOUCH", "$session_status": "NO_SESSION", "$events": []}
# All the properties that rules over several properties speak of; each combination of them is tried.
COMBINED: dict[str, tuple[list[dict[str, Any]], dict[str, list[Any]]]] = {
    "USER_PROFILE": (
        [{"operation": "UPSERT", "user_profile": {}}, {"operation": "DELETE"}],
        {name: ["x"] for name in KINDS}
        | {"update_strategy": ["FORCE_REPLACE"], "force_replace": [True], "merge_objects": [False]},
    ),
    "USER_SEGMENT": (
        [{"operation": operation, "expiration_duration": 0} for operation in ("UPDATE", "DELETE")],
        {name: ["x"] for name in (*KINDS, "segment_id", "segment_technical_name")},
    ),
    "USER_CHOICE": (
        [
            {
                "operation": operation,
                "user_choice": {"$processing_id": "1", "$choice_ts": 1},
                "force_replace": True,
            }
            for operation in ("UPSERT", "DELETE")
        ],
        {name: ["x"] for name in KINDS},
    ),
    "USER_ACTIVITY": (
        [ACTIVITY],
        {"$user_account_id": ["x"], "$email_hash": [{"$hash": "x"}], "$user_agent_id": ["x"]}
        | {"$user_identifiers": [[], [ENTRY], [ENTRY, ENTRY]]},
    ),
}


@pytest.mark.parametrize("document_type", COMBINED)
def test_every_combination_of_properties_that_exclude_or_need_each_other(document_type: str) -> None:
    bases, names = COMBINED[document_type]
    choices = [[(name, value) for value in (..., *values)] for name, values in names.items()]
    lines = [
        json.dumps(base | {name: value for name, value in chosen if value is not ...}).encode()
        for base in bases
        for chosen in itertools.product(*choices)
    ]
    for line in lines:
        assert (not check_line(document_type, line)) == is_good(document_type, line)
    good = [line for line in lines if is_good(document_type, line)]
    assert good
    for changes in (0, 4, 10**9):
        checker = LineChecker(document_type)
        checker._reading.CHANGES = changes  # type: ignore[union-attr]
        for block in (b"\n".join(lines), b"\n".join(reversed(lines)), b"\n".join(good)):
            assert checker.check(block) == line_by_line(document_type, block, None)


SAMPLES: dict[str, list[dict[str, Any]]] = {
    "USER_ACTIVITY": [
        ACTIVITY
        | {"$user_identifiers": [ENTRY], "$origin": {}, "$ttl": 1, "$unique_key": str(uuid.UUID(int=1))},
        ACTIVITY
        | {"$email_hash": {"$hash": "x", "$email": "x"}, "$compartment_id": "1"}
        | {"$events": [{"$ts": 1, "$event_name": "x", "$properties": {}}]},
    ],
    "USER_SEGMENT": [
        {"operation": "UPDATE", "user_account_id": "x", "compartment_id": "x", "segment_id": "x"}
        | {"expiration_duration": 1, "expiration_ts": 1, "data_bag": "{}"},
    ],
    "USER_PROFILE": [
        {"operation": "UPSERT", "email_hash": "x", "user_profile": {}, "update_strategy": "FORCE_REPLACE"},
        {"operation": "DELETE", "user_agent_id": "x"},
    ],
    "USER_CHOICE": [
        {"operation": "UPSERT", "email_hash": "x", "force_replace": True}
        | {"user_choice": {"$processing_id": "1", "$choice_ts": 1, "$choice_acceptance_value": True}},
        {"operation": "DELETE", "email_hash": "x", "user_choice": {"$processing_id": "1"}},
    ],
    "USER_IDENTIFIERS_DELETION": [
        {"type": "USER_ACCOUNT", "user_account_id": "x", "compartment_id": "x"},
        {"type": "USER_AGENT", "user_agent_id": "x"},
    ],
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS": [
        {
            "identifiers": [
                {"type": "USER_EMAIL", "hash": "x", "email": "x"},
                {"type": "USER_AGENT", "user_agent_id": "x"},
            ]
        }
    ],
    "USER_DEVICE_POINTS_DELETION": [{"type": "USER_AGENT", "user_agent_id": "x"}],
    "USER_POINTS_DELETION": [
        {"type": "USER_POINT", "user_point_id": str(uuid.UUID(int=1))},
        {"type": "USER_EMAIL", "hash": "x"},
    ],
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS": [{"x": "x"}],
}
ODD = [
    None,
    "",
    "x",
    "udp:1",
    "1",
    "{}",
    str(uuid.UUID(int=2)),
    True,
    0,
    -1,
    1.5,
    2**63,
    [],
    {},
    [{}],
    ENTRY,
    [ENTRY],
]
ODD += [
    "UPSERT",
    "UPDATE",
    "DELETE",
    "USER_ACCOUNT",
    "USER_EMAIL",
    "USER_AGENT",
    "USER_POINT",
    "PARTIAL_DELETE",
]


def with_one_change(value: Any) -> Iterator[Any]:
    """Every document in which one value, at any depth, is gone or odd."""
    yield from ODD
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {other: value[other] for other in value if other != name}
            yield from (value | {name: changed} for changed in with_one_change(inner))
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in with_one_change(inner))


@pytest.mark.parametrize("document_type", SAMPLES)
def test_every_property_gone_or_odd(document_type: str) -> None:
    lines = [
        json.dumps(changed).encode()
        for sample in SAMPLES[document_type]
        for changed in with_one_change(sample)
    ]
    verdicts = {line: not check_line(document_type, line) for line in lines}
    assert verdicts == {line: is_good(document_type, line) for line in lines}
    for changes in (0, 4):
        checker = LineChecker(document_type)
        checker._reading.CHANGES = changes  # type: ignore[union-attr]
        found = {finding.line for finding in checker.check(b"\n".join(lines)).findings}
        assert found == {number for number, line in enumerate(lines) if not verdicts[line]}


@pytest.mark.parametrize("kinds", [1, 2, 3])
@pytest.mark.parametrize("bad_every", [0, 1, 7])
def test_long_blocks_of_mixed_kinds(kinds: int, bad_every: int) -> None:
    """Long enough for the kinds to be given up, for several blocks, and to be tried again."""
    names = KINDS[:kinds]
    checker = LineChecker("USER_PROFILE")
    for round_number in range(40):
        lines = []
        for number in range(50):
            line: dict[str, Any] = {
                "operation": "UPSERT",
                names[number % kinds]: "x",
                "user_profile": {"é": 1},
            }
            if bad_every and number % bad_every == 0:
                line[KINDS[round_number % 3]] = line[KINDS[(round_number + 1) % 3]] = "y"
            lines.append(json.dumps(line, ensure_ascii=bool(round_number % 2)).encode())
        block = b"\n".join(lines)
        assert checker.check(block) == line_by_line("USER_PROFILE", block, None)


def test_invalid_utf8_is_found_wherever_the_decoder_skips_it() -> None:
    good = '{"operation":"DELETE","email_hash":"é","mine":"é"}'.encode()
    # The decoders skip what they do not know, so only there nobody else looks.
    bad = good[::-1].replace("é".encode()[::-1], b"\xe9", 1)[::-1]
    for block in (b"\n".join([bad, good, good, bad]), b"\n".join([good, bad, bad, good, bad]) + b"\n"):
        report = LineChecker("USER_PROFILE").check(block)
        assert report == line_by_line("USER_PROFILE", block, None)
        assert {finding.reasons for finding in report.findings} == {("the line is not valid UTF-8",)}


def test_a_broken_character_at_a_line_end_does_not_take_the_next_line_with_it() -> None:
    block = b'{"a":1}\xe2\x82\n{"\xe2\x82\xac":1}\n{}\xe2'
    report = LineChecker("USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS").check(block)
    assert [finding.line for finding in report.findings] == [0, 2]


def test_unchecked_lines_are_counted_and_left_alone() -> None:
    checker = LineChecker("USER_PROFILE", check=False)
    assert checker.check(b"\xff\n\n[]") == Report(3, [])
    assert checker.check(b"\xff\n\n[]\n") == Report(3, [])
    assert checker.check(b"\n") == Report(1, [])
    assert checker.check(b"") == Report(0, [])


def test_an_empty_block_has_no_lines() -> None:
    assert LineChecker("USER_PROFILE").check(b"") == Report(0, [])


def test_spans_are_those_of_the_physical_lines() -> None:
    block = b'{"operation":"DELETE","email_hash":"a"}\r\n\r\n[]\r\n   \n{}'
    report = LineChecker("USER_PROFILE").check(block)
    assert report.lines == 5
    assert [block[finding.start : finding.stop] for finding in report.findings] == [
        b"\r\n",
        b"[]\r\n",
        b"   \n",
        b"{}",
    ]
    assert [bool(finding.reasons) for finding in report.findings] == [False, True, False, True]


def test_a_line_longer_than_a_part_is_rejected() -> None:
    line = b'{"operation":"DELETE","email_hash":"a"}\n'
    checker = LineChecker("USER_PROFILE", max_line_bytes=len(line))
    assert checker.check(line * 3).findings == []
    longer = line.replace(b'"a"', b'"ab"')
    (finding,) = checker.check(line + longer + line).findings
    assert (finding.line, finding.start, finding.stop) == (1, len(line), len(line) + len(longer))
    assert finding.reasons == ("the line has 41 bytes, more than the 40 that a part may have",)


@pytest.mark.parametrize("first", [b"5", b"null", b"[]", b"{}", b"1e400"])
def test_a_property_that_is_wrong_at_first_and_right_at_last_stops_no_check(first: bytes) -> None:
    unknown = (
        b'{"$ts":1,"$type":"CUSTOM","$session_status":"NO_SESSION","$events":[],"$user_account_id":"a"}\n'
    )
    twice = unknown.replace(b'"$type":"CUSTOM"', b'"$type":' + first + b',"$type":"SITE_VISIT"')
    checker = LineChecker("USER_ACTIVITY")
    assert check_line("USER_ACTIVITY", twice) == []
    assert checker.check(unknown + twice + unknown).findings == []
    assert checker.hints[UNKNOWN_ACTIVITY_TYPE] == 2


def test_a_repeated_property_of_a_centrapay_record_stops_no_check_and_is_not_told() -> None:
    record = b'{"externalId":"a","contacts":[{"externalId":"c","cards":[{"status":"canary","status":"active"}]}]}\n'
    checker = LineChecker("farmlands-external-asset")
    assert check_line("farmlands-external-asset", record) == []
    assert checker.check(record * 2).findings == []
    assert "canary" not in repr(checker.hints)


def test_a_type_that_is_a_known_one_only_beyond_ascii_is_unknown() -> None:
    line = '{"$ts":1,"$type":"\u017fite_visit","$session_status":"NO_SESSION","$events":[],"$user_account_id":"a"}\n'
    checker = LineChecker("USER_ACTIVITY")
    assert checker.check(line.encode() * 30).findings == []
    assert checker.hints[UNKNOWN_ACTIVITY_TYPE] == 30
    assert LineRules("USER_ACTIVITY", strict=False).reason(line.strip().encode()) is None
