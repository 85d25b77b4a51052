"""A reading is complete or it fails: every way in which a list can stop short, over real HTTP."""

from __future__ import annotations

import pytest
from paged_reading import CONN, STYLES, connection, read, things
from paged_server import (
    Answer,
    PagedServer,
    Records,
    fixed,
    linked,
    numbered,
    offset,
    one_answer,
    serving,
)

from airflow_bulk.extract_load.readings import READS, SourceKeepsChanging
from airflow_bulk.hooks.extract_load_endpoints import JsonSource
from airflow_bulk.platforms.errors import TryLater, WrongAnswer
from airflow_bulk.platforms.paging import PagesRepeat

ALL = list(range(1, 251))


def test_an_absent_next_key_is_not_the_last_page(monkeypatch):
    with serving(PagedServer(things(250), numbered(next_key="nextPage"))) as server:
        with pytest.raises(WrongAnswer, match=r"no key next_page.*the keys there are data, nextPage"):
            read(server, monkeypatch)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("style", "options"),
    [
        (numbered(next_key=None, cap=50), {"next_key": None}),
        (numbered(next_key=None, cap=50, total=True), {"next_key": None, "total_key": "total"}),
        (offset(cap=50), {"paging": "offset"}),
    ],
    ids=["number", "number and total", "offset"],
)
def test_a_page_shorter_than_asked_for_is_not_the_end(monkeypatch, style, options):
    with serving(PagedServer(things(250), style)) as server:
        ids, rests_on = read(server, monkeypatch, **options)
    assert ids == ALL
    assert rests_on == ("a total of 250" if "total_key" in options else "an empty page after the last record")


@pytest.mark.parametrize("style", STYLES)
def test_each_way_of_paging_reads_all(monkeypatch, style):
    answers, options = STYLES[style]
    with serving(PagedServer(things(250), answers)) as server:
        ids, rests_on = read(server, monkeypatch, **options)
    assert ids == ALL
    assert rests_on
    assert all(request.headers["authorization"] == "Bearer se-cret-token" for request in server.requests)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", [0, 1, 100, 101])
def test_the_end_of_a_list_is_seen_wherever_it_is(monkeypatch, style, count):
    answers, options = STYLES[style]
    with serving(PagedServer(things(count), answers)) as server:
        ids, rests_on = read(server, monkeypatch, **options)
    assert ids == list(range(1, count + 1))
    assert rests_on


def delete_first(records: Records) -> None:
    del records[0]


def add_at_the_front(records: Records) -> None:
    records.insert(0, {"id": 1000 + len(records), "name": "new"})


def delete_and_append(records: Records) -> None:
    del records[0]
    records.append({"id": 1000, "name": "new"})


@pytest.mark.parametrize("style", [name for name in STYLES if name not in ("key", "none")])
@pytest.mark.parametrize("change", [delete_first, add_at_the_front, delete_and_append])
def test_a_list_that_changes_between_two_pages_is_read_again(monkeypatch, style, change):
    answers, options = STYLES[style]
    with serving(PagedServer(things(250), answers, changes={2: change})) as server:
        ids, _ = read(server, monkeypatch, **options)
    assert ids == server.versions[-1]


def test_a_list_that_changes_during_each_reading_fails(monkeypatch):
    changes = dict.fromkeys(range(2, 100), delete_first)
    with serving(PagedServer(things(250), numbered(), changes=changes)) as server:
        with pytest.raises(SourceKeepsChanging, match="the list changed during each of 3 readings"):
            read(server, monkeypatch)
        assert len(server.requests) <= READS * 7


def test_read_once_a_deletion_with_an_addition_shows_in_no_total(monkeypatch):
    """Why a list is read twice: neither a total nor an id that comes again tells."""
    style = numbered(next_key=None, total=True)
    options = {"next_key": None, "total_key": "total"}
    with serving(PagedServer(things(250), style, changes={2: delete_and_append})) as server:
        ids, _ = read(server, monkeypatch, read_twice=False, **options)
    assert 101 not in ids
    assert 101 in server.versions[-1]


def test_what_is_added_at_the_end_during_the_second_reading_needs_no_third(monkeypatch):
    def append(records: Records) -> None:
        records.append({"id": 1000, "name": "new"})

    with serving(PagedServer(things(250), numbered(), changes={4: append})) as server:
        ids, _ = read(server, monkeypatch)
        assert ids == ALL
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("style", "options", "most"),
    [
        (numbered(named=lambda server, number: 1), {}, 1),
        (numbered(named=lambda server, number: 0), {}, 1),
        (
            numbered(named=lambda server, number: "?page=1&per_page=100", next_key="next"),
            {"paging": "url"},
            2,
        ),
        (fixed({"data": things(3), "next_cursor": "again"}), {"paging": "cursor"}, 2),
        (fixed({"data": [], "more": True}), {"paging": "number", "next_key": None, "more_key": "more"}, 1),
    ],
    ids=["page 1 again", "page 0", "its own URL", "the same cursor", "empty and more"],
)
def test_a_page_that_is_named_again_ends_the_reading(monkeypatch, style, options, most):
    with serving(PagedServer(things(250), style, most=most)) as server:
        with pytest.raises(PagesRepeat, match="reading would never end"):
            read(server, monkeypatch, **options)
        assert len(server.requests) == most


def test_a_source_that_ignores_the_page_is_no_endless_list(monkeypatch):
    style = fixed({"data": things(100)})
    with serving(PagedServer([], style, most=2 * READS)) as server:
        with pytest.raises(SourceKeepsChanging, match="check its paging"):
            read(server, monkeypatch, next_key=None)
        assert len(server.requests) == 2 * READS


def test_a_next_number_that_is_a_cursor_names_the_right_option(monkeypatch):
    style = numbered(named=lambda server, number: "eyJpZCI6MTAwfQ")
    with serving(PagedServer(things(250), style)) as server:
        with pytest.raises(WrongAnswer, match='say paging="cursor"') as error:
            read(server, monkeypatch)
        assert "eyJ" not in str(error.value)


def test_a_url_in_place_of_a_number_is_followed(monkeypatch):
    style = numbered(named=lambda server, number: f"/things?page={number}&per_page=100")
    with serving(PagedServer(things(250), style)) as server:
        assert read(server, monkeypatch)[0] == ALL


def test_another_host_gets_no_credentials(monkeypatch, caplog, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(PagedServer(things(250), numbered(next_key="next"))) as other:
        style = numbered(
            named=lambda server, number: f"{other.url}/things?page={number}&per_page=100", next_key="next"
        )
        other.style = numbered(
            named=lambda server, number: (
                f"{other.url.replace('//', '//user:word@')}/things?page={number}&per_page=100"
            ),
            next_key="next",
        )
        with serving(PagedServer(things(250), style)) as server:
            ids, _ = read(server, monkeypatch, paging="url")
    assert ids == ALL
    assert len(other.requests) == 4
    assert all("authorization" not in request.headers for request in other.requests)
    assert all(request.headers["authorization"] == "Bearer se-cret-token" for request in server.requests)


def test_no_scheme_but_http_is_followed(monkeypatch):
    style = fixed({"data": things(2), "next": "file:///etc/passwd"})
    with (
        serving(PagedServer([], style)) as server,
        pytest.raises(WrongAnswer, match="no URL of http or https"),
    ):
        read(server, monkeypatch, paging="url")


@pytest.mark.parametrize(
    "said", ["rate limit exceeded", {"message": "rate limit exceeded"}, ["rate limit"], 7]
)
def test_an_answer_that_says_it_failed_is_no_empty_list(monkeypatch, said):
    style = fixed({"data": [], "error": said, "next_page": None})
    with (
        serving(PagedServer([], style)) as server,
        pytest.raises(TryLater, match="says in error that it failed"),
    ):
        read(server, monkeypatch)


def test_empty_errors_are_no_error(monkeypatch):
    style = fixed({"data": things(2), "error": None, "errors": [], "next_page": None})
    with serving(PagedServer([], style)) as server:
        assert read(server, monkeypatch)[0] == [1, 2]


PERSON = {"name": "Anna Secret"}


@pytest.mark.parametrize(
    ("body", "options", "told"),
    [
        (
            {"items": [PERSON], "next_page": None},
            {},
            "no key data, where the records were looked for; the keys there are items, next_page",
        ),
        ({"data": None, "next_page": None}, {}, "the key data holds null"),
        ({"data": PERSON, "next_page": None}, {}, "the key data holds an object"),
        ({"data": "Anna Secret", "next_page": None}, {}, "the key data holds text"),
        ({"data": [PERSON, "Anna Secret"], "next_page": None}, {}, "the key data holds text in place 2"),
        ([PERSON], {}, "the answer is an array, and the key data was looked for"),
        (PERSON, {"records_key": None}, "the answer is an object, and an array of records was looked for"),
        (
            {"page": {"rows": [PERSON]}},
            {"records_key": "page.items"},
            "no key page.items.*the keys of page are rows",
        ),
        ({"data": []}, {"total_key": "meta.total"}, "no key meta.total, where its total was looked for"),
        (
            {"data": [], "total": "many"},
            {"total_key": "total"},
            "the key total holds text, and a whole number from 0 up",
        ),
        ({"data": []}, {"total_header": "X-Total-Count"}, "no header X-Total-Count"),
        (
            {"data": [], "more": "Anna Secret"},
            {"more_key": "more"},
            "the key more holds text, and true or false",
        ),
        (
            {"data": [], "next_page": {"href": "Anna Secret"}},
            {},
            "holds an object, and a next page was looked for; the keys there are href",
        ),
    ],
)
def test_an_answer_of_another_shape_fails_at_once_and_for_good(monkeypatch, body, options, told):
    with serving(PagedServer([], fixed(body))) as server:
        with pytest.raises(WrongAnswer, match=told) as error:
            read(server, monkeypatch, **options)
        assert len(server.requests) == 1
    assert "Secret" not in str(error.value)
    assert "A retry cannot help" in str(error.value)


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json"])
def test_a_page_to_log_in_is_told_as_such(monkeypatch, content_type):
    style = fixed(b"<!doctype html><title>Log in</title>", content_type)
    with serving(PagedServer([], style)) as server:
        with pytest.raises(WrongAnswer, match="a page of HTML or XML and no JSON"):
            read(server, monkeypatch)
        assert len(server.requests) == 1


def test_the_last_page_may_omit_the_next_key_if_its_author_says_so(monkeypatch):
    def style(server, request):
        answer = numbered()(server, request)
        if answer.body["next_page"] is None:
            del answer.body["next_page"]
        return answer

    with serving(PagedServer(things(250), style)) as server:
        assert read(server, monkeypatch, last_page_omits_next=True) == (
            ALL,
            "a last page that names no next one",
        )
    with serving(PagedServer(things(50), style)) as server:
        # The key was never seen, so it may have another name.
        assert read(server, monkeypatch, last_page_omits_next=True) == (ALL[:50], None)


def test_a_total_that_is_not_reached_is_no_complete_reading(monkeypatch):
    style = fixed({"data": things(100), "total": 250, "next_page": None})
    told = "the total was 250, and the pages brought 100 records"
    with serving(PagedServer([], style)) as server, pytest.raises(SourceKeepsChanging, match=told):
        read(server, monkeypatch, total_key="total")


def test_a_count_is_asked_before_and_after(monkeypatch):
    def style(server, request):
        return (
            Answer({"count": len(server.records)}) if request.path == "/count" else offset()(server, request)
        )

    options = {"paging": "offset", "count_path": "/count"}
    with serving(PagedServer(things(250), style)) as server:
        assert read(server, monkeypatch, **options) == (ALL, "a total of 250")
    with serving(PagedServer(things(250), style, changes={5: delete_first})) as server:  # after the last page
        assert read(server, monkeypatch, read_twice=False, **options)[0] == ALL[1:]


def test_one_answer_without_a_total_rests_on_nothing(monkeypatch):
    with serving(PagedServer(things(3), one_answer)) as server:
        assert read(server, monkeypatch, paging="none") == ([1, 2, 3], None)
    assert "name total_key" in str(JsonSource("paged", paging="none").unproven("things"))
    assert JsonSource("paged", paging="none", total_key="total").unproven("things") is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"paging": "numbers"}, "perhaps 'number'"),
        ({"paging": "offset", "cursor_param": "c"}, "cursor_param belongs to paging='cursor'"),
        ({"paging": "link", "next_key": "next"}, "next_key is given"),
        ({"paging": "none", "more_key": "more"}, "more_key is given"),
        ({"paging": "cursor", "next_key": None}, "needs a next_key"),
        ({"paging": "url", "records_key": None}, "needs a next_key"),
        ({"paging": "cursor", "first_page": 0}, "first_page belongs to paging='number'"),
        ({"records_key": None, "total_key": "total"}, "total_key is given, but with records_key=None"),
        ({"total_key": "total", "count_path": "/count"}, "name one of"),
        ({"next_key": None, "last_page_omits_next": True}, "but no next_key"),
        ({"page_size": 0}, "page_size is 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused_when_the_source_is_made(options, told):
    with pytest.raises(ValueError, match=told):
        JsonSource("paged", **options)


def test_a_connection_has_the_same_options(monkeypatch):
    from airflow_bulk.hooks.extract_load_endpoints import source_of
    from airflow_bulk.hooks.platform_hook import ConnectionFieldError

    extra = {
        "api": "json",
        "paging": "link",
        "records_key": None,
        "page_size": "10",
        "path": "/things",
        "read_twice": "no",
    }
    with serving(PagedServer(things(25), linked)) as server:
        monkeypatch.setenv(CONN, connection(server, **extra))
        source = source_of("paged")
        assert source == JsonSource(
            "paged", "/things", records_key=None, paging="link", page_size=10, read_twice=False
        )
        assert len(list(source.extract("x", since=None, updated_since=None, grain=None))) == 25
        monkeypatch.setenv(CONN, connection(server, **{**extra, "more_key": "more"}))
        with pytest.raises(ConnectionFieldError, match=r"Connection 'paged': .*more_key is given"):
            source_of("paged")
