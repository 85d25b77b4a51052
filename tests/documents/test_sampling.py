"""The sample of lines: spread evenly, hashed as a person hashes them, however the body comes in pieces."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents.source.sampling import HASH_DIGITS, hash_lines, spread

LINES = st.lists(
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") or b"x"), min_size=1, max_size=30
)


@given(st.integers(0, 10_000), st.integers(0, 50))
def test_numbers_are_spread_evenly(lines: int, count: int) -> None:
    found = spread(lines, count)
    assert len(found) == min(lines, count)
    assert found == sorted(set(found))
    assert all(0 <= number < lines for number in found)
    if found:
        width = lines / len(found)
        assert all(
            number // width == place or abs(number / width - place) <= 1 for place, number in enumerate(found)
        )


@given(LINES, st.booleans(), st.data())
def test_lines_are_hashed_as_they_stand_in_the_file(
    lines: list[bytes], ends: bool, data: st.DataObject
) -> None:
    body = b"\n".join(lines) + (b"\n" if ends else b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    wanted = sorted(data.draw(st.sets(st.integers(0, len(lines) - 1))))
    expected = [
        hashlib.sha256(lines[number].removesuffix(b"\r")).hexdigest()[:HASH_DIGITS] for number in wanted
    ]
    assert list(hash_lines(pieces, wanted)) == expected
