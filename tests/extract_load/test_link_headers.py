"""The header Link, as RFC 8288 allows it and as servers write it: a next page that is overlooked would end a list."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paged_reading import read, things
from paged_server import Answer, PagedServer, Request, serving

from airflow_bulk.platforms.errors import WrongAnswer
from airflow_bulk.platforms.link_header import read_links

LINK = {"paging": "link", "records_key": None}
LAST_PAGE = "a last page that names no next one"


def linking(header: Callable[[int], str | None]) -> Callable[[PagedServer, Request], Answer]:
    """Pages of 100; *header* makes the header from the number of the next page, or from 0 on the last page."""

    def style(server: PagedServer, request: Request) -> Answer:
        number = int(request.query.get("page", "1"))
        found = server.records[(number - 1) * 100 : number * 100]
        link = header(number + 1 if number * 100 < len(server.records) else 0)
        return Answer(found, headers={} if link is None else {"Link": link})

    return style


@pytest.mark.parametrize(
    "form",
    [
        '<{url}>; rel="next"',
        "<{url}>;rel=next",
        '<{url}> ; REL = "NEXT" ; title="all the rest"',
        '<{url}>; title="a; rel=prev"; rel="next"',
        '<{url}>; title="x \\"; rel=last\\""; rel=next',
        "<{url}>; title*=UTF-8''n%c3%a4chste; rel=next",
        "<{url}>; rel='next'",
        '<{url}>; rel="prefetch next";',
        "<{url}>; rel=next; rel=prev",
        '<{url}>; crossorigin; rel="next"',
        ' , <{url}>; rel="next",',
        '<?page=1&fields=a,b;c>; rel="first", <{url}&fields=a,b;c>; rel="next"',
        '<?page=7>; rel="next"; anchor="/others", <{url}>; rel="next"',
    ],
)
def test_a_next_page_is_seen_in_each_form(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def header(number: int) -> str:
        return form.format(url=f"/things?page={number}") if number else '<?page=1>; rel="first"'

    with serving(PagedServer(things(250), linking(header))) as server:
        assert read(server, monkeypatch, **LINK) == (list(range(1, 251)), LAST_PAGE)


def test_several_headers_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def header(number: int) -> str:
        # Two lines of one name: what the server writes for a line break in a value.
        return '<?page=1>; rel="first"' + (f'\r\nLink: <?page={number}>; rel="next"' if number else "")

    with serving(PagedServer(things(250), linking(header))) as server:
        assert read(server, monkeypatch, **LINK)[0] == list(range(1, 251))


@pytest.mark.parametrize("header", [None, "", '</docs>; rel="help", </a.css>; rel=preload; as=style'])
def test_a_page_without_links_of_pages_does_not_say_that_it_is_the_last(
    header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source may name its pages elsewhere: 100 of 250 records would be taken for all."""
    with serving(PagedServer(things(250), linking(lambda number: header))) as server:
        assert read(server, monkeypatch, **LINK) == (list(range(1, 101)), None)


def test_the_only_page_may_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer(things(3), linking(lambda number: '<?page=1>; rel="last"'))) as server:
        assert read(server, monkeypatch, **LINK) == ([1, 2, 3], LAST_PAGE)


@pytest.mark.parametrize(
    "header",
    ['<?page=2; rel="next"', '?page=2; rel="next"', '<?page=2>; title="; rel=next', "<?page=2> next"],
)
def test_a_header_that_cannot_be_read_is_an_error(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(PagedServer(things(250), linking(lambda number: header))) as server:
        with pytest.raises(WrongAnswer, match="the header Link of page 1 cannot be read") as error:
            read(server, monkeypatch, **LINK)
        assert len(server.requests) == 1
    assert "page=2" not in str(error.value)


def test_a_header_that_nobody_asked_for_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def style(server: PagedServer, request: Request) -> Answer:
        return Answer({"data": server.records, "next_page": None}, headers={"Link": "<broken"})

    with serving(PagedServer(things(3), style)) as server:
        assert read(server, monkeypatch)[0] == [1, 2, 3]


WORD = st.text("abcdefgxyz0123456789-", min_size=1, max_size=8)
TARGET = st.text("abc/?&=,;:%'\"\\ ", max_size=12)


@given(
    st.lists(st.tuples(TARGET, st.dictionaries(WORD, st.text("ab ;,=<>\"\\'", max_size=8), max_size=3), WORD))
)
def test_what_was_written_is_read(links: list[tuple[str, dict[str, str], str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"<{target}>"
        + "".join(f"; x{name}={quoted(value)}" for name, value in parameters.items())
        + f"; rel={relation}"
        for target, parameters, relation in links
    )
    found: dict[str, str] = {}
    for target, _, relation in links:
        found.setdefault(relation, target.strip())
    assert read_links(header) == found


@given(st.text('<>;,="\\ relnxt', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_links(text)
    except ValueError as error:
        assert "link" in str(error)
