"""A platform for benchmarks that only counts: it takes imports and their files as mediarithmics does, and judges no line.

The emulator judges every line, by rules of its own, on the same processors: at tens of gigabytes it would be what is
measured. This one reads each body through ``wc -l`` (:mod:`upload_sink`), keeps the counts, and says so of its executions. It
counts the calls, too, by what they are.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from typing import Any

from upload_sink import BUFFER, count_body, read_head

TOKEN = "benchmark"
PATHS = {
    "imports": re.compile(r"/v1/datamarts/\d+/document_imports$"),
    "executions": re.compile(r"/v1/datamarts/\d+/document_imports/(\d+)/executions$"),
    "calls": re.compile(r"/calls$"),
}


class CountingPlatform:
    """What it has taken so far.

    :ivar executions: lines of each, by import.
    :ivar calls: how many, by method and path.
    """

    def __init__(self) -> None:
        self.executions: dict[str, list[int]] = {}
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Listen on a free port, print it, and serve for ever."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        buffer = bytearray(BUFFER)
        try:
            with sock:
                while (head := read_head(sock)) is not None:
                    body = self._answer(sock, *head, buffer)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except OSError:
            return

    def _answer(self, sock: socket.socket, head: bytes, rest: bytes, buffer: bytearray) -> bytes:
        method, target, _ = head.split(b" ", 2)
        path, _, query = target.decode().partition("?")
        kind, found = next(
            (kind, match) for kind, pattern in PATHS.items() if (match := pattern.fullmatch(path))
        )
        lines = 0
        if method == b"POST":
            lines, _ = count_body(sock, head, rest, buffer)
        with self._lock:
            if kind == "calls":
                answer: Any = self.calls
            elif method == b"POST":
                self.calls[f"POST {kind}"] += 1
                answer = {"status": "ok", "data": self._taken(found, lines)}
            else:
                self.calls[f"GET {kind}"] += 1
                answer = self._listed(found, query)
        return json.dumps(answer).encode()

    def _taken(self, found: re.Match[str], lines: int) -> dict[str, Any]:
        if not found.groups():
            made = str(len(self.executions) + 1)
            self.executions[made] = []
            return {"id": made, "name": "scale", "document_type": "USER_PROFILE"}
        held = self.executions[found[1]]
        held.append(lines)
        return {"id": str(len(held)), "status": "PENDING"}

    def _listed(self, found: re.Match[str], query: str) -> dict[str, Any]:
        given = dict(one.split("=") for one in query.split("&") if one)
        first, most = int(given.get("first_result", 0)), int(given.get("max_results", 50))
        held = list(enumerate(self.executions[found[1]], 1))[::-1] if found.groups() else []
        shown = [_ended(number, lines) for number, lines in held[first : first + most]]
        return {
            "status": "ok",
            "data": shown,
            "count": len(shown),
            "total": len(held),
            "first_result": first,
            "max_results": most,
        }


def _ended(number: int, lines: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "status": "SUCCEEDED",
        "creation_date": number,
        "parameters": {"number_of_lines": lines},
        "result": {"total_success": lines, "total_failure": 0},
    }
