"""What is sent to the batch server: its own fields, times as text."""

from datetime import date

import pytest

from airflow_bulk.extract_load.delegating import server_definition


def test_its_own_fields_and_times_as_text():
    definition = {
        "name": "accounting",
        "tenant_id": "t1",
        "since": date(2013, 1, 1),
        "mappings": {"accounts": {}},
        "created_at": "2013",
        "jobs": [{"type": "extract", "object": "Account", "updated_since": 1357084800, "since": None}],
    }
    assert server_definition(definition) == {
        "tenant_id": "t1",
        "since": "2013-01-01T00:00:00+00:00",
        "jobs": [
            {
                "type": "extract",
                "object": "Account",
                "updated_since": "2013-01-02T00:00:00+00:00",
                "since": None,
            }
        ],
    }


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"id": "1", "jobs": []}, "must not have an id"),
        (
            {"updated_since": "watermark", "jobs": []},
            "the batch: updated_since: 'watermark' is known to tasks alone",
        ),
        ({"jobs": [{"since": "window"}]}, "job 0: since: 'window' is known to tasks alone"),
        ({"jobs": [{}, {"since": "soon"}]}, "job 1: since: 'soon' is not a time"),
    ],
)
def test_what_no_server_knows_is_refused(definition, message):
    with pytest.raises(ValueError, match=message):
        server_definition(definition)


def test_older_formats_are_sent_in_the_newest():
    """The server drops fields that it does not know: a load would wait for nothing, and delete what it finds."""
    part = {"object": "Bill", "since": date(2013, 1, 1)}
    definition = {
        "since": "2013-01-01",
        "source": {"connection": {"id": "s1"}},
        "jobs": [
            {
                "type": "load",
                "object": "accounts",
                "required_object": "Account",
                "required_objects": ["Bill"],
            },
            {"type": "extract", "object": "Account"},
            {"extract": part, "load": {"object": "bills", "allowDelete": True}},
            {
                "extract": {"object": "Bill"},
                "load": {"object": "bills", "required_objects": {"load_result": ["accounts"]}},
            },
        ],
    }
    since = "2013-01-01T00:00:00+00:00"
    assert server_definition(definition) == {
        "since": since,
        "source_connection_id": "s1",
        "jobs": [
            {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account", "Bill"]}},
            {"type": "extract", "object": "Account"},
            {"type": "extract", "object": "Bill", "since": since},
            {
                "type": "load",
                "object": "bills",
                "required_objects": {"extract": ["Bill"], "load_result": ["accounts"]},
            },
        ],
    }


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (
            [{"type": "load", "object": "a", "required_object": "B", "required_objects": "C"}],
            "job 0: required_objects: 'C' cannot be converted",
        ),
        (
            [
                {"extract": {"object": "B", "since": since}, "load": {"object": "a"}}
                for since in ("2012", "2013")
            ],
            "job 1: older format: extract B has different bounds",
        ),
        ([{"extract": "B", "load": {"object": "a"}}], "job 0: extract of a nested job must be an object"),
        ([5], "job 0: must be an object, but is 5"),
    ],
)
def test_an_older_format_that_cannot_be_converted_is_refused(jobs, message):
    with pytest.raises(ValueError, match=message):
        server_definition({"jobs": jobs})
