"""What a new user of the sources met: a key whose record is gone, pages behind the last one, options with slips of the pen."""

from __future__ import annotations

from typing import Any

import pytest
from paged_reading import CONN, connection, read, things
from paged_server import Answer, PagedServer, Records, Request, fixed, linked, numbered, serving

from airflow_bulk.extract_load.readings import PageOfRecords, read_pages
from airflow_bulk.hooks.extract_load_endpoints import JsonSource, source_of
from airflow_bulk.hooks.extract_load_sql import SqlSource
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.errors import Refused, WrongAnswer
from airflow_bulk.platforms.paging import PagesRepeat


def looked_up(gone: Any) -> Any:
    """By key, where the server looks the record of the key up.

    :param gone: what it answers if that record is gone.
    """

    def style(server: PagedServer, request: Request) -> Answer:
        after, size = request.query.get("after"), int(request.query["per_page"])
        place = 0
        if after is not None:
            places = [n for n, record in enumerate(server.records) if str(record["id"]) == after]
            if not places:
                return gone
            place = places[0] + 1
        more = place + size < len(server.records)
        return Answer({"data": server.records[place : place + size], "has_more": more})

    return style


def without_100(records: Records) -> None:
    records[:] = [record for record in records if record["id"] != 100]


@pytest.mark.parametrize(
    "gone",
    [Answer({"data": [], "has_more": False}), Answer({"error": "no such record"}, 400), Answer({}, 404)],
    ids=["an empty page", "400", "404"],
)
def test_a_key_whose_record_is_gone_begins_another_reading(
    gone: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(PagedServer(things(250), looked_up(gone), changes={2: without_100})) as server:
        ids, _ = read(server, monkeypatch, paging="key", more_key="has_more")
    assert ids == [number for number in range(1, 251) if number != 100]


def test_a_page_behind_the_last_one_that_is_refused_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def style(server: PagedServer, request: Request) -> Answer:
        answer = numbered(next_key=None)(server, request)
        return answer if answer.body["data"] else Answer({"code": "invalid_page_number"}, 400)

    with serving(PagedServer(things(200), style)) as server:
        with pytest.raises(
            Refused, match=r"page 3 of /things.*If the page is behind the last one, name total_key"
        ):
            read(server, monkeypatch, next_key=None)
        assert len(server.requests) == 3


def test_a_last_page_without_the_key_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def style(server: PagedServer, request: Request) -> Answer:
        answer = numbered()(server, request)
        if answer.body["next_page"] is None:
            del answer.body["next_page"]
        return answer

    told = "page 3 has no key next_page, which has named the next page before.*last_page_omits_next=True"
    with serving(PagedServer(things(250), style)) as server, pytest.raises(WrongAnswer, match=told):
        read(server, monkeypatch)


def test_a_key_that_the_source_does_not_take_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    style = fixed({"data": things(2)})
    with serving(PagedServer([], style)) as server:
        with pytest.raises(
            PagesRepeat, match=r"The parameter starting_after may be none of the source \(after_param\)"
        ):
            read(server, monkeypatch, paging="key", after_param="starting_after")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "things"}, "path must begin with /"),
        ({"path": "https://example.org/things"}, "path must begin with /"),
        ({"path": "/{name}"}, "path may hold {object}"),
        ({"count_path": "/{}/count"}, "count_path may hold {object}"),
        ({"page_size": "100"}, "page_size must be a whole number, and is text"),
        ({"first_page": True}, "first_page must be a whole number, and is true or false"),
    ],
)
def test_slips_are_refused_when_the_source_is_made(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        JsonSource("paged", **options)


@pytest.mark.parametrize("size", [0, -1, "100", 2.5, True])
def test_a_database_is_not_read_in_slices_of_nothing(size: Any) -> None:
    with pytest.raises(ValueError, match="write a whole number from 1 up"):
        SqlSource("shop", {"things": "things"}, fetch_size=size)


def test_an_extra_field_with_a_slip_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer(things(2), linked)) as server:
        monkeypatch.setenv(CONN, connection(server, paginng="link", records_key=None))
        with pytest.raises(
            ConnectionFieldError, match="'paginng' is no option of a JsonSource; perhaps paging is meant"
        ):
            source_of("paged")


def test_a_list_that_has_begun_is_no_list() -> None:
    def pages() -> Any:
        yield PageOfRecords([])
        return None

    with pytest.raises(TypeError, match=r"give self.pages, and not self.pages\(\)"):
        read_pages(pages(), twice=True)
    assert list(read_pages(pages, twice=True)) == []
