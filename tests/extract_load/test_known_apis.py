"""The examples of docs/extract_load_sources.md, each against answers as that API gives them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from paged_server import Answer, PagedServer, Request, serving

from airflow_bulk.extract_load.readings import read_again
from airflow_bulk.hooks.extract_load_json import JsonSource

PAGE = Path(__file__).parents[2] / "docs" / "extract_load_sources.md"
COUNT = 230


def sources() -> dict[str, JsonSource]:
    """The sources of the page's long block."""
    block = re.search(r"```python\n(.*?wordpress = .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    names: dict[str, Any] = {}
    exec(block[1], names)
    return {name: source for name, source in names.items() if isinstance(source, JsonSource)}


def part(server: PagedServer, start: int, size: int) -> list[dict[str, Any]]:
    return server.records[start : start + size]


def wordpress(server: PagedServer, request: Request) -> Answer:
    start = (int(request.query["page"]) - 1) * 100
    if start >= COUNT:
        return Answer({"code": "rest_post_invalid_page_number"}, 400)
    return Answer(part(server, start, 100), headers={"X-WP-Total": str(COUNT)})


def jira(server: PagedServer, request: Request) -> Answer:
    start = int(request.query["startAt"])
    return Answer({"startAt": start, "total": COUNT, "issues": part(server, start, 20)})


def slack(server: PagedServer, request: Request) -> Answer:
    start, size = int(request.query.get("cursor", "x0")[1:]), int(request.query["limit"])
    cursor = f"x{start + size}" if start + size < COUNT else ""
    return Answer(
        {"ok": True, "members": part(server, start, size), "response_metadata": {"next_cursor": cursor}}
    )


def hubspot(server: PagedServer, request: Request) -> Answer:
    start, size = int(request.query.get("after", "0")), int(request.query["limit"])
    more = {"paging": {"next": {"after": str(start + size)}}} if start + size < COUNT else {}
    return Answer({"results": part(server, start, size), **more})


def zendesk(server: PagedServer, request: Request) -> Answer:
    number = int(request.query.get("page", "1"))
    url = f"{server.url}/api/v2/issues.json?page={number + 1}" if number * 100 < COUNT else None
    return Answer({"issues": part(server, (number - 1) * 100, 100), "next_page": url, "count": COUNT})


def github(server: PagedServer, request: Request) -> Answer:
    number = int(request.query.get("page", "1"))
    url = f"{server.url}/repositories/33884891/issues?per_page=100&page="
    links = [f'<{url}{number - 1}>; rel="prev"'] if number > 1 else []
    links += [f'<{url}{number + 1}>; rel="next"', f'<{url}3>; rel="last"'] if number * 100 < COUNT else []
    return Answer(part(server, (number - 1) * 100, 100), headers={"Link": ", ".join(links)})


def stripe(server: PagedServer, request: Request) -> Answer:
    after = request.query.get("starting_after")
    place = next((n + 1 for n, one in enumerate(server.records) if str(one["id"]) == after), 0)
    size = int(request.query["limit"])
    return Answer({"object": "list", "data": part(server, place, size), "has_more": place + size < COUNT})


def mailchimp(server: PagedServer, request: Request) -> Answer:
    return Answer({"issues": part(server, 0, int(request.query["count"])), "total_items": COUNT})


APIS = {one.__name__: one for one in (wordpress, jira, slack, hubspot, zendesk, github, stripe, mailchimp)}


def test_each_example_has_its_api() -> None:
    assert set(sources()) == set(APIS)


@pytest.mark.parametrize("name", APIS)
def test_an_example_reads_all_and_can_say_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources()[name]
    records = [{"id": number} for number in range(COUNT, 0, -1)]
    with serving(PagedServer(records, APIS[name])) as server:
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "extract_load", "host": server.url})
        )

        def once() -> Any:
            reading = source.extract("issues", since=None, updated_since=None, grain=None)
            return [one["id"] for one in reading], reading.rests_on

        ids, rests_on = read_again(once, name)
    assert ids == list(range(COUNT, 0, -1))
    assert rests_on
