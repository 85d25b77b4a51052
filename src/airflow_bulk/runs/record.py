"""What a task writes into Airflow's task state, and nothing else does.

The store is durable: every write that returned survives SIGKILL, and a write of a try that has been
superseded is refused (airflow.md sections 1.2 and 1.3). It has no list call, so every key is
computable: ``g<generation>.<name>``, parts in pages of 100. Nothing here is a secret or line content.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.documents.source.parts import Part

if TYPE_CHECKING:
    from datetime import timedelta

log = logging.getLogger(__name__)

#: Parts in one value: about 13 kB, below the store's warning at 65,535 bytes (airflow.md section 1.5).
PAGE = 100
#: No value may grow beyond this (ARCHITECTURE.md section 4).
LARGEST_VALUE = 60_000


class TaskStateStore(Protocol):
    """What this room needs of ``context["task_state_store"]``."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value."""

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Store a value."""


class RecordLost(Exception):
    """The task's state cannot be written: a newer try exists, or Airflow cannot be reached.

    Everything in flight is cut and nothing is cancelled, since a newer try may own the import.
    """


class ClearUnclear(Exception):
    """Whether this try is a retry or a clear cannot be told."""


class RecordedEnd(msgspec.Struct, kw_only=True):
    """How a generation ended.

    :param good: success, else a failed judgement.
    :param result: what was returned, or would have been.
    :param reason: why the judgement failed.
    :param known: Airflow has recorded the success, too; None where nobody could ask.
    """

    good: bool
    result: dict[str, Any]
    reason: str = ""
    known: bool | None = None
    max_tries: int = 0
    clear_number: int = 0
    try_number: int = 0


class EndMeaning(enum.Enum):
    """What a recorded end means for the try that finds it (ARCHITECTURE.md section 5.5)."""

    NO_END = "none was recorded: begin, or go on"
    STANDS = "the recorded result is this try's, too"
    JUDGE_AGAIN = "a person cleared a failed judgement: judge what is there by today's limit"
    BEGIN_AGAIN = "do the work again, as the next generation"


class PartState(enum.StrEnum):
    """How far a part has come."""

    CHECKED = "checked"  # not taken by anyone: send it
    INTENT = "intent"  # a POST has begun; without a commit it cannot have been taken
    COMMIT = "commit"  # the last block may have left; look before acting
    SENT = "sent"  # its execution is known


class RecordedPart(msgspec.Struct, kw_only=True):
    """One part in the record.

    :param executions: every execution that held it, oldest first; the last one counts.
    :param given_up: how many of them were cancelled or failed and sent again.
    """

    part: Part
    state: PartState = PartState.CHECKED
    executions: list[str] = []
    given_up: int = 0

    def plain(self) -> list[Any]:
        """Return the entry as stored."""
        return [
            *msgspec.structs.astuple(self.part),
            str(self.state),
            self.executions,
            self.given_up,
        ]

    @classmethod
    def read(cls, plain: list[Any]) -> RecordedPart:
        """Read a stored entry."""
        *facts, state, executions, given_up = plain
        return cls(
            part=Part(**dict(zip(Part.__struct_fields__, facts, strict=True))),
            state=PartState(state),
            executions=list(executions),
            given_up=given_up,
        )


class Record:
    """The memory of a task over its tries.

    Identity is the store's own: dag, task, run and map index. The generation is ours: a cleared
    success begins the next one, and every other key begins with it, so a crash in between cannot mix
    old outcomes with a new import.

    :param store: ``context["task_state_store"]``.
    :param max_tries: ``ti.max_tries`` of this try.
    :param clear_number: ``dag_run.clear_number`` of this try.
    :param try_number: ``ti.try_number``, for messages.
    """

    def __init__(self, store: TaskStateStore, *, max_tries: int, clear_number: int, try_number: int) -> None:
        self._store = store
        self.max_tries = max_tries
        self.clear_number = clear_number
        self.try_number = try_number
        self._asks_airflow = False
        self.generation = int((self._get("generation") or {}).get("number", 1))

    @classmethod
    def of(cls, context: Any) -> Record:
        """Return the record of a task's context."""
        ti = context["ti"]
        record = cls(
            context["task_state_store"],
            max_tries=int(ti.max_tries or 0),
            clear_number=int(getattr(context.get("dag_run"), "clear_number", 0) or 0),
            try_number=int(ti.try_number or 1),
        )
        record._ask_airflow(ti)
        return record

    def _ask_airflow(self, ti: Any) -> None:
        """Have the end say whether Airflow knows of it: success callbacks run after the success was reported.

        A task killed between its end and that report is no success for anyone, and clearing it must not
        import again what is there.
        """
        task = getattr(ti, "task", None)
        if not hasattr(ti, "get_task_states") or task is None:
            return  # a test's own context

        def confirm(_: Any) -> None:
            # The report may have been refused: a person marked the task failed in the same moment.
            found = ti.get_task_states(
                dag_id=ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
            )
            end = self.end()
            if end is not None and set(found.get(ti.run_id, {}).values()) == {"success"}:
                end.known = True
                self.write("end", msgspec.to_builtins(end))

        task.on_success_callback = [confirm, *task.on_success_callback]
        self._asks_airflow = True

    def _get(self, key: str) -> Any:
        try:
            return self._store.get(key)
        except Exception as error:
            raise RecordLost(_lost("read", error)) from error

    def _set(self, key: str, value: Any) -> None:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        text = msgspec.json.encode(value)
        if len(text) > LARGEST_VALUE:
            raise ValueError(f"task state {key} would hold {len(text)} bytes, more than {LARGEST_VALUE}")
        try:
            # The default retention would delete intents and ends after 30 days (airflow.md section 1.4).
            # What JSON reads back is what Airflow takes: it refuses a tuple.
            self._store.set(key, msgspec.json.decode(text), retention=NEVER_EXPIRE)
        except Exception as error:
            raise RecordLost(_lost("write", error)) from error

    def read(self, name: str) -> Any:
        """Return a value of this generation, or None."""
        return self._get(f"g{self.generation}.{name}")

    def write(self, name: str, value: Any) -> None:
        """Store a value of this generation; when it returns, it survives anything."""
        self._set(f"g{self.generation}.{name}", value)

    def hold(self) -> None:
        """Return only if this try is still the one that may act: a superseded one's write is refused.

        For acts that write nothing themselves, such as cancelling.
        """
        self.write("holder", {"try": self.try_number})

    def next_generation(self) -> None:
        """Begin anew; one write, so a crash leaves either the old generation or the new."""
        self._set("generation", {"number": self.generation + 1})
        self.generation += 1

    # The clock of the task's own deadline.

    def started(self, *, submitted: bool = True) -> tuple[float, bool]:
        """Seconds since 1970 when this generation's submission began, and whether a person has cleared the task since.

        A clear restarts the clock.

        :param submitted: False while no earlier try got so far as to submit anything: the clock begins now. Tries
            that waited for a source must not use up the time of the work.
        """
        stored = self.read("started")
        cleared = stored is not None and stored["max_tries"] != self.max_tries
        if stored is None or cleared or not submitted:
            stored = {"at": time.time(), "max_tries": self.max_tries}
            self.write("started", stored)
        return float(stored["at"]), cleared

    # The end.

    def end(self) -> RecordedEnd | None:
        """How this generation ended, if it did."""
        stored = self.read("end")
        return None if stored is None else msgspec.convert(stored, RecordedEnd)

    def write_end(self, *, good: bool, result: dict[str, Any], reason: str = "") -> None:
        """Record the end; ids by the thousand are counted, not stored."""
        end = RecordedEnd(
            good=good,
            result=result,
            reason=reason,
            max_tries=self.max_tries,
            clear_number=self.clear_number,
            try_number=self.try_number,
            known=False if good and self._asks_airflow else None,
        )
        plain = msgspec.to_builtins(end)
        if len(msgspec.json.encode(plain)) > LARGEST_VALUE:
            plain["result"] = {k: v for k, v in result.items() if not isinstance(v, list | dict)}
        self.write("end", plain)

    def recorded_end(
        self, *, keep: bool = False, is_done_again: Callable[[RecordedEnd, bool], bool] | None = None
    ) -> tuple[EndMeaning, RecordedEnd | None]:
        """Say what a recorded end means for this try; whoever begins again calls :meth:`next_generation`.

        A retry after an end gets that end, good or bad. A clear of a success does the work again, a clear of a failed
        judgement judges again.

        :param keep: a cleared success keeps its result (``on_clear="keep"``).
        :param is_done_again: asked of a bad end, and whether a person cleared it: whether that takes the work again,
            since judging what is there cannot change it. None: never.
        :raises AirflowFailException: a retry after a bad end.
        :raises ClearUnclear: whether this is a retry cannot be told.
        """
        end = self.end()
        if end is None:
            return EndMeaning.NO_END, None
        cleared = self._cleared(end)
        if end.good:
            if cleared and not keep:
                return EndMeaning.BEGIN_AGAIN, end
            log.info(
                "Try %d had already ended well: its result stands.%s",
                end.try_number,
                " Airflow had not heard of it; cleared as a success, the task does its work again."
                if end.known is False
                else "",
            )
            return EndMeaning.STANDS, end
        if is_done_again is not None and is_done_again(end, cleared):
            return EndMeaning.BEGIN_AGAIN, end
        if not cleared:
            raise AirflowFailException(f"{end.reason} (Recorded by try {end.try_number}.)")
        log.info("Cleared after a failed judgement: judging again with today's max_failures.")
        return EndMeaning.JUDGE_AGAIN, end

    def _cleared(self, end: RecordedEnd) -> bool:
        """Tell a clear from a retry (airflow.md section 2.2).

        A success that Airflow knows of is tried again only when it was cleared; one that it never heard of
        still has to be told, whoever begins the try.

        :raises ClearUnclear: only ``clear_number`` differs: another task of the run was cleared, or this
            one was while its retries were lowered.
        """
        if end.known is not None:
            return end.known
        if end.max_tries != self.max_tries:
            return True
        if end.clear_number == self.clear_number:
            return False
        raise ClearUnclear(
            "This task has ended before, and something in this run was cleared since, but whether it was this "
            "task cannot be told, so nothing is done again. Clear this task once more."
        )


class RecordedParts:
    """The parts of the record, in pages of :data:`PAGE`.

    :param record: where they are kept.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.entries: list[RecordedPart] = []
        page = 0
        while stored := record.read(f"parts.{page}"):
            self.entries += [RecordedPart.read(plain) for plain in stored]
            page += 1

    @classmethod
    def empty(cls, record: Record) -> RecordedParts:
        """The parts of a generation that has no plan: pages of a try that died before its plan are not read."""
        recorded = cls.__new__(cls)
        recorded._record, recorded.entries = record, []
        return recorded

    def forget(self) -> None:
        """Begin with no part; pages of a try that died before its plan are emptied, the last one first.

        Left behind, they would follow on the pages of a plan of fewer parts, and be sent with them.
        """
        self.entries = []
        stale = 0
        while self._record.read(f"parts.{stale}"):
            stale += 1
        for page in reversed(range(max(stale, 1))):
            self._record.write(f"parts.{page}", [])

    def add(self, parts: list[Part]) -> None:
        """Add checked parts, each page written once."""
        first = len(self.entries) // PAGE
        self.entries += [RecordedPart(part=part) for part in parts]
        for page in range(first, (len(self.entries) + PAGE - 1) // PAGE):
            self._write(page)

    def save(self, entry: RecordedPart) -> None:
        """Write an entry's page; when it returns, the entry survives anything."""
        self._write(entry.part.index // PAGE)

    def _write(self, page: int) -> None:
        rows = [entry.plain() for entry in self.entries[page * PAGE : (page + 1) * PAGE]]
        self._record.write(f"parts.{page}", rows)

    def hold(self) -> None:
        """Return only if this try is still the one that may act; see :meth:`Record.hold`."""
        self._record.hold()

    def in_state(self, *states: PartState) -> list[RecordedPart]:
        """Entries in one of these states, in order."""
        return [entry for entry in self.entries if entry.state in states]

    def known_executions(self) -> set[str]:
        """Every execution id that was ever recorded."""
        return {one for entry in self.entries for one in entry.executions}


def _lost(verb: str, error: Exception) -> str:
    return (
        f"Could not {verb} this task's state ({type(error).__name__}): a newer try exists, or Airflow cannot be "
        "reached. Whatever was being sent is cut, nothing is cancelled; the next try goes on from the record."
    )
