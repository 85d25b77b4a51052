"""How the emulated server runs a batch: all jobs at once, only the waits of loads order anything.

extract_load.md sections 2 and 3. The run is played through when the batch is stored; when it shows as finished is
a matter of the clock. A batch whose loads wait for what never comes hangs: it never finishes (hang mode), as the
real server does, which checks nothing. A failure that a test asked for stops the batch as in generation g2
(section 4): what has not begun ends ``stopped``, and the batch is finished all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.extract_load_store import DESTINATION, SOURCE, ExtractLoadStore

# Section 2.2; written down again here, since the emulator shares no rule with what it tests.
FEEDS = {
    "accounts": ["Account"],
    "customers": ["Customer"],
    "vendors": ["Vendor"],
    "products": ["Item"],
    "financial_transactions": ["Bill", "CreditMemo", "Invoice", "Payment", "Purchase", "SalesReceipt"],
    "financial_txns": ["Bill", "CreditMemo", "Invoice", "Payment", "Purchase", "SalesReceipt"],
}
CALENDAR = "periods"


class Run:
    """One run of a stored batch.

    :param store: what it reads and writes.
    :param batch: the stored batch.
    """

    def __init__(self, store: ExtractLoadStore, batch: dict[str, Any]) -> None:
        self._store = store
        self._batch = batch
        self._extracted: dict[str, list[dict[str, Any]]] = {}
        self._load: set[str] = set()
        self._load_result: set[str] = set()
        self.errors: dict[str, str] = {}

    def play(self) -> bool:
        """Play the run through; return whether it comes to an end."""
        jobs = [job for job in self._batch.get("jobs", []) if isinstance(job, dict)]
        self._store.note("batch", id=self._batch["id"], err=None, status="create")
        names = [job.get("object") for job in jobs]
        self._store.note("batch", id=self._batch["id"], err=None, status="start", jobs_names=names)
        for job in jobs:
            if job.get("type") == "extract":
                self._attempt(str(job.get("object")), "extract", self._extract)
        loads = [job for job in jobs if job.get("type") == "load"]
        for job in loads:
            self._attempt(str(job.get("object")), "load", self._snapshot)
        waiting = [job for job in loads if job.get("object") != CALENDAR]
        while ready := [job for job in waiting if self.errors or self._may_apply(job)]:
            for job in ready:
                self._attempt(str(job.get("object")), "load", self._apply)
                waiting.remove(job)
        if not waiting:
            err = "; ".join(self.errors.values()) or None
            self._store.note("batch", id=self._batch["id"], err=err, status="finish")
        return not waiting

    def _attempt(self, name: str, kind: str, step: Callable[[str], None]) -> None:
        """Take a step of a job, unless the batch was stopped; its first error stops the batch."""
        if self.errors:
            self._tell(name, kind, "stopped")
            return
        try:
            step(name)
        except Refused as error:
            self.errors[name] = f"{kind} {name}: {error.message}"
            # There is no failed status: a failed job is complete, with an error (section 3).
            self._tell(name, kind, "complete", self.errors[name])

    def _extract(self, name: str) -> None:
        self._tell(name, "extract", "in process")
        self._tell(name, "extract", f"Retrieving {name} data")
        self._store.maybe_fail(side=SOURCE, object=name, page=1)
        self._extracted[name] = self._store.records(SOURCE, name)
        self._tell(name, "extract", "complete")

    def _snapshot(self, name: str) -> None:
        self._tell(name, "load", "in process")
        self._tell(name, "load", "in process")
        self._store.maybe_fail(side=DESTINATION, object=name.lower(), verb="GET")
        self._load.add(name)
        if name == CALENDAR:
            self._load_result.add(name)
            self._tell(name, "load", "complete")
        else:
            for _ in range(3):
                self._tell(name, "load", "pending")

    def _may_apply(self, job: dict[str, Any]) -> bool:
        required = job.get("required_objects") or {}
        return all(
            name in there
            for key, there in (
                ("extract", self._extracted),
                ("load", self._load),
                ("load_result", self._load_result),
            )
            for name in required.get(key) or []
        )

    def _apply(self, name: str) -> None:
        self._tell(name, "load", "in process")
        endpoint = name.lower()
        current = {record.get("qbd_id"): record for record in self._store.records(DESTINATION, endpoint)}
        for source in (record for feed in FEEDS.get(name, []) for record in self._extracted.get(feed, [])):
            fields = {key: value for key, value in source.items() if key not in ("Id", "MetaData")}
            fields["qbd_id"] = source["Id"]
            old = current.pop(source["Id"], None)
            if old is None:
                self._store.maybe_fail(side=DESTINATION, object=endpoint, verb="POST")
                made = self._store.create_at_destination(endpoint, fields)
                self._wrote(endpoint, "POST", made["id"])
            elif any(old.get(key) != value for key, value in fields.items()):
                self._store.maybe_fail(side=DESTINATION, object=endpoint, verb="PUT")
                self._store.put(DESTINATION, endpoint, str(old["id"]), {**old, **fields})
                self._wrote(endpoint, "PUT", old["id"])
        for orphan in current.values():  # without asking, as the real one does (section 2.3)
            self._store.remove(DESTINATION, endpoint, str(orphan["id"]))
            self._wrote(endpoint, "DELETE", orphan["id"])
        self._tell(name, "load", "in process")
        self._load_result.add(name)
        self._tell(name, "load", "complete")

    def _wrote(self, name: str, verb: str, record_id: object) -> None:
        self._store.note("write", side=DESTINATION, object=name, verb=verb, id=record_id)

    def _tell(self, name: str, kind: str, status: str, err: str | None = None) -> None:
        self._store.note(
            "job status", type=kind, batch_id=self._batch["id"], name=name, err=err, status=status
        )
