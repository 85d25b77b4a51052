"""Which page comes next, and when there is none: where a source is unclear, no record is lost and no reading is endless."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from paged_reading import read, read_records, things
from paged_server import Answer, PagedServer, Request, fixed, numbered, serving

from airflow_bulk.extract_load.readings import PAGES_ALIKE, READS, SourceKeepsChanging
from airflow_bulk.platforms.errors import WrongAnswer

Style = Callable[[PagedServer, Request], Answer]


def spaced(cap: int, *, named: bool = False, total: bool = False) -> Style:
    """Pages of *cap* records at most, which begin where pages of the size asked for would begin."""

    def style(server: PagedServer, request: Request) -> Answer:
        number, asked = int(request.query["page"]), int(request.query["per_page"])
        start = (number - 1) * asked
        body: dict[str, Any] = {"data": server.records[start : start + min(asked, cap)]}
        if named:
            body["next_page"] = number + 1 if start + asked < len(server.records) else None
        if total:
            body["total"] = len(server.records)
        return Answer(body)

    return style


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 80, 100, 101, 250])
@pytest.mark.parametrize(("total", "options"), [(False, {}), (True, {"total_key": "total"})])
def test_no_record_is_lost_between_pages_that_lie_apart(
    count: int, total: bool, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that caps the size of a page, but not where it begins: 150 of 250, and the empty page at the end was there."""
    with serving(PagedServer(things(count), spaced(50, total=total))) as server:
        ids, rests_on = read(server, monkeypatch, next_key=None, **options)
    assert ids == list(range(1, count + 1))
    assert rests_on


def test_nor_where_the_next_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer(things(250), spaced(50, named=True))) as server:
        assert read(server, monkeypatch)[0] == list(range(1, 251))


@pytest.mark.parametrize("style", [spaced(50), numbered(next_key=None, cap=50)])
def test_a_small_list_takes_no_more_requests(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer(things(30), style)) as server:
        read(server, monkeypatch, next_key=None, read_twice=False)
        assert [request.query["page"] for request in server.requests] == ["1", "2"]


def test_pages_from_which_some_records_are_hidden_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page lacks what the token may not see, so it is shorter than asked for though nothing caps it."""

    def style(server: PagedServer, request: Request) -> Answer:
        number, size = int(request.query["page"]), int(request.query["per_page"])
        found = server.records[(number - 1) * size : number * size]
        return Answer({"data": [record for record in found if record["id"] % 7]})

    with serving(PagedServer(things(250), style)) as server:
        ids, _ = read(server, monkeypatch, next_key=None)
    assert ids == [number for number in range(1, 251) if number % 7]


@pytest.mark.parametrize("end", [{"next_cursor": None}, {"next_cursor": ""}, {}])
def test_more_without_a_next_page_is_no_end(end: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    style = fixed({"data": things(3), "more": True, **end})
    with serving(PagedServer([], style)) as server:
        with pytest.raises(WrongAnswer, match=r"says that more follow \(more\), and names no next page"):
            read(server, monkeypatch, paging="cursor", more_key="more", last_page_omits_next=True)
        assert len(server.requests) == 1


def test_an_end_that_is_said_beside_a_url_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zendesk's pages by cursor name a next URL on the last page, too, and say that no more follow."""

    def style(server: PagedServer, request: Request) -> Answer:
        start = int(request.query.get("page[after]", "0"))
        links = {"next": f"{server.url}/things?page[after]={start + 100}"}
        more = {"has_more": start + 100 < len(server.records)}
        return Answer({"data": server.records[start : start + 100], "links": links, "meta": more})

    options = {"paging": "url", "next_key": "links.next", "more_key": "meta.has_more"}
    with serving(PagedServer(things(250), style)) as server:
        assert read(server, monkeypatch, **options) == (
            list(range(1, 251)),
            "a last page that says that no more follow",
        )


def after_time(server: PagedServer, request: Request) -> Answer:
    """Two records after a time."""
    after = int(request.query.get("after", "0"))
    return Answer({"data": [record for record in server.records if record["time"] > after][:2]})


def test_a_key_that_does_not_tell_records_apart_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three records of one time two stand on a page, and the next page begins after all three."""
    records = [{"id": number, "time": time} for number, time in enumerate([7, 7, 7, 8])]
    with (
        serving(PagedServer(records, after_time)) as server,
        pytest.raises(WrongAnswer, match="page 1 has records of one value in time"),
    ):
        read(server, monkeypatch, paging="key", id_field="time")


def test_a_key_whose_record_is_gone_does_not_end_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that looks the last record up, and lists nothing behind one that was deleted: 100 of 250, by an empty page."""

    def style(server: PagedServer, request: Request) -> Answer:
        ids = [record["id"] for record in server.records]
        after = int(request.query.get("after", "0"))
        if after and after not in ids:
            return Answer({"data": []})
        start = ids.index(after) + 1 if after else 0
        return Answer({"data": server.records[start : start + 100]})

    def delete_last_seen(records: list[dict[str, Any]]) -> None:
        del records[99]

    with serving(PagedServer(things(250), style, changes={2: delete_last_seen})) as server:
        ids, _ = read(server, monkeypatch, paging="key")
    assert ids == [number for number in range(1, 251) if number != 100]


# Records without an id: nothing tells that one has come before.


@pytest.mark.parametrize("per_page", [1, 3])
def test_a_source_that_ignores_the_page_is_no_endless_report(
    per_page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = fixed({"data": [{"amount": 7}] * per_page})
    most = READS * (PAGES_ALIKE + 2)
    with serving(PagedServer([], style, most=most)) as server:
        with pytest.raises(SourceKeepsChanging, match="hold the same as pages before them"):
            read_records(server, monkeypatch, next_key=None, page_size=per_page)
        assert len(server.requests) <= most


def test_nor_does_a_new_cursor_each_time_make_it_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pages in turn, for ever."""

    def style(server: PagedServer, request: Request) -> Answer:
        number = len(server.requests)
        return Answer({"data": [{"amount": number % 3}] * 5, "next_cursor": f"c{number}"})

    with (
        serving(PagedServer([], style, most=READS * (PAGES_ALIKE + 5))) as server,
        pytest.raises(SourceKeepsChanging, match="hold the same as pages before them"),
    ):
        read_records(server, monkeypatch, paging="cursor")


def test_a_report_of_equal_lines_is_legal(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"amount": 0}] * 500
    with serving(PagedServer(records, numbered())) as server:
        found, rests_on = read_records(server, monkeypatch, page_size=10)
    assert found == records
    assert rests_on == "a last page that names no next one"


def test_equal_lines_with_a_null_id_are_legal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"id": number if number % 50 == 0 else None, "amount": 0} for number in range(1, 251)]
    with serving(PagedServer(records, numbered())) as server:
        assert read_records(server, monkeypatch)[0] == records


def test_an_id_whose_name_has_dots_is_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name as a whole comes first: a changed field beside it is no other record."""
    records = [{"row.id": number, "seen": 0} for number in range(250)]

    def touch(listed: list[dict[str, Any]]) -> None:
        for record in listed:
            record["seen"] += 1

    served = PagedServer(records, numbered(), changes=dict.fromkeys(range(1, 10), touch))
    with serving(served) as server:
        assert len(read_records(server, monkeypatch, id_field="row.id")[0]) == 250
        assert len(server.requests) == 6


def test_a_list_that_only_grows_at_its_end_is_read_without_its_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record more at each request: its total is never the same twice, but no record moves."""

    def append(records: list[dict[str, Any]]) -> None:
        records.append({"id": len(records) + 1})

    changes = dict.fromkeys(range(1, 60), append)
    for options in ({}, {"next_key": None}):
        style = numbered(next_key="next_page" if not options else None, total=True)
        with serving(PagedServer(things(250), style, changes=changes)) as server:
            ids, _ = read(server, monkeypatch, **options)
            assert ids == list(range(1, len(ids) + 1))
            assert len(ids) > 250
    with (
        serving(PagedServer(things(250), numbered(total=True), changes=changes)) as server,
        pytest.raises(SourceKeepsChanging, match="leave the total out"),
    ):
        read(server, monkeypatch, total_key="total")
