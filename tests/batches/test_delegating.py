"""What is sent to the batch server: its own fields, times as text."""

from datetime import date

import pytest

from airflow_bulk.batches.delegating import server_definition


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
