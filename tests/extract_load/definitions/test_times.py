"""All value forms of since and updated_since (extract_load.md section 5), inheritance, and null."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.extract_load import BatchDefinitionError, compile_batch
from airflow_bulk.extract_load.times import normal_bound, read_time, restart_of_grain, to_text

MARCH = datetime(2026, 3, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-29",
        "2026-03-29T00:00:00",
        "2026-03-29 00:00:00Z",
        "2026-03-29T02:00:00+02:00",
        str(int(MARCH.timestamp())),
        int(MARCH.timestamp()),
        MARCH.timestamp(),
        int(MARCH.timestamp() * 1000),
        str(int(MARCH.timestamp() * 1000)),
        date(2026, 3, 29),
        datetime(2026, 3, 29),
        datetime(2026, 3, 29, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_every_form_names_the_same_instant(value):
    assert read_time(value) == MARCH
    assert normal_bound(value) == "2026-03-29T00:00:00+00:00"


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01", True, [], {"a": 1}, float("nan"), 10**30, "watermark"]
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError):
        normal_bound(value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_bound(value):
    assert normal_bound(value) is None


@given(st.datetimes(timezones=st.timezones()))
def test_text_form_reads_back_as_the_same_instant(instant):
    try:
        text = to_text(instant)
    except OverflowError:  # the first and last hours of the calendar have no UTC
        return
    assert read_time(text) == instant.astimezone(
        UTC
    )  # in UTC: an hour that a zone has twice equals nothing else


def bounds(batch, job):
    graph = compile_batch({**batch, "jobs": [{"type": "extract", "object": "Account", **job}]})
    extract = graph.extracts["extract:Account"]
    return extract.since, extract.updated_since


def test_inherited_overridden_and_lifted():
    batch = {"since": "2026-03-29", "updated_since": 1774742400}
    march = "2026-03-29T00:00:00+00:00"
    assert bounds(batch, {}) == (march, march)
    assert bounds(batch, {"since": "2020-01-01"}) == (
        "2020-01-01T00:00:00+00:00",
        march,
    )  # earlier replaces, too
    assert bounds(batch, {"since": None, "updated_since": None}) == (None, None)
    assert bounds({}, {}) == (None, None)


def test_templates_and_words_wait_for_the_run():
    template = "{{ data_interval_start }}"
    assert bounds({"since": template, "updated_since": "watermark"}, {}) == (template, "watermark")
    assert bounds({"since": "window", "updated_since": "window"}, {}) == ("window", "window")


def test_a_watermark_is_no_time_in_the_data():
    with pytest.raises(
        BatchDefinitionError, match=r"the batch: since: 'watermark' is not a time.*\(or window\)"
    ):
        compile_batch({"since": "watermark", "jobs": []})


def test_a_bad_time_names_its_job():
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch(
            {"jobs": [{"type": "extract", "object": "A"}, {"type": "load", "object": "a", "since": "soon"}]}
        )
    assert [(problem.code, problem.jobs, problem.kind) for problem in caught.value.problems] == [
        ("not-a-time", (1,), "since")
    ]


@pytest.mark.parametrize("value", [20260329, "20260329", "2026"])
def test_digits_that_look_like_a_date_warn(value):
    graph = compile_batch({"since": value, "jobs": [{"type": "extract", "object": "A"}]})
    assert any("counts as Unix seconds (1970-" in warning for warning in graph.warnings)


def test_a_monthly_report_restarts_in_january():
    since = datetime(2013, 6, 15, 4, 5, tzinfo=UTC)
    assert restart_of_grain(since, "monthly") == datetime(2013, 1, 15, 4, 5, tzinfo=UTC)
    assert restart_of_grain(since, "daily") == since
    assert restart_of_grain(None, "monthly") is None
