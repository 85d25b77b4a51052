"""mediarithmics.md sections 5 and 6, line by line, as the emulator reads them."""

import json

import pytest
from line_samples import GOOD as SAMPLES
from null_lines import with_nulls, with_required_as_null

from airflow_bulk.documents import check_line
from airflow_bulk.emulator.centrapay_files import judge
from airflow_bulk.emulator.line_rules import FOLDER, LineRules

ACCOUNT = {"user_account_id": "crm-77", "compartment_id": "4100"}
EMAIL = {"email_hash": "5b0f"}
AGENT = {"user_agent_id": "vec:1"}
UUID = "0b8f3c52-6a0e-4f3a-8a57-3d7a5f0c9d11"
TOUCH = {"$type": "TOUCH", "$session_status": "NO_SESSION", "$ts": 1932858000000, "$events": []}
EVENT = {"$event_name": "store_visit", "$ts": 1932858060000, "$properties": {}}
CHOICE = {"$processing_id": "12", "$choice_ts": 1932858000000, "$choice_acceptance_value": False}
SEGMENT = {"operation": "UPDATE", "segment_id": "880", "expiration_duration": 43200}

GOOD = [
    ("USER_ACTIVITY", {**TOUCH, "$user_account_id": "crm-77", "$compartment_id": "4100", "$events": [EVENT]}),
    ("USER_ACTIVITY", {**TOUCH, "$email_hash": {"$hash": "5b0f"}}),
    ("USER_ACTIVITY", {**TOUCH, "$user_agent_id": "vec:1", "$unique_key": UUID, "$ttl": 0}),
    ("USER_ACTIVITY", {**TOUCH, "$user_identifiers": [{"$type": "USER_EMAIL", "$hash": "5b0f"}]}),
    ("USER_ACTIVITY", {**TOUCH, "$type": "USER_SCENARIO_START", "$user_agent_id": "x", "$origin": None}),
    ("USER_ACTIVITY", {**TOUCH, "$user_agent_id": "vec:1", "$unique_key": "", "$user_account_id": None}),
    ("USER_ACTIVITY", {**TOUCH, "$user_agent_id": "x", "my own": [1], "$location": {"$city": "Lyon"}}),
    ("USER_SEGMENT", {**SEGMENT, **ACCOUNT}),
    (
        "USER_SEGMENT",
        {**EMAIL, "operation": "DELETE", "segment_technical_name": "vip", "expiration_duration": 0},
    ),
    ("USER_SEGMENT", {**SEGMENT, **AGENT, "expiration_ts": 0, "data_bag": '{"tier":"gold"}'}),
    (
        "USER_PROFILE",
        {"operation": "UPSERT", **ACCOUNT, "update_strategy": "PARTIAL_UPDATE", "user_profile": {}},
    ),
    (
        "USER_PROFILE",
        {"operation": "UPSERT", **EMAIL, "force_replace": False, "merge_objects": True, "user_profile": {}},
    ),
    ("USER_PROFILE", {"operation": "DELETE", **ACCOUNT}),
    ("USER_PROFILE", {"operation": "DELETE", **ACCOUNT, "compartment_id": 4100}),
    ("USER_CHOICE", {"operation": "UPSERT", **ACCOUNT, "force_replace": True, "user_choice": CHOICE}),
    (
        "USER_CHOICE",
        {"operation": "UPSERT", **EMAIL, "force_replace": True, "user_choice": {**CHOICE, "$choice_ts": "1"}},
    ),
    ("USER_CHOICE", {"operation": "DELETE", **EMAIL, "user_choice": {"$processing_id": "12"}}),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_ACCOUNT", **ACCOUNT}),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_EMAIL", "hash": "5b0f"}),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_AGENT", "user_agent_id": "net:3:a1b2"}),
    (
        "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
        {
            "identifiers": [
                {"type": "USER_ACCOUNT", **ACCOUNT},
                {"type": "USER_EMAIL", "hash": "5b0f", "email": "ada@example.org"},
                {"type": "USER_AGENT", "user_agent_id": "udp:1"},
            ]
        },
    ),
    ("USER_DEVICE_POINTS_DELETION", {"type": "USER_AGENT", "user_agent_id": "udp:1"}),
    ("USER_DEVICE_POINT_DELETION", {"type": "USER_AGENT", "user_agent_id": "udp:1"}),
    ("USER_POINTS_DELETION", {"type": "USER_AGENT", "user_agent_id": "udp:1"}),
    ("USER_POINTS_DELETION", {"type": "USER_POINT", "user_point_id": UUID}),
    ("USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS", {"anything": 1}),
]


@pytest.mark.parametrize(("document_type", "document"), GOOD)
def test_good_lines(document_type, document):
    for strict in (True, False):
        assert LineRules(document_type, strict=strict).reason(json.dumps(document).encode()) is None


def without(document, *names):
    return {name: value for name, value in document.items() if name not in names}


BAD = [
    (
        "USER_PROFILE",
        {"operation": "UPSERT", **EMAIL, "user_profile": {}, "force_replace": True, "merge_objects": True},
        "exclude",
    ),
    *[("USER_ACTIVITY", without({**TOUCH, "$user_agent_id": "x"}, name), name) for name in TOUCH],
    ("USER_ACTIVITY", TOUCH, "exactly one identifier"),
    ("USER_ACTIVITY", {**TOUCH, "$compartment_id": "4100"}, "exactly one identifier"),
    ("USER_ACTIVITY", {**TOUCH, "$user_agent_id": "x", "$user_account_id": "y"}, "exactly one identifier"),
    ("USER_ACTIVITY", {**TOUCH, "$email_hash": "5b0f"}, "$email_hash"),
    ("USER_ACTIVITY", {**TOUCH, "$email_hash": {}}, "$hash"),
    ("USER_ACTIVITY", {**TOUCH, "$type": "WALK", "$user_agent_id": "x"}, "$type"),
    ("USER_ACTIVITY", {**TOUCH, "$session_status": "OPEN", "$user_agent_id": "x"}, "$session_status"),
    ("USER_ACTIVITY", {**TOUCH, "$ts": "1932858000000", "$user_agent_id": "x"}, "$ts"),
    ("USER_ACTIVITY", {**TOUCH, "$events": {}, "$user_agent_id": "x"}, "$events"),
    ("USER_ACTIVITY", {**TOUCH, "$events": [without(EVENT, "$ts")], "$user_agent_id": "x"}, "$ts"),
    (
        "USER_ACTIVITY",
        {**TOUCH, "$events": [{**EVENT, "$properties": 1}], "$user_agent_id": "x"},
        "$properties",
    ),
    ("USER_ACTIVITY", {**TOUCH, "$unique_key": "row 1", "$user_agent_id": "x"}, "$unique_key"),
    ("USER_SEGMENT", {**SEGMENT, **ACCOUNT, "operation": "UPSERT"}, "operation"),
    ("USER_SEGMENT", without({**SEGMENT, **ACCOUNT}, "segment_id"), "segment_technical_name"),
    ("USER_SEGMENT", without({**SEGMENT, **ACCOUNT}, "expiration_duration"), "expiration_duration"),
    ("USER_SEGMENT", {**SEGMENT, **ACCOUNT, "data_bag": {}}, "data_bag"),
    ("USER_SEGMENT", {**SEGMENT, **ACCOUNT, "data_bag": "gold"}, "data_bag"),
    ("USER_PROFILE", {"operation": "DELETE", **ACCOUNT, "update_strategy": "FORCE_REPLACE"}, "exclude"),
    ("USER_POINTS_DELETION", {"type": "USER_POINT", "user_point_id": UUID, "hash": "x"}, "exclude"),
    (
        "USER_ACTIVITY",
        {**TOUCH, "$events": [without(EVENT, "$properties")], "$user_agent_id": "x"},
        "$properties",
    ),
    ("USER_SEGMENT", {**SEGMENT, **ACCOUNT, **EMAIL}, "exactly one identifier"),
    ("USER_PROFILE", {"operation": "UPDATE", **ACCOUNT, "user_profile": {}}, "operation"),
    ("USER_PROFILE", {"operation": "UPSERT", **ACCOUNT}, "user_profile"),
    ("USER_PROFILE", {"operation": "UPSERT", **ACCOUNT, "user_profile": []}, "user_profile"),
    (
        "USER_PROFILE",
        {"operation": "UPSERT", "compartment_id": "4100", "user_profile": {}},
        "exactly one identifier",
    ),
    ("USER_PROFILE", {"operation": "DELETE", "user_account_id": ""}, "user_account_id"),
    (
        "USER_PROFILE",
        {
            "operation": "UPSERT",
            **EMAIL,
            "user_profile": {},
            "update_strategy": "FORCE_REPLACE",
            "force_replace": True,
        },
        "exclude",
    ),
    ("USER_CHOICE", {"operation": "UPSERT", **ACCOUNT, "user_choice": CHOICE}, "force_replace"),
    ("USER_CHOICE", {"operation": "UPSERT", **ACCOUNT, "force_replace": True}, "user_choice"),
    *[
        (
            "USER_CHOICE",
            {"operation": "UPSERT", **ACCOUNT, "force_replace": True, "user_choice": without(CHOICE, name)},
            name,
        )
        for name in ("$processing_id", "$choice_ts")
    ],
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_AGENT", "user_agent_id": "udp:1"}, "user_agent_id"),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_POINT", "user_point_id": UUID}, "type"),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_EMAIL", "email_hash": "5b0f"}, "hash"),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_EMAIL", "hash": "5b0f", **ACCOUNT}, "exclude"),
    ("USER_IDENTIFIERS_DELETION", ACCOUNT, "type"),
    ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", {"identifiers": []}, "identifiers"),
    ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", {}, "identifiers"),
    ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", {"identifiers": [{"type": "USER_EMAIL"}]}, "hash"),
    ("USER_DEVICE_POINTS_DELETION", {"type": "USER_EMAIL", "hash": "5b0f"}, "type"),
    ("USER_POINTS_DELETION", {"type": "USER_POINT", "user_point_id": "7"}, "user_point_id"),
]


@pytest.mark.parametrize(("document_type", "document", "word"), BAD)
def test_bad_lines_say_which_rule(document_type, document, word):
    reason = LineRules(document_type, strict=True).reason(json.dumps(document).encode())
    assert reason is not None
    assert word in reason


LENIENT = [
    ("USER_ACTIVITY", {**TOUCH, "$user_agent_id": "x", "$type": "PURCHASE"}),
    ("USER_SEGMENT", {"operation": "DELETE", **EMAIL, "segment_id": "8"}),
    ("USER_CHOICE", {"operation": "DELETE", **EMAIL}),
    ("USER_CHOICE", {"operation": "DELETE", **EMAIL, "user_choice": {}}),
    (
        "USER_ACTIVITY",
        {
            **TOUCH,
            "$user_identifiers": [
                {"$type": "USER_EMAIL", "$hash": "5b0f"},
                {"$type": "USER_AGENT", "$user_agent_id": "vec:1"},
            ],
        },
    ),
]


@pytest.mark.parametrize(("document_type", "document"), LENIENT)
def test_what_only_lenient_tolerates(document_type, document):
    line = json.dumps(document).encode()
    assert LineRules(document_type, strict=True).reason(line) is not None
    assert LineRules(document_type, strict=False).reason(line) is None


@pytest.mark.parametrize(
    ("document_type", "document"),
    [
        ("USER_SEGMENT", {**SEGMENT, **ACCOUNT, "expiration_duration": None}),
        ("USER_SEGMENT", without({**SEGMENT, **ACCOUNT}, "expiration_duration")),
        (
            "USER_CHOICE",
            {"operation": "UPSERT", **EMAIL, "force_replace": True, "user_choice": {"$choice_ts": 1}},
        ),
    ],
)
def test_lenient_still_has_rules(document_type, document):
    assert LineRules(document_type, strict=False).reason(json.dumps(document).encode()) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"{} {}",
        b"{}{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\x00"}',
        b"{'a':1}",
        b"[" * 100_000,
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":["\\ud83d \\ude00"]}',
    ],
)
def test_what_is_no_json_object_fails_everywhere(line):
    for document_type in ("USER_PROFILE", "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS", "USER_THING"):
        assert LineRules(document_type, strict=False).reason(line)


@pytest.mark.parametrize(
    "value", [b"1" * 5_000, b"-" + b"9" * 5_000, b'"\\ud83d\\ude00"', b"null", b"[null]"]
)
def test_json_of_any_content_passes(value):
    line = b'{"operation":"UPSERT","email_hash":"5b0f","user_profile":{"a":' + value + b"}}"
    assert LineRules("USER_PROFILE", strict=True).reason(line) is None
    assert check_line("USER_PROFILE", line) == []


def test_a_number_of_5000_digits_stands_in_a_centrapay_record_and_in_a_data_bag():
    digits = "1" * 5_000
    record = f'{{"externalId":"a","somethingNew":{digits}}}'.encode()
    assert (
        judge("farmlands-external-asset", record)["errors"]
        == check_line("farmlands-external-asset", record)
        == []
    )
    line = json.dumps({**SEGMENT, **ACCOUNT, "data_bag": f"[{digits}]"}).encode()
    assert LineRules("USER_SEGMENT", strict=True).reason(line) is None
    assert check_line("USER_SEGMENT", line) == []


def test_a_number_of_5000_digits_is_still_too_large_for_a_time():
    line = json.dumps({**TOUCH, "$user_agent_id": "x"}).replace("1932858000000", "1" * 5_000).encode()
    for reason in (LineRules("USER_ACTIVITY", strict=True).reason(line), *check_line("USER_ACTIVITY", line)):
        assert "$ts" in reason


@pytest.mark.parametrize(
    ("document_type", "line"), [(kind, line) for kind in SAMPLES for line in SAMPLES[kind]]
)
def test_a_null_counts_as_absent_in_every_optional_property(document_type, line):
    rules = LineRules(document_type, strict="OTHER" not in line)
    for text in with_nulls(document_type, line):
        assert rules.reason(text) is None, text
    for as_null, left_out in with_required_as_null(document_type, line):
        reason = rules.reason(as_null)
        assert reason
        assert reason == rules.reason(left_out)


@pytest.mark.parametrize("kind", ["touch", "Touch", "site_Visit", "user_scenario_start", ""])
def test_a_known_activity_type_in_another_case_fails_everywhere(kind):
    line = json.dumps({**TOUCH, "$user_agent_id": "x", "$type": kind}).encode()
    for strict in (True, False):
        assert "$type" in LineRules("USER_ACTIVITY", strict=strict).reason(line)


def test_a_type_without_rules_takes_any_object():
    assert LineRules("USER_THING", strict=True).reason(b'{"a":1}') is None


def test_reasons_never_quote_a_line():
    canary = "ada@example.org"
    documents = [
        {canary: canary},
        {"operation": canary, "user_account_id": canary, "user_profile": {canary: 1}},
        {"operation": "UPSERT", "user_account_id": {canary: canary}, "user_profile": canary},
        {"operation": "UPSERT", "user_account_id": canary, "email_hash": canary, "user_profile": {}},
        {"type": canary, "identifiers": [{canary: canary}], "$events": [{canary: canary}]},
    ]
    for path in FOLDER.glob("USER_*.json"):
        for document in documents:
            reason = LineRules(path.stem, strict=True).reason(json.dumps(document).encode())
            assert canary not in (reason or "")
