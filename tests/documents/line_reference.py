"""The slow reference for the line rules: json.loads, and the rules of mediarithmics.md written down once more.

It knows nothing of the package's rules (mediarithmics.md sections 5 and 6), so a mistake on one side shows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.checking import Finding, Report

ACTIVITY_TYPES = ("SITE_VISIT", "APP_VISIT", "DISPLAY_AD", "EMAIL", "TOUCH", "RECOMMENDER")
KINDS = ("user_account_id", "email_hash", "user_agent_id")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class BadError(Exception):
    pass


def no_constant(name: str) -> None:
    raise BadError


def whole_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Text has to be text, also where a repeated name hides it."""
    for name, value in pairs:
        name.encode()
        if isinstance(value, str):
            value.encode()
    return dict(pairs)


def loads(text: str) -> Any:
    # Digits without end are JSON; only Python minds them.
    value = json.loads(
        text,
        parse_constant=no_constant,
        parse_int=lambda digits: int(digits) if len(digits) < 50 else 10**50,
        object_pairs_hook=whole_pairs,
    )
    json.dumps(value, ensure_ascii=False).encode()
    return value


def without_nulls(value: Any) -> Any:
    """A property that is null is not there."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def need(condition: object) -> None:
    if not condition:
        raise BadError


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def platform_id(value: Any) -> bool:
    return text(value) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def thing(value: Any) -> bool:
    return isinstance(value, dict)


def json_text(value: Any) -> bool:
    need(isinstance(value, str))
    loads(value)
    return True


def number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value)
    )


def typed(line: dict[str, Any], name: str, rule: Callable[[Any], bool], *, mandatory: bool = False) -> None:
    need(rule(line[name]) if name in line else not mandatory)


def one_identifier(line: dict[str, Any]) -> None:
    need(sum(name in line for name in KINDS) == 1)
    for name in KINDS:
        typed(line, name, text)
    typed(line, "compartment_id", platform_id)


def profile(line: dict[str, Any]) -> None:
    one_identifier(line)
    need(line.get("operation") in ("UPSERT", "DELETE"))
    if line["operation"] == "DELETE":
        need("update_strategy" not in line)
        return
    typed(line, "user_profile", thing, mandatory=True)
    typed(line, "update_strategy", ("PARTIAL_UPDATE", "PARTIAL_DELETE", "FORCE_REPLACE").__contains__)
    typed(line, "force_replace", flag)
    typed(line, "merge_objects", flag)
    need(not (line.get("force_replace") and line.get("merge_objects")))
    need("update_strategy" not in line or ("force_replace" not in line and "merge_objects" not in line))


def choice(line: dict[str, Any]) -> None:
    one_identifier(line)
    need(line.get("operation") in ("UPSERT", "DELETE"))
    upsert = line["operation"] == "UPSERT"
    typed(line, "force_replace", flag, mandatory=upsert)
    typed(line, "user_choice", thing, mandatory=True)
    typed(line["user_choice"], "$processing_id", platform_id, mandatory=True)
    typed(
        line["user_choice"],
        "$choice_ts",
        lambda value: re.fullmatch("[0-9]+", value) if isinstance(value, str) else whole(value),
        mandatory=upsert,
    )
    typed(line["user_choice"], "$choice_acceptance_value", flag)


def segment(line: dict[str, Any]) -> None:
    one_identifier(line)
    need(line.get("operation") in ("UPDATE", "DELETE"))
    need("segment_id" in line or "segment_technical_name" in line)
    typed(line, "segment_id", platform_id)
    typed(line, "segment_technical_name", text)
    typed(line, "expiration_duration", whole, mandatory=True)
    typed(line, "expiration_ts", number)
    typed(line, "data_bag", json_text)


OWN = {"USER_ACCOUNT": "user_account_id", "USER_EMAIL": "hash", "USER_AGENT": "user_agent_id"}


def identifier(entry: Any, dollar: str = "", *, point: bool = False, mail: bool = False) -> None:
    need(isinstance(entry, dict))
    own = OWN | ({"USER_POINT": "user_point_id"} if point else {})
    kind = entry.get(dollar + "type")
    need(isinstance(kind, str) and kind in own)
    others = {*OWN.values(), *(() if dollar else ("user_point_id",))} - {own[kind]}
    need(not any(dollar + name in entry for name in others))
    typed(entry, dollar + own[kind], text, mandatory=True)
    if kind == "USER_POINT":
        need(UUID.fullmatch(entry["user_point_id"]))
    if kind == "USER_ACCOUNT":
        typed(entry, dollar + "compartment_id", platform_id)
    if kind == "USER_EMAIL" and mail:
        typed(entry, dollar + "email", lambda value: isinstance(value, str))


def identifiers_deletion(line: dict[str, Any]) -> None:
    identifier(line)
    need(not line.get("user_agent_id", "").startswith("udp:"))


def association(line: dict[str, Any]) -> None:
    need(isinstance(line.get("identifiers"), list) and line["identifiers"])
    for entry in line["identifiers"]:
        identifier(entry, mail=True)


def device_points(line: dict[str, Any]) -> None:
    need(line.get("type") == "USER_AGENT")
    identifier(line)


def activity(line: dict[str, Any]) -> None:
    typed(line, "$ts", whole, mandatory=True)
    typed(line, "$type", text, mandatory=True)
    kind = line["$type"]
    shouted = kind.upper() if kind.isascii() else kind
    need(
        kind == shouted
        or not (shouted in ACTIVITY_TYPES or shouted.startswith("USER_SCENARIO"))
        or kind.startswith("USER_SCENARIO")
    )
    typed(
        line,
        "$session_status",
        ("NO_SESSION", "IN_SESSION", "CLOSED_SESSION", "SESSION_SNAPSHOT").__contains__,
        mandatory=True,
    )
    typed(line, "$ttl", whole)
    typed(
        line, "$unique_key", lambda value: value == "" or (isinstance(value, str) and UUID.fullmatch(value))
    )
    for name in ("$origin", "$location"):
        typed(line, name, thing)
    need(isinstance(line.get("$events"), list))
    for event in line["$events"]:
        need(thing(event))
        typed(event, "$ts", whole, mandatory=True)
        typed(event, "$event_name", text, mandatory=True)
        typed(event, "$properties", thing, mandatory=True)
    listed = line.get("$user_identifiers", [])
    need(isinstance(listed, list))
    for entry in listed:
        identifier(entry, "$", mail=True)
    need(sum("$" + name in line for name in KINDS) + len(listed) == 1)
    typed(line, "$user_account_id", text)
    typed(line, "$user_agent_id", text)
    typed(line, "$compartment_id", platform_id)
    if "$email_hash" in line:
        need(thing(line["$email_hash"]))
        typed(line["$email_hash"], "$hash", text, mandatory=True)
        typed(line["$email_hash"], "$email", lambda value: isinstance(value, str))


REFERENCE: dict[str, Callable[[dict[str, Any]], None]] = {
    "USER_ACTIVITY": activity,
    "USER_SEGMENT": segment,
    "USER_PROFILE": profile,
    "USER_CHOICE": choice,
    "USER_IDENTIFIERS_DELETION": identifiers_deletion,
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS": association,
    "USER_DEVICE_POINTS_DELETION": device_points,
    "USER_POINTS_DELETION": lambda line: identifier(line, point=True),
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS": lambda line: None,
}


def is_good(document_type: str, line: bytes) -> bool:
    try:
        if b"\0" in line or b"\n" in line:
            return False
        document = without_nulls(loads(line.decode()))
        need(isinstance(document, dict))
        REFERENCE[document_type](document)
    except (BadError, ValueError, RecursionError):
        return False
    return True


def line_by_line(document_type: str, block: bytes, limit: int | None) -> Report:
    """What check has to return, made from check_line alone."""
    findings, start = [], 0
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", block)
    for number, line in enumerate(lines):
        stop = start + len(line)
        if not line.strip(b" \t\r\n"):
            findings.append(Finding(number, start, stop, ()))
        elif limit is not None and len(line) > limit:
            reason = f"the line has {len(line)} bytes, more than the {limit} that a part may have"
            findings.append(Finding(number, start, stop, (reason,)))
        elif reasons := check_line(document_type, line):
            findings.append(Finding(number, start, stop, tuple(reasons)))
        start = stop
    return Report(len(lines), findings)
