"""Which calls came in: method, path, status, body bytes, time, faults. No secrets, no line content."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

from airflow_bulk.emulator.clock import Clock
from airflow_bulk.emulator.database import Database

logger = logging.getLogger("airflow_bulk.emulator")

_SECRET_IN_QUERY = re.compile(r"(?i)((?:^|&)(?:access_)?token=)[^&]*")


def without_secrets(query: str) -> str:
    """Return a query string whose token is replaced by ``*``."""
    return _SECRET_IN_QUERY.sub(r"\1*", query)


class Entry:
    """One call while it is under way, and afterwards.

    :param status: the HTTP code, ``None`` while there is none or when no answer went out.
    :param cut: who ended the connection before an answer: ``"client"``, ``"fault"`` or ``None``.
    """

    def __init__(self, method: str, path: str, query: str, at: int) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.at = at
        self.status: int | None = None
        self.body_bytes = 0
        self.faults: list[str] = []
        self.cut: str | None = None
        self.done = False
        self.client: Any = None
        self.forgotten = False
        self.began = time.monotonic()
        self.seconds = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as the control endpoint shows it."""
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "body_bytes": self.body_bytes,
            "at": self.at,
            "seconds": round(self.seconds, 6),
            "faults": self.faults,
            "cut": self.cut,
            "done": self.done,
        }


class RequestLog:
    """All calls, oldest first; those still under way come last, with ``done`` false.

    :param database: keeps finished calls over restarts.
    :param clock: stamps them, in ms on the emulator's clock.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._under_way: dict[int, Entry] = {}

    def begin(self, method: str, path: str, query: str) -> Entry:
        """Note a call that just came in."""
        entry = Entry(method, path, without_secrets(query), self._clock.now())
        self._under_way[id(entry)] = entry
        return entry

    def end(self, entry: Entry) -> None:
        """Note that the call is over."""
        entry.done = True
        entry.seconds = time.monotonic() - entry.began
        self._under_way.pop(id(entry), None)
        if entry.forgotten:
            return
        self._database.run("INSERT INTO requests (entry) VALUES (?)", json.dumps(entry.as_dict()))
        logger.info(
            "%s %s -> %s, %d body bytes, %.3f s%s%s",
            entry.method,
            entry.path,
            entry.status or "no answer",
            entry.body_bytes,
            entry.seconds,
            f", faults: {', '.join(entry.faults)}" if entry.faults else "",
            f", cut by {entry.cut}" if entry.cut else "",
        )

    def listed(self) -> list[dict[str, Any]]:
        """Return all calls."""
        finished = [
            json.loads(row["entry"]) for row in self._database.rows("SELECT entry FROM requests ORDER BY id")
        ]
        return finished + [entry.as_dict() for entry in self._under_way.values()]

    def clear(self) -> None:
        """Forget the finished calls."""
        self._database.run("DELETE FROM requests")

    def forget_under_way(self) -> list[Any]:
        """Forget the calls under way, too.

        :return: their clients' addresses.
        """
        entries = list(self._under_way.values())
        self._under_way.clear()
        for entry in entries:
            entry.forgotten = True
        return [entry.client for entry in entries]
