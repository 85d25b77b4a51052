"""What tells one extract/load batch from another, for a server that has neither a key nor a marker."""

from __future__ import annotations

import pytest

from airflow_bulk.platforms.extract_load import fingerprints

BATCH = {
    "tenant_id": "t1",
    "jobs": [
        {"type": "extract", "object": "Sales", "grain": "day"},
        {"type": "load", "object": "sales", "required_objects": {"extract": ["Sales"]}},
    ],
}


def changed(**fields):
    return {**BATCH, **fields}


def with_job(number, **fields):
    jobs = [dict(job) for job in BATCH["jobs"]]
    jobs[number].update(fields)
    return changed(jobs=jobs)


@pytest.mark.parametrize(
    "other",
    [
        changed(tenant_id="t2"),
        changed(source_connection_id="a" * 24),
        changed(destination_connection_id="a" * 24),
        changed(since="2013-01-01"),
        changed(updated_since="watermark"),
        with_job(0, grain="month"),
        with_job(0, since="2013-01-01"),
        with_job(0, updated_since="2013-01-01"),
        with_job(1, required_objects={"extract": ["Sales"], "load": ["items"]}),
        with_job(1, required_objects={}),
    ],
)
def test_a_fingerprint_tells_what_differs_and_the_objects_alone_do_not(other):
    assert fingerprints(other)[0] != fingerprints(BATCH)[0]
    assert fingerprints(other)[1] == fingerprints(BATCH)[1]


@pytest.mark.parametrize("other", [with_job(0, object="Items"), with_job(0, type="load")])
def test_other_objects_are_another_batch(other):
    assert not set(fingerprints(other)) & set(fingerprints(BATCH))


def test_order_and_what_the_server_adds_mean_nothing():
    shown = changed(
        id="5" * 24,
        created_at="2026-01-01",
        jobs=[{**job, "id": "6" * 24} for job in reversed(BATCH["jobs"])],
    )
    assert fingerprints(shown) == fingerprints(BATCH)
