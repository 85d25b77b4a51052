"""Whatever path a block takes through LineChecker, each line's verdict is that of check_line.

And check_line agrees with a slow reference that knows nothing of the package.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from line_reference import is_good, line_by_line
from line_strategies import LINES, a_line, some_blocks

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.checking import LineChecker


@settings(max_examples=200, deadline=None)
@given(some_blocks(), st.none() | st.integers(20, 400))
def test_every_path_gives_the_verdicts_of_check_line(
    case: tuple[str, list[bytes]], limit: int | None
) -> None:
    document_type, blocks = case
    checker = LineChecker(document_type, max_line_bytes=limit)
    for block in blocks:
        assert checker.check(block) == line_by_line(document_type, block, limit)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(LINES)).flatmap(lambda name: st.tuples(st.just(name), a_line(name))))
@example(
    ("USER_PROFILE", b'{"operation":"UPSERT","email_hash":"a","user_profile":{"a":' + b"9" * 5000 + b"}}")
)
@example(("USER_POINTS_DELETION", b'{"type":"\\u0000","nothing":1}'))
@example(("USER_DEVICE_POINTS_DELETION", b'{"type":"\\u0000","user_agent_id":"a"}'))
@example(
    (
        "USER_SEGMENT",
        b'{"operation":"UPDATE","user_agent_id":"a","segment_id":"1","expiration_duration":1,"expiration_ts":1e999}',
    )
)
def test_check_line_agrees_with_the_reference(case: tuple[str, bytes]) -> None:
    document_type, line = case
    reasons = check_line(document_type, line)
    assert (not reasons) == (is_good(document_type, line) or not line.strip(b" \t\r"))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(LINES)).flatmap(lambda name: st.tuples(st.just(name), LINES[name])))
def test_good_lines_stay_good_and_take_the_fast_path(case: tuple[str, dict[str, Any]]) -> None:
    document_type, document = case
    if (
        str(document.get("user_agent_id", "")).startswith("udp:")
        and document_type == "USER_IDENTIFIERS_DELETION"
    ):
        return
    line = json.dumps(document).encode()
    assert check_line(document_type, line) == []
    checker = LineChecker(document_type)
    assert checker.check((line + b"\n") * 5).findings == []
    assert list(checker._reading.suspects([line] * 5)) == []  # type: ignore[union-attr]
