"""What a reading of one's own may claim: complete only once, at its end, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.readings import RecordReading
from airflow_bulk.runs.extract_load.staging import write_records

WORD = "the trailer of the export"


def ending(value: Any, records: int = 2) -> Iterator[Record]:
    for number in range(records):
        yield {"id": number}
    return value


def test_it_rests_on_its_word_at_its_end_alone() -> None:
    reading = RecordReading(ending(None), WORD)
    assert reading.rests_on is None
    assert len(list(reading)) == 2
    assert reading.rests_on == WORD
    assert list(reading) == []
    assert reading.rests_on == WORD


@pytest.mark.parametrize("value", [True, 2, 0, "", {"id": 7}, [{"id": 7}]])
def test_what_is_no_text_is_no_word(value: Any) -> None:
    """A generator that returns its number of records, or the records themselves, claims nothing; XCom gets none of it."""
    reading = RecordReading(ending(value))
    list(reading)
    assert reading.rests_on is None


def test_a_reading_that_was_closed_never_ends() -> None:
    reading = RecordReading(ending(None), WORD)
    next(reading)
    reading.close()
    assert list(reading) == []
    assert reading.rests_on is None


def test_a_reading_that_was_closed_after_its_end_has_ended() -> None:
    reading = RecordReading(ending(WORD))
    list(reading)
    reading.close()
    assert reading.rests_on == WORD


def test_a_reading_that_failed_never_ends() -> None:
    """A generator that has raised ends at once when it is asked again, as if it had come to its end."""

    def broken() -> Iterator[Record]:
        yield {"id": 1}
        raise OSError("cut")

    reading = RecordReading(broken(), WORD)
    found = []
    with suppress(OSError):
        found += [next(reading), next(reading)]
    assert list(reading) == []
    assert reading.rests_on is None


def test_a_generator_around_a_reading_passes_its_word_on() -> None:
    """As docs/extract_load_sources.md shows it."""

    def named(reading: RecordReading) -> Iterator[Record]:
        for record in reading:
            yield {**record, "name": "n"}
        return reading.rests_on

    wrapped = RecordReading(named(RecordReading(ending(WORD))))
    assert [record["name"] for record in wrapped] == ["n", "n"]
    assert wrapped.rests_on == WORD


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_half_a_reading_leaves_no_file(error: type[BaseException], tmp_path: Any) -> None:
    """Airflow's timeout of a task is no Exception either, and half a reading holds personal data."""
    from airflow.sdk.exceptions import AirflowTaskTimeout

    for raised in (error, AirflowTaskTimeout):

        def records(raised: type[BaseException] = raised) -> Iterator[Record]:
            yield {"id": 1}
            raise raised

        with pytest.raises(raised):
            write_records(str(tmp_path), "x", records())
        assert list(tmp_path.iterdir()) == []
