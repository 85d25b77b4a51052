"""One import on a fleet: its source in the store, and in the end what is lost, doubled and leaked on the platform."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from blown_run import Left
from import_story import ImportStory

from airflow_api import AirflowApiError
from s3_server import BUCKET, S3Server

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from distributed_stack import DistributedStack

STORE = "aws_fleet"
#: Seconds for one case at most: 200 tasks that begin and end on two busy processors.
LONG = 2400.0
PATIENCE = 240.0


class Row(NamedTuple):
    """What a case has shown, for the table at the end.

    :param seconds: from the trigger to the end of the run.
    :param tries: of the task with the most.
    :param expected: lines or records that are to be there.
    :param held: those that are there.
    """

    case: str
    seconds: float
    tries: int
    expected: int
    held: int
    left: Left


class FleetImport(ImportStory):
    """An import, or one that is mapped over its objects, on a datamart of its own.

    :param datamart: of this run alone, so everything there is this run's.
    :ivar stopped: a person has stopped it: what it has sent is to be cancelled then, and never otherwise.
    """

    stack: DistributedStack

    def __init__(
        self, stack: DistributedStack, dag_id: str, emulator: Emulator, datamart: str, s3: S3Server
    ) -> None:
        # Its folder is no local one: nothing of a fleet's source is.
        super().__init__(stack, dag_id, emulator, datamart, Path(f"{dag_id}-{datamart}"), f"fleet-{datamart}")
        self.s3, self.mapped = s3, dag_id.endswith("_mapped")
        self.sources: list[str] = []
        self.bad = 0
        self.stopped = False
        self.seconds = self._began = 0.0

    # The source.

    def put(self, count: int, *, size: int = 0, bad: int = 0) -> None:
        """Put one more object into the store; every second one is packed."""
        first = len(self.lines) + 1
        lines = [self.good_line(number, size) for number in range(first, first + count)]
        body = "".join(f"{line}\n" for line in lines + [self.bad_line()] * bad).encode()
        packed = len(self.sources) % 2 == 1
        key = f"{self.folder}/{len(self.sources):04}.ndjson{'.gz' if packed else ''}"
        self.s3.put(key, gzip.compress(body, 1) if packed else body)
        self.sources.append(f"s3://{STORE}@{BUCKET}/{key}")
        self.lines += lines
        self.bad += bad

    def good_line(self, number: int, size: int) -> str:
        return super().good_line(number, size or 20)

    def conf(self) -> dict[str, Any]:
        return {
            **super().conf(),
            "source": f"s3://{STORE}@{BUCKET}/{self.folder}/*",
            "sources": self.sources,
            "bad_lines": f"s3://{STORE}@{BUCKET}/bad",
        }

    def begin(self, **params: Any) -> None:
        self._began = time.monotonic()
        super().begin(**params)

    # While it runs.

    def wait(self, what: str, look: Any, timeout: float = PATIENCE) -> Any:
        """Ask ``look`` until it answers something true; if it does not, say how the tasks stand."""
        try:
            return super().wait(what, look, timeout)
        except AirflowApiError as error:
            raise AssertionError(f"{error}; {self.states()}\n{self.log()}") from error

    def loads(self) -> list[dict[str, Any]]:
        """The tasks that import."""
        return [ti for ti in self.api.tasks(self.dag_id, self.run_id) if ti["task_id"] == self.task_id]

    def states(self) -> Counter[str | None]:
        """How many of them are in which state."""
        return Counter(ti["state"] for ti in self.loads())

    def all_deferred(self, count: int = 1) -> None:
        """Wait until so many imports are deferred, and a triggerer has looked at the platform for each of them."""
        self.wait(
            f"{count} deferred imports", lambda: self.states() == Counter({"deferred": count}), timeout=LONG
        )

        def all_looked() -> bool:
            # One look of each is the task's own, before it defers.
            looks = Counter(one["path"] for one in self.looks())
            return len(looks) == count and min(looks.values()) > 1 and self.triggerers().total() == count

        self.wait("a triggerer to look for each", all_looked, timeout=LONG)

    def triggerers(self) -> Counter[str]:
        """How many of them each triggerer waits for, by its name."""
        return Counter(
            self.stack.on(ti["triggerer_job"]["hostname"]) for ti in self.loads() if ti["triggerer_job"]
        )

    def worker(self) -> str:
        """The worker that has run the newest try."""
        return self.stack.on(self.task()["hostname"])

    def in_mid_body(self) -> list[dict[str, Any]]:
        """Uploads of which the platform has read something, and not all."""
        return [one for one in self.uploads() if one["body_bytes"] > 100_000 and not one["done"]]

    # The end.

    def ends(self, expected: str = "success") -> dict[str, Any]:
        """Wait for the run's end; return the result of the one task, or nothing where there are several."""
        state = self.api.wait_for_run(self.dag_id, self.run_id, timeout=LONG)
        self.seconds = time.monotonic() - self._began
        assert state == expected, f"{self.states()}\n{self.log()}"
        return self.api.xcom(self.dag_id, self.run_id, self.task_id) or {}

    def log(self) -> str:
        if not self.mapped:
            return super().log()
        failed = next(
            (ti["map_index"] for ti in self.loads() if ti["state"] in ("failed", "up_for_retry")), 0
        )
        return self.api.log(self.dag_id, self.run_id, self.task_id, map_index=failed)

    def known(self) -> set[str]:
        """The executions that the tasks know of."""
        results = (
            self.api.xcom(self.dag_id, self.run_id, self.task_id, map_index=ti["map_index"]) or {}
            for ti in self.loads()
        )
        return {str(one) for result in results for one in result.get("execution_ids", ())}

    def leaked(self) -> list[str]:
        """Executions that go on, that were cancelled and nobody stopped the task, that no task knows."""
        known, good = self.known(), "CANCELED" if self.stopped else "SUCCEEDED"
        return [
            one["id"]
            for one in self.executions()
            if one["status"] != good or (not self.stopped and str(one["id"]) not in known)
        ]

    def row(self, case: str) -> Row:
        """Count what is lost, doubled and leaked, now that all is over."""
        held, wanted = self.held(), Counter(() if self.stopped else self.lines)
        left = Left((wanted - held).total(), (held - wanted).total(), len(self.leaked()))
        tries = max(ti["try_number"] for ti in self.loads())
        return Row(case, self.seconds, tries, wanted.total(), held.total(), left)
