"""Which row of an error file is the header, and whether the file is CSV or NDJSON."""

from __future__ import annotations

import io
import json

import pytest

from airflow_bulk.documents.error_files import read_error_rows

REFUSED = [(20, "Refused", "x"), (40, "Refused", "y")]


def rows_of(header: str, rows: list[tuple[object, ...]]) -> list[tuple[str | None, list[str]]]:
    """Message and names of the other columns of each row."""
    text = "\n".join([*([header] if header else []), *(",".join(map(str, row)) for row in rows)]) + "\n"
    return [(row.message, list(row.columns)) for row in read_error_rows(io.BytesIO(text.encode()))]


@pytest.mark.parametrize("more", ["field1", "d\u00e9tail", "2nd field", "field (raw)", "\u884c", ""])
def test_a_header_may_have_any_names_beside_a_known_one(more: str) -> None:
    told = rows_of(f"line_number,message,{more}", REFUSED)
    assert told == [("Refused", ["line_number", more])] * 2


def test_a_header_of_words_alone_may_be_of_any_language() -> None:
    told = rows_of("qui,\u00e9tat,raison", [("crm-3", "b", "c"), ("crm-7", "b", "d")])
    assert told == [(None, ["qui", "\u00e9tat", "raison"])] * 2


@pytest.mark.parametrize("first", ["crm-3,Refused", "crm-3,Refused by a rule", "\u00e9-3,Refused"])
def test_a_value_with_a_digit_is_no_name(first: str) -> None:
    told = rows_of("", [tuple(first.split(",")), ("crm-7", "Refused")])
    assert [columns for _, columns in told] == [["column_1", "column_2"]] * 2


@pytest.mark.parametrize("rows", [[(20, "error"), (40, "bad")], [("crm-3", "error"), ("crm-7", "error")]])
def test_a_known_name_that_is_a_value_makes_no_header(rows: list[tuple[object, ...]]) -> None:
    assert [columns for _, columns in rows_of("", rows)] == [["column_1", "column_2"]] * 2


@pytest.mark.parametrize("length", [3, 300_000, 5_000_000])
def test_a_long_first_row_of_ndjson_is_json(length: int) -> None:
    rows = [{"user_account_id": f"crm-{n}", "message": "e" * (length if n == 1 else 3)} for n in (1, 2)]
    text = "\ufeff\n" + "".join(json.dumps(row) + "\n" for row in rows)
    told = list(read_error_rows(io.BytesIO(text.encode())))
    assert [row.columns for row in told] == [{"user_account_id": "crm-1"}, {"user_account_id": "crm-2"}]
    assert len(told[0].message or "") == length


def test_a_long_first_row_may_end_the_file_and_be_cut_in_a_character() -> None:
    text = json.dumps({"user_account_id": "crm-1", "message": "\u00e9" * 200_000}, ensure_ascii=False)
    (row,) = read_error_rows(io.BytesIO(text.encode()))
    assert (row.columns, len(row.message or "")) == ({"user_account_id": "crm-1"}, 200_000)
