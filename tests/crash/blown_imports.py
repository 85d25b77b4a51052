"""The kinds of run that import documents: files, records of a function, bad lines once more; and what has become of each line."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blown_run import LONG, BlownRun, Left, Slot
from import_story import ImportStory
from mending import broken, mended
from one_task import Task, importing
from task_run import TaskRun, lives

if TYPE_CHECKING:
    from airflow_stack import AirflowStack

FATES = ("lines_accepted", "lines_rejected", "lines_failed", "lines_unprocessed", "lines_dropped")


class BlownImport(BlownRun, ImportStory):
    """An import of some hundred lines, in three parts.

    :ivar bad: the lines among them that break a rule.
    :ivar source: name of the files, or a pattern.
    :ivar part_bytes: the limit of a part; None for that of the DAG.
    :ivar failing: how the platform fails lines that break no rule, where it does: every so-many-th line of so many uploads.
    """

    kind = "import"

    def __init__(self, stack: AirflowStack, mode: str, slot: Slot, folder: Path) -> None:
        dag_id, datamart = f"blown_{self.kind}_{mode}", slot.emulator.datamart_id
        run_id = f"{self.kind}-{folder.name}"
        ImportStory.__init__(self, stack, dag_id, slot.emulator, datamart, folder, run_id)
        self.bad: list[str] = []
        self.source, self.part_bytes, self.failing = "lines.ndjson", 0, (20, 2)
        self._take(mode, slot)

    def bad_line(self) -> str:
        """A line that the check refuses; every third one has to be mended twice."""
        number = len(self.bad) + 1
        self.bad.append(broken(number, mistakes=1 + (number % 3 == 0)))
        return self.bad[-1]

    def prepare(self) -> None:
        """Write the source where there is none; what this asks of the platform meets no fault of the run's."""
        if not self.lines:
            self.write(300)

    def needs(self) -> dict[str, Any]:
        self.prepare()
        parts = {"max_part_bytes": str(self.part_bytes)} if self.part_bytes else {}
        return {**ImportStory.conf(self), "source": self.source, "limit": str(len(self.bad)), **parts}

    def _write_mixed(self, good: int, bad: int) -> None:
        """Write the source, bad lines among it."""
        self.write(good)
        path = self.folder / self.source
        lines = path.read_text().splitlines()
        for number in range(bad):
            lines.insert(number * good // bad, self.bad_line())
        path.write_text("\n".join(lines) + "\n")

    def _fail_lines(self, every: int = 0) -> None:
        self.fault("failing_lines", every=every or self.failing[0], times=self.failing[1])

    def result(self) -> dict[str, Any]:
        """What the task has returned."""
        return self.api.xcom(self.dag_id, self.run_id, "load") or {}

    def wrong(self, result: Mapping[str, Any]) -> str:
        """What the result tells otherwise than it is; empty where it tells the truth."""
        good, bad = len(self.lines), len(self.bad)
        names = ("lines_read", "lines_accepted", "lines_rejected", "lines_failed")
        found, wanted = tuple(result.get(name) for name in names), (good + bad, good, bad, 0)
        return "" if found == wanted else f"read, accepted, rejected, failed are {found}, not {wanted}"

    def left(self) -> Left:
        # A clear that met a success imports again, as it should.
        times = max(1, self.successes())
        held, wanted = self.held(), self.wanted(times)
        statuses = self.statuses()
        leaked = sum(count for status, count in statuses.items() if status not in ("SUCCEEDED", "CANCELED"))
        self._tell_imports(times)
        if files := self.leftovers():
            self.acts.append(f"left behind: {', '.join(files)}")
        return Left((wanted - held).total(), (held - wanted).total(), leaked + len(files))

    def wanted(self, times: int) -> Counter[str]:
        """The lines that the platform is to hold, and how often each.

        :param times: how often the task ended as a success.
        """
        return Counter(dict.fromkeys(self.lines, times))

    def leftovers(self) -> list[str]:
        """The names of files that a good end should have removed."""
        return []

    def _tell_imports(self, times: int) -> None:
        if len(self.imports()) > times:
            self.acts.append(f"{len(self.imports())} imports")

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


class BlownRecords(BlownImport):
    """An import of the records that a function yields: ``@task.import_documents``."""

    kind = "records"

    def leftovers(self) -> list[str]:
        return names_in(self.folder / "spool")


class BlownResults(BlownImport):
    """An import with a results file: the platform fails lines, and the file tells each of them and each rejected one."""

    kind = "results"

    def prepare(self) -> None:
        if not self.lines:
            self._write_mixed(300, 6)

    def needs(self) -> dict[str, Any]:
        found = super().needs()
        self._fail_lines()
        return {**found, "limit": "100%"}

    def _rows(self) -> list[dict[str, Any]]:
        """The rows of all results files; a clear that met a success makes another one."""
        paths = [self.folder / "bad" / name for name in names_in(self.folder / "bad", "results.ndjson")]
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def _contents(self, state: str) -> Counter[str]:
        return Counter(one["raw"] for one in self._rows() if one["state"] == state)

    def wanted(self, times: int) -> Counter[str]:
        return super().wanted(times) - self._contents("failed")

    def wrong(self, result: Mapping[str, Any]) -> str:
        failed, rejected = self._contents("failed"), self._contents("rejected")
        times = max(1, self.successes())
        if strange := (failed - super().wanted(times)).total():
            return f"the results file tells {strange} failed lines that are none"
        if rejected != Counter(dict.fromkeys(self.bad, times)):
            return f"the results file tells {rejected.total()} rejected lines, not the {len(self.bad)} that are bad"
        states = Counter(one["state"] for one in map(json.loads, _lines_of(result.get("results_uri"))))
        told = {state: result.get(f"lines_{state}") for state in ("rejected", "failed")}
        if states != Counter(told):
            return f"the results file has {dict(states)}, the result {told}"
        read = len(self.lines) + len(self.bad)
        sums = [result.get("lines_read"), sum(result.get(fate) or 0 for fate in FATES)]
        return "" if sums == [read, read] else f"read, and what became of it, are {sums}, not {read}"


class BlownSeen(BlownImport):
    """An import beside another run that finds the same files in the same moment: each file is imported by one of them.

    :ivar rival: the other run; nothing strikes it but what strikes all.
    """

    kind = "seen"

    def __init__(self, stack: AirflowStack, mode: str, slot: Slot, folder: Path) -> None:
        super().__init__(stack, mode, slot, folder)
        (folder / "rival").mkdir()
        self.rival = TaskRun(stack, self.dag_id, f"{self.run_id}-rival", folder / "rival")

    def begin(self, **params: Any) -> None:
        self._shared = {
            **self.conf(),
            **params,
            "files": f"{self.folder}/{self.source}",
            "seen_as": self.run_id,
        }
        super().begin(**self._shared)
        self._begin_rival()

    def _begin_rival(self) -> None:
        self.rival.begin(**{**self._shared, "stop": "before 0"})

    def over(self) -> bool:
        """Whether both are; a person clears a rival that has failed."""
        is_over = super().over()
        state = self.rival.task()["state"]
        if state == "deferred":
            self.finish_platform()
        elif state == "failed":
            self.acts.append("rival cleared")
            self.rival.clear()
        return is_over and state == "success"

    def writes_no_more(self) -> bool:
        """Whether the task of this run is over; the rival may go on."""
        return BlownImport.over(self) and not lives(self.task()["pid"] or 0)

    def result(self) -> dict[str, Any]:
        """What both have returned, added up."""
        results = [super().result(), self.api.xcom(self.rival.dag_id, self.rival.run_id, "load") or {}]
        names = ("lines_read", *FATES, "files_known", "files_held")
        return {name: sum(one.get(name) or 0 for one in results) for name in names}

    def wrong(self, result: Mapping[str, Any]) -> str:
        left_out = result["files_known"] + result["files_held"]
        return super().wrong(result) or ("" if left_out else "neither has left out a file")

    def wanted(self, times: int) -> Counter[str]:
        # Who took nothing takes nothing when it is cleared.
        return super().wanted(times if super().result().get("lines_read") else 1)


class BlownSeenFirst(BlownSeen):
    """The run that finds the files first: the other one begins once this one stands, is deferred or is over.

    So what this one writes is the same each time, up to the moment at which it is struck.
    """

    _rival_began = False

    def _begin_rival(self) -> None:
        stands = (self.folder / "stopped").exists()
        if stands or self.state_now() in ("deferred", "success", "failed"):
            self._rival_began = True
            super()._begin_rival()

    def over(self) -> bool:
        """Whether both are, the other one having begun at last."""
        if self._rival_began:
            return super().over()
        self._begin_rival()
        BlownImport.over(self)
        return False


class BlownResend(BlownImport):
    """A resend of the bad lines of an import, in rounds; that import was made before, and nothing has struck it.

    :ivar first: what the platform held before.
    """

    kind = "resend"
    first: Counter[str] | None = None

    def prepare(self) -> None:
        """Make the first import, in this process."""
        if self.first is not None:
            return
        if not self.lines:
            self._write_mixed(200, 8)
        self.emulator.settings(start_delay=0.0, run_seconds=0.0)
        self._fail_lines()
        self._result = self._import()
        self.emulator.clear_faults()
        self.emulator.settings(start_delay=LONG if self.mode == "deferred" else 0.0)
        self.first = self.held()

    def _import(self) -> dict[str, Any]:
        from airflow_bulk.arguments import SendingOptions

        conn_id = f"blown_first_{self.slot.number}"
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = self.emulator.connection_json()
        first = importing(
            self.folder / self.source,
            mediarithmics_conn_id=conn_id,
            rejects_path=str(self.folder / "bad"),
            max_failures="100%",
            sending=SendingOptions(max_part_bytes=self.part_bytes or 10_000, settle=0.2),
        )
        result: dict[str, Any] = Task(first).run()
        return result

    def needs(self) -> dict[str, Any]:
        found = super().needs()
        # Few lines are left, so more of them have to fail that a round follows. Each round ends one fault, so the fourth is good.
        self._fail_lines(2 + self.failing[0] % 4)
        # Some parts a round, although its lines are few.
        parts = str(max(1_000, (self.part_bytes or 10_000) // 5))
        return {**found, "results": self._result, "limit": "0", "max_part_bytes": parts}

    def wanted(self, times: int) -> Counter[str]:
        assert self.first is not None
        bad = [line for line in self.lines if line not in self.first] + [mended(line) for line in self.bad]
        return self.first + Counter(dict.fromkeys(bad, times))

    def wrong(self, result: Mapping[str, Any]) -> str:
        totals, read = result.get("totals") or {}, len(self.lines) + len(self.bad)
        wanted = {"lines_read": read, **dict.fromkeys(FATES, 0), "lines_accepted": read}
        if totals != wanted:
            return f"the totals are {totals}, not {wanted}"
        rounds = [sum(one[fate] for fate in FATES) - one["lines_read"] for one in result["rounds"]]
        return (
            f"what became of the lines of each round differs from those read by {rounds}"
            if any(rounds)
            else ""
        )

    def leftovers(self) -> list[str]:
        kept = ("results.ndjson", "rejects.ndjson")
        return [name for name in names_in(self.folder / "bad") if not name.endswith(kept)]

    def _tell_imports(self, times: int) -> None:
        """Each round is an import."""


def names_in(folder: Path, ending: str = "") -> list[str]:
    """The names of the files of a folder that may not be there, hidden ones among them."""
    found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in found if name.endswith(ending))


def _lines_of(uri: str | None) -> list[str]:
    return Path(uri).read_text().splitlines() if uri else []
