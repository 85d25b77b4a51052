"""What a task writes into Airflow's task state, and nothing else does.

The store is durable: every write that returned survives SIGKILL, and a write of a try that has been
superseded is refused (airflow.md sections 1.2 and 1.3). It has no list call, so every key is
computable: ``g<generation>.<name>``, parts in pages of 100. Nothing here is a secret or line content.

From Airflow 3.4 on a clear deletes the store, so each value is copied to where a clear does not reach
(:mod:`airflow_bulk.runs.record_copy`): the copy is written first. The gate is the store's own write all the same: only that
one is refused to a superseded try.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.runs.record_copy import RecordCopy

if TYPE_CHECKING:
    from datetime import timedelta

log = logging.getLogger(__name__)

#: No value may grow beyond this (ARCHITECTURE.md section 4).
LARGEST_VALUE = 60_000
#: What a task works on: its key in the task's state, and in XCom, which outlives the task's name.
WORK, WORK_XCOM = "work", "airflow_bulk_work"
#: Earlier tries that are remembered one by one.
TRIES_NAMED = 50


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


class Record:
    """The memory of a task over its tries.

    Identity is the store's own: dag, task, run and map index. The generation is ours: a cleared
    success begins the next one, and every other key begins with it, so a crash in between cannot mix
    old outcomes with a new import.

    :param store: ``context["task_state_store"]``.
    :param max_tries: ``ti.max_tries`` of this try.
    :param clear_number: ``dag_run.clear_number`` of this try.
    :param try_number: ``ti.try_number``.
    :param identity: ``ti``, or what names dag, run, task and map index as it does.
    :param copy: where a clear does not reach; None where a clear keeps the store.
    """

    def __init__(
        self,
        store: TaskStateStore,
        *,
        max_tries: int,
        clear_number: int,
        try_number: int,
        identity: Any,
        copy: RecordCopy | None = None,
    ) -> None:
        self._store = store
        self._copy = copy
        self.identity = identity
        self._touched: set[str] = set()
        self.max_tries = max_tries
        self.clear_number = clear_number
        self.try_number = try_number
        self._asks_airflow = False
        stored = self._get("generation") or {"number": 1}
        self.generation = int(stored["number"])
        self._reached = int(stored.get("reached", self.generation))
        #: What the generation before has handed on to this one; None where it handed on nothing.
        self.handed_on: Any = stored.get("handed_on")
        if copy is not None:
            self._write_copy("generation", stored)  # before an older try may write another one

    @classmethod
    def of(cls, context: Any, *, ends: bool = True) -> Record:
        """Return the record of a task's context.

        :param ends: this record gets the end of the work; False for one that is only asked on the way.
        """
        ti, store = context["ti"], context["task_state_store"]
        try:
            copy = RecordCopy.of(context, store)
        except Exception as error:
            raise RecordLost(_lost("read", error)) from error
        record = cls(
            store,
            max_tries=int(ti.max_tries or 0),
            clear_number=int(getattr(context.get("dag_run"), "clear_number", 0) or 0),
            try_number=int(ti.try_number or 1),
            identity=ti,
            copy=copy,
        )
        if ends:
            record._ask_airflow(ti)
            # A try begins with an empty XCom.
            if copy is None and (work := record.kept(WORK)) is not None:
                ti.xcom_push(key=WORK_XCOM, value=work)
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
                self._forget_copies(end)

        task.on_success_callback = [confirm, *task.on_success_callback]
        self._asks_airflow = True

    def _forget_copies(self, end: RecordedEnd) -> None:
        """Once Airflow knows of a success, only its end and its generation are asked for, whatever is cleared."""
        if self._copy is None or (
            "execution_ids" not in end.result and any(".parts." in one for one in self._touched)
        ):
            return  # a long result is not whole without its parts
        self._copy.forget(self._touched - {"generation", f"g{self.generation}.end"})

    def _get(self, key: str) -> Any:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        try:
            value = self._store.get(key)
            if self._copy is not None:
                if value is None:
                    value = self._copy.read(key)
                    if value is not None:  # for a person who looks at the task, and for the next try
                        self._store.set(key, value, retention=NEVER_EXPIRE)
                else:
                    self._copy.note(key, value)
        except Exception as error:
            raise RecordLost(_lost("read", error)) from error
        if value is not None:
            self._touched.add(key)
        return value

    def _write_copy(self, key: str, value: Any) -> None:
        try:
            if self._copy is not None:
                self._copy.write(key, value)
        except Exception as error:
            raise RecordLost(_lost("write", error)) from error

    def _set(self, key: str, value: Any, *, copied: bool = True) -> None:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        text = msgspec.json.encode(value)
        if len(text) > LARGEST_VALUE:
            raise ValueError(f"task state {key} would hold {len(text)} bytes, more than {LARGEST_VALUE}")
        self._touched.add(key)
        # What JSON reads back is what Airflow takes: it refuses a tuple.
        plain = msgspec.json.decode(text)
        if copied:
            self._write_copy(key, plain)
        try:
            # The default retention would delete intents and ends after 30 days (airflow.md section 1.4).
            self._store.set(key, plain, retention=NEVER_EXPIRE)
        except Exception as error:
            raise RecordLost(_lost("write", error)) from error

    def read(self, name: str) -> Any:
        """Return a value of this generation, or None."""
        return self._get(f"g{self.generation}.{name}")

    def write(self, name: str, value: Any, *, copied: bool = True) -> None:
        """Store a value of this generation; when it returns, it survives anything.

        :param copied: False where nobody will miss it after a clear.
        """
        self._set(f"g{self.generation}.{name}", value, copied=copied)

    def kept(self, name: str) -> Any:
        """Return a value of all generations, or None."""
        return self._get(name)

    def keep(self, name: str, value: Any) -> None:
        """Store a value of all generations."""
        self._set(name, value)

    def hold(self) -> None:
        """Return only if this try is still the one that may act: a superseded one's write is refused.

        For acts that write nothing themselves, such as cancelling.
        """
        self.write("holder", {"try": self.try_number}, copied=False)

    def next_generation(self, hand_on: Any = None) -> None:
        """Begin anew; one write, so a crash leaves either the old generation or the new.

        :param hand_on: what the next generation has to know of this one, for :attr:`handed_on`.
        """
        self._write_generation(max(self.generation, self._reached) + 1, None, hand_on)

    def reach(self, generation: int) -> None:
        """Note that the work goes on with what bears the mark of a later generation, of which every record was lost."""
        if generation > self._reached:
            self._write_generation(self.generation, generation, self.handed_on)

    def _write_generation(self, number: int, reached: int | None, handed_on: Any) -> None:
        more = {"reached": reached, "handed_on": handed_on}
        self._set(
            "generation",
            {"number": number, **{key: value for key, value in more.items() if value is not None}},
        )
        self.generation, self._reached, self.handed_on = number, reached or number, handed_on

    def begin_try(self, newest: str | None) -> str | None:
        """Note that this try is at work; return the newest execution that earlier tries have begun.

        :param newest: the newest one that is recorded now; it counts at the first call of a try alone.
        """
        stored = self.read("try")
        if stored is None or stored["number"] != self.try_number:
            # The page tells from these which try has begun which execution.
            earlier = (
                []
                if stored is None
                else [*stored.get("earlier", ()), [stored["number"], stored["begun_before"]]]
            )
            stored = {"number": self.try_number, "begun_before": newest, "earlier": earlier[-TRIES_NAMED:]}
            self.write("try", stored, copied=False)
        before: str | None = stored.get("begun_before")
        return before

    def tell_work(self, work: str) -> None:
        """Leave word of what this task works on where its name does not matter: with its copies, on Airflow 3.3 in its XCom.

        :param work: in words that two tasks share only if they work on the same.
        """
        try:
            if self._copy is not None:
                self._copy.tell_work(work)
            elif self.kept(WORK) != work:
                self.keep(WORK, work)
                self.identity.xcom_push(key=WORK_XCOM, value=work)
        except Exception as error:
            raise RecordLost(_lost("write", error)) from error

    def work_of(self, other: Any) -> str | None:
        """What another task of this run worked on, if it has left word.

        :param other: what names it as :attr:`identity` names this task.
        """
        try:
            if self._copy is not None:
                return self._copy.work_of(other)
            pull = self.identity.xcom_pull
            told: str | None = pull(task_ids=other.task_id, key=WORK_XCOM, map_indexes=other.map_index)
            return told
        except Exception as error:
            raise RecordLost(_lost("read", error)) from error

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
        """Record the end; of a result that is too long its longest lists and dictionaries are left out, ids by the thousand."""
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
        longest = sorted(result, key=lambda name: len(msgspec.json.encode(result[name])))
        while len(msgspec.json.encode(plain)) > LARGEST_VALUE and longest:
            if isinstance(result[name := longest.pop()], list | dict):
                plain["result"] = {key: value for key, value in plain["result"].items() if key != name}
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


def _lost(verb: str, error: Exception) -> str:
    return (
        f"Could not {verb} this task's state ({type(error).__name__}): a newer try exists, or Airflow cannot be "
        "reached. Whatever was being sent is cut, nothing is cancelled; the next try goes on from the record."
    )
