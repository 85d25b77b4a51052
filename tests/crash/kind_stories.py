"""Runs whose work is no import of its own: a batch run, a Centrapay batch, an apply, a delegated batch.

Each has something of its own on the platform, so that what other runs do is not seen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from file_server import FileServer
from import_story import PERSON
from loading import account
from task_run import TaskRun

if TYPE_CHECKING:
    from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator
    from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
    from airflow_bulk.emulator.handle import Emulator
    from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
    from airflow_stack import AirflowStack

#: The DAGs of ``dag_files/cleared_kinds.py``, but for those that import, which are an :class:`ImportStory`.
KINDS = (
    "cleared_run",
    "cleared_deferred_run",
    "cleared_centrapay",
    "cleared_delegated",
    "cleared_deferred_delegated",
    "cleared_apply",
)
#: Seconds that the slow server takes for a batch.
SLOW = 3600.0
#: What each import of records imports, by id.
RECORDS = [f"{number}" for number in range(40)]
#: The connections of these DAGs to the extract/load side of a platform: which part, and what is said besides.
EXTRACT_LOAD: dict[str, tuple[str, dict[str, Any]]] = {
    "cleared_server": ("server", {}),
    "cleared_source": ("source", {"api": "quickbooks", "realm": "1"}),
    "cleared_destination": ("destination", {"api": "activecell"}),
}
#: Accounts that own a Centrapay batch, one a story.
ACCOUNTS = [f"clearedAccount{number:03}" for number in range(40)]
#: That of ``dag_files/canary_kinds.py``.
TALKING_ACCOUNT = "canaryAccount"


class BatchRunStory(TaskRun):
    """A run of a batch instance of its own.

    :ivar course: what the platform does with an execution that is PENDING; None leaves it so.
    """

    batches: IntegrationBatchEmulator
    course: dict[str, Any] | None = None

    def conf(self) -> dict[str, Any]:
        self.instance = self.batches.add(self.run_id)
        return {"instance": self.instance}

    def executions(self) -> list[dict[str, Any]]:
        """All executions of the instance, oldest first."""
        return self.batches.executions(self.instance)

    def statuses(self) -> list[str]:
        """Their statuses."""
        return [one["status"] for one in self.executions()]

    def go_on(self) -> None:
        for one in self.executions() if self.course is not None else ():
            if one["status"] == "PENDING":
                self.batches.change_execution(one["id"], start=True, end=True, **(self.course or {}))

    def looks(self) -> int:
        """How often the executions of this instance were asked for."""
        calls = self.batches.emulator.requests()
        return sum(f"/{self.instance}/" in one["path"] and one["method"] == "GET" for one in calls)


class CentrapayStory(TaskRun):
    """A batch of an account of its own, over a file that the test serves.

    :ivar account: the account.
    """

    centrapay: CentrapayEmulator
    files: FileServer
    account: str

    def conf(self) -> dict[str, Any]:
        return {"account": self.account, "url": f"{self.files.url}/{self.account}.jsonl"}

    def write(self, count: int = 3, *, bad: int = 0) -> None:
        """Serve a file of records; ``bad`` more break a rule."""
        good = [account(number, externalId=f"{PERSON}-{number}") for number in range(count)]
        broken = [account(number, externalId=number) for number in range(bad)]
        self.files.put(f"/{self.account}.jsonl", "".join(f"{line}\n" for line in good + broken))

    def made(self) -> list[str]:
        """The ids of all batches of the account, oldest first."""
        return [one["id"] for one in self.centrapay.batches() if one["accountId"] == self.account]

    def loads(self) -> list[int]:
        """How often each record was loaded."""
        return [one["loads"] for one in self.centrapay.assets() if one["accountId"] == self.account]


class DelegatedStory(TaskRun):
    """A batch of a tenant of its own."""

    extract_load: ExtractLoadEmulator
    server: ExtractLoadEmulator
    jobs = ("Vendor", "vendors")

    def conf(self) -> dict[str, Any]:
        return {"tenant": self.run_id, "extract": self.jobs[0], "load": self.jobs[1]}

    def made(self) -> list[str]:
        """The ids of all batches of the tenant that the server has begun, oldest first."""
        return [one["id"] for one in self.stored() if one["tenant_id"] == self.run_id]

    def stored(self) -> list[dict[str, Any]]:
        """All batches on the server."""
        emulator = self.server.emulator
        with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {emulator.token}"}) as client:
            found: list[dict[str, Any]] = client.get(f"{emulator.url}/extract_load/server/batch").json()
        return found

    def looks(self) -> int:
        """How often this tenant's batch was asked for."""
        calls = self.server.emulator.requests()
        return sum(
            one["method"] == "GET" and any(made in one["path"] for made in self.made()) for one in calls
        )

    def finish(self) -> None:
        """Let the slow server come to the end of all its batches."""
        self.server.emulator.clock.advance(2 * SLOW)

    def held(self) -> Counter[str]:
        """How often the destination holds each record."""
        return Counter(one["qbd_id"] for one in self.server.destination(self.jobs[1]))


class ApplyStory(TaskRun):
    """An apply of the one object that no other run writes."""

    extract_load: ExtractLoadEmulator

    def put(self, *numbers: int) -> None:
        """Put records into the source."""
        records = [{"Id": f"{number}", "Name": f"{PERSON}-{number}"} for number in numbers]
        self.extract_load.put("Item", *records)

    def held(self) -> Counter[str]:
        """How often the destination holds each record."""
        return Counter(one["qbd_id"] for one in self.extract_load.destination("products"))

    def writes(self) -> int:
        """How many writes the destination took."""
        return sum(one["object"] == "products" for one in self.extract_load.events("write"))


class Kinds:
    """Begins the stories of this file.

    :param quick: the platform that is over with everything at once.
    :param waiting: the platform where executions wait for the test.
    :param slow: the platform whose extract/load server takes :data:`SLOW` seconds.
    """

    def __init__(
        self, stack: AirflowStack, quick: Emulator, waiting: Emulator, slow: Emulator, files: FileServer
    ) -> None:
        from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator
        from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
        from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator

        self._stack, self._files = stack, files
        self._batches = IntegrationBatchEmulator(waiting)
        self._centrapay = CentrapayEmulator(quick)
        self._extract_load, self._slow = ExtractLoadEmulator(quick), ExtractLoadEmulator(slow)
        self._numbers = iter(range(len(ACCOUNTS)))
        self._centrapay.settings(step_seconds=0, accounts=dict.fromkeys([*ACCOUNTS, TALKING_ACCOUNT], False))
        for one in self._extract_load, self._slow:
            one.emulator.settings(extract_load_status=True)
            for name in "Vendor", "Customer":
                one.put(name, *({"Id": f"{number}", "DisplayName": PERSON} for number in range(3)))
        self._extract_load.put("Account", *({"Id": one, "Name": f"{PERSON}-{one}"} for one in RECORDS))
        add = stack.api.add_connection
        add("cleared_centrapay", self._centrapay.connection_json())
        for conn_id, (part, extra) in EXTRACT_LOAD.items():
            add(conn_id, self._extract_load.connection_json(part, **extra))
        add("cleared_waiting_server", self._slow.connection_json("server"))

    def begin(self, dag_id: str, folder: Path) -> TaskRun:
        """Begin a story of a DAG of :data:`KINDS`."""
        number = next(self._numbers)
        kinds = {
            "run": BatchRunStory,
            "centrapay": CentrapayStory,
            "delegated": DelegatedStory,
            "apply": ApplyStory,
        }
        story: Any = kinds[dag_id.rpartition("_")[2]](self._stack, dag_id, f"cleared-{number}", folder)
        story.batches, story.extract_load = self._batches, self._extract_load
        story.server = self._slow if dag_id == "cleared_deferred_delegated" else self._extract_load
        story.centrapay, story.files, story.account = self._centrapay, self._files, ACCOUNTS[number]
        return story


@contextmanager
def kinds_on(stack: AirflowStack, platforms: dict[str, Emulator]) -> Iterator[Kinds]:
    """What begins the stories of this file, with the DAGs of :data:`KINDS` ready to run."""
    from airflow_bulk.emulator.handle import Emulator

    with FileServer() as files, Emulator.start(start_delay=SLOW, run_seconds=0.0) as slow:
        kinds = Kinds(stack, platforms["crash_quick"], platforms["crash_waiting"], slow, files)
        for dag_id in KINDS:
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
        yield kinds
