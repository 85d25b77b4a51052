"""200 stories: what a reading brings is the list as it stood at a moment of the reading, or the reading fails."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paged_reading import STYLES, read, things
from paged_server import PagedServer, numbered, serving

from airflow_bulk.extract_load.readings import SourceKeepsChanging
from airflow_bulk.platforms.errors import PlatformError

CHANGES = {
    "delete": lambda records, place, new: records and records.pop(place % len(records)),
    "add": lambda records, place, new: records.insert(place % (len(records) + 1), {"id": new, "name": "new"}),
    "replace": lambda records, place, new: (
        records and records.pop(place % len(records)),
        records.append({"id": new, "name": "new"}),
    ),
}


def test_a_reading_is_the_list_of_one_moment_or_it_fails():
    ends = Counter()

    @settings(max_examples=200, deadline=None)
    @given(
        style=st.sampled_from([*sorted(STYLES), "key, once"]),
        count=st.integers(0, 12),
        size=st.integers(1, 4),
        changes=st.dictionaries(
            st.integers(1, 20), st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 30)), max_size=5
        ),
        # Those that pass are asked again after half a second, so they are fewer.
        faults=st.dictionaries(
            st.integers(1, 10), st.sampled_from([404, 403, 400, 404, 503, "cut"]), max_size=1
        ),
    )
    def story(style, count, size, changes, faults):
        answers, options = STYLES[style.removesuffix(", once")]
        if "url" in style:
            url = "" if style.startswith("relative") else "{url}/things"
            answers = numbered(
                named=lambda server, number: f"{url.format(url=server.url)}?page={number}&per_page={size}",
                next_key="next",
            )
        happens = {
            number: (
                lambda records, kind=kind, place=place, number=number: CHANGES[kind](
                    records, place, 1000 + number
                )
            )
            for number, (kind, place) in changes.items()
        }
        served = serving(PagedServer(things(count), answers, changes=happens, faults=faults))
        with pytest.MonkeyPatch.context() as patched, served as server:
            twice = style not in ("none", "key, once")
            try:
                ids, rests_on = read(server, patched, page_size=size, **{"read_twice": twice, **options})
            except (PlatformError, SourceKeepsChanging):
                ends["failed"] += 1
                return
        ends["read"] += 1
        assert rests_on
        assert len(set(ids)) == len(ids)
        if style == "key, once":
            # By key, a record that was there all the time is read, and none that never was: what a load needs.
            assert (
                set.intersection(*map(set, server.versions))
                <= set(ids)
                <= set.union(*map(set, server.versions))
            )
        elif style == "key":
            assert ids in map(sorted, server.versions)
        else:
            assert ids in server.versions

    story()
    # Stories that all fail would show nothing.
    assert ends["read"] > ends["failed"] > 0
