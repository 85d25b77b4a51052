"""A connection's extra fields as options: JSON and forms write them in many ways, and none may turn a check off."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paged_reading import CONN, connection
from paged_server import PagedServer, one_answer

from airflow_bulk.hooks.extract_load_endpoints import JsonSource, source_of
from airflow_bulk.hooks.platform_hook import ConnectionFieldError


def described(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> Any:
    """The source that a connection with these extra fields stands for."""
    monkeypatch.setenv(CONN, connection(PagedServer([], one_answer, url="http://127.0.0.1:9"), **extra))
    return source_of("paged")


@pytest.mark.parametrize(
    "extra",
    [
        {name: given}
        for name in ("page_size", "first_page", "path", "paging", "error_keys", "page_param")
        for given in (None, "", "  ")
    ],
)
def test_a_field_that_says_nothing_leaves_the_default(
    extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First page 0 for null, and error_keys=("None",): a list was read from its second page, an error was an empty list."""
    assert described(monkeypatch, **extra) == JsonSource("paged")


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ({"page_size": 10}, {"page_size": 10}),
        ({"page_size": "10"}, {"page_size": 10}),
        ({"page_size": 10.0}, {"page_size": 10}),
        ({"first_page": "0"}, {"first_page": 0}),
        ({"records_key": None}, {"records_key": None}),
        ({"read_twice": "false"}, {"read_twice": False}),
        ({"read_twice": None}, {}),
        ({"last_page_omits_next": None}, {}),
        ({"error_keys": ["fault"]}, {"error_keys": ("fault",)}),
        ({"error_keys": "fault, meta.error"}, {"error_keys": ("fault", "meta.error")}),
        ({"error_keys": []}, {"error_keys": ()}),
        ({"since_param": None}, {"since_param": None}),
    ],
)
def test_a_field_may_be_written_in_each_way(
    extra: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert described(monkeypatch, **extra) == JsonSource("paged", **options)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"page_size": 10.5}, "page_size must be a whole number, and holds a number"),
        ({"page_size": True}, "page_size must be a whole number, and holds true or false"),
        ({"page_size": "many"}, "page_size must be a whole number, and holds text"),
        ({"first_page": -1}, "first_page is -1, and must be 0 or more"),
        ({"next_key": False}, "next_key must be text, and holds true or false"),
        ({"records_key": ["a"]}, "records_key must be text, and holds an array"),
        ({"error_keys": {"a": 1}}, "error_keys must be text, or an array of text, and holds an object"),
        ({"error_keys": ["a", 1]}, "error_keys must be text, or an array of text, and holds an array"),
        ({"error_keys": True}, "error_keys must be text, or an array of text"),
        ({"read_twice": "perhaps"}, "read_twice must be true or false"),
    ],
)
def test_another_type_is_told(extra: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionFieldError, match=told):
        described(monkeypatch, **extra)


NAMES = [one.name for one in fields(JsonSource) if one.name != "conn_id"]
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)


@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES))
)
def test_any_field_is_an_option_or_an_error_that_names_the_connection(extra: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        try:
            source = described(patched, **extra)
        except ConnectionFieldError as error:
            assert "Connection 'paged'" in str(error)
            return
    assert all(isinstance(key, str) and key for key in source.error_keys)
    assert source.page_size >= 1
    assert source.first_page >= 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"paging": "none", "size_param": "limit"}, "asks for no pages: write it into path"),
        ({"count_key": "n"}, "count_key is given, but no count_path"),
        ({"first_page": -1}, "first_page is -1"),
        ({"error_keys": "fault"}, r"error_keys is text: write error_keys=\('fault',\)"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        JsonSource("paged", **options)
