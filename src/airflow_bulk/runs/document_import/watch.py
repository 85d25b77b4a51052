"""What a sensor sees of a document import: one poll, its verdict, the result, the words for failure.

The same :mod:`airflow_bulk.judging` as everywhere decides what is over; here stands only what a mere watcher makes of
it, who cannot send anything again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk import judging
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.judging import Tolerance, name_ids
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs import failures
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

NOT_CANCELLED = "Nothing was cancelled, since another party started it."


@dataclass(frozen=True)
class ImportWatchArguments:
    """The arguments of a sensor, read and checked."""

    import_id: str
    execution_ids: tuple[str, ...] | None
    datamart_id: str | None
    min_executions: int
    quiet_for: float
    tolerance: Tolerance

    @property
    def expected(self) -> int:
        """Executions that must be there before anything is over."""
        return self.min_executions if self.execution_ids is None else len(self.execution_ids)


def read_arguments(given: Mapping[str, Any]) -> ImportWatchArguments:
    """Read a sensor's arguments, which a template may have turned into text.

    :raises ArgumentError: naming the field.
    """
    import_id = read.optional_text("import_id", given["import_id"])
    if import_id is None:
        raise ArgumentError("import_id", "must be the id of a document import, and is empty")
    ids = read.optional_texts("execution_ids", given["execution_ids"])
    min_executions = read.integer("min_executions", given["min_executions"])
    if ids == [] and min_executions:
        raise ArgumentError(
            "execution_ids",
            "names nothing. No executions is not done: leave it out to watch the whole import, or say min_executions=0",
        )
    quiet_for = given["quiet_for"]
    if isinstance(quiet_for, timedelta):
        quiet_for = quiet_for.total_seconds()
    return ImportWatchArguments(
        import_id=import_id,
        execution_ids=None if ids is None else tuple(dict.fromkeys(ids)),
        datamart_id=read.optional_text("datamart_id", given["datamart_id"]),
        min_executions=min_executions,
        quiet_for=read.number("quiet_for", quiet_for),
        tolerance=read.read_tolerance(given["max_failures"]),
    )


class ImportWatch(Watch):
    """One sensor's view of one import.

    :param args: what was asked for.
    :param hook: the platform.
    :param datamart_id: the import's datamart.
    :param push: pushes a key and a value to XCom.
    :param times: ``started``, ``timeout`` and ``poll_interval`` of :class:`~airflow_bulk.runs.watching.Watch`.
    """

    def __init__(
        self,
        args: ImportWatchArguments,
        hook: MediarithmicsHook,
        datamart_id: str,
        *,
        push: Callable[[str, Any], None],
        **times: float,
    ) -> None:
        super().__init__(expected=args.expected, quiet_for=args.quiet_for, **times)
        self.args = args
        self.hook = hook
        self.datamart_id = datamart_id
        self.import_id = args.import_id
        self.execution_ids = None if args.execution_ids is None else list(args.execution_ids)
        self._push = push
        self._executions = hook.executions(args.import_id, datamart_id)
        self._counting: list[RemoteSnapshot] = []
        self._url: str | None = None

    @property
    def thing(self) -> str:
        """The import, in words."""
        return f"Document import {self.import_id}"

    def poll(self) -> judging.Verdict:
        """Ask the platform once and judge what it shows.

        :raises NotFound: the import, or an execution that was named, does not exist.
        """
        found = self._executions.snapshots()
        counting = judging.counting(found, self.execution_ids, without_canceled=True)
        if self.execution_ids is not None:
            # A name that the list does not hold: read it, so that a wrong one fails now and not at the deadline.
            listed = {one.id for one in counting}
            counting += [self._executions.get(one) for one in self.execution_ids if one not in listed]
        self._counting = counting
        self._tell_link(found)
        return self._judge(counting)

    def why_not_good(self, verdict: judging.Finished | judging.FailedBecause) -> str:
        """Say why an import that is over is not good; empty when it is."""
        it = self.thing
        if isinstance(verdict, judging.FailedBecause):
            return (
                f"{it}: {verdict.reason}; {verdict.totals}. A retry cannot help: it finds the same. Where the lines were "
                "sent again, a sensor whose execution_ids name the new executions judges those."
            )
        if verdict.canceled:
            which = "executions were" if self.execution_ids else "all executions were"
            return (
                f"{it}: {which} canceled and took no line: {name_ids(verdict.canceled)}. A retry cannot help "
                "before somebody has uploaded again."
            )
        return self._too_many_failures(verdict.totals)

    def _too_many_failures(self, totals: judging.Totals) -> str:
        tolerance = self.args.tolerance
        counted = totals.accepted + totals.failed
        if totals.uncounted and str(tolerance) != "100%":
            silent = [
                one.id
                for one in self._counting
                if one.remote_status is RemoteStatus.SUCCEEDED and one.accepted is None and one.failed is None
            ]
            return (
                f"{self.thing}: the platform says SUCCEEDED without counting lines, so nobody "
                f"knows how many failed: {name_ids(silent)}. Clear the task to look again; max_failures='100%' accepts it."
            )
        return failures.say_too_many(
            self.thing,
            totals.failed,
            counted,
            tolerance,
            kinds=(one.message for one in self._counting),
            more="The accepted lines stay imported.",
        )

    def _describe(self, last: judging.PastDeadline) -> str:
        return str(last.totals)

    def _goes_on(self, last: judging.PastDeadline) -> str:
        going = name_ids([*last.going, *last.pending])
        return f"Not over: {going}. {NOT_CANCELLED}" if going else f"{self._missing()} {NOT_CANCELLED}"

    def _missing(self) -> str:
        """Say what is missing where no execution is going."""
        there = judging.how_many(len(self._counting), "execution")
        if len(self._counting) < self.rules.expected:
            return f"{there} of at least {self.rules.expected} had come: check that somebody uploads into this import."
        return f"{there} had come, the newest less than quiet_for={self.rules.quiet_for:g} s ago."

    def result(self, verdict: judging.Verdict) -> dict[str, Any]:
        """Make the sensor's result, with exactly the documented names."""
        totals = verdict.totals
        return {
            "import_id": self.import_id,
            "execution_ids": sorted((one.id for one in self._counting), key=judging.id_order),
            "executions": dict(totals.executions),
            "lines_counted": totals.accepted + totals.failed,
            "lines_accepted": totals.accepted,
            "lines_failed": totals.failed,
            "error_file_uris": [one.error_file for one in self._counting if one.error_file],
            "possible_issue_on_identifiers": any(one.doubtful_identifiers for one in self._counting),
            "console_url": self._url,
        }

    def _tell_link(self, found: Sequence[RemoteSnapshot]) -> None:
        if self._url is None:
            owner = next((one.owner for one in found if one.owner), None)
            self._url = self.hook.console_url(self.import_id, self.datamart_id, owner)
            if self._url is not None:
                self._push("console_url", self._url)
