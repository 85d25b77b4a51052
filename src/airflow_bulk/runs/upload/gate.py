"""The gate between a pool and the record: what was checked, what may begin, what may finish, what came back.

Intent before the POST, commit before its last block, outcome after (ARCHITECTURE.md section 5.2). Every method
runs in the task's main thread. A write that fails raises out of the pool, which cuts every body.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from airflow_bulk.documents.source.parts import Part, SourceChanged
from airflow_bulk.documents.source_check import CheckTotals
from airflow_bulk.hooks.answers import LOOK_FIRST
from airflow_bulk.hooks.retry_after import LONGEST_RETRY_AFTER, parse_retry_after, say_retry, say_wait
from airflow_bulk.hooks.sending.protocol import (
    Answer,
    AnswerLost,
    CheckFindings,
    Job,
    NotNow,
    SendingCut,
    Target,
)
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.call import Reply
from airflow_bulk.platforms.errors import Forbidden, NotFound, PlatformError, Refused, TryLater, Unauthorized
from airflow_bulk.runs.recorded_parts import PartState, RecordedPart, RecordedParts
from airflow_bulk.runs.upload.progress import SendingProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.platforms.upload_port import UploadPort, UploadRequest

log = logging.getLogger(__name__)

#: Sendings of one part at most within one try, when its body was cut or refused for the moment.
SENDINGS = 5
#: Seconds before a part is sent again, doubled each time, at most LONGEST_PAUSE.
PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: Seconds without a byte that an upload is given at least: the answer comes after the whole body was read.
LEAST_READ_TIMEOUT = 120.0


def target_of(hook: PlatformHook, request: UploadRequest, deadline: float) -> Target:
    """Where the bodies of an import go, with the connection's credentials, certificates, proxies and limits.

    :param deadline: seconds since 1970 after which no body waits for the limits any more.
    """
    from requests.utils import get_environ_proxies

    endpoint, limits = hook.endpoint, hook.body_limits
    url = endpoint.base_url + request.path
    return Target(
        url=url,
        headers={**endpoint.headers, **request.headers},
        connect_timeout=endpoint.connect_timeout,
        read_timeout=max(endpoint.read_timeout, LEAST_READ_TIMEOUT),
        verify=endpoint.verify,
        proxies={**get_environ_proxies(url, no_proxy=None), **endpoint.proxies},
        limits=limits and msgspec.structs.replace(limits, deadline=deadline),
    )


class Overdue(Exception):
    """The task's own deadline has passed while parts were still to be sent."""


class UploadGate:
    """Implements :class:`airflow_bulk.hooks.sending.protocol.Gate` over the record.

    :param recorded: the record's parts.
    :param port: how the platform takes uploads.
    :param credentials: what the platform calls its credentials, for messages.
    :param without_credentials: leaves them out of an answer, which is told.
    :param recording: write each part as soon as it is checked (``overlap``, where it is sent at once).
    :param deadline: seconds since 1970 after which no part begins.
    :param on_execution: told the id of each execution, and its organisation, as soon as it is recorded.
    :param silence: told for how many seconds the platform has asked to be left alone; all others of the connection then wait, too.
    :param progress: told how far the work has come; None tells the log.
    """

    def __init__(
        self,
        recorded: RecordedParts,
        port: UploadPort,
        *,
        credentials: str,
        without_credentials: Callable[[Reply], Reply],
        recording: bool,
        deadline: float,
        on_execution: Callable[[str, str | None], None],
        silence: Callable[[float], None],
        progress: SendingProgress | None = None,
    ) -> None:
        self.recorded = recorded
        self._port = port
        self._credentials = credentials
        self._without_credentials = without_credentials
        self.checked_parts: list[Part] = []
        self.totals = CheckTotals()
        self.progress = progress or SendingProgress()
        self._recording = recording
        self._on_execution = on_execution
        self._silence = silence
        self._sendings: Counter[int] = Counter()
        self._deadline = deadline
        self._begun_after = 0
        #: When the next sending may begin, by the monotonic clock.
        self._resumes = 0.0
        #: An answer was lost, or a part came back: nothing more begins before :meth:`take_pause`.
        self.unreconciled = False

    # Which job is next.

    def next_send(self, needs_check: Callable[[Part], bool]) -> Callable[[list[Part]], Job | None]:
        """Jobs for every part that nobody has taken, in order."""

        def give(in_flight: list[Part]) -> Job | None:
            busy = {part.index for part in in_flight}
            if self.unreconciled or (self.recorded.in_state(PartState.COMMIT) and not busy):
                return None  # first reconcile, or wait a little
            for entry in self.to_send():
                if entry.part.index not in busy and entry.state is not PartState.COMMIT:
                    # It may have come back without a place within the limits of the connection.
                    if time.time() >= self._deadline:
                        raise Overdue
                    return Job(part=entry.part, check=needs_check(entry.part), report=False)
            return None

        return give

    def unless_unreconciled(
        self, jobs: Callable[[list[Part]], Job | None]
    ) -> Callable[[list[Part]], Job | None]:
        """The same jobs, held back while an answer is not reconciled."""
        return lambda in_flight: None if self.unreconciled else jobs(in_flight)

    def begin_after(self, count: int) -> None:
        """Pass 1 goes on after so many recorded parts."""
        self._begun_after = count

    def all_parts(self) -> list[Part]:
        """The recorded parts that pass 1 went on after, then those it checked."""
        return [entry.part for entry in self.recorded.entries[: self._begun_after]] + self.checked_parts

    def to_send(self) -> list[RecordedPart]:
        """Parts with lines that nobody has taken."""
        return [one for one in self.recorded.in_state(PartState.CHECKED, PartState.INTENT) if one.part.lines]

    def take_pause(self) -> float:
        """Seconds to wait before the next sending; asked once a round, when everything is reconciled."""
        self.unreconciled = False
        return max(0.0, self._resumes - time.monotonic())

    # The gate.

    def checked(self, part: Part, findings: CheckFindings) -> None:
        """Keep a part's facts; they must be the recorded ones where an earlier try recorded them."""
        if part.index < len(self.recorded.entries):
            before = self.recorded.entries[part.index].part
            if (before.digest, before.lines) != (part.digest, part.lines):
                raise SourceChanged(
                    f"Part {part.index + 1} is not what an earlier try found there: its content has changed, or it is "
                    "cut otherwise since max_part_bytes, one_part_per_file or workers were changed (put them back). "
                    "Nothing more was sent; clearing the task compares again."
                )
        elif self._recording:
            self.recorded.add([part])
        self.checked_parts.append(part)
        self.totals.add(findings)
        self.progress.checked(part)

    def may_begin(self, part: Part) -> None:
        """Record the intent.

        :raises NotNow: an answer was lost since this part was given: a part of as many lines could not be told
            from the lost one, so nothing begins before that is reconciled.
        :raises Overdue: the task's own deadline has passed.
        """
        if self.unreconciled:
            raise NotNow
        if time.time() >= self._deadline:
            raise Overdue
        self._sendings[part.index] += 1
        self._to(self._entry(part), PartState.INTENT)

    def may_finish(self, part: Part) -> None:
        """Write the commit; only if this write returned may the last block follow."""
        self._to(self._entry(part), PartState.COMMIT)

    def answered(self, part: Part, answer: Answer) -> None:
        """Record the execution, or read what the platform refused."""
        entry = self._entry(part)
        reply = Reply(answer.status, answer.headers, answer.body)
        problem = self._port.problem(self._without_credentials(reply))
        if problem is None and answer.status < 300:
            try:
                execution = self._port.read_upload(reply)
            except (ValueError, KeyError, TypeError):
                log.warning(
                    "The answer to part %d cannot be read (%s); looking at the platform before "
                    "anything is sent again.",
                    part.index + 1,
                    how_many(len(answer.body), "byte"),
                )
                # Stays committed. Counted, for a proxy may answer its own page to every sending.
                self._again(part, self._later(answer, part, " with something else than an execution"))
                return
            entry.executions.append(execution.id)
            self._to(entry, PartState.SENT)
            self._on_execution(execution.id, execution.owner)
            self.progress.sent(part, execution.id)
            return
        said = f" ({problem.message})" if problem and problem.message else ""
        if answer.status >= 500 and entry.state is PartState.COMMIT:
            log.warning(
                "The platform answered %d to part %d%s; looking before anything is sent again.",
                answer.status,
                part.index + 1,
                said,
            )
            self._again(part, self._later(answer, part, said))
            return
        # Refused, or answered before the body was complete: not taken.
        self._to(entry, PartState.CHECKED)
        if answer.status in (408, 429) or answer.status >= 500:
            error = self._later(answer, part, said)
            self._again(part, error)
            log.warning("Part %d was not taken: %s; it is sent again.", part.index + 1, error.why)
            return
        raise self._refused(answer, part, said)

    def lost(self, part: Part, error: SendingCut | AnswerLost) -> None:
        """Plan another sending of a cut body; a committed one is reconciled first."""
        entry = self._entry(part)
        number, why = part.index + 1, str(error).rstrip(".")
        if isinstance(error, AnswerLost):
            log.warning("Part %d: %s; looking at the platform before anything is sent again.", number, why)
        else:
            log.warning("Part %d: %s; it is sent again.", number, why)
            if entry.state is PartState.COMMIT:
                self._to(entry, PartState.CHECKED)
        self._again(part, TryLater(self._of(part), why, retry=LOOK_FIRST))

    # How it is done.

    def _entry(self, part: Part) -> RecordedPart:
        return self.recorded.entries[part.index]

    def _to(self, entry: RecordedPart, state: PartState) -> None:
        entry.state = state
        self.recorded.save(entry)

    def _of(self, part: Part) -> str:
        return f"send part {part.index + 1}"

    def _again(self, part: Part, error: TryLater) -> None:
        """Wait before the next sending, or give up: a long pause is Airflow's to make, without a worker slot."""
        self.unreconciled = True
        tries = self._sendings[part.index]
        if tries >= SENDINGS or (error.retry_after or 0.0) > LONGEST_RETRY_AFTER:
            raise error
        pause = max(error.retry_after or 0.0, min(PAUSE * 2 ** (tries - 1), LONGEST_PAUSE))
        self._resumes = max(self._resumes, time.monotonic() + pause)

    def _later(self, answer: Answer, part: Part, said: str) -> TryLater:
        asked = parse_retry_after(answer.headers.get("retry-after"))
        if asked is not None:
            self._silence(asked)
        return TryLater(
            self._of(part),
            f"the platform answered {answer.status}{said}{say_wait(answer.status, asked)}",
            retry=say_retry("A retry goes on with the parts that were not taken.", asked),
            status=answer.status,
            retry_after=asked,
        )

    def _refused(self, answer: Answer, part: Part, said: str) -> PlatformError:
        kinds: dict[int, tuple[type[PlatformError], str, str]] = {
            401: (
                Unauthorized,
                f"the platform answered 401: it does not accept the {self._credentials} of the connection",
                f"Renew the {self._credentials} in the connection; a retry then goes on with this part.",
            ),
            403: (
                Forbidden,
                f"the platform answered 403: no right on this {self._port.noun} goes with the {self._credentials}",
                "A retry cannot help until the right is granted; clearing the task then goes on with this part.",
            ),
            404: (
                NotFound,
                f"the platform answered 404: the {self._port.noun} is gone",
                "Nothing is sent again; a retry cannot help, and a new DAG run imports again.",
            ),
            413: (
                Refused,
                f"the platform answered 413: a body of {how_many(part.body, 'byte')} is too large for the platform",
                "A retry cannot help; lower SendingOptions(max_part_bytes), for a new DAG run.",
            ),
        }
        kind, why, retry = kinds.get(
            answer.status, (Refused, f"the platform answered {answer.status}", "A retry cannot help.")
        )
        return kind(self._of(part), f"{why}{said}", retry=retry, status=answer.status)
