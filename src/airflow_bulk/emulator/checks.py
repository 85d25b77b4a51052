"""Line checking beside the event loop: one thread works through the bodies in the order in which they came.

Whatever needs the outcome waits for it, so an answer never depends on how fast this machine is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_bulk.emulator import bodies
from airflow_bulk.emulator.world import World


class Checks:
    """The checks under way.

    :param world: where bodies and outcomes are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="line-checks")
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, row: sqlite3.Row) -> None:
        """Begin to check the body of an execution."""
        number = row["id"]
        self._tasks[number] = asyncio.create_task(self._check(row), name=f"check {number}")

    def begin_again(self) -> None:
        """Check the bodies whose check the last process did not finish; drop those that never came in whole."""
        kept = {row["body"] for row in self._world.database.rows("SELECT body FROM executions")}
        for path in self._world.bodies.glob("*.body"):
            if path.name not in kept:
                path.unlink()
        for row in self._world.database.rows("SELECT * FROM executions WHERE lines IS NULL ORDER BY id"):
            self.begin(row)

    async def wait_for_all(self) -> None:
        """Wait until nothing is under way."""
        await self.wait(list(self._tasks))

    async def wait(self, numbers: Iterable[int]) -> None:
        """Wait until these executions are checked."""
        waiting = [self._tasks[number] for number in numbers if number in self._tasks]
        if waiting:
            # shield: a caller that goes away must not take the check with it.
            await asyncio.shield(asyncio.gather(*waiting))

    def stop(self) -> None:
        """Give up what has not begun; the next process does it again."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def paths(self, row: sqlite3.Row) -> tuple[Path, Path]:
        """Return the body of an execution and its error file."""
        body = self._world.bodies / row["body"]
        return body, body.with_suffix(".errors.csv")

    async def _check(self, row: sqlite3.Row) -> None:
        settings = self._world.settings
        reading = bodies.Reading(
            document_type=row["document_type"],
            is_csv=row["mime_type"] == "TEXT_CSV",
            delimiter=row["delimiter"],
            strict=bool(row["strict"]),
            count_header=settings.count_csv_header,
            count_blank=settings.count_blank_lines,
            saved_errors=settings.saved_errors,
            fail_every=row["fail_every"],
            quote_lines=settings.messages_quote_lines,
            seed=self._world.seed,
        )
        body, errors = self.paths(row)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(
                self._thread, bodies.judge, body, errors, reading
            )
        except FileNotFoundError:
            # The world was reset under the check: there is nothing to judge any more.
            return
        finally:
            self._tasks.pop(row["id"], None)
        self._world.database.run(
            "UPDATE executions SET lines = ?, number_of_lines = ?, failures = ?, message = ? WHERE id = ?",
            outcome.lines,
            outcome.number_of_lines,
            outcome.failures,
            outcome.message,
            row["id"],
        )
