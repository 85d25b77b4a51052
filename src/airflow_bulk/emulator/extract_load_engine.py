"""How the emulated server runs a batch: all jobs at once, only the waits of loads order anything.

extract_load.md sections 2, 3 and 5. The run is played through when the batch is stored; when it shows as finished is
a matter of the clock. A batch whose loads wait for what never comes hangs: it never finishes (hang mode), as the
real server does, which checks nothing. A failure that a test asked for stops the batch as in generation g2
(section 4): what has not begun ends ``stopped``, and the batch is finished all the same.

What a destination object is made of is not known: fields keep their names [assumed], and the per-type filter lets
all through.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.extract_load_source_api import CREATED, meets, time_of
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
# Section 2.2 f: what a field refers to.
REFERENCES = {
    "account_id": "accounts",
    "parent_account_id": "accounts",
    "vendor_id": "vendors",
    "product_id": "products",
    "customer_id": "customers",
    "period_id": CALENDAR,
}


class Run:
    """One run of a stored batch.

    :param store: what it reads and writes.
    :param batch: the stored batch.
    """

    def __init__(self, store: ExtractLoadStore, batch: dict[str, Any]) -> None:
        self._store = store
        self._batch = batch
        self._extracted: dict[str, list[dict[str, Any]]] = {}
        self._load: dict[str, list[dict[str, Any]]] = {}
        self._load_result: dict[str, list[dict[str, Any]]] = {}
        self.errors: dict[str, str] = {}

    def play(self) -> bool:
        """Play the run through; return whether it comes to an end."""
        jobs = [job for job in self._batch.get("jobs", []) if isinstance(job, dict)]
        self._store.note("batch", id=self._batch["id"], err=None, status="create")
        names = [job.get("object") for job in jobs]
        self._store.note("batch", id=self._batch["id"], err=None, status="start", jobs_names=names)
        for job in jobs:
            if job.get("type") == "extract":
                self._attempt(job, self._extract)
        loads = [job for job in jobs if job.get("type") == "load"]
        for job in loads:
            self._attempt(job, self._snapshot)
        waiting = [job for job in loads if job.get("object") != CALENDAR]
        while ready := [job for job in waiting if self.errors or self._may_apply(job)]:
            for job in ready:
                self._attempt(job, self._apply)
                waiting.remove(job)
        if not waiting:
            err = "; ".join(self.errors.values()) or None
            self._store.note("batch", id=self._batch["id"], err=err, status="finish")
        return not waiting

    def _attempt(self, job: dict[str, Any], step: Callable[[str, dict[str, Any]], None]) -> None:
        """Take a step of a job, unless the batch was stopped; its first error stops the batch."""
        name, kind = str(job.get("object")), str(job["type"])
        if self.errors:
            self._tell(name, kind, "stopped")
            return
        try:
            step(name, job)
        except Refused as error:
            self.errors[name] = f"{kind} {name}: {error.message}"
            # There is no failed status: a failed job is complete, with an error (section 3).
            self._tell(name, kind, "complete", self.errors[name])

    def _extract(self, name: str, job: dict[str, Any]) -> None:
        self._tell(name, "extract", "in process")
        self._tell(name, "extract", f"Retrieving {name} data")
        self._store.maybe_fail(side=SOURCE, object=name, page=1)
        since = self._since(job)
        conditions = [] if since is None else [(CREATED, since)]
        self._extracted[name] = [
            record for record in self._store.records(SOURCE, name) if meets(record, conditions)
        ]
        self._tell(name, "extract", "complete")

    def _since(self, job: dict[str, Any]) -> datetime | None:
        """The job's own bound, even if it is null, else the batch's; ``updated_since`` is never read (section 5)."""
        value = job.get("since", self._batch.get("since"))
        if value is None or value == "":
            return None
        text = str(value)
        seconds = text.isdigit() and len(text) < 12
        since = datetime.fromtimestamp(int(text), UTC) if seconds else time_of(text)
        return since.replace(month=1) if job.get("grain") == "monthly" else since

    def _snapshot(self, name: str, job: dict[str, Any]) -> None:
        self._tell(name, "load", "in process")
        self._tell(name, "load", "in process")
        self._store.maybe_fail(side=DESTINATION, object=name.lower(), verb="GET")
        self._load[name] = self._store.records(DESTINATION, name.lower())
        if name == CALENDAR:
            self._load_result[name] = self._load[name]
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

    def _apply(self, name: str, job: dict[str, Any]) -> None:
        self._tell(name, "load", "in process")
        endpoint = name.lower()
        unmatched, result = list(self._load[name]), []
        for source in (record for feed in FEEDS.get(name, []) for record in self._extracted.get(feed, [])):
            fields = {key: value for key, value in source.items() if key not in ("Id", "MetaData")}
            fields["qbd_id"] = source["Id"]
            old = next((record for record in unmatched if record.get("qbd_id") == source["Id"]), None)
            if old is None:
                self._store.maybe_fail(side=DESTINATION, object=endpoint, verb="POST")
                result.append(self._store.create_at_destination(endpoint, fields))
                self._wrote(endpoint, "POST", result[-1]["id"])
                continue
            unmatched.remove(old)
            now = self._referring(name, fields, self._load[name])
            changed = any(old.get(key) != value for key, value in now.items())
            result.append(self._update(endpoint, {**old, **fields}) if changed else old)
        for orphan in unmatched:  # without asking, as the real one does (section 2.3)
            self._store.maybe_fail(side=DESTINATION, object=endpoint, verb="DELETE")
            self._store.remove(DESTINATION, endpoint, str(orphan["id"]))
            self._wrote(endpoint, "DELETE", orphan["id"])
        self._tell(name, "load", "in process")
        for place, record in enumerate(result):
            fixed = self._referring(name, record, result)
            if fixed != record:
                result[place] = self._update(endpoint, fixed)
        self._load_result[name] = result
        self._tell(name, "load", "complete")

    def _update(self, endpoint: str, record: dict[str, Any]) -> dict[str, Any]:
        self._store.maybe_fail(side=DESTINATION, object=endpoint, verb="PUT")
        self._store.put(DESTINATION, endpoint, str(record["id"]), record)
        self._wrote(endpoint, "PUT", record["id"])
        return record

    def _referring(self, name: str, record: dict[str, Any], own: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a record of *name* that refers to ids of the destination, where they are known (section 2.2 f)."""
        fixed = dict(record)
        for field, other in REFERENCES.items():
            if isinstance(value := record.get(field), str):  # the destination's own ids are integers
                known = own if other == name else self._load_result.get(other, self._load.get(other, []))
                found = (one["id"] for one in known if one.get("qbd_id") == value)
                fixed[field] = next(found, value)
        return fixed

    def _wrote(self, name: str, verb: str, record_id: object) -> None:
        self._store.note("write", side=DESTINATION, object=name, verb=verb, id=record_id)

    def _tell(self, name: str, kind: str, status: str, err: str | None = None) -> None:
        self._store.note(
            "job status", type=kind, batch_id=self._batch["id"], name=name, err=err, status=status
        )
