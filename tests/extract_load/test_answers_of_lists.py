"""Answers as servers really give them: what is read all the same, what is an error, and what an error never tells."""

from __future__ import annotations

from typing import Any

import pytest
from paged_reading import TOKEN, read, things
from paged_server import Answer, PagedServer, Request, fixed, numbered, offset, serving

from airflow_bulk.platforms.errors import TryLater, WrongAnswer
from airflow_bulk.platforms.paging import PagesRepeat


def test_json_under_the_name_of_html_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PHP sends unless its author names another type."""
    style = fixed({"data": things(2), "next_page": None}, "text/html; charset=utf-8")
    with serving(PagedServer([], style)) as server:
        assert read(server, monkeypatch)[0] == [1, 2]


def test_a_page_for_people_without_a_tag_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    style = fixed(b"Please log in.", "text/html")
    with serving(PagedServer([], style)) as server:
        with pytest.raises(WrongAnswer, match="a page of HTML or XML and no JSON"):
            read(server, monkeypatch)
        assert len(server.requests) == 1


def test_the_key_of_an_error_may_be_dotted(monkeypatch: pytest.MonkeyPatch) -> None:
    style = fixed({"data": [], "meta": {"fault": "busy"}, "next_page": None})
    with (
        serving(PagedServer([], style)) as server,
        pytest.raises(TryLater, match=r"says in meta.fault that it failed \(busy\)"),
    ):
        read(server, monkeypatch, error_keys=("meta.fault",))


def test_a_list_of_errors_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer([], fixed({"errors": things(2), "next_page": None}))) as server:
        assert read(server, monkeypatch, records_key="errors")[0] == [1, 2]


@pytest.mark.parametrize("key", ["error", "data"])
def test_an_answer_that_quotes_our_token_is_not_repeated(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    style = fixed({key: f"no more for {TOKEN} today", TOKEN: 1})
    with serving(PagedServer([], style)) as server, pytest.raises((TryLater, WrongAnswer)) as error:
        read(server, monkeypatch, records_key="rows")
    told: BaseException | None = error.value
    while told is not None:  # Airflow logs what an error came from, too
        assert TOKEN not in str(told)
        told = told.__cause__ or told.__context__
    assert TOKEN not in "".join(capsys.readouterr())


def test_names_that_are_no_names_of_keys_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"Anna Secret": 1, "anna@example.com": 2, "+64 21 555 12": 3, "next_page": None, "paging.next": 4}
    with serving(PagedServer([], fixed(body))) as server, pytest.raises(WrongAnswer) as error:
        read(server, monkeypatch)
    assert "the keys there are *, *, *, next_page, paging.next." in str(error.value)


@pytest.mark.parametrize("total", [2, 2.0, "2", " 2 ", "2.0", -1, 2.5, True, "9" * 5000])
def test_a_total_is_a_whole_number(total: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    style = fixed({"data": things(2), "total": total, "next_page": None})
    with serving(PagedServer([], style)) as server:
        if total in (2, "2", " 2 ") and total is not True:
            assert read(server, monkeypatch, total_key="total")[0] == [1, 2]
            return
        with pytest.raises(WrongAnswer, match="a whole number from 0 up was looked for"):
            read(server, monkeypatch, total_key="total")
        assert len(server.requests) == 1


@pytest.mark.parametrize("form", [int, float, str])
def test_a_next_number_may_be_written_in_each_way(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    style = numbered(named=lambda server, number: form(number))
    with serving(PagedServer(things(250), style)) as server:
        assert read(server, monkeypatch)[0] == list(range(1, 251))


@pytest.mark.parametrize("paging", ["number", "cursor"])
@pytest.mark.parametrize("named", [True, 2.5, 10**30, "9" * 5000, -7, [2], {"page": 2}])
def test_what_is_no_next_page_is_an_error_for_good(
    named: Any, paging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = fixed({"data": things(2), "next": named})
    with serving(PagedServer([], style, most=3)) as server:
        with pytest.raises((WrongAnswer, PagesRepeat)) as error:
            read(server, monkeypatch, paging=paging, next_key="next")
        assert len(server.requests) <= 2
    assert "9999" not in str(error.value)


@pytest.mark.parametrize(
    ("counted", "error"),
    [({"count": 0, "error": "busy"}, TryLater), (b"<html>Log in</html>", WrongAnswer), ([], WrongAnswer)],
)
def test_a_count_is_read_as_strictly_as_a_list(
    counted: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def style(server: PagedServer, request: Request) -> Answer:
        return Answer(counted) if request.path == "/count" else offset()(server, request)

    with serving(PagedServer([], style)) as server:
        with pytest.raises(error):
            read(server, monkeypatch, paging="offset", count_path="/count")
        assert len(server.requests) == 1


def test_a_secret_in_the_path_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API whose key stands in the query leaves its user no other place."""
    with serving(PagedServer([], fixed({"rows": []}))) as server, pytest.raises(WrongAnswer) as error:
        read(server, monkeypatch, path="/things?api_key=abcde")
    assert "read page 1 of /things:" in str(error.value)
    assert "abcde" not in str(error.value)
