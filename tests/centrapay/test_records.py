"""What a batch says, read leniently: counts of every spelling, errors of every form, expiries of every store."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.platforms import centrapay as api
from airflow_bulk.platforms.status import RemoteStatus


def batch(**fields: Any) -> api.CentrapayBatch:
    return api.read_batch(json.dumps({"id": "b1", "status": "complete", **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"count": "160000"}, 160_000),
        ({"count": 3}, 3),
        ({"totalCount": "4"}, 4),
        ({"count": "1", "totalCount": "4"}, 1),
        ({"count": None, "totalCount": "4"}, 4),
        ({"count": "5.0"}, 5),
        ({"count": "1e3"}, 1000),
        ({}, None),
    ],
)
def test_count(fields: dict[str, Any], count: int | None) -> None:
    assert (batch(**fields).count, batch(**fields).unreadable) == (count, ())


@pytest.mark.parametrize(
    "odd", ["-1", -1, "many", "", 1.5, "NaN", "Infinity", "1e999999", True, [], {"a": 1}]
)
def test_counts_that_are_none(odd: Any) -> None:
    read = batch(count="2", errorCount=odd)
    assert (read.id, read.count, read.error_count, read.unreadable) == ("b1", 2, None, ("errorCount",))


@given(st.integers(min_value=0, max_value=10**18))
def test_a_whole_number_stays_what_it_is(number: int) -> None:
    assert api.whole(str(number)) == api.whole(number) == number


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.text())
def test_whole_never_says_anything_but_a_count(value: Any) -> None:
    try:
        read = api.whole(str(value))
    except ValueError:
        return
    assert read >= 0 and Decimal(str(value)) == read


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_the_id_is_never_lost(odd: Any) -> None:
    names = ("status", "type", "accountId", "test", "count", "totalCount", "errorCount", "errors")
    read = batch(**dict.fromkeys(names, odd))
    assert read.id == "b1"
    api.snapshot(read)


def test_errors() -> None:
    read = batch(
        errors=[
            {"message": "INVALID_BARCODE_LENGTH", "externalId": "acc-1", "index": "4"},
            {"message": "No closing bracket found", "index": 5},
            {"message": "old", "ref": "acc-2"},
            "prose",
        ]
    )
    assert [(one.message, one.external_id, one.index) for one in read.errors] == [
        ("INVALID_BARCODE_LENGTH", "acc-1", "4"),
        ("No closing bracket found", None, "5"),
        ("old", "acc-2", None),
        ("prose", None, None),
    ]


@pytest.mark.parametrize(
    ("status", "remote_status", "unknown"),
    [
        ("created", RemoteStatus.GOING, False),
        ("copied", RemoteStatus.GOING, False),
        ("chunked", RemoteStatus.GOING, False),
        ("complete", RemoteStatus.SUCCEEDED, False),
        ("error", RemoteStatus.FAILED, False),
        ("paused", RemoteStatus.GOING, True),
    ],
)
def test_statuses(status: str, remote_status: RemoteStatus, unknown: bool) -> None:
    seen = api.snapshot(batch(status=status))
    assert (seen.remote_status, seen.unknown) == (remote_status, unknown)


def test_no_record_holds_the_url() -> None:
    secret = "https://bucket.example.test/x.jsonl?X-Amz-Signature=canary"
    read = batch(url=secret, status="error", errors=[{"message": f"GET {secret} failed"}])
    assert "canary" not in repr(api.snapshot(read))
    assert api.bare(secret) == "https://bucket.example.test/x.jsonl"


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("X-Amz-Date=20300401T000000Z&X-Amz-Expires=3600&X-Amz-Signature=s", 1_901_232_000 + 3600),
        ("X-Goog-Date=20300401T000000Z&X-Goog-Expires=60", 1_901_232_000 + 60),
        ("AWSAccessKeyId=key&Signature=s&Expires=1901232000", 1_901_232_000),
        ("se=2030-04-01T00%3A00%3A00Z&sig=s", 1_901_232_000),
        ("se=soon&sig=s", None),
        ("X-Amz-Expires=3600", None),
        ("Expires=never", None),
        ("Expires=nan", None),
        ("Expires=1e300", None),
        ("Expires=-5", None),
        ("", None),
    ],
)
def test_expiry(query: str, at: float | None) -> None:
    assert api.expiry(f"https://bucket.example.test/x?{query}") == at


def test_an_id_of_the_platform_stays_on_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    from airflow_bulk.runs.centrapay_batch.judgement import tell_errors

    tell_errors(batch(errors=[{"message": "x", "externalId": "a\nforged line" + "b" * 500}]))
    assert "externalId a?forged lineb" in caplog.text
    assert max(map(len, caplog.text.splitlines())) < 250
