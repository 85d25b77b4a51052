"""One call through both transports, and what came of it in words that can be compared."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import PlatformError

_numbers = itertools.count()


class Connected:
    """Makes hooks, each with a connection of its own: a rate budget lives as long as the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, connection: str) -> None:
        self._monkeypatch = monkeypatch
        self.connection: dict[str, Any] = json.loads(connection)

    def hook(self, **changes: Any) -> MediarithmicsHook:
        """A hook; ``host`` and ``password`` replace the connection's own, the rest goes into its extra."""
        extra = {**self.connection["extra"], **changes}
        own = {name: extra.pop(name) for name in ("host", "password", "schema", "port") if name in extra}
        conn_id = f"both_ways_{next(_numbers)}"
        made = json.dumps({**self.connection, **own, "extra": extra})
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", made)
        return MediarithmicsHook(conn_id)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a call.

    :param kind: the error's class, or None.
    :param message: the error's text, without the library's name for it.
    :param attempts: the HTTP status of each request that arrived; None where none went back.
    :param passing: whether the error says that it passes by itself.
    """

    record: Any
    kind: str | None
    message: str
    status: int | None
    retry_after: float | None
    attempts: tuple[int | None, ...] = ()
    passing: bool = False


def _told(error: PlatformError) -> Outcome:
    message = re.sub(r" \((\w*(Error|Exception|Timeout|Disconnected)\w*)\)", "", str(error))
    message = re.sub(r"error id [-0-9a-f]{36}", "error id *", message)
    asked, passing = getattr(error, "retry_after", None), getattr(error, "passing", False)
    return Outcome(None, type(error).__name__, message, error.status, asked, passing=passing)


def by_send(hook: MediarithmicsHook, call: Call[Any], **options: Any) -> Outcome:
    try:
        return Outcome(hook.send(call, **options), None, "", None, None)
    except PlatformError as error:
        return _told(error)
    finally:
        hook.close()


def by_asend(hook: MediarithmicsHook, call: Call[Any], **options: Any) -> Outcome:
    async def run() -> Outcome:
        try:
            return Outcome(await hook.asend(call, **options), None, "", None, None)
        except PlatformError as error:
            return _told(error)
        finally:
            await hook.aclose()

    return asyncio.run(run())


WAYS: tuple[Callable[..., Outcome], ...] = (by_send, by_asend)


def attempts(emulator: Emulator) -> tuple[int | None, ...]:
    """The status of each call since the log was cleared, once nothing is under way."""
    calls = emulator.requests()
    while any(not one["done"] for one in calls):
        calls = emulator.requests()
    return tuple(one["status"] if one["cut"] is None else None for one in calls)


def outcomes(
    emulator: Emulator, connected: Connected, call: Call[Any], prepare: Callable[[], Any], **options: Any
) -> Iterator[Outcome]:
    """Prepare the emulator and carry the call out, once in each way."""
    hook_options = options.pop("hook", {})
    for way in WAYS:
        emulator.reset()
        prepare()
        found = way(connected.hook(**hook_options), call, **options)
        yield dataclasses.replace(found, attempts=attempts(emulator))
