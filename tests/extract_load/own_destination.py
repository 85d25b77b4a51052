"""A destination over HTTP that answers many calls at once, and counts what it is asked for.

It speaks as ActiveCell does (one resource an object), creates many records in one call at ``/bulk``, sets another cookie with
each answer, and can do something of the test's own at each write, before or after the write counts.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from airflow_bulk.extract_load.endpoints import NotCreated
from airflow_bulk.hooks.extract_load_endpoints import ActiveCellDestination
from airflow_bulk.platforms.call import Call

Record = dict[str, Any]
PREFIX = "/api/v1/"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a sender that was killed
            super().handle_error(request, client_address)


class OwnDestination:
    """The server.

    :param records: what it holds at first; each has an ``id``.
    :param at_write: called for each write, as it has come in and again as it has counted; returns a status to answer
        with instead, or None.
    :ivar writes: each write that counted: verb, and id.
    :ivar most: the most writes that were under way at once.
    """

    def __init__(
        self,
        records: Sequence[Record] = (),
        at_write: Callable[[str, Record, bool], tuple[int, dict[str, str]] | None] = lambda *_: None,
    ) -> None:
        self.records = {record["id"]: dict(record) for record in records}
        self.writes: list[tuple[str, int]] = []
        self.created: Counter[Any] = Counter()
        self.calls: Counter[str] = Counter()
        self.connections = self.under_way = self.most = 0
        self._ids = itertools.count(max(self.records, default=0) + 1_000)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self, at_write))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def connection_json(self) -> str:
        return json.dumps(
            {
                "conn_type": "extract_load",
                "host": self.url,
                "password": "its-token",
                "extra": {"api": "activecell"},
            }
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def by_key(self) -> dict[Any, list[Record]]:
        """The records of each matching field."""
        found: dict[Any, list[Record]] = {}
        for record in list(self.records.values()):
            found.setdefault(record.get("qbd_id"), []).append(record)
        return found

    # One call at a time is carried out; several are under way.

    def read(self) -> list[Record]:
        with self._lock:
            return [dict(record) for record in self.records.values()]

    def begin(self, verb: str) -> None:
        with self._lock:
            self.calls[verb] += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)

    def end(self) -> None:
        with self._lock:
            self.under_way -= 1

    def create(self, record: Record) -> Record:
        with self._lock:
            stored = {**record, "id": next(self._ids)}
            self.records[stored["id"]] = stored
            self.writes.append(("POST", stored["id"]))
            self.created[record.get("qbd_id")] += 1
            return stored

    def replace(self, record_id: int, record: Record) -> Record:
        with self._lock:
            self.records[record_id] = {**record, "id": record_id}
            self.writes.append(("PUT", record_id))
            return self.records[record_id]

    def remove(self, record_id: int) -> Record | None:
        with self._lock:
            found = self.records.pop(record_id, None)
            if found is not None:
                self.writes.append(("DELETE", record_id))
            return found


def _handler_of(
    server: OwnDestination, at_write: Callable[[str, Record, bool], tuple[int, dict[str, str]] | None]
) -> type[BaseHTTPRequestHandler]:
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = (
            1 << 16
        )  # an answer in two packets would wait for the client's acknowledgement of the first

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def do_GET(self) -> None:
            self.answer(200, server.read())

        def do_POST(self) -> None:
            self.write()

        do_PUT = do_DELETE = do_POST

        def write(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:  # its sender was killed in the middle
                self.close_connection = True
                return
            record = json.loads(body or b"{}")
            server.begin(self.command)
            try:
                refused = at_write(self.command, record, False)
                answer = None if refused else self.carry_out(record)
                refused = refused or at_write(self.command, record, True)
            finally:
                server.end()
            if refused:
                status, headers = refused
                self.answer(status, {"error": "no"}, headers)
            else:
                self.answer(200 if answer is not None else 404, answer)

        def carry_out(self, record: Any) -> Any:
            place = urlsplit(self.path).path.removeprefix(PREFIX).removesuffix(".json").split("/")
            if self.command == "POST" and place[-1] == "bulk":
                return [self.judge(one) for one in record]
            if self.command == "POST":
                return server.create(record)
            number = int(place[-1])
            return server.replace(number, record) if self.command == "PUT" else server.remove(number)

        def judge(self, record: Record) -> Record:
            if record.get("bad"):
                return {"error": f"the name '{record['name']}' is taken"}
            return server.create(record)

        def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Set-Cookie", f"c{next(numbers) % 300}=1; Path=/")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class BulkOwnDestination(ActiveCellDestination):
    """The destination, as a DAG's own class may use it: many records in one call."""

    creates_at_once = 7

    def create_many(self, name: str, records: Sequence[Record]) -> list[Record | NotCreated]:
        call = Call(
            "POST",
            f"{PREFIX}{name}/bulk",
            f"create {name}",
            lambda reply: json.loads(reply.body),
            lambda reply: None,
            json=list(records),
            repeatable=False,
        )
        answers: Iterator[Record] = iter(self._send(call))
        return [
            NotCreated(one["error"], passing="later" in one["error"]) if "error" in one else one
            for one in answers
        ]
