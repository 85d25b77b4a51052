"""Error files in any layout: what is joined is what failed, what cannot be proved is not joined, and the rows add up."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents.error_files import (
    MOST_OF_A_LINE,
    ErrorFileUnreadable,
    ErrorRow,
    checked_row,
    read_error_rows,
)
from airflow_bulk.documents.error_join import PartJoin
from airflow_bulk.documents.line_keys import IdentifierFinder
from airflow_bulk.documents.sent_lines import SentLine

CSV_HEADER = b"operation,user_account_id,segment_id,expiration_duration\n"


def sent(raws: Iterable[bytes]) -> Iterator[SentLine]:
    offset = 0
    for number, raw in enumerate(raws, 1):
        # In the source, rejected lines stand in between.
        yield SentLine(number, 0, 10 * number, offset, raw)
        offset += len(raw) + 7


class Told:
    """What a join makes of an error file.

    :ivar lines: the numbers of the joined lines in the body.
    """

    def __init__(
        self, raws: list[bytes], rows: Iterable[ErrorRow], failed: int, *, header: bytes = b"", **more: Any
    ) -> None:
        finder = IdentifierFinder("TEXT_CSV" if header else "APPLICATION_X_NDJSON", ",")
        join = PartJoin(
            failed, has_header=bool(header), identifiers=lambda line: finder.keys(line.raw, header), **more
        )
        with join:
            join.read_part(sent(raws))
            join.read_rows(rows)
            found = list(join.failed_lines())
            self.unjoined = list(join.unjoined_rows())
            self.why, self.ways = join.why, join.ways
        self.lines = [one.line // 10 for one in found]
        self.messages = [one.messages for one in found]
        self.columns = [one.columns for one in found]
        # Everything is accounted for: one row a joined line, one for each row that is not joined, the rest in one row.
        assert len(found) == join.joined == sum(self.ways.values())
        assert len(found) + len(self.unjoined) <= failed
        assert len(set(self.lines)) == len(self.lines) and self.lines == sorted(self.lines)


def file(text: str | bytes) -> io.BytesIO:
    return io.BytesIO(text.encode() if isinstance(text, str) else text)


def told(raws: list[bytes], text: str | bytes, failed: int, **more: Any) -> Told:
    return Told(raws, read_error_rows(file(text)), failed, **more)


def profile(identifier: str, more: int = 0) -> bytes:
    return json.dumps({"user_account_id": identifier, "user_profile": {"n": more}}).encode() + b"\n"


PROFILES = [profile(f"crm-{n}") for n in range(1, 11)]


# Any mix.


@st.composite
def mixes(draw: st.DrawFn) -> tuple[list[bytes], set[int], str, str]:
    """Lines, which of them failed, and an error file of some layout that tells some of them."""
    names = draw(st.sampled_from(["crm-{}", "{}", "x{}", "5b0f5b0f{:08d}"]))
    people = draw(st.lists(st.integers(1, 12), min_size=1, max_size=25))
    same = draw(st.booleans())  # whole lines may repeat, or only their identifiers
    raws = [profile(names.format(one), 0 if same else n) for n, one in enumerate(people)]
    failed = draw(st.sets(st.integers(1, len(raws)), min_size=1))
    layout = draw(st.sampled_from(["line_number", "identifier", "user_account_id", "line", "message", "odd"]))
    delimiter = draw(st.sampled_from(",;\t"))
    text = io.StringIO()
    out = csv.writer(text, delimiter=delimiter, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    noise = draw(st.sampled_from(["error_id", "code", "seen", ""]))
    out.writerow([*([layout] if layout != "message" else []), *([noise] if noise else []), "message"])
    rows = draw(st.integers(0, len(failed)))
    for place, number in enumerate(sorted(failed)[:rows]):
        identifier = names.format(people[number - 1])
        first = {"line_number": number, "line": raws[number - 1].decode().strip(), "odd": f"#{number}"}.get(
            layout, identifier
        )
        more = [f"e-{place}" if noise == "error_id" else str(place + 1)] if noise else []
        out.writerow([*([first] if layout != "message" else []), *more, f"reason {number}"])
    return raws, failed, layout, text.getvalue()


@given(mixes())
def test_no_line_is_joined_that_did_not_fail(mix: tuple[list[bytes], set[int], str, str]) -> None:
    raws, failed, layout, text = mix
    found = told(raws, text, len(failed))
    assert set(found.lines) <= failed
    if layout in ("message", "odd"):
        assert not found.lines
    for number, said in zip(found.lines, found.messages, strict=True):
        assert f"reason {number}" in said


@given(mixes(), st.booleans())
def test_a_unique_line_that_the_file_tells_is_found(
    mix: tuple[list[bytes], set[int], str, str], whole: bool
) -> None:
    raws, failed, layout, text = mix
    if len(set(raws)) < len(raws) or layout not in ("line", "line_number"):
        return
    rows = list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=text.splitlines()[0].count)))[1:]
    rows = [row for row in rows if row]
    found = told(raws, text, len(failed))
    if (
        layout == "line_number"
        and [row[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
        and len(rows) < len(raws)
    ):
        assert found.lines == []  # they may count the rows
    else:
        assert len(found.lines) == len(rows)


@given(st.binary(max_size=400), st.integers(1, 20))
def test_any_bytes_are_told_or_refused(content: bytes, failed: int) -> None:
    found = told(PROFILES, content, failed)
    for one in found.unjoined:
        json.dumps([one.message, one.columns, one.why]).encode()  # text that a file can hold


# Layouts.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("user_account_id,message\ncrm-3,no\ncrm-7,no\n", id="a header that says it"),
        pytest.param("who;why\ncrm-3;no\ncrm-7;no\n", id="a header that says nothing"),
        pytest.param("crm-3\tno\ncrm-7\tno\n", id="no header"),
        pytest.param("\ufeffLine Number,Message\r\n3,no\r\n7,no\r\n", id="BOM and CRLF"),
        pytest.param('{"row": 3, "reason": "no"}\n\n{"row": 7, "reason": "no"}\n', id="NDJSON"),
        pytest.param(
            '"{""user_account_id"": ""crm-3"", ""user_profile"": {""n"": 0}}",no\n'
            '"{""user_account_id"": ""crm-7"", ""user_profile"": {""n"": 0}}",no\n',
            id="the line without a header",
        ),
        pytest.param("user_account_id,row,message\ncrm-3,3,no\ncrm-7,7,no\n", id="two columns that agree"),
        pytest.param("user_account_id,email_hash,message\ncrm-3,,no\n,,no\ncrm-7,,no\n", id="gaps"),
    ],
)
def test_layouts(text: str) -> None:
    found = told(PROFILES, text, 5)
    assert found.lines == [3, 7]


def test_what_else_a_row_says_is_passed_through() -> None:
    found = told(PROFILES, "line_number,error_id,message,$odd\n3,e-1,not so,x\n", 1)
    assert found.messages == [["not so"]]
    assert found.columns == [{"line_number": "3", "error_id": "e-1", "$odd": "x"}]


def test_the_line_itself_is_not_repeated() -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["line", "message"], [PROFILES[2].decode(), "no"]])
    found = told(PROFILES, text.getvalue(), 1)
    assert (found.lines, found.columns) == ([3], [{}])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("line_number,message\n0,a\n3,b\n", "begin at 0; give an error_file_reader"),
        ("line_number,message\n3,a\n3,b\n", "are not all different"),
        ("line_number,message\n3,a\n11,b\n", "are higher than the part has lines"),
        ("line_number,message\n3,a\nlast,b\n", "does not say which line"),
        ("row,message\n1,a\n2,b\n", "only count its own rows; give an error_file_reader"),
        ("Row Number,message\n2,a\n1,b\n", "only count its own rows"),
        ("code,message\n3,a\n7,b\n", "does not say which line"),
        ("line_number,user_account_id,message\n3,crm-4,a\n4,crm-3,b\n", "name different lines"),
        ("user_account_id,message\ncrm-3,a\ncrm-99,b\n", "does not say which line"),
    ],
)
def test_what_is_not_proved_is_not_joined(text: str, why: str) -> None:
    found = told(PROFILES, text, 2)
    assert found.lines == [] and [row.message for row in found.unjoined] == ["a", "b"]
    assert all(why in row.why for row in found.unjoined)


def test_numbers_that_are_people_too_prove_nothing() -> None:
    """Plain numbers meet others by chance: an error code is not taken for the account of that number."""
    people = [profile(str(n)) for n in range(1, 100)]
    assert told(people, "error_no,message\n3,a\n7,b\n", 2).lines == []
    assert told(people, "user_account_id,message\n3,a\n7,b\n", 2).lines == [3, 7]


def test_more_rows_than_failures_are_about_something_else() -> None:
    found = told(PROFILES, "line_number,message\n3,a\n7,b\n", 1)
    assert found.lines == [] and found.unjoined == [] and "2 rows, but 1 lines failed" in found.why


def test_a_running_number_does_not_hinder_what_tells_the_line() -> None:
    found = told(PROFILES, "row,user_account_id,message\n1,crm-4,a\n2,crm-9,b\n", 2)
    assert found.lines == [4, 9] and found.ways == {"identifier": 2}


def test_numbers_of_every_line_of_the_part() -> None:
    text = "line,message\n" + "".join(f"{n},no\n" for n in range(1, 11))
    assert told(PROFILES, text, 10).lines == list(range(1, 11))


def test_a_running_number_of_csv() -> None:
    raws = [b"UPDATE,crm-%d,880,60\n" % n for n in range(1, 6)]
    found = told(raws, "row,message\n1,a\n2,b\n", 2, header=CSV_HEADER)
    assert found.lines == [] and all("only count its own rows" in row.why for row in found.unjoined)


# Where a wrong line would do harm, a number needs something that agrees.


def test_a_number_alone() -> None:
    found = told(PROFILES, "line,message\n3,a\n7,b\n", 2, numbers_alone=False)
    assert found.lines == []
    assert all("a line number alone is not believed" in row.why for row in found.unjoined)
    words = told(PROFILES, "row,line_number,message\n3,3,a\n7,7,b\n", 2, numbers_alone=False)
    assert words.lines == [] and all("number alone" in row.why for row in words.unjoined)


@pytest.mark.parametrize("alone", [True, False])
def test_an_identifier_of_several_lines_agrees_with_a_number(alone: bool) -> None:
    raws = [profile(f"crm-{n % 3}", n) for n in range(9)]
    text = "line,user_account_id,message\n2,crm-1,a\n6,crm-2,b\n7,crm-2,c\n"
    found = told(raws, text, 3, numbers_alone=alone)
    assert found.lines == [2, 6] and found.messages == [["a"], ["b"]]
    assert [(row.message, row.why) for row in found.unjoined] == [
        ("c", "nothing else that it says stands in the line of its number")
    ]


def test_the_line_itself_agrees_with_a_number() -> None:
    raws = [PROFILES[0], PROFILES[1], PROFILES[0]]
    text = io.StringIO()
    csv.writer(text).writerows([["row", "raw", "message"], [3, PROFILES[0].decode().strip(), "no"]])
    assert told(raws, text.getvalue(), 1, numbers_alone=False).lines == [3]


def test_numbers_of_the_user_need_nothing() -> None:
    rows = [ErrorRow(line_number=1, message="a"), ErrorRow(line_number=2, message="b")]
    assert Told(PROFILES, rows, 2, numbers_alone=False).lines == [1, 2]


def test_an_identifier_of_several_lines() -> None:
    raws = [profile("crm-1", 1), profile("crm-2"), profile("crm-1", 2)]
    one = told(raws, "user_account_id,message\ncrm-1,a\n", 1)
    assert one.lines == []
    assert (
        one.unjoined[0].why
        == "its identifier stands in 2 lines of the part, and 1 rows of the error file name it"
    )
    both = told(raws, "user_account_id,message\ncrm-1,a\ncrm-1,b\n", 2)
    assert both.lines == [1, 3] and both.messages == [["a", "b"], ["a", "b"]]


def test_a_column_is_proved_by_a_sample_and_its_other_rows_one_by_one() -> None:
    raws = [profile(f"crm-{n}") for n in range(2000)]
    rows = [f"crm-{n},no" for n in range(1500)]
    text = "user_account_id,message\n" + "\n".join([*rows, "nobody,no"]) + "\n"
    found = told(raws, text, 1600)
    assert found.lines == list(range(1, 1501))
    assert [row.why for row in found.unjoined] == ["no line of the part has its identifier"]


# CSV documents: whether the header counts has to be proved, too.


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [((2, 5), []), ((2, 6), [1, 5]), ((1, 5), [1, 5]), ((1, 6), [])],
    ids=["cannot be told", "counts", "counts not", "contradiction"],
)
def test_numbers_of_csv(numbers: tuple[int, ...], lines: list[int]) -> None:
    raws = [b"UPDATE,crm-%d,880,60\n" % n for n in range(1, 6)]
    text = "line_number,message\n" + "".join(f"{n},no\n" for n in numbers)
    found = told(raws, text, 2, header=CSV_HEADER)
    assert found.lines == lines
    if not lines:
        assert "whether its line numbers count the CSV header cannot be told" in found.unjoined[0].why


def test_identifiers_of_csv() -> None:
    raws = [b'UPDATE,"crm,%d",880,60\n' % n for n in range(1, 6)]
    assert told(raws, 'user_account_id,message\n"crm,4",no\n', 1, header=CSV_HEADER).lines == [4]


def test_identifiers_in_their_places() -> None:
    lines = [
        {"$user_account_id": "crm-1", "$events": [{"user_account_id": "crm-2"}]},
        {"$email_hash": {"$hash": "5b0f5b0f"}},
        {"identifiers": [{"type": "USER_AGENT", "user_agent_id": "vec:8"}, {"hash": "9999abcd"}]},
        {"user_profile": {"user_account_id": "crm-4"}},
        ["crm-5"],
    ]
    raws = [json.dumps(line).encode() + b"\n" for line in lines]
    for value, number in (("crm-1", 1), ("5b0f5b0f", 2), ("vec:8", 3), ("9999abcd", 3)):
        assert told(raws, f"identifier,message\n{value},no\n", 1).lines == [number]
    for value in ("crm-2", "crm-4", "crm-5"):
        assert told(raws, f"identifier,message\n{value},no\n", 1).lines == []


# Files that are none.


def test_a_file_that_breaks_off_keeps_its_first_rows() -> None:
    found = told(PROFILES, '{"row": 3, "reason": "no"}\nbroken\n', 5)
    assert found.lines == [3] and found.why == "the error file cannot be read: line 2 is no JSON object"


def test_a_line_without_end_is_not_held() -> None:
    found = told(PROFILES, b"a" * (MOST_OF_A_LINE + 1), 5)
    assert "longer than" in found.why and found.lines == []


def test_a_quote_that_nothing_closes() -> None:
    found = told(PROFILES, 'line_number,message\n3,"' + "no\n" * (2 << 20), 5)
    assert found.why == "the error file cannot be read: it is no CSV from row 2 on"


# A reader of the user.


def test_rows_that_say_it_themselves() -> None:
    rows = [
        ErrorRow(line_number=2, message="a"),
        ErrorRow(line_number=2, message="b"),
        ErrorRow(identifier="crm-5", message="c"),
        ErrorRow(raw=PROFILES[7], message="d"),
        ErrorRow(raw=PROFILES[8].decode().strip(), columns={"x": "y"}),
        ErrorRow(line_number=3, identifier="crm-4", message="e"),
        ErrorRow(line_number=-1, message="f"),
        ErrorRow(line_number=10**30, message="g"),
    ]
    found = Told(PROFILES, rows, 10)
    assert found.lines == [2, 5, 8, 9]
    assert found.messages == [["a", "b"], ["c"], ["d"], []]
    assert [row.message for row in found.unjoined] == ["e", "f", "g"]
    assert found.ways == {"number": 1, "identifier": 1, "line": 2}


@pytest.mark.parametrize(
    "row",
    [
        ("a", "b"),
        ErrorRow(line_number="3"),  # type: ignore[arg-type]
        ErrorRow(line_number=True),
        ErrorRow(identifier=3),  # type: ignore[arg-type]
        ErrorRow(message=b"x"),  # type: ignore[arg-type]
        ErrorRow(columns={"x": 1}),  # type: ignore[dict-item]
        ErrorRow(columns=["x"]),  # type: ignore[arg-type]
    ],
)
def test_rows_of_another_type(row: Any) -> None:
    with pytest.raises(ErrorFileUnreadable, match=r"error_file_reader gave an? "):
        checked_row(row)


HALF = "x\ud800y"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (ErrorRow(message=HALF), "message"),
        (ErrorRow(identifier=HALF), "identifier"),
        (ErrorRow(raw=HALF), "raw"),
        (ErrorRow(columns={HALF: "x"}), "columns"),
        (ErrorRow(columns={"x": HALF}), "columns"),
    ],
)
def test_text_that_no_file_can_hold(row: ErrorRow, field: str) -> None:
    with pytest.raises(
        ErrorFileUnreadable, match=f"gave an ErrorRow with half a surrogate pair in {field}$"
    ) as error:
        checked_row(row)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_a_row_without_end() -> None:
    long = "a" * (MOST_OF_A_LINE // 2)
    assert checked_row(ErrorRow(message=long, identifier=long)).message == long
    with pytest.raises(ErrorFileUnreadable, match=f"an ErrorRow of more than {MOST_OF_A_LINE} characters"):
        checked_row(ErrorRow(message=long, columns={"x": long}))


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)


@given(
    st.lists(
        st.builds(
            ErrorRow,
            line_number=st.none() | st.integers(),
            identifier=st.none() | ANY_TEXT,
            raw=st.none() | ANY_TEXT | st.binary(max_size=12),
            message=st.none() | ANY_TEXT,
            columns=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3),
        ),
        max_size=5,
    )
)
def test_any_row_of_the_user_is_refused_or_told(rows: list[ErrorRow]) -> None:
    found = Told(PROFILES, map(checked_row, rows), 10)
    for one in found.unjoined:
        json.dumps([one.message, one.columns, one.why], ensure_ascii=False).encode()


def test_text_of_bytes_is_kept() -> None:
    """A reader that decodes as this package does, without losing a byte, is understood."""
    raw = b'{"user_account_id": "\xff"}'
    row = checked_row(ErrorRow(raw=raw.decode(errors="surrogateescape"), message="no"))
    assert Told([raw + b"\n"], [row], 1).lines == [1]
