"""Every kind of run that keeps a record: what it needs, and what is lost, doubled and left running on its platform in the end."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from blown_imports import BlownImport, BlownRecords, BlownResend, BlownResults, BlownSeenFirst, BlownUpload
from blown_run import LONG, BlownRun, Left
from loading import accounts

from airflow_bulk.emulator.centrapay_handle import CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import PATHS, ExtractLoadEmulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator


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
    for one in (
        BlownImport,
        BlownResults,
        BlownRecords,
        BlownSeenFirst,
        BlownResend,
        BlownUpload,
        BlownBatchRun,
        BlownCentrapay,
        BlownApply,
        BlownDelegated,
    )
}
