"""A little Depot on loopback, for the tests of ``docs/own_platform.md``: it reads what it is sent, and counts it.

A load takes uploads, each of which is a job. A job of a body that was cut does not exist. A line without an ``sku`` is
refused. What was stored is kept, so that a test can ask which lines are held and how often.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Bytes that are read of a body at once, and entries of a page.
BLOCK = 1 << 16
PAGE = 3
#: What ``fault`` takes as ``call``.
CALLS = {"create": r"POST /loads$", "upload": r"POST /loads/\d+/jobs$", "any": r""}


def has_sku(line: str) -> bool:
    """Whether a line is one that the Depot stores."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and bool(str(record.get("sku") or "").strip())


class Job:
    """One upload, wholly read."""

    def __init__(self, number: int, load: Load, body: bytes) -> None:
        self.number, self.load = number, load
        self.lines = body.decode().removesuffix("\n").split("\n")
        self.state = "queued"
        self.created = datetime.datetime.now(datetime.UTC).isoformat()
        self.shows_at = 0.0
        self.stored: list[str] = []
        self.errors: list[dict[str, Any]] = []

    def work(self) -> None:
        """Store the good lines, refuse the others."""
        for number, line in enumerate(self.lines, 1):
            if has_sku(line):
                self.stored.append(line)
            else:
                self.errors.append({"line": number, "message": "sku is missing"})
        self.state = "done"

    def shown(self) -> dict[str, Any]:
        """The job as the API shows it."""
        read = self.state in ("working", "done")
        return {
            "id": str(self.number),
            "load": str(self.load.number),
            "state": self.state,
            "created": self.created,
            "records": len(self.lines) if read else None,
            "stored": len(self.stored) if self.state == "done" else None,
            "refused": len(self.errors) if self.state == "done" else None,
        }


class Load:
    """What uploads go into."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.jobs: list[Job] = []

    def shown(self) -> dict[str, Any]:
        """The load as the API shows it."""
        return {"id": str(self.number), "name": self.name}


class Depot:
    """The platform: its loads, its jobs, and what goes wrong. A test asks it directly.

    :param key: what every call has to carry in ``X-Depot-Key``.
    :param hold: jobs stay queued until :meth:`finish`; else each is done at once.
    """

    def __init__(self, *, key: str = "depot-key", hold: bool = False) -> None:
        self.key, self.hold = key, hold
        #: A search by name finds every load.
        self.loose_search = False
        self.url = ""
        self.lock = threading.RLock()
        self._loads: list[Load] = []
        self._jobs = 0
        self._requests: list[dict[str, Any]] = []
        self._faults: list[dict[str, Any]] = []

    @classmethod
    @contextlib.contextmanager
    def start(cls, **options: Any) -> Iterator[Depot]:
        """A Depot that answers as long as the block lasts."""
        depot = cls(**options)
        handler = type("DepotHandler", (_Handler,), {"depot": depot})
        with _Server(("127.0.0.1", 0), handler) as server:
            depot.url = f"http://127.0.0.1:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield depot
            server.shutdown()

    def connection_json(self) -> str:
        """The Airflow connection that reaches it: the value of an ``AIRFLOW_CONN_...`` variable."""
        return json.dumps({"conn_type": "http", "host": self.url, "password": self.key})

    # What a test asks and tells. ``name`` is a part of a load's name: a test sees its own loads alone.

    def loads(self, name: str = "") -> list[dict[str, Any]]:
        """The loads, oldest first."""
        with self.lock:
            return [load.shown() for load in self._loads if name in load.name]

    def jobs(self, name: str = "") -> list[dict[str, Any]]:
        """The jobs of these loads, oldest first within each load."""
        with self.lock:
            return [job.shown() for load in self._loads if name in load.name for job in load.jobs]

    def held(self, name: str = "", load_id: str = "") -> Counter[str]:
        """The lines that were stored, and how often each."""
        with self.lock:
            loads = [one for one in self._loads if name in one.name and load_id in ("", str(one.number))]
            return Counter(line for load in loads for job in load.jobs for line in job.stored)

    def requests(self, name: str = "") -> list[dict[str, Any]]:
        """The calls about these loads, those under way included: ``call``, ``status``, ``body_bytes``, ``done``, ``cut``."""
        with self.lock:
            return [dict(one) for one in self._requests if name in one["load"]]

    def finish(self, name: str = "") -> None:
        """Let the queued jobs of these loads run to their end."""
        with self.lock:
            for job in self._in_state("queued", name):
                job.work()

    def change(self, state: str, name: str = "", *, was: str = "queued") -> None:
        """Put the jobs of these loads from one state into another."""
        with self.lock:
            for job in self._in_state(was, name):
                job.state = state

    def _in_state(self, state: str, name: str) -> list[Job]:
        jobs = [job for load in self._loads if name in load.name for job in load.jobs]
        return [job for job in jobs if job.state == state]

    def fault(
        self,
        kind: str,
        call: str = "upload",
        *,
        name: str = "",
        times: int | None = 1,
        skip: int = 0,
        **params: Any,
    ) -> None:
        """Ask for something to go wrong.

        :param kind: ``status`` (that answer, nothing is done), ``lost_answer``, ``late`` (lost, and the job shows only
            ``seconds`` later), ``page`` (a proxy's page instead of the answer), or ``slow`` (``bytes_per_second``,
            ``answer_delay``).
        :param call: ``create``, ``upload`` or ``any``.
        :param times: how often; None is without end.
        :param skip: how many calls pass before.
        """
        with self.lock:
            fault = {"kind": kind, "call": call, "name": name, "times": times, "skip": skip, **params}
            self._faults.append(fault)

    # What the handler asks.

    def enter(self, call: str, load: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Note a call that came in; return its entry, and the faults that strike it by kind."""
        with self.lock:
            struck = [one for one in self._faults if self._strikes(one, call, load)]
            entry = {
                "call": call,
                "load": load,
                "status": None,
                "body_bytes": 0,
                "done": False,
                "cut": None,
                "faults": [one["kind"] for one in struck],
            }
            self._requests.append(entry)
            return entry, {one["kind"]: one for one in struck}

    def _strikes(self, fault: dict[str, Any], call: str, load: str) -> bool:
        if fault["times"] == 0 or fault["name"] not in load or not re.match(CALLS[fault["call"]], call):
            return False
        if fault["skip"]:
            fault["skip"] -= 1
            return False
        if fault["times"] is not None:
            fault["times"] -= 1
        return True

    def load(self, number: str) -> Load | None:
        """A load by its id."""
        with self.lock:
            return next((one for one in self._loads if str(one.number) == number), None)

    def named(self, part: str) -> list[Load]:
        """The loads whose name holds a text."""
        with self.lock:
            return [one for one in self._loads if part in one.name or self.loose_search]

    def add_load(self, name: str) -> Load:
        """Create a load."""
        with self.lock:
            self._loads.append(Load(len(self._loads) + 1, name))
            return self._loads[-1]

    def add_job(self, load: Load, body: bytes, delay: float) -> dict[str, Any]:
        """Make a job of a whole body; return it as it was at first.

        :param delay: seconds until it shows in lists.
        """
        with self.lock:
            self._jobs += 1
            job = Job(self._jobs, load, body)
            job.shows_at = time.monotonic() + delay
            load.jobs.append(job)
            first = job.shown()
            if not self.hold:
                job.work()
            return first

    def visible(self, load: Load) -> list[Job]:
        """The jobs of a load that show, oldest first: a new one is on the last page."""
        with self.lock:
            return [job for job in load.jobs if job.shows_at <= time.monotonic()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed in the middle of a call is what the tests do."""


class _Handler(BaseHTTPRequestHandler):
    """Reads one call after the other of a connection."""

    depot: Depot
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        path = urlsplit(self.path)
        pieces = path.path.strip("/").split("/")
        self.query = {key: values[0] for key, values in parse_qs(path.query).items()}
        load = self.depot.load(pieces[1]) if len(pieces) > 1 else None
        small = b"" if pieces[2:] == ["jobs"] else self._read_body({}, {})
        name = json.loads(small)["name"] if small else ""
        entry, faults = self.depot.enter(f"{self.command} {path.path}", load.name if load else name)
        try:
            self._answer(pieces, load, name, entry, faults)
        except ConnectionError:
            entry["cut"] = "client"
            self.close_connection = True
        finally:
            entry["done"] = True

    def _read_body(self, entry: dict[str, Any], faults: dict[str, dict[str, Any]]) -> bytes:
        pace = faults.get("slow", {}).get("bytes_per_second")
        left = int(self.headers.get("Content-Length") or 0)
        body = bytearray()
        while left:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                raise ConnectionResetError("cut in mid-body")
            body += block
            left -= len(block)
            entry["body_bytes"] = len(body)
            if pace:
                time.sleep(len(block) / pace)
        return bytes(body)

    def _answer(
        self,
        pieces: list[str],
        load: Load | None,
        name: str,
        entry: dict[str, Any],
        faults: dict[str, dict[str, Any]],
    ) -> None:
        upload = self.command == "POST" and pieces[2:] == ["jobs"]
        body = self._read_body(entry, faults) if upload else b""
        if self.headers.get("X-Depot-Key") != self.depot.key:
            answer: tuple[int, Any] = 401, {"problem": "this key is not known"}
        elif "status" in faults:
            answer = faults["status"]["code"], {"problem": "come again"}
        elif upload and load is not None:
            delay = faults.get("late", {}).get("seconds", 0.0)
            answer = 200, {"job": self.depot.add_job(load, body, delay)}
        else:
            answer = self._ask(pieces, load, name)
        time.sleep(faults.get("slow", {}).get("answer_delay", 0.0))
        if "lost_answer" in faults or "late" in faults:
            self.close_connection = True
            return
        entry["status"] = answer[0]
        self._write(answer[0], answer[1], faults)

    def _ask(self, pieces: list[str], load: Load | None, name: str) -> tuple[int, Any]:
        """Answer every call but an upload."""
        with self.depot.lock:
            if pieces == ["loads"] and self.command == "POST":
                return 200, {"load": self.depot.add_load(name).shown()}
            if pieces == ["loads"]:
                return 200, self._page("loads", self.depot.named(self.query.get("name_contains", "")))
            if load is None or pieces[2:3] != ["jobs"]:
                return 404, {"problem": "no such load"}
            if len(pieces) == 3:
                return 200, self._page("jobs", self.depot.visible(load))
            job = next((one for one in self.depot.visible(load) if str(one.number) == pieces[3]), None)
            if job is None:
                return 404, {"problem": "no such job"}
            if pieces[4:] == ["errors"]:
                return 200, "".join(f"{json.dumps(one)}\n" for one in job.errors)
            if pieces[4:] == ["cancel"] and job.state not in ("queued", "cancelled"):
                return 409, {"problem": f"the job is {job.state}"}
            if pieces[4:] == ["cancel"]:
                job.state = "cancelled"
            return 200, {"job": job.shown()}

    def _page(self, what: str, every: list[Any]) -> dict[str, Any]:
        number = int(self.query.get("page", "1"))
        more = len(every) > number * PAGE
        shown = [one.shown() for one in every[(number - 1) * PAGE : number * PAGE]]
        return {what: shown, "next_page": number + 1 if more else None}

    def _write(self, status: int, content: Any, faults: dict[str, dict[str, Any]]) -> None:
        text = "<html>a proxy's page</html>" if "page" in faults else content
        kind = "text/html" if "page" in faults else "application/json"
        body = (text if isinstance(text, str) else json.dumps(text)).encode()
        self.send_response(200 if "page" in faults else status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if "retry_after" in faults.get("status", {}):
            self.send_header("Retry-After", str(faults["status"]["retry_after"]))
        self.end_headers()
        self.wfile.write(body)
