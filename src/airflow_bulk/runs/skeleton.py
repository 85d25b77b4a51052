"""The life of one piece of remote work over all tries of its task, for every platform.

Recorded end, open, submit once, poll, wait out an outage, judge, write the end, stop. :meth:`RemoteRun.advance` does
all that can be done now and is the only entrance: a first try, a retry, a resume after deferral and a crash in any of
them take the same path, and the record says what is left to do (ARCHITECTURE.md section 5.8). What a platform adds is how to
submit, how to poll, what a verdict leads to and what can be cancelled. A task also ends with its supervisor
(:func:`ends_with_supervisor`), so that an orphan does not burn bandwidth for hours; exactly once does not rest on that, for
the commit gate holds without (airflow.md section 4.3).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk import judging
from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline, WaitingProgress
from airflow_bulk.platforms.errors import TryLater
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.record import EndMeaning, RecordedEnd
from airflow_bulk.runs.shown import ShownRun
from airflow_bulk.shown import ROW_KEYS, waiting_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_bulk.platforms.status import RemoteSnapshot
    from airflow_bulk.runs.record import Record


#: Seconds of the 5 that Airflow leaves between SIGTERM and SIGKILL (airflow.md section 3.1).
KILL_SECONDS = 3.5
#: Seconds for cancelling where nothing hurries.
CANCEL_SECONDS = 30.0
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class RemoteRunArguments(Protocol):
    """What every operator of remote work is asked for."""

    @property
    def on_clear(self) -> str:
        """What a cleared success does: ``"keep"`` its result, or the work again."""

    @property
    def wait_for_completion(self) -> bool:
        """Wait for the end, or end once everything is submitted."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls once the work has aged."""

    @property
    def timeout(self) -> float:
        """Seconds from the first submission to the deadline, over all tries and deferrals."""


A = TypeVar("A", bound=RemoteRunArguments)


class RemoteRun(ABC, Generic[A]):
    """Remote work that a task asked for.

    :param args: what was asked for.
    :param record: the task's memory.
    :param platform: a key of :data:`airflow_bulk.shown.PLATFORMS`, for the page.
    """

    #: What kind of work it is, as the page names it.
    kind: ClassVar[str]

    def __init__(self, args: A, record: Record, *, platform: str) -> None:
        self.args = args
        self.record = record
        self.shown = ShownRun(record.identity, ROW_KEYS[platform])
        self._began = time.time()
        self._submitted = False
        self._log = logging.getLogger(type(self).__module__)
        self._waiting = WaitingProgress(self._log)

    # The way through.

    def advance(self) -> KeepWaiting | dict[str, Any]:
        """Do everything that can be done now; return the result, or when to poll again."""
        dry = self._dry_run()
        if dry is not None:
            return dry
        if not self._submitted:
            ended = self._recorded_end()
            if ended is not None:
                self._show("over", ended)
                return ended
            self._open()
            self._show("begun")
            try:
                ended = self._submit()
            except TryLater as error:
                if not self._was_submitted():
                    raise
                return self._wait_out(error)
            if ended is not None:
                self._show("over", ended)
                return ended
            self._submitted = True
            self._show("submitted")
        return self._go_on()

    def _go_on(self) -> KeepWaiting | dict[str, Any]:
        return self._poll() if self.args.wait_for_completion else self._end_without_waiting()

    @property
    def started(self) -> float:
        """Seconds since 1970 of the first submission; a clear restarts this clock."""
        return self._began

    def rules(self) -> judging.WaitingRules:
        """What the waiting obeys: one deadline over all tries and deferrals."""
        return judging.WaitingRules(
            started=self.started,
            deadline=self.started + self.args.timeout,
            poll_interval=self.args.poll_interval,
        )

    def _dry_run(self) -> dict[str, Any] | None:
        """The result of a dry run, which touches neither record nor platform; None where none was asked for."""
        return None

    # What earlier tries left.

    def _recorded_end(self) -> dict[str, Any] | None:
        """What a recorded end means for this try (ARCHITECTURE.md section 5.5).

        :returns: the recorded result where it stands; None to go on, in the next generation where the work is done again.
        :raises AirflowFailException: a retry after a failed judgement.
        """
        meaning, end = self.record.recorded_end(
            keep=self.args.on_clear == "keep", is_done_again=self._is_done_again
        )
        if end is None or meaning is EndMeaning.JUDGE_AGAIN:
            return None
        if meaning is EndMeaning.STANDS:
            return self._recorded_result(end.result)
        self._log.warning(
            "%s, as generation %d.", self._describe_former(end.result), self.record.generation + 1
        )
        self.record.next_generation()
        return None

    def _is_done_again(self, end: RecordedEnd, cleared: bool) -> bool:
        """Whether a bad end takes the work again, since judging what is there cannot change it."""
        return False

    def _recorded_result(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result of an end that stands."""
        return result

    @abstractmethod
    def _describe_former(self, former: dict[str, Any]) -> str:
        """Say that the work is done again, and what the former work was; without a full stop.

        :param former: the result of the former work.
        """

    def _open(self) -> None:
        """Read what earlier tries left; the clock of the deadline is theirs."""
        self._began, _ = self.record.started()

    # Submitting.

    @abstractmethod
    def _submit(self) -> dict[str, Any] | None:
        """Submit once over all tries, or find what an earlier try submitted.

        :returns: the result where there is nothing to submit; else None.
        """

    def _was_submitted(self) -> bool:
        """Whether an earlier try has submitted everything: an outage is then waited out, as after a look."""
        return False

    # Waiting and judging.

    @abstractmethod
    def _snapshots(self) -> Sequence[RemoteSnapshot]:
        """Look once: what counts, as the platform shows it now. What the result needs of it is kept.

        :raises TryLater: the platform cannot be asked for the moment.
        """

    @abstractmethod
    def _why_not_good(self, verdict: Finished | FailedBecause) -> str:
        """Say why what is over is not good; empty when it is.

        :raises TryLater: the platform had to be asked, and cannot be for the moment.
        """

    def _poll(self) -> KeepWaiting | dict[str, Any]:
        reason = ""
        try:
            seen = self._snapshots()
            verdict = judging.judge(seen, self.rules(), time.time())
            if isinstance(verdict, Finished) and not verdict.canceled:
                reason = self._why_not_good(verdict)
        except TryLater as error:
            return self._wait_out(error)
        if isinstance(verdict, KeepWaiting):
            self._waiting.tell(verdict.totals, self._waits_for(verdict), verdict.unknown)
            self.shown.tell_now(waiting_state(seen, verdict))
            return self._until_next_poll(verdict)
        self._keep_ends()
        if isinstance(verdict, PastDeadline):
            self._late(verdict)
        if isinstance(verdict, FailedBecause):
            return self._failed(verdict)
        if verdict.canceled:
            return self._canceled(verdict)
        return self._end(reason)

    def _wait_out(self, error: TryLater) -> KeepWaiting:
        """An outage of the platform passes; only our own deadline ends the waiting.

        :raises TryLater: the deadline has passed, or nobody waits.
        """
        rules, now = self.rules(), time.time()
        left = (rules.deadline or now) - now
        if left <= 0 or not self.args.wait_for_completion:
            raise error
        pause = min(left, max(judging.next_poll(rules, now), error.retry_after or 0.0))
        self._log.warning(
            "Could not %s: %s. Waiting on. The platform is asked again in %.0f s.",
            error.what,
            error.why,
            pause,
        )
        return KeepWaiting(pause, judging.Totals(), "the platform cannot be asked")

    def _waits_for(self, verdict: KeepWaiting) -> str:
        """What is being waited for, in words."""
        return verdict.why

    def _until_next_poll(self, verdict: KeepWaiting) -> KeepWaiting:
        """When to poll again."""
        return verdict

    @abstractmethod
    def _late(self, verdict: PastDeadline) -> NoReturn:
        """Cancel what still can be.

        :raises DeadlinePassed: always; the record is kept.
        """

    def _failed(self, verdict: FailedBecause) -> KeepWaiting | dict[str, Any]:
        """What work that failed as a whole leads to."""
        return self._end(self._why_not_good(verdict))

    def _canceled(self, verdict: Finished) -> KeepWaiting | dict[str, Any]:
        """What cancelled work, which did nothing, leads to; many platforms cancel nothing."""
        return self._end(self._why_not_good(verdict))

    # Ends.

    @abstractmethod
    def _result(self) -> dict[str, Any]:
        """Make the operator's result, with exactly the documented names; None for what nobody has seen."""

    def _end_without_waiting(self) -> KeepWaiting | dict[str, Any]:
        """End where nobody waits: everything is submitted."""
        return self._end()

    def _end(self, reason: str = "", *, retried: bool = False) -> KeepWaiting | dict[str, Any]:
        """Write the end, good or not; work that has more to do may go on instead.

        :param reason: why it is not good; empty when it is.
        :param retried: a retry does the work again.
        :raises AirflowException: it is not good.
        """
        result = self._result()
        self.record.write_end(good=not reason, result=result, reason=reason)
        self._forget_live()
        self._show("over", result)
        if reason:
            raise AirflowException(reason) if retried else AirflowFailException(reason)
        if self.args.wait_for_completion:
            self._log_end(result)
        return result

    def _forget_live(self) -> None:
        """The end is written: stopping the task has nothing to cancel any more."""
        return

    @abstractmethod
    def _log_end(self, result: dict[str, Any]) -> None:
        """Log a good end."""

    # What the page shows.

    def _show(self, phase: str, result: dict[str, Any] | None = None) -> None:
        """Tell the page how far the run is.

        :param phase: ``begun``, ``checked``, ``sending``, ``submitted`` or ``over``.
        :param result: the result of a run that is over.
        """
        row = {
            "kind": self.kind,
            "phase": phase,
            "generation": self.record.generation,
            "started": self.started,
        }
        try:
            row |= self._row(result or {})
        except TaskStopped:
            raise
        except Exception as error:  # noqa: BLE001  (what people see must not end a run)
            self._log.debug("The page shows less of this run: %s.", type(error).__name__)
        self.shown.tell(row)

    def _keep_ends(self) -> None:
        """Keep how each piece of the work ended, where the result has only sums."""
        return

    @abstractmethod
    def _row(self, result: dict[str, Any]) -> dict[str, Any]:
        """What the page shows of the run, as far as it is known: ``name``, ``id``, and counts by the names of a result.

        :param result: the result of a run that is over, else empty.
        """

    def sources(self) -> Sequence[str]:
        """The files that were read, as far as they are known: paths and URIs without a secret, the first ones of many."""
        return ()

    # Stopping.

    def kill(self) -> None:
        """Stop everything at once: for ``on_kill``, in the main thread, within Airflow's 5 seconds.

        Touches neither the task's state nor connections, whose locks the interrupted code may hold.

        :raises TaskStopped: always; it makes ``execute`` end.
        """
        try:
            self._stop()
        except Exception as error:  # noqa: BLE001  (whatever it is, the task has to end now)
            self._log.warning("Could not cancel everything in time: %s.", type(error).__name__)
        raise TaskStopped(
            "The task was stopped. What goes on at the platform is named above; a retry or a clear goes on from the "
            "record."
        )

    @abstractmethod
    def _stop(self) -> None:
        """Cut what is being sent, cancel what this task itself submitted, and name what goes on."""


def _supervised() -> bool:
    """Whether a real supervisor is the parent: in ``dag.test()`` the process is the user's own."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)) is CommsDecoder


@contextmanager
def ends_with_supervisor(enabled: bool = True) -> Iterator[None]:
    """Ask the kernel to kill this process when its supervisor dies (Linux; elsewhere nothing happens).

    :param enabled: False leaves the process alone, for ``run_as_user``, where it is lost anyway.
    """
    if not enabled or not sys.platform.startswith("linux") or not _supervised():
        yield
        return
    import ctypes

    libc = ctypes.CDLL(None)
    parent = os.getppid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_PDEATHSIG, 0)
