"""Rejected lines are cut out of a stretch of the source, however many there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents.rejected_places import RejectedPlaces

LINE = st.tuples(st.integers(1, 9), st.booleans())


@given(files=st.lists(st.lists(LINE, max_size=30), min_size=1, max_size=4), data=st.data())
def test_a_stretch_without_its_rejected_lines_is_what_was_sent(
    files: list[list[tuple[int, bool]]], data: st.DataObject
) -> None:
    with RejectedPlaces() as places:
        for name, lines in enumerate(files):
            offset = 0
            for length, rejected in lines:
                if rejected:
                    places.add(str(name), offset, length)
                offset += length
        for name, lines in reversed(list(enumerate(files))):
            first = data.draw(st.integers(0, len(lines)))
            behind = data.draw(st.integers(first, len(lines)))
            start = sum(length for length, _ in lines[:first])
            whole = sum(length for length, _ in lines[first:behind])
            sent, offset = set(), start
            for length, rejected in lines[first:behind]:
                sent |= set() if rejected else set(range(offset, offset + length))
                offset += length
            left = list(places.without((str(name), 1, start, whole, "v")))
            assert [byte for _, _, at, size, _ in left for byte in range(at, at + size)] == sorted(sent)
            assert {(source, version) for source, _, _, _, version in left} <= {(str(name), "v")}


def test_more_places_than_are_read_at_a_time() -> None:
    with RejectedPlaces() as places:
        for number in range(10_000):
            places.add("a", 20 * number, 10)
        left = list(places.without(("a", 1, 200, 180_000, "v")))
    assert [at for _, _, at, _, _ in left] == list(range(210, 180_200, 20))
    assert {size for _, _, _, size, _ in left} == {10}
