"""Every kind of run that keeps a record: what it needs, and what is lost, doubled and left running on its platform in the end.

Each run has a platform of its own, so everything there is this run's.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import httpx
from import_story import ImportStory
from loading import accounts
from task_run import PATIENCE, TaskRun, lives

from airflow_api import AirflowApiError
from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import PATHS, ExtractLoadEmulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator

if TYPE_CHECKING:
    from file_server import FileServer
    from task_states import TaskStates

    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

#: What runs on a platform is over once so many of its seconds have passed; what is deferred waits for that.
LONG = 3600.0
#: How often a person clears a task that has used up its tries.
CLEARS = 3
#: Seconds after which it is asked whether a run has ended without its task.
UNSCHEDULED = 20.0


class Slot(NamedTuple):
    """A platform that one run has for itself, behind connections that bear its number.

    :param number: of the connections.
    :param emulator: the platform.
    :param files: serves what Centrapay fetches.
    :param states: of all tasks that somebody waits for.
    """

    number: int
    emulator: Emulator
    files: FileServer
    states: TaskStates


class Left(NamedTuple):
    """What is wrong on the platform: lines of an import, records of an apply, assets of Centrapay, or whole runs."""

    lost: int
    doubled: int
    leaked: int


class BlownRun(TaskRun):
    """A run of one kind, in a slot of its own.

    :param mode: ``sync`` or ``deferred``; what runs on the platform is over at once, or once the task is deferred.
    """

    kind: ClassVar[str]
    modes: ClassVar[tuple[str, ...]] = ("sync", "deferred")

    def __init__(self, stack: AirflowStack, mode: str, slot: Slot, folder: Path) -> None:
        TaskRun.__init__(self, stack, f"blown_{self.kind}_{mode}", f"{self.kind}-{folder.name}", folder)
        self._take(mode, slot)

    def _take(self, mode: str, slot: Slot) -> None:
        self.mode, self.slot, self.emulator = mode, slot, slot.emulator
        self.acts: list[str] = []
        self._seen = time.monotonic()
        self.emulator.reset()
        waits = mode == "deferred"
        self.emulator.settings(start_delay=LONG if waits else 0.0, run_seconds=0.0)
        CentrapayEmulator(self.emulator).settings(step_seconds=LONG if waits else 0.0)

    def wait(self, what: str, look: Any, timeout: float = 2 * PATIENCE) -> Any:
        """Ask ``look`` until it answers something true; if it does not, say how the task stands."""
        try:
            return super().wait(what, look, timeout)
        except AirflowApiError as error:
            states = self.api.states(self.dag_id, self.run_id)
            raise AssertionError(f"{error}; {states}; {self.last_error()}") from error

    def conf(self) -> dict[str, Any]:
        return {"slot": str(self.slot.number), **self.needs()}

    @abstractmethod
    def needs(self) -> dict[str, Any]:
        """Make on the platform what the run needs; return what the DAG has to know of it."""

    @abstractmethod
    def left(self) -> Left:
        """What is wrong on the platform, now that all is over."""

    @abstractmethod
    def finish_platform(self) -> None:
        """Let the platform run to its end what it has taken."""

    def decide(self) -> None:
        """What a person does with a task that failed."""
        self.acts.append("cleared")
        self.clear()

    def clear(self) -> None:
        super().clear()
        # A success from before the clear is none.
        self.slot.states.expire()

    def state_now(self) -> str | None:
        """The task's state, at most a second old."""
        return self.slot.states.of(self.run_id)

    def over(self) -> bool:
        """Whether the task is over; what it waits for ends once it is deferred, and a person decides what has failed."""
        state = self.state_now()
        if state is not None:
            self._seen = time.monotonic()
        if state == "deferred":
            self.finish_platform()
        elif state == "failed" or (state is None and self._ended_without_it()):
            if len(self.acts) >= CLEARS:
                raise AssertionError(f"failed for good after {', '.join(self.acts)}: {self.last_error()}")
            self.decide()
            self.slot.states.expire()
        return state == "success"

    def writes_no_more(self) -> bool:
        """Whether the task is over and its process has ended: the success callback writes after the success."""
        return self.over() and not lives(self.task()["pid"] or 0)

    def _ended_without_it(self) -> bool:
        """Airflow's own race: the run's end, computed before a clear, is written after it."""
        if time.monotonic() - self._seen < UNSCHEDULED:
            return False
        self._seen = time.monotonic()
        return self.api.run(self.dag_id, self.run_id)["state"] in ("success", "failed")

    def canceled(self) -> int:
        """How much was cancelled on the platform, where it can be."""
        return 0

    def triggerer(self) -> int | None:
        """The triggerer that waits for this run now."""
        job = self.task()["triggerer_job"]
        return job and int(job["id"])

    def is_taken_over(self, first: int) -> bool:
        """Whether another triggerer than the first one waits for this run."""
        return self.triggerer() not in (None, first)

    def successes(self) -> int:
        """How many of the task's tries ended as a success for Airflow."""
        tries = self.api.tries(self.dag_id, self.run_id, "load")
        return sum(one["state"] == "success" for one in tries)

    def last_error(self) -> str:
        """The last line of the last try's log that tells an error."""
        lines = [line for line in self.log().splitlines() if "rror" in line or "xception" in line]
        return lines[-1][:300] if lines else ""

    def _call(self, method: str, path: str, scheme: str = "", **options: Any) -> Any:
        answer = httpx.request(
            method,
            self.emulator.url + path,
            headers={"Authorization": f"{scheme}{self.emulator.token}"},
            trust_env=False,
            **options,
        )
        answer.raise_for_status()
        return answer.json()


class BlownImport(BlownRun, ImportStory):
    """An import of some hundred lines, in three parts."""

    kind = "import"

    def __init__(self, stack: AirflowStack, mode: str, slot: Slot, folder: Path) -> None:
        dag_id, datamart = f"blown_{self.kind}_{mode}", slot.emulator.datamart_id
        run_id = f"{self.kind}-{folder.name}"
        ImportStory.__init__(self, stack, dag_id, slot.emulator, datamart, folder, run_id)
        self._take(mode, slot)

    def needs(self) -> dict[str, Any]:
        if not self.lines:
            self.write(300)
        return ImportStory.conf(self)

    def left(self) -> Left:
        # A clear that met a success imports again, as it should.
        times = max(1, self.successes())
        held, wanted = self.held(), Counter(dict.fromkeys(self.lines, times))
        statuses = self.statuses()
        leaked = sum(count for status, count in statuses.items() if status not in ("SUCCEEDED", "CANCELED"))
        if len(self.imports()) > times:
            self.acts.append(f"{len(self.imports())} imports")
        return Left((wanted - held).total(), (held - wanted).total(), leaked)

    def canceled(self) -> int:
        return self.statuses()["CANCELED"]

    def finish_platform(self) -> None:
        self.finish_pending()


class BlownUpload(BlownImport):
    """An upload into an import that stands already."""

    kind = "upload"

    def needs(self) -> dict[str, Any]:
        made = self._call(
            "POST",
            f"/v1/datamarts/{self.datamart}/document_imports",
            json={
                "document_type": "USER_PROFILE",
                "mime_type": "APPLICATION_X_NDJSON",
                "encoding": "utf-8",
                "name": "given",
            },
        )
        return {**super().needs(), "import_id": made["data"]["id"]}


class BlownBatchRun(BlownRun):
    """A run of an integration batch."""

    kind = "batch_run"

    def needs(self) -> dict[str, Any]:
        self._batches = IntegrationBatchEmulator(self.emulator)
        self._instance = self._batches.add()
        return {"instance_id": self._instance}

    def _executions(self) -> list[dict[str, Any]]:
        return self._batches.executions(self._instance)

    def left(self) -> Left:
        statuses = Counter(one["status"] for one in self._executions())
        good = statuses["SUCCEEDED"]
        return Left(max(0, 1 - good), max(0, good - 1), statuses.total() - good - statuses["CANCELED"])

    def canceled(self) -> int:
        return sum(one["status"] == "CANCELED" for one in self._executions())

    def finish_platform(self) -> None:
        for one in self._executions():
            if one["status"] == "PENDING":
                self._batches.change_execution(one["id"], start=True, end=True)


class BlownCentrapay(BlownRun):
    """A Centrapay batch of three records. Its platform has no list: a person is asked whether the file was loaded."""

    kind = "centrapay"

    def needs(self) -> dict[str, Any]:
        self._centrapay = CentrapayEmulator(self.emulator)
        self._ids = {json.loads(line)["externalId"] for line in accounts(3).splitlines()}
        return {"url": self.slot.files.put(f"/{self.run_id}.jsonl", accounts(3))}

    def left(self) -> Left:
        loads = {one["externalId"]: one["loads"] for one in self._centrapay.assets()}
        running = [one for one in self._centrapay.batches() if one["status"] != "complete"]
        doubled = sum(count - 1 for count in loads.values())
        return Left(len(self._ids - set(loads)), doubled, len(running))

    def finish_platform(self) -> None:
        if any(one["status"] != "complete" for one in self._centrapay.batches()):
            self.emulator.clock.advance(4 * LONG)

    def decide(self) -> None:
        """As the error tells: look for the asset of a record, and say what was found."""
        if "a batch may exist" not in self.log():
            super().decide()
            return
        self.finish_platform()
        if self._centrapay.assets():
            self.acts.append("a person found it loaded")
            self.mark_success()
        else:
            self.acts.append("a person found it not loaded")
            self.api.set_variable(f"repeat_{self.run_id}", "true")
            self.clear()


class BlownApply(BlownRun):
    """An apply of four records, each of which takes the destination so long that the task asks Airflow before each."""

    kind = "apply"
    modes = ("sync",)

    def needs(self) -> dict[str, Any]:
        self._ids = [f"{number}" for number in range(1, 5)]
        rows = [json.dumps({"Id": one, "Name": f"account {one}"}) + "\n" for one in self._ids]
        (self.folder / "accounts.ndjson").write_text("".join(rows))
        self.emulator.fault("slow", path=r"accounts\.json", method="POST", answer_delay=1.1)
        return {}

    def left(self) -> Left:
        records = ExtractLoadEmulator(self.emulator).destination("accounts")
        held, wanted = Counter(str(one["qbd_id"]) for one in records), Counter(self._ids)
        return Left((wanted - held).total(), (held - wanted).total(), 0)

    def finish_platform(self) -> None:
        """Nothing goes on at a destination."""


class BlownDelegated(BlownRun):
    """A batch that the extract/load server runs."""

    kind = "delegated"

    def needs(self) -> dict[str, Any]:
        self._extract_load = ExtractLoadEmulator(self.emulator)
        self._extract_load.put("Vendor", {"Id": "1", "DisplayName": "Bob"})
        return {}

    def _batches(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"{PATHS['server']}/batch", "Bearer ")
        return found

    def left(self) -> Left:
        begun = [one for one in self._extract_load.events("batch") if one["status"] == "start"]
        running = [one for one in self._batches() if not one.get("finished_at")]
        return Left(max(0, 1 - len(begun)), max(0, len(begun) - 1), len(running))

    def finish_platform(self) -> None:
        if any(not one.get("finished_at") for one in self._batches()):
            self.emulator.clock.advance(4 * LONG)


KINDS: dict[str, type[BlownRun]] = {
    one.kind: one
    for one in (BlownImport, BlownUpload, BlownBatchRun, BlownCentrapay, BlownApply, BlownDelegated)
}


def in_short(error: Exception) -> str:
    """An error in a line: how it begins, and how it ends, where a component's log tells why."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) < 600 else f'{text[:150]} [...] {text[-400:]}'}"


def clock_offset(emulator: Emulator) -> float:
    """Seconds by which a platform's clock is ahead of ours, since a test moved it."""
    return round(emulator.clock.now() / 1000 - time.time())
