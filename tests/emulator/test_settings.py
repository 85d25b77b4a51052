"""Settings refuse what makes no sense, by name."""

import dataclasses

import pytest

from airflow_bulk.emulator.settings import Settings, names


@pytest.mark.parametrize(
    "changes",
    [
        {"start_delai": 1},
        {"changed": 1},
        {"start_delay": "soon"},
        {"start_delay": -1},
        {"start_delay": True},
        {"page_size": 1.5},
        {"strict": 1},
        {"csv_delimiter": ";;"},
        {"csv_delimiter": ""},
        {"refused_cancel_status": 404},
        {"top_identifiers": []},
    ],
)
def test_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Settings().changed(changes)


def test_numbers_take_the_kind_of_their_default():
    changed = Settings().changed({"start_delay": 3, "page_size": 20.0})
    assert (changed.start_delay, changed.page_size) == (3.0, 20)
    assert isinstance(changed.page_size, int)


def test_all_settings_can_be_given_back():
    assert Settings().changed(dataclasses.asdict(Settings())) == Settings()
    assert set(names()) == set(dataclasses.asdict(Settings()))
