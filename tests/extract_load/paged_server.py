"""An API that lists records in pages, on loopback: each right and each wrong way to do so, and changes between two pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Records = list[dict[str, Any]]


@dataclass
class Request:
    """One request that the server got."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Answer:
    """What the server answers."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class PagedServer:
    """The list, how it is given, and what happens meanwhile.

    :param records: what is listed now.
    :param style: makes the answer to a request.
    :param changes: before the answer to the request of this number (from 1): what happens to the records.
    :param faults: the answer to the request of this number; a status, or ``"cut"``: half of the body.
    :param most: so many requests, and the server answers no more: a reading without end shows.
    :param versions: the ids of the list, each time that it was another.
    """

    records: Records
    style: Callable[[PagedServer, Request], Answer]
    changes: dict[int, Callable[[Records], None]] = field(default_factory=dict)
    faults: dict[int, Any] = field(default_factory=dict)
    most: int = 200
    requests: list[Request] = field(default_factory=list)
    versions: list[list[Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: Request) -> Answer | None:
        """Note the request, let happen what happens, and answer; None closes the connection."""
        self.requests.append(request)
        number = len(self.requests)
        if number > self.most:
            return None
        if number in self.changes:
            self.changes[number](self.records)
            self.versions.append([record.get("id") for record in self.records])
        fault = self.faults.get(number)
        if isinstance(fault, int):
            return Answer({"error": "fault"}, fault)
        answer = self.style(self, request)
        if fault == "cut":
            answer.headers["x-cut"] = "1"
        return answer


def page_of(server: PagedServer, request: Request, start: int, size: int, cap: int | None = None) -> Records:
    """The records of one page."""
    return server.records[start : start + min(size, cap or size)]


def numbered(
    *, next_key: str | None = "next_page", cap: int | None = None, total: bool = False, named: Any = None
) -> Callable[[PagedServer, Request], Answer]:
    """Pages by number.

    :param next_key: the key that names the next page; None: nothing does.
    :param cap: the most records that the server gives.
    :param named: what the answer names in place of the next number, from the number.
    """

    def style(server: PagedServer, request: Request) -> Answer:
        number, asked = int(request.query.get("page", "1")), int(request.query.get("per_page", "100"))
        size = min(asked, cap or asked)
        found = server.records[(number - 1) * size : number * size]
        body: dict[str, Any] = {"data": found}
        if next_key:
            more = number * size < len(server.records)
            body[next_key] = (named(server, number + 1) if named else number + 1) if more else None
        if total:
            body["total"] = len(server.records)
        return Answer(body)

    return style


def offset(*, cap: int | None = None) -> Callable[[PagedServer, Request], Answer]:
    """Pages by offset, with nothing that names the next one."""

    def style(server: PagedServer, request: Request) -> Answer:
        start, size = int(request.query["offset"]), int(request.query["per_page"])
        return Answer({"data": page_of(server, request, start, size, cap)})

    return style


def cursor(server: PagedServer, request: Request) -> Answer:
    """Pages by an opaque cursor, which stands for an offset."""
    start, size = int(request.query.get("cursor", "c0")[1:]), int(request.query["per_page"])
    after = start + size
    more = after < len(server.records)
    return Answer({"data": page_of(server, request, start, size), "next_cursor": f"c{after}" if more else ""})


def linked(server: PagedServer, request: Request) -> Answer:
    """A bare array, and the next page in the header ``Link``."""
    number, size = int(request.query.get("page", "1")), int(request.query["per_page"])
    links = [f'</things?page=1&per_page={size}>; rel="first"']
    if number * size < len(server.records):
        links.insert(0, f'<{server.url}/things?page={number + 1}&per_page={size}>; rel="next"')
    found = page_of(server, request, (number - 1) * size, size)
    return Answer(found, headers={"Link": ", ".join(links)})


def keyed(server: PagedServer, request: Request) -> Answer:
    """The records after a key, by key."""
    after, size = int(request.query.get("after", "-1")), int(request.query["per_page"])
    later = sorted((one for one in server.records if one["id"] > after), key=lambda one: one["id"])
    return Answer({"data": later[:size]})


def one_answer(server: PagedServer, request: Request) -> Answer:
    """All records in one answer."""
    return Answer({"data": server.records, "total": len(server.records)})


def fixed(body: Any, content_type: str = "application/json") -> Callable[[PagedServer, Request], Answer]:
    """The same answer to each request."""
    return lambda server, request: Answer(body, headers={"Content-Type": content_type})


@contextmanager
def serving(server: PagedServer) -> Iterator[PagedServer]:
    """Serve it on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Request(parts.path, dict(parse_qsl(parts.query)), headers))
            if answer is None:
                self.close_connection = True
                return
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if "x-cut" in answer.headers:
                self.close_connection = True
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{web.server_address[1]}"
    server.versions.append([record.get("id") for record in server.records])
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
