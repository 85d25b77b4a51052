"""Records become lines: what each kind of record is on its line, and what is refused without its content."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents.records import LineWriter, RecordUnusable, is_record, refuse_no_records

CANARY = "canary-4711"


class Profile(msgspec.Struct, rename={"account": "user_account_id"}):
    account: str


class Address(pydantic.BaseModel):
    postal_code: str = pydantic.Field(alias="postalCode")


class Customer(pydantic.BaseModel):
    account: str = pydantic.Field(alias="user_account_id")
    since: date
    address: Address


@dataclasses.dataclass
class Row:
    account: str
    score: Decimal


class Loose:
    """No record: nothing says what its fields are."""


def customer() -> Customer:
    return Customer.model_validate(
        {"user_account_id": "ü", "since": "2026-01-31", "address": {"postalCode": "1"}}
    )


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"a": "ü", "n": None}, b'{"a":"\xc3\xbc","n":null}'),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
        (Profile("x"), b'{"user_account_id":"x"}'),
        (customer(), '{"user_account_id":"ü","since":"2026-01-31","address":{"postalCode":"1"}}'.encode()),
        ({"who": customer().address}, b'{"who":{"postalCode":"1"}}'),
        (Row("x", Decimal("1.50")), b'{"account":"x","score":"1.50"}'),
        ({"at": datetime(2026, 1, 31, 12, tzinfo=UTC)}, b'{"at":"2026-01-31T12:00:00Z"}'),
        ({"id": uuid.UUID(int=1)}, b'{"id":"00000000-0000-0000-0000-000000000001"}'),
        ({"nested": MappingProxyType({"a": 1})}, b'{"nested":{"a":1}}'),
        ({"text": "two\nlines"}, b'{"text":"two\\nlines"}'),
        ({"x": float("nan")}, b'{"x":null}'),
        ({"x": 1 << 70}, b'{"x":1180591620717411303424}'),
        ("ü", "ü".encode()),
        ("a\n", b"a"),
        ("a\r\n", b"a"),
        (b"\xff\n", b"\xff"),
        (bytearray(b"a"), b"a"),
        ("", b""),
    ],
)
def test_a_record_is_one_line(record: Any, line: bytes) -> None:
    assert LineWriter().line(record, 1) == line + b"\n"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (None, "is of type NoneType: a record is a dict"),
        ((1, 2), "is of type tuple"),
        ([CANARY], "is of type list"),
        (Loose(), r"is of type \S*Loose: "),
        (Profile, "is of type type: |is of type msgspec"),
        (Row, "is of type type: "),
        ({"a": Loose()}, r"holds a value of type \S*Loose, which JSON does not have"),
        ({CANARY: "\ud800"}, "holds text that is not UTF-8|cannot be written"),
        (f"{CANARY}\ud800", "holds text that is not UTF-8"),
        (f"{CANARY}\n{CANARY}", "holds a line break: one record is one line"),
        (f"{CANARY}\n\n", "holds a line break"),
        (msgspec.Raw(b"{\n}"), "is of type msgspec"),
        ({"a": msgspec.Raw(b"{\n}")}, "holds a line break"),
    ],
)
def test_what_is_no_line_is_named_by_number_and_without_content(record: Any, problem: str) -> None:
    with pytest.raises(RecordUnusable, match=rf"^Record 17 ({problem})") as raised:
        LineWriter().line(record, 17)
    assert CANARY not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_record_that_holds_itself() -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    with pytest.raises(RecordUnusable, match=r"Record 1 cannot be written as JSON \(RecursionError\)"):
        LineWriter().line(record, 1)


def test_an_object_whose_own_writing_fails() -> None:
    class Broken(pydantic.BaseModel):
        @pydantic.model_serializer
        def fail(self) -> dict[str, Any]:
            raise RuntimeError(CANARY)

    for record in (Broken(), {"a": Broken()}):
        with pytest.raises(RecordUnusable, match="cannot be written as JSON") as raised:
            LineWriter().line(record, 1)
        assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "good", "bad", "told"),
    [
        ({"mime_type": "TEXT_CSV"}, ["a,b", b"a,b"], [{"a": 1}, Profile("x")], "since the import is CSV"),
        ({"encoding": "latin-1"}, [b"\xe9"], ["é", {"a": 1}], "since the encoding is not utf-8"),
    ],
)
def test_where_only_lines_are_records(options: Any, good: list[Any], bad: list[Any], told: str) -> None:
    writer = LineWriter(**options)
    for record in good:
        assert writer.line(record, 1).endswith(b"\n")
    for record in bad:
        with pytest.raises(RecordUnusable, match=told):
            writer.line(record, 1)


def test_the_spelling_of_utf_8_does_not_matter() -> None:
    assert LineWriter(encoding="UTF_8").line({"a": 1}, 1) == b'{"a":1}\n'


class Frame:
    def itertuples(self) -> Any: ...
    def __iter__(self) -> Any: ...


@pytest.mark.parametrize(
    "returned", [None, 7, {"a": 1}, "line", b"line", Profile("x"), customer(), Frame(), Loose()]
)
def test_what_is_no_collection_of_records(returned: Any) -> None:
    with pytest.raises(RecordUnusable, match=r"^The function returned "):
        refuse_no_records(returned)


@pytest.mark.parametrize("returned", [[], (), {"a", "b"}, iter([]), (one for one in "ab"), map(str, [])])
def test_what_is_one(returned: Any) -> None:
    refuse_no_records(returned)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=6))
def test_what_was_a_dict_is_read_back(record: dict[str, Any]) -> None:
    assert is_record(record)
    line = LineWriter().line(record, 1)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert json.loads(line) == record


@given(st.text() | st.binary())
def test_a_line_stays_as_it_is_or_is_refused(record: str | bytes) -> None:
    try:
        line = LineWriter().line(record, 3)
    except RecordUnusable as error:
        assert str(error).startswith("Record 3 holds ")
        return
    plain = record.encode() if isinstance(record, str) else record
    assert line.count(b"\n") == 1
    assert line == plain.removesuffix(b"\n").removesuffix(b"\r") + b"\n"
