"""The outermost layer: what happens to a connection and to an answer, whichever API it belongs to.

It keeps the request log and acts out the faults that are about the
network and the server: lost answers, resets, slowness, rate limits, error pages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow_bulk.emulator.connections import Connections
from airflow_bulk.emulator.envelopes import centrapay_failure_body, failure_body
from airflow_bulk.emulator.faults import Fault
from airflow_bulk.emulator.request_log import Entry
from airflow_bulk.emulator.world import World

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HTML = b"<html><head><title>Gateway</title></head><body><h1>Something went wrong</h1></body></html>"

# Faults that answer in the place of the API, before it has seen the call.
REFUSALS = {
    "unauthorized": (401, "the token is not known"),
    "forbidden": (403, "the token has no right here"),
    "gone": (404, "not found"),
    "too_large": (413, "the body is too large"),
    "rate_limited": (429, "too many requests"),
}
# The same, as Centrapay words them (centrapay.md section 7).
CENTRAPAY_WORDS = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "RATE_LIMIT_EXCEEDED"}
UNFINISHED = ("PENDING", "RUNNING")


class Gateway:
    """ASGI middleware around all APIs.

    :param app: the APIs.
    :param world: their shared parts.
    :param connections: the open connections.
    """

    def __init__(self, app: App, world: World, connections: Connections) -> None:
        self._app = app
        self._world = world
        self._connections = connections

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Section 3: the vendor's own sample ends a path with a slash.
        path = scope["path"].rstrip("/") or "/"
        scope["path"] = path
        scope["raw_path"] = path.encode()
        if path.startswith("/_emulator"):
            await self._app(scope, receive, send)
            return
        entry = self._world.log.begin(scope["method"], path, scope["query_string"].decode("latin-1"))
        entry.client = scope["client"]
        faults = self._world.faults.choose(scope["method"], path)
        entry.faults = [fault.name for fault in faults]
        scope["bulk.faults"] = faults
        exchange = Exchange(scope, receive, send, entry, faults, self._connections)
        try:
            await exchange.run(self._app)
        finally:
            self._world.log.end(entry)


class Exchange:
    """One request under its faults."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        entry: Entry,
        faults: list[Fault],
        connections: Connections,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._entry = entry
        self._faults: dict[str, Fault] = {}
        for fault in faults:
            # Of two with the same name the first asked for counts; their order stays.
            self._faults.setdefault(fault.name, fault)
        self._connections = connections
        self._body_over = False
        self._came: tuple[bytes, bool] | None = None
        self._more = False
        self._start: Message = {}
        self._parts: list[bytes] = []

    async def run(self, app: App) -> None:
        """Let the app act, unless a fault stands before it, and answer, unless a fault stands behind it."""
        refusal = self._before()
        if refusal is not None:
            await self._drain()
            if self._entry.cut is None:
                await self._answer(*refusal)
            return
        if not (self._faults.keys() & HOLDING):
            await app(self._scope, self.receive, self._pass_on)
            return
        await app(self._scope, self.receive, self._hold)
        if self._entry.cut is None:
            await self._after()

    async def receive(self) -> Message:
        """Hand the body to the app: counted, and as slowly or as brokenly as the faults say."""
        if self._came is None:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if not self._body_over:
                    self._entry.cut = self._entry.cut or "client"
                return message
            self._came = message.get("body", b""), message.get("more_body", False)
        piece, self._came = self._next_piece(*self._came)
        if not await self._slow_down(len(piece)):
            self._entry.cut = self._entry.cut or "client"
            return {"type": "http.disconnect"}
        self._entry.body_bytes += len(piece)
        reset = self._faults.get("reset")
        if reset is not None and self._entry.body_bytes >= int(reset.params["after"]):
            await self._cut("reset")
            return {"type": "http.disconnect"}
        more = self._came is not None or self._more
        self._body_over = not more
        return {"type": "http.request", "body": piece, "more_body": more}

    def _next_piece(self, body: bytes, more: bool) -> tuple[bytes, tuple[bytes, bool] | None]:
        """Take a tenth of a second's worth off what came in; everything when the body is not slow.

        The server does not read on while pieces are left, which holds the sender back.
        """
        self._more = more
        rate = self._rate()
        size = max(1, int(rate / 10)) if rate else len(body)
        left = body[size:]
        return body[:size], (left, more) if left else None

    async def _slow_down(self, size: int) -> bool:
        """Wait as long as so many bytes take.

        :return: whether the connection still stands; a server that does not read is not told by itself.
        """
        rate = self._rate()
        if not rate:
            return True
        await asyncio.sleep(size / rate)
        return not self._connections.broken(self._scope["client"])

    def _rate(self) -> float:
        slow = self._faults.get("slow")
        return float(slow.params["bytes_per_second"] or 0) if slow is not None else 0.0

    def _before(self) -> tuple[int, bytes, list[tuple[bytes, bytes]]] | None:
        for name, fault in self._faults.items():
            if name in REFUSALS:
                headers = []
                wait = fault.params.get("retry_after")
                if wait is not None:
                    headers.append((b"retry-after", str(wait).encode()))
                return self._failure(*REFUSALS[name], headers)
            if fault.params.get("when") == "before":
                return self._replacement(fault)
        return None

    async def _after(self) -> None:
        """Answer what the app said, as the faults leave it."""
        slow = self._faults.get("slow")
        if slow is not None:
            await asyncio.sleep(float(slow.params["answer_delay"]))
        for name, fault in self._faults.items():
            if name in ("lost_answer", "late"):
                await self._cut(str(fault.params["how"]))
                return
            if name == "half_answer":
                await self._answer_half()
                return
            if fault.params.get("when") == "after" or name == "empty_delete":
                replacement = self._replacement(fault)
                if name != "empty_delete" or self._start["status"] < 300:
                    await self._answer(*replacement)
                    return
        body = b"".join(self._parts)
        for name in ("missing_total", "unknown_status"):
            if name in self._faults:
                body = _edited(body, self._faults[name])
        headers = [(key, value) for key, value in self._start["headers"] if key.lower() != b"content-length"]
        await self._answer(self._start["status"], body, headers)

    def _replacement(self, fault: Fault) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        status = int(fault.params["status"])
        if fault.name == "server_error":
            return self._failure(status, "internal error", [])
        if fault.name == "html_answer":
            return status, HTML, [(b"content-type", b"text/html; charset=utf-8")]
        return status, b"", []

    def _failure(
        self, status: int, message: str, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        """An error answer as the API that was called words it."""
        if self._scope["path"].startswith("/api/"):
            failure: Any = centrapay_failure_body(status, CENTRAPAY_WORDS.get(status, message))
        else:
            failure = failure_body(status, message)
        return status, json.dumps(failure).encode(), [*headers, (b"content-type", b"application/json")]

    async def _pass_on(self, message: Message) -> None:
        if self._entry.cut is None:
            if message["type"] == "http.response.start":
                self._entry.status = message["status"]
            await self._send(message)

    async def _hold(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._parts.append(message.get("body", b""))

    async def _answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._entry.status = status
        if status != 204:
            headers = [*headers, (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _answer_half(self) -> None:
        """Announce the whole answer, send half of it, and end the connection."""
        body = b"".join(self._parts)
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self._cut("close")

    async def _drain(self) -> None:
        """Read what is left of the body, so that its sender comes to reading the answer."""
        while not self._body_over and self._entry.cut is None:
            await self.receive()

    async def _cut(self, how: str) -> None:
        """End the connection without an answer and wait until the server knows it."""
        self._entry.cut = "fault"
        self._connections.cut(self._scope["client"], reset=how == "reset")
        while (await self._receive())["type"] != "http.disconnect":
            pass


# Faults that need the whole answer before it goes out.
HOLDING = {
    "slow",
    "lost_answer",
    "late",
    "server_error",
    "html_answer",
    "empty_answer",
    "half_answer",
    "empty_delete",
    "missing_total",
    "unknown_status",
}


def _edited(body: bytes, fault: Fault) -> bytes:
    """Change a JSON answer as ``missing_total`` or ``unknown_status`` says."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    if fault.name == "missing_total":
        answer.pop("total", None)
    else:
        data = answer.get("data")
        for execution in data if isinstance(data, list) else [data]:
            if isinstance(execution, dict) and (
                fault.params["over"] or execution.get("status") in UNFINISHED
            ):
                execution["status"] = fault.params["status"]
    return json.dumps(answer).encode()
