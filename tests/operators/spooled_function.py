"""A DAG author's function behind ``@task.import_documents``, and the names in its spool folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from one_task import Killed, MemoryStore, Task, importing_records, profile

from airflow_bulk.emulator.handle import Emulator


class Function:
    """A DAG author's function that counts its calls.

    :param count: of the profiles that it yields.
    :ivar begins: number of the first one; another one for each call if ``moving``.
    :ivar fails_at: a number at which it raises.
    """

    def __init__(self, count: int = 300, *, moving: bool = False) -> None:
        self.count, self.moving = count, moving
        self.calls = 0
        self.begins = 0
        self.fails_at: int | None = None
        self.error: BaseException = RuntimeError("the database is away")
        self.closed = 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        self.calls += 1
        self.begins += 1000 * self.moving
        try:
            for number in range(self.begins, self.begins + self.count):
                if number == self.fails_at:
                    raise self.error
                yield json.loads(profile(number))
        finally:
            self.closed += 1

    @property
    def lines(self) -> list[str]:
        """Those of the last call."""
        return [profile(number) for number in range(self.begins, self.begins + self.count)]


def decorated(function: Function, spool: Path | str, **more: Any) -> Any:
    def records() -> Any:
        return function()

    return importing_records(records, spool, **more)


def names(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.iterdir()) if spool.exists() else []


def refused_after_a_part(emulator: Emulator, operator: Any) -> Task:
    """A task whose first part was sent, and whose second one was refused for good."""
    one = Task(operator)
    emulator.fault("unauthorized", path=r"/executions$", method="POST", skip=1, times=1)
    with pytest.raises(AirflowException, match="401"):
        one.run()
    return one


class KilledAtSpool(MemoryStore):
    """Dies at the record of the spool."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after: bool | None = after

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        at = key.endswith(".spool") and self.after is not None
        if not at or self.after:
            super().set(key, value)
        if at:
            self.after = None
            raise Killed
