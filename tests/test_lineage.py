"""How files are named in OpenLineage, and what is told of a run; ``tests/dags/test_told.py`` reads real events."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset

from airflow_bulk.runs.lineage import NAMED_FILES, SUMMARY, dataset_name, lineage_of


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("/data/in/a.ndjson", "file", "/data/in/a.ndjson"),
        ("file:///data/a b#c.ndjson", "file", "/data/a b#c.ndjson"),
        ("file://nas/data/a.ndjson", "file://nas", "/data/a.ndjson"),
        ("s3://aws_crm@bucket/export/a.gz", "s3://bucket", "export/a.gz"),
        ("s3a://bucket/a", "s3://bucket", "a"),
        ("gcs://google@bucket/a", "gs://bucket", "a"),
        ("gs://bucket/a#1", "gs://bucket", "a#1"),
        ("abfs://azure@container/a", "abfs://container", "a"),
    ],
)
def test_a_file_is_named_as_openlineage_names_it(path: str, namespace: str, name: str) -> None:
    assert dataset_name(path) == (namespace, name)


def test_many_files_are_counted_and_the_first_named() -> None:
    row = {"phase": "over", "files": 500, "lines_read": 9, "id": "1"}
    told = lineage_of(row, [f"/in/{number}" for number in range(500)], None)
    assert len(told.inputs) == NAMED_FILES and not told.outputs
    assert all(not one.inputFacets for one in told.inputs), "nobody counted the lines of one file"
    assert told.run_facets[SUMMARY].files == 500  # type: ignore[attr-defined]


def test_the_authors_own_assets_stay_and_none_is_told_twice() -> None:
    told = lineage_of(
        {"phase": "over", "id": "1", "lines_accepted": 3, "bytes": 5},
        ["/in/a"],
        "mediarithmics://15/USER_PROFILE",
        inlets=[Asset("no_uri"), Asset(uri="file:///in/schema.json")],
        outlets=[Asset(uri="mediarithmics://15/user_profile"), Asset(uri="file:///out/report")],
    )
    assert [one.name for one in told.inputs] == ["/in/a", "/in/schema.json"]
    assert [(one.namespace, one.name) for one in told.outputs] == [
        ("mediarithmics://15", "USER_PROFILE"),
        ("file", "/out/report"),
    ]


def test_what_was_not_sent_has_no_size() -> None:
    row = {"phase": "sending", "id": "1", "bytes": 500}
    (output,) = lineage_of(row, [], "mediarithmics://15/USER_PROFILE").outputs
    assert not output.outputFacets


def test_a_run_that_never_began_tells_nothing() -> None:
    told = lineage_of({}, (), None)
    assert (told.inputs, told.outputs, told.run_facets) == ([], [], {})
