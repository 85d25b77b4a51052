"""Good lines of every documented format, and a broken one for each rule with the reasons it gets."""

from __future__ import annotations

import json

UUID = "0b8f3c52-6a0e-4f3a-8a57-3d7a5f0c9d11"

# The samples of mediarithmics.md (sections 6.1 to 6.8), and what it says in words.
GOOD = {
    "USER_ACTIVITY": [
        """{"$user_account_id":"crm-77","$compartment_id":"4100","$type":"TOUCH","$session_status":"NO_SESSION","$ts":1932858000000,"$events":[{"$event_name":"store_purchase","$ts":1932858000000,"$properties":{"amount":19.9,"store":"Lyon"}}]}""",
        """{"$email_hash":{"$hash":"5b0f"},"$type":"TOUCH","$session_status":"NO_SESSION","$ts":1932858060000,"$events":[{"$event_name":"store_visit","$ts":1932858060000,"$properties":{}}]}""",
        """{"$user_agent_id":"vec:12","$type":"SITE_VISIT","$session_status":"IN_SESSION","$ts":0,"$events":[],"$ttl":0,"$origin":null,"$location":{"$country":"FR"},"$site_id":"5","shop":{"any":"thing"}}""",
        """{"$user_identifiers":[{"$type":"USER_ACCOUNT","$user_account_id":"a","$compartment_id":1}],"$type":"OTHER","$session_status":"NO_SESSION","$ts":1,"$events":[]}""",
        """{"$user_agent_id":"net:1:a","$user_identifiers":[],"$type":"EMAIL","$session_status":"CLOSED_SESSION","$ts":1,"$events":[],"$unique_key":"0b8f3c52-6a0e-11f0-8a57-3d7a5f0c9d11"}""",
        """{"$email_hash":{"$hash":"5b0f","$email":"ada@example.org"},"$type":"TOUCH","$session_status":"SESSION_SNAPSHOT","$ts":1,"$events":[]}""",
    ],
    "USER_SEGMENT": [
        """{"operation":"UPDATE","user_account_id":"crm-77","compartment_id":"4100","segment_id":"880","expiration_duration":43200}""",
        """{"operation":"DELETE","email_hash":"5b0f","segment_technical_name":"vip","expiration_duration":0}""",
        """{"operation":"UPDATE","user_agent_id":"vec:1","segment_id":880,"expiration_duration":0,"expiration_ts":0,"data_bag":"{\\"a\\": [1]}"}""",
        """{"operation":"UPDATE","user_agent_id":"vec:1","segment_id":"1","segment_technical_name":"v","expiration_duration":1,"expiration_ts":1.5}""",
    ],
    "USER_PROFILE": [
        """{"operation":"UPSERT","compartment_id":"4100","user_account_id":"crm-77","update_strategy":"PARTIAL_UPDATE","user_profile":{"first_name":"Ada","score":12}}""",
        """{"operation":"DELETE","compartment_id":4100,"user_account_id":"crm-78"}""",
        """{"operation":"UPSERT","email_hash":"5b0f","user_profile":{}}""",
        """{"operation":"UPSERT","email_hash":"5b0f","compartment_id":"4100","force_replace":false,"merge_objects":true,"user_profile":{}}""",
        """{"user_profile":{"a":1e999},"user_agent_id":"x","unheard_of":null,"operation":"UPSERT"}""",
    ],
    "USER_CHOICE": [
        """{"operation":"UPSERT","compartment_id":"4100","user_account_id":"crm-77","force_replace":true,"user_choice":{"$processing_id":"12","$choice_ts":1932858000000,"$choice_acceptance_value":false}}""",
        """{"operation":"UPSERT","user_agent_id":"x","force_replace":false,"user_choice":{"$processing_id":12,"$choice_ts":"1932858000000","mine":[]}}""",
        """{"operation":"DELETE","email_hash":"5b0f","user_choice":{"$processing_id":"12"}}""",
    ],
    "USER_IDENTIFIERS_DELETION": [
        """{"type":"USER_ACCOUNT","compartment_id":"4100","user_account_id":"crm-77"}""",
        """{"type":"USER_ACCOUNT","compartment_id":4100,"user_account_id":"crm-77"}""",
        """{"type":"USER_AGENT","user_agent_id":"net:3:a1b2"}""",
        """{"type":"USER_EMAIL","hash":"5b0f"}""",
    ],
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS": [
        """{"identifiers":[{"type":"USER_ACCOUNT","compartment_id":"4100","user_account_id":"crm-77"},{"type":"USER_EMAIL","hash":"5b0f","email":"ada@example.org"}]}""",
        """{"identifiers":[{"type":"USER_AGENT","user_agent_id":"udp:1"}]}""",
    ],
    "USER_DEVICE_POINTS_DELETION": [
        """{"type":"USER_AGENT","user_agent_id":"udp:77"}""",
        """{"type":"USER_AGENT","user_agent_id":"vec:77"}""",
    ],
    "USER_POINTS_DELETION": [
        f"""{{"type":"USER_POINT","user_point_id":"{UUID}"}}""",
        """{"type":"USER_AGENT","user_agent_id":"udp:77"}""",
        """{"type":"USER_ACCOUNT","user_account_id":"crm-77"}""",
        """{"type":"USER_EMAIL","hash":"5b0f"}""",
    ],
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS": ["{}", """{"anything":[1,2]}"""],
}

ACTIVITY = json.loads(GOOD["USER_ACTIVITY"][0])
SEGMENT = json.loads(GOOD["USER_SEGMENT"][0])
PROFILE = json.loads(GOOD["USER_PROFILE"][0])
CHOICE = json.loads(GOOD["USER_CHOICE"][0])
ACCOUNT = json.loads(GOOD["USER_IDENTIFIERS_DELETION"][0])
GONE = object()

KNOWN_TYPES = (
    "$type has to be a non-empty string, and a known type in capitals: SITE_VISIT, APP_VISIT, DISPLAY_AD, EMAIL, "
    "TOUCH, RECOMMENDER or USER_SCENARIO..."
)
ONE = "exactly one identifier is needed, found "


def changed(line: dict[str, object], **changes: object) -> dict[str, object]:
    """The line with some properties changed, added or taken out; a leading _ stands for the dollar sign."""
    new = line | {("$" + name[1:] if name[0] == "_" else name): value for name, value in changes.items()}
    return {name: value for name, value in new.items() if value is not GONE}


BAD = [
    # One identifier a line, of all kinds (section 5).
    ("USER_PROFILE", changed(PROFILE, email_hash="5b0f"), [ONE + "2: user_account_id and email_hash"]),
    (
        "USER_PROFILE",
        changed(PROFILE, email_hash="5b0f", user_agent_id="vec:1"),
        [ONE + "3: user_account_id, email_hash and user_agent_id"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, user_account_id=GONE),
        [ONE + "none, compartment_id alone is none"],
    ),
    ("USER_CHOICE", changed(CHOICE, user_account_id=GONE, compartment_id=GONE), [ONE + "none"]),
    ("USER_SEGMENT", changed(SEGMENT, user_agent_id="x"), [ONE + "2: user_account_id and user_agent_id"]),
    (
        "USER_PROFILE",
        changed(PROFILE, user_account_id=""),
        ["user_account_id has to be a non-empty string, but is an empty string"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, user_account_id=None, email_hash=None),
        [ONE + "none, compartment_id alone is none"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, user_account_id=77),
        ["user_account_id has to be a non-empty string, but is a number"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, compartment_id=1.5),
        ["compartment_id has to be a non-empty string or an integer"],
    ),
    # 6.3
    ("USER_PROFILE", changed(PROFILE, operation="UPDATE"), ["operation has to be UPSERT or DELETE"]),
    ("USER_PROFILE", changed(PROFILE, operation=GONE), ["operation is missing"]),
    ("USER_PROFILE", changed(PROFILE, operation=None), ["operation is missing"]),
    ("USER_PROFILE", changed(PROFILE, user_profile=GONE), ["user_profile is missing, UPSERT needs it"]),
    (
        "USER_PROFILE",
        changed(PROFILE, user_profile=[]),
        ["user_profile has to be an object, but is an array"],
    ),
    ("USER_PROFILE", changed(PROFILE, user_profile=None), ["user_profile is missing, UPSERT needs it"]),
    (
        "USER_PROFILE",
        changed(PROFILE, force_replace=True),
        ["update_strategy and force_replace cannot stand together"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, merge_objects=True),
        ["update_strategy and merge_objects cannot stand together"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, update_strategy="REPLACE"),
        ["update_strategy has to be PARTIAL_UPDATE, PARTIAL_DELETE or FORCE_REPLACE"],
    ),
    (
        "USER_PROFILE",
        changed(PROFILE, update_strategy=GONE, force_replace="true"),
        ["force_replace has to be true or false, but is a string"],
    ),
    ("USER_PROFILE", changed(PROFILE, operation="DELETE"), ["update_strategy is for UPSERT only"]),
    # 6.2
    ("USER_SEGMENT", changed(SEGMENT, operation="UPSERT"), ["operation has to be UPDATE or DELETE"]),
    (
        "USER_SEGMENT",
        changed(SEGMENT, segment_id=GONE),
        ["one of segment_id or segment_technical_name is needed"],
    ),
    (
        "USER_SEGMENT",
        changed(SEGMENT, expiration_duration=GONE),
        ["expiration_duration is missing, UPDATE needs it"],
    ),
    (
        "USER_SEGMENT",
        changed(SEGMENT, operation="DELETE", expiration_duration=GONE),
        ["expiration_duration is missing, DELETE needs it"],
    ),
    *(
        (
            "USER_SEGMENT",
            changed(SEGMENT, expiration_duration=value),
            ["expiration_duration has to be an integer of 0 or more (minutes)" + instead],
        )
        for value, instead in (
            ("43200", ", but is a string"),
            (1.5, ""),
            (-1, ""),
            (True, ", but is true"),
        )
    ),
    (
        "USER_SEGMENT",
        changed(SEGMENT, data_bag={}),
        ["data_bag has to be a string that holds JSON, but is an object"],
    ),
    ("USER_SEGMENT", changed(SEGMENT, data_bag="tier"), ["data_bag has to be a string that holds JSON"]),
    (
        "USER_SEGMENT",
        changed(SEGMENT, data_bag=""),
        ["data_bag has to be a string that holds JSON, but is an empty string"],
    ),
    ("USER_SEGMENT", changed(SEGMENT, data_bag='{"a":NaN}'), ["data_bag has to be a string that holds JSON"]),
    (
        "USER_SEGMENT",
        changed(SEGMENT, expiration_ts=-1),
        ["expiration_ts has to be a number of 0 or more (milliseconds)"],
    ),
    # 6.4
    ("USER_CHOICE", changed(CHOICE, user_choice=GONE), ["user_choice is missing, UPSERT needs it"]),
    ("USER_CHOICE", changed(CHOICE, force_replace=GONE), ["force_replace is missing, UPSERT needs it"]),
    (
        "USER_CHOICE",
        changed(CHOICE, user_choice={}),
        ["user_choice.$processing_id is missing", "user_choice.$choice_ts is missing"],
    ),
    (
        "USER_CHOICE",
        changed(CHOICE, operation="DELETE", user_choice={}),
        ["user_choice.$processing_id is missing"],
    ),
    (
        "USER_CHOICE",
        changed(CHOICE, operation="DELETE", user_choice=GONE),
        ["user_choice is missing, DELETE needs it"],
    ),
    (
        "USER_CHOICE",
        changed(CHOICE, user_choice={"$processing_id": "1", "$choice_ts": "tomorrow"}),
        ["user_choice.$choice_ts has to be milliseconds, an integer or quoted digits"],
    ),
    # 6.5 to 6.8
    ("USER_IDENTIFIERS_DELETION", changed(ACCOUNT, type=GONE), ["type is missing"]),
    (
        "USER_IDENTIFIERS_DELETION",
        {"type": "USER_POINT", "user_point_id": UUID},
        [
            "type has to be USER_ACCOUNT, USER_EMAIL or USER_AGENT",
            ONE + "only user_point_id, of another type",
        ],
    ),
    (
        "USER_IDENTIFIERS_DELETION",
        {"type": "USER_ACCOUNT", "compartment_id": "4100"},
        ["user_account_id is missing, USER_ACCOUNT needs it"],
    ),
    ("USER_IDENTIFIERS_DELETION", {"type": "USER_EMAIL"}, ["hash is missing, USER_EMAIL needs it"]),
    ("USER_IDENTIFIERS_DELETION", changed(ACCOUNT, hash="5b0f"), [ONE + "2: user_account_id and hash"]),
    (
        "USER_IDENTIFIERS_DELETION",
        {"type": "USER_EMAIL", "user_account_id": "a"},
        ["hash is missing, USER_EMAIL needs it", ONE + "only user_account_id, of another type"],
    ),
    (
        "USER_IDENTIFIERS_DELETION",
        {"type": "USER_AGENT", "user_agent_id": "udp:1"},
        ["user_agent_id has to be a non-empty string that does not begin with udp:"],
    ),
    ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", {}, ["identifiers is missing"]),
    ("USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS", {"identifiers": []}, ["identifiers is empty"]),
    (
        "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
        {"identifiers": {}},
        ["identifiers has to be an array, but is an object"],
    ),
    (
        "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
        {"identifiers": [ACCOUNT, 5, {"type": "USER_AGENT"}]},
        [
            "identifiers[1] has to be an object, but is a number",
            "identifiers[2].user_agent_id is missing, USER_AGENT needs it",
        ],
    ),
    (
        "USER_DEVICE_POINTS_DELETION",
        ACCOUNT,
        [
            "type has to be USER_AGENT",
            "user_agent_id is missing",
            ONE + "only user_account_id, of another type",
        ],
    ),
    ("USER_DEVICE_POINTS_DELETION", {"user_agent_id": "udp:1"}, ["type is missing"]),
    (
        "USER_POINTS_DELETION",
        {"type": "USER_POINT", "user_point_id": "77"},
        ["user_point_id has to be a uuid (8-4-4-4-12 hexadecimal digits)"],
    ),
    (
        "USER_POINTS_DELETION",
        {"type": "USER_POINT", "user_point_id": UUID + "\n"},
        ["user_point_id has to be a uuid (8-4-4-4-12 hexadecimal digits)"],
    ),
    (
        "USER_POINTS_DELETION",
        {"type": "USER_POINT", "user_point_id": UUID, "user_account_id": "a"},
        [ONE + "2: user_point_id and user_account_id"],
    ),
    # 6.1
    ("USER_ACTIVITY", changed(ACTIVITY, _ts=GONE), ["$ts is missing"]),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _ts="1932858000000"),
        ["$ts has to be an integer of 0 or more (milliseconds), but is a string"],
    ),
    ("USER_ACTIVITY", changed(ACTIVITY, _ts=2**63), ["$ts has to be an integer of 0 or more (milliseconds)"]),
    ("USER_ACTIVITY", changed(ACTIVITY, _type=GONE), ["$type is missing"]),
    ("USER_ACTIVITY", changed(ACTIVITY, _type=""), [KNOWN_TYPES + ", but is an empty string"]),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _session_status="OPEN"),
        ["$session_status has to be NO_SESSION, IN_SESSION, CLOSED_SESSION or SESSION_SNAPSHOT"],
    ),
    ("USER_ACTIVITY", changed(ACTIVITY, _events=GONE), ["$events is missing"]),
    ("USER_ACTIVITY", changed(ACTIVITY, _events={}), ["$events has to be an array, but is an object"]),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _events=[{}, "x"]),
        [
            "$events[0].$ts is missing",
            "$events[0].$event_name is missing",
            "$events[0].$properties is missing",
            "$events[1] has to be an object, but is a string",
        ],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _email_hash="5b0f", _user_account_id=GONE),
        ["$email_hash has to be an object, but is a string"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _user_identifiers=[{"$type": "USER_EMAIL", "$hash": "5b0f"}]),
        [ONE + "2: $user_account_id and $user_identifiers"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _user_account_id=GONE, _user_identifiers=[]),
        [ONE + "none"],
    ),
    (
        "USER_ACTIVITY",
        changed(
            ACTIVITY,
            _user_account_id=GONE,
            _user_identifiers=[
                {"$type": "USER_EMAIL", "$hash": "5b0f"},
                {"$type": "USER_AGENT", "$user_agent_id": "x"},
            ],
        ),
        [ONE + "2: $user_identifiers"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _user_account_id=GONE, _user_identifiers=[{"$type": "USER_POINT"}]),
        ["$user_identifiers[0].$type has to be USER_ACCOUNT, USER_EMAIL or USER_AGENT"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _origin=[]),
        ["$origin has to be an object, but is an array"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _unique_key="row 5"),
        ["$unique_key has to be a uuid (8-4-4-4-12 hexadecimal digits) or empty"],
    ),
    (
        "USER_ACTIVITY",
        changed(ACTIVITY, _ttl="5"),
        ["$ttl has to be an integer of 0 or more (minutes), but is a string"],
    ),
    *[
        (
            "USER_ACTIVITY",
            changed(ACTIVITY, _type=kind),
            [KNOWN_TYPES],
        )
        for kind in ("touch", "Touch", "site_Visit", "user_scenario_start")
    ],
    # 6.9
    ("USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS", [], ["the line has to be a JSON object, but is an array"]),
]
