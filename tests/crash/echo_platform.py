"""A careless platform: where it refuses a call, its message repeats what it was sent, the credentials included."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class EchoPlatform:
    """Creates every import, and refuses every upload and every Centrapay batch.

    :ivar said: the messages that it has answered with.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = echo.answer(self.command, self.path, dict(self.headers.items()), sent)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], sent: bytes) -> tuple[int, Any]:
        """What a call is answered."""
        if method == "GET":
            return 200, {"status": "ok", "data": [], "count": 0, "total": 0}
        if path.endswith("/document_imports"):
            return 200, {"status": "ok", "data": {"id": "77", **json.loads(sent)}}
        line = sent.decode().partition("\n")[0]
        secrets = " and ".join(
            value for name, value in headers.items() if name in ("Authorization", "X-Api-Key")
        )
        message = f"cannot read {line} with {secrets} of {path}"
        self.said.append(message)
        return 400, {"status": "error", "error": message, "message": message, "error_id": "e"}

    def connection_json(self, conn_type: str, token: str, **extra: Any) -> str:
        """Return a connection that leads here."""
        return json.dumps({"conn_type": conn_type, "host": self.url, "password": token, "extra": extra})
