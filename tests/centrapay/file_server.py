"""Files on loopback for the emulated Centrapay to fetch, each fetch counted."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class FileServer:
    """A running server.

    :ivar files: path -> (status, body).
    :ivar fetched: path, its query included -> how often.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes]] = {}
        self.fetched: Counter[str] = Counter()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.fetched[self.path] += 1
                status, body = served.files.get(self.path.partition("?")[0], (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, path: str, body: bytes | str, status: int = 200) -> str:
        """Serve a file; return its URL."""
        self.files[path] = status, body.encode() if isinstance(body, str) else body
        return self.url + path
