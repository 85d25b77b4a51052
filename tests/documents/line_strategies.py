"""Lines for hypothesis: good ones of each document type, and what can happen to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from line_reference import KINDS

CONTENT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(min_size=1, max_size=6)
IDS = TEXTS | st.integers(0, 10**6)
OBJECTS = st.dictionaries(st.text(max_size=4), CONTENT, max_size=3)
TIMES = st.integers(0, 2**63 - 1)
UUIDS = st.uuids().map(str)
JSON_TEXTS = CONTENT.map(json.dumps)


def properties(mandatory: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(mandatory, optional=optional)


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {name: part[name] for part in found for name in part})


def identified(dollar: str = "") -> st.SearchStrategy[dict[str, Any]]:
    mail = properties({"$hash": TEXTS}, **{"$email": st.text(max_size=3)}) if dollar else TEXTS
    kinds = [{"user_account_id": TEXTS}, {"email_hash": mail}, {"user_agent_id": TEXTS}]
    return st.one_of(
        properties({dollar + name: value for name, value in kind.items()}, **{dollar + "compartment_id": IDS})
        for kind in kinds
    )


def entries(dollar: str = "", *, point: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    kinds = [
        properties(
            {dollar + "type": st.just("USER_ACCOUNT"), dollar + "user_account_id": TEXTS},
            **{dollar + "compartment_id": IDS},
        ),
        properties(
            {dollar + "type": st.just("USER_EMAIL"), dollar + "hash": TEXTS}, **{dollar + "email": TEXTS}
        ),
        properties(
            {dollar + "type": st.just("USER_AGENT"), dollar + "user_agent_id": TEXTS | st.just("udp:1")}
        ),
    ]
    if point:
        kinds.append(properties({"type": st.just("USER_POINT"), "user_point_id": UUIDS}))
    return st.one_of(kinds)


MEMBERSHIP = properties(
    {"operation": st.sampled_from(["UPDATE", "DELETE"]), "expiration_duration": TIMES},
    expiration_ts=st.integers(0, 2**70) | st.floats(0, allow_infinity=False),
    data_bag=JSON_TEXTS,
)
VISIT = properties(
    {
        "$ts": TIMES,
        "$type": st.sampled_from(["TOUCH", "SITE_VISIT", "USER_SCENARIO_START", "PURCHASE", "purchase"]),
        "$session_status": st.sampled_from(["NO_SESSION", "IN_SESSION"]),
        "$events": st.lists(
            properties({"$ts": TIMES, "$event_name": TEXTS, "$properties": OBJECTS}), max_size=2
        ),
    },
    **{
        "$ttl": TIMES,
        "$origin": st.none() | OBJECTS,
        "$unique_key": UUIDS | st.sampled_from(["", None]),
        "mine": CONTENT,
        "$topics": CONTENT,
    },
)
LINES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "USER_ACTIVITY": merged(
        VISIT,
        identified("$")
        | st.lists(entries("$"), min_size=1, max_size=1).map(lambda one: {"$user_identifiers": one}),
    ),
    "USER_SEGMENT": merged(
        MEMBERSHIP,
        identified(),
        properties({"segment_id": IDS}, segment_technical_name=TEXTS)
        | properties({"segment_technical_name": TEXTS}),
    ),
    "USER_PROFILE": st.one_of(
        merged(
            properties({"operation": st.just("UPSERT")}),
            identified(),
            properties({"user_profile": OBJECTS}),
            properties(
                {}, update_strategy=st.sampled_from(["PARTIAL_UPDATE", "PARTIAL_DELETE", "FORCE_REPLACE"])
            )
            | properties({}, force_replace=st.booleans(), merge_objects=st.just(False))
            | properties({}, force_replace=st.just(False), merge_objects=st.booleans()),
        ),
        merged(identified(), properties({"operation": st.just("DELETE")}, user_profile=CONTENT)),
    ),
    "USER_CHOICE": st.one_of(
        merged(
            identified(),
            properties(
                {
                    "operation": st.just("UPSERT"),
                    "force_replace": st.booleans(),
                    "user_choice": properties(
                        {"$processing_id": IDS, "$choice_ts": TIMES | TIMES.map(str)},
                        **{"$choice_acceptance_value": st.booleans(), "mine": CONTENT},
                    ),
                }
            ),
        ),
        merged(
            identified(),
            properties({"operation": st.just("DELETE"), "user_choice": properties({"$processing_id": IDS})}),
        ),
    ),
    "USER_IDENTIFIERS_DELETION": entries(),
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS": properties(
        {"identifiers": st.lists(entries(), min_size=1, max_size=3)}
    ),
    "USER_DEVICE_POINTS_DELETION": entries().filter(lambda line: line["type"] == "USER_AGENT"),
    "USER_POINTS_DELETION": entries(point=True),
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS": OBJECTS,
}
NAMES = st.sampled_from(
    sorted(
        {
            *KINDS,
            *("$" + name for name in KINDS),
            "operation",
            "type",
            "$type",
            "hash",
            "$hash",
            "email",
            "$email",
        }
        | {"compartment_id", "segment_id", "segment_technical_name", "expiration_duration", "expiration_ts"}
        | {"data_bag", "user_profile", "update_strategy", "force_replace", "merge_objects", "user_choice"}
        | {
            "$processing_id",
            "$choice_ts",
            "user_point_id",
            "identifiers",
            "$user_identifiers",
            "$events",
            "$ts",
        }
        | {"$type", "$origin", "$session_status", "$unique_key", "$event_name", "$properties", "$ttl"}
    )
)
ODD_VALUES = (
    st.sampled_from(
        [
            None,
            "",
            True,
            0,
            -1,
            1.5,
            2**63,
            10**4000,
            1e300,
            math.inf,
            [],
            {},
            "udp:1",
            "UPDATE",
            "UPSERT",
            "DELETE",
            "USER_POINT",
            "touch",
            "Email",
        ]
    )
    | CONTENT
)
JUNK = [
    b"",
    b" ",
    b"\r",
    b"\t \r",
    b"{}",
    b"[]",
    b"null",
    b"{}{}",
    b"{",
    b"}",
    b'"',
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
]
JUNK += [
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'{"a":"\\ud800"}',
    b'{"\\udfff":1}',
    b"\xef\xbb\xbf{}",
    b"{}\x0b",
    b"\x0c{}",
]
JUNK += [
    b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}",
    b'{"a":"\x01"}',
    b'{"a":"\x7f"}',
    b'{"a":"\xed\xa0\x80"}',
]


def replaced_inside(value: Any, draw: Callable[[Any], Any]) -> Any:
    """Put an odd value somewhere into a document."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: replaced_inside(value[name], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], replaced_inside(value[place], draw), *value[place + 1 :]]
    if isinstance(value, dict) and draw(st.booleans()):
        if value and draw(st.booleans()):
            gone = draw(st.sampled_from(sorted(value)))
            return {name: inner for name, inner in value.items() if name != gone}
        return value | {draw(NAMES): draw(ODD_VALUES)}
    return draw(ODD_VALUES)


def written(document: Any, draw: Callable[[Any], Any]) -> bytes:
    """Write a document as JSON in one of the ways that JSON allows."""
    if isinstance(document, dict) and len(document) > 1 and draw(st.booleans()):
        document = {name: document[name] for name in draw(st.permutations(list(document)))}
    style = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\r: ")]))
    ascii_only = draw(st.booleans())
    line = json.dumps(document, separators=style, ensure_ascii=ascii_only)
    return line.encode("utf-8", "surrogatepass")


@st.composite
def a_line(draw: Callable[[Any], Any], document_type: str) -> bytes:
    document: Any = draw(LINES[document_type])
    fate = draw(st.integers(0, 9))
    if fate in (3, 4):
        # Two good lines in one: two identifiers, two generations.
        document = document | draw(LINES[document_type])
    if fate >= 7:
        for _ in range(fate - 6):
            document = replaced_inside(document, draw)
    line = written(document, draw)
    if fate == 0:
        return draw(st.sampled_from(JUNK))
    if fate == 1 and line.endswith(b"}") and line != b"{}":
        # A repeated name: JSON says nothing about it, every parser takes the last.
        return line[:-1] + b"," + written({draw(NAMES): draw(ODD_VALUES)}, draw)[1:]
    if fate == 2:
        place = draw(st.integers(0, len(line)))
        return (line[:place] + draw(st.binary(max_size=2)) + line[place + draw(st.integers(0, 2)) :]).replace(
            b"\n", b""
        )
    return line + draw(st.sampled_from([b"", b"", b"\r", b" ", b"  \r"]))


@st.composite
def some_blocks(draw: Callable[[Any], Any]) -> tuple[str, list[bytes]]:
    """Blocks of a few different lines, each repeated and mixed, so that kinds change seldom or often."""
    document_type = draw(st.sampled_from(sorted(LINES)))
    pool = draw(st.lists(a_line(document_type), min_size=1, max_size=6))
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        places = draw(st.lists(st.integers(0, len(pool) - 1), max_size=25))
        if draw(st.booleans()):
            places.sort()
        block = b"".join(pool[place] + b"\n" for place in places)
        blocks.append(block[:-1] if block and draw(st.booleans()) else block)
    return document_type, blocks
