"""Look before acting: what an earlier try, or a lost answer, may have left on the platform.

Unreadable is not absent. If the look-up fails or two answers fit, the task fails, names the candidates
and sends nothing again (ARCHITECTURE.md section 5.3; airflow.md section 4.3).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_bulk.judging import how_many, id_order, name_ids
from airflow_bulk.platforms.errors import PlatformError
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.recorded_parts import PartState, RecordedPart, RecordedParts

if TYPE_CHECKING:
    from airflow_bulk.arguments import SendingOptions

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds between two lists that must agree: this share of `settle`.
BETWEEN_LISTS = 0.2
#: Lists at most until two agree.
LISTS = 20
#: Seconds between two polls at an execution that has not told its line count.
BETWEEN_LOOKS = 1.0
#: Seconds an unmatched execution may take to tell its line count.
UNTIL_COUNTED = 120.0


class NotReconciled(PlatformError):
    """What is on the platform does not tell what an earlier act did; nothing is sent again."""


class StaysUnclear(NotReconciled):
    """A retry finds the same, so a person has to look at the platform."""


class SeveralFit(StaysUnclear):
    """More than one thing on the platform may be what an earlier act made."""


def list_until_two_agree(
    look: Callable[[], list[T]], key: Callable[[T], Hashable], *, since: float, settle: float
) -> list[T]:
    """Wait until ``settle`` seconds have passed since an act, then list until two lists agree.

    :param look: one full list.
    :param key: what must be equal in both.
    :param since: seconds since 1970 of the act.
    :raises NotReconciled: the lists keep changing.
    """
    time.sleep(max(0.0, since + settle - time.time()))
    before = look()
    for _ in range(LISTS):
        time.sleep(settle * BETWEEN_LISTS)
        now = look()
        if {key(one) for one in now} == {key(one) for one in before}:
            return now
        before = now
    raise NotReconciled(
        "reconcile what an earlier try left on the platform",
        f"{LISTS} lists in a row differed",
        retry="A retry looks again; nothing is sent before two lists agree.",
    )


class Executions(Protocol):
    """What a reconciliation asks of an import's executions."""

    def snapshots(self) -> list[RemoteSnapshot]:
        """All executions of the import."""

    def cancel(self, execution_id: str) -> RemoteSnapshot:
        """Cancel one and return it as re-read."""


class Reconciliation:
    """Finds what became of the parts whose last block may have left without an answer.

    :param executions: the import's executions.
    :param recorded: the record's parts.
    :param own: the import was created by this task; nothing else feeds it.
    :param exclusive: the caller says that nobody else feeds the import given from outside.
    :param cancels: what is PENDING and unmatched is an act of this task's own tries, and is cancelled. False where every record
        was lost: then it is waited for until it tells its lines.
    :param baseline: newest execution of that import before this task sent anything; ids increase.
    """

    def __init__(
        self,
        executions: Executions,
        recorded: RecordedParts,
        sending: SendingOptions,
        *,
        own: bool,
        exclusive: bool = False,
        cancels: bool = True,
        baseline: str = "",
    ) -> None:
        self._executions = executions
        self._recorded = recorded
        self._settle = float(sending.settle)
        self._own = own
        self._exclusive = exclusive
        self._cancels = own and cancels
        self._baseline = baseline

    def run(self) -> None:
        """Give every committed part its execution, or send it again; afterwards none is committed.

        :raises NotReconciled: naming the candidates.
        """
        committed = self._recorded.in_state(PartState.COMMIT)
        if not committed and not self._own:
            return
        unmatched = self._unmatched(committed)
        if self._cancels:
            unmatched = self._cancel_pending(unmatched)
        unmatched = self._adopt_equals(committed, unmatched)
        for one in unmatched:
            self._adopt(one, committed, unmatched)
        for entry in committed:
            if entry.state is PartState.COMMIT:
                log.info("Part %d was not taken by the platform; it is sent again.", entry.part.index + 1)
                entry.state = PartState.CHECKED
                self._recorded.save(entry)

    def _unmatched(self, committed: Sequence[RecordedPart]) -> list[RemoteSnapshot]:
        """Executions that no part is known to have made and that may have taken lines."""
        known = self._recorded.known_executions()

        def look() -> list[RemoteSnapshot]:
            return [
                one
                for one in self._executions.snapshots()
                if one.id not in known
                and one.remote_status is not RemoteStatus.CANCELED
                and id_order(one.id) > id_order(self._baseline)
            ]

        # Nothing was committed: one list, only to notice what should not be there.
        # From now, not from the commit's own time: its write may have taken seconds, and its last block
        # leaves within the commit window after that.
        found = (
            list_until_two_agree(look, lambda one: one.id, since=time.time(), settle=self._settle)
            if committed
            else look()
        )
        until = time.time() + UNTIL_COUNTED
        while (
            not self._cancels
            and any(one.lines is None and not one.remote_status.over for one in found)
            and time.time() < until
        ):
            time.sleep(BETWEEN_LOOKS)
            found = look()
        return found

    def _cancel_pending(self, unmatched: list[RemoteSnapshot]) -> list[RemoteSnapshot]:
        """Cancel what took no line yet; wait for the line count of the rest."""
        left = []
        until = time.time() + UNTIL_COUNTED
        for one in unmatched:
            if one.remote_status is RemoteStatus.PENDING:
                self._recorded.hold()  # to a superseded try a newer one's parts look unmatched, too
                one = self._executions.cancel(one.id)
            while one.lines is None and not one.remote_status.over and time.time() < until:
                time.sleep(BETWEEN_LOOKS)
                one = next((now for now in self._executions.snapshots() if now.id == one.id), one)
            if one.remote_status is RemoteStatus.CANCELED:
                log.info("Cancelled execution %s of an earlier act; it had taken no line.", one.id)
            else:
                left.append(one)
        return left

    def _adopt_equals(
        self, committed: Sequence[RecordedPart], unmatched: Sequence[RemoteSnapshot]
    ) -> list[RemoteSnapshot]:
        """Give parts of one line count as many executions of it: which holds which makes no difference, unless one failed.

        :returns: the executions that are left.
        """
        left = list(unmatched)
        if not (self._own or self._exclusive) or any(one.lines is None for one in left):
            return left
        for lines in {one.lines for one in left}:
            fits = [entry for entry in committed if entry.part.lines == lines]
            equals = sorted((one for one in left if one.lines == lines), key=lambda one: id_order(one.id))
            if (
                len(fits) != len(equals)
                or len(fits) < 2
                or any(one.remote_status is RemoteStatus.FAILED for one in equals)
            ):
                continue
            for entry, one in zip(fits, equals, strict=True):
                self._record(entry, one)
            left = [one for one in left if one.lines != lines]
        return left

    def _record(self, entry: RecordedPart, one: RemoteSnapshot) -> None:
        entry.executions.append(one.id)
        entry.state = PartState.SENT
        self._recorded.save(entry)
        log.info("Part %d is execution %s: its answer had been lost.", entry.part.index + 1, one.id)

    def _adopt(
        self, one: RemoteSnapshot, committed: Sequence[RecordedPart], unmatched: Sequence[RemoteSnapshot]
    ) -> None:
        waiting = [entry for entry in committed if entry.state is PartState.COMMIT]
        fits = [entry for entry in waiting if one.lines in (entry.part.lines, None)]
        # One that has not told its lines may be whichever.
        rivals = [
            other.id for other in unmatched if None in (one.lines, other.lines) or other.lines == one.lines
        ]
        if not self._own and not fits:
            return  # somebody else's
        if len(fits) != 1 or len(rivals) != 1 or (not self._own and not self._exclusive):
            raise self._unclear(one, fits, rivals)
        self._record(fits[0], one)

    def _unclear(
        self, one: RemoteSnapshot, fits: Sequence[RecordedPart], rivals: Sequence[str]
    ) -> NotReconciled:
        parts = ", ".join(f"part {entry.part.index + 1}" for entry in fits) or "no part"
        lines = "an unknown number of lines" if one.lines is None else how_many(one.lines, "line")
        hint = (
            ""
            if self._own or self._exclusive
            else "The import was given from outside, so a retry finds the same: say exclusive=True if nobody else feeds it."
        )
        # Its lines may be counted later; what is counted stays as it is.
        counting = one.lines is None and not one.remote_status.over
        then = (
            "A retry looks again: by then its lines may be counted."
            if counting
            else "A retry finds the same. Look at these executions on the platform; a new DAG run imports into an import "
            "of its own."
        )
        kind = NotReconciled if counting and not hint else StaysUnclear
        return kind(
            "reconcile what an earlier act left on the platform",
            f"execution {one.id} ({one.status}, {lines}) fits {parts}; candidates: {name_ids(rivals)}",
            retry=f"Nothing was sent again. {hint or then}",
        )
