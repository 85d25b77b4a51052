"""One worker: checks parts, sends them, and asks before it acts. The same code in this process and in a child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from airflow_bulk.documents.inspection import CheckingPort, PartChecker, name_part
from airflow_bulk.documents.source.bodies import BodyReader, HoleKeeper, HoleList, spans_of
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import FoundFile
from airflow_bulk.documents.source.parts import CHANGED_MEANWHILE, Part, SourceChanged
from airflow_bulk.documents.source.reader import SourceReader
from airflow_bulk.hooks.limits.bodies import BodyTurns, NoPlace
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, LineRules, NotNow, SendingCut, Target
from airflow_bulk.hooks.sending.upload_connection import UploadConnection


class WorkerTask(msgspec.Struct, frozen=True):
    """A job as a worker gets it.

    :param part: the stretch; with length 0, the part of this index that a front-to-back reading finds.
    :param holes: spans to leave out, when they are known.
    """

    part: Part
    check: bool
    send: bool
    report: bool
    holes: HoleList | None = None


class SendingPort(Protocol):
    """Whom a sender asks before it acts, and tells what came of it. A part is named by its index."""

    def may_begin(self, index: int) -> None:
        """Ask; returns, raises NotNow, or never comes back."""

    def may_finish(self, index: int) -> float:
        """Ask; returns the boot time by which the last block must have left."""

    def answered(self, index: int, answer: Answer) -> None:
        """Tell the answer."""

    def lost(self, index: int, error: SendingCut | AnswerLost) -> None:
        """Tell that there is none."""


class WorkerPort(CheckingPort, SendingPort, Protocol):
    """How a worker reaches the one who decides."""


class PartSender:
    """Sends parts, one after the other.

    :param spills: descriptor of every worker's spill file.
    """

    def __init__(self, port: SendingPort, reader: SourceReader, spills: Mapping[int, int]) -> None:
        self._port, self._reader, self._spills = port, reader, dict(spills)
        self._connection: UploadConnection | None = None
        self._turns = BodyTurns(None, lambda: self._stopped)
        self._stopped = False

    def aim(self, target: Target) -> None:
        """Send there from now on."""
        self.close()
        self._turns = BodyTurns(target.limits, lambda: self._stopped)
        self._connection = UploadConnection(target, self._turns)

    def cut(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self._stopped = True
        if self._connection:
            self._connection.cut()

    def close(self) -> None:
        """Close the connection; an incomplete body is reset."""
        if self._connection:
            self._connection.close()

    def send(self, part: Part, holes: HoleList) -> None:
        """Send one part, as far as it is allowed. Where the limits leave no place for it now, it stays unsent.

        :raises SourceChanged: the body is not the one that was checked.
        :raises SendingCut: :meth:`cut` was called.
        :raises StoreUnreachable: nobody can say what the limits allow.
        """
        if self._stopped:
            raise SendingCut("cut by request")
        if self._connection is None:
            raise RuntimeError("aim the pool at a target before the first run that sends")
        try:
            with self._turns.body():
                self._send(self._connection, part, holes)
        except NoPlace:
            pass
        if self._stopped:
            raise SendingCut("cut by request")

    def _send(self, connection: UploadConnection, part: Part, holes: HoleList) -> None:
        try:
            self._port.may_begin(part.index)
        except NotNow:
            return
        body = BodyReader(self._reader, part, spans_of(holes, self._spills))
        try:
            answer = connection.post(part.body, body, part.digest, lambda: self._port.may_finish(part.index))
        except (SendingCut, AnswerLost) as error:
            if self._stopped:
                raise SendingCut("cut by request") from error
            self._port.lost(part.index, error)
            return
        except SourceChanged as error:
            raise SourceChanged(
                f"{name_part(self._reader, part)}: has changed: {error}. {CHANGED_MEANWHILE}"
            ) from error
        self._port.answered(part.index, answer)


class Worker:
    """Does tasks, one after the other: a checker and a sender over one source.

    :param number: this worker's number, from 0.
    :param spills: descriptor of every worker's spill file.
    :param most_holes: spans that may stay in memory.
    :param want: what is wanted of rejected lines: ``""`` (no rows), ``"position"`` or ``"line"``.
    """

    def __init__(
        self,
        port: WorkerPort,
        *,
        files: Sequence[FoundFile],
        rules: LineRules,
        layout: Layout,
        number: int,
        spills: Mapping[int, int],
        most_holes: int,
        want: str,
    ) -> None:
        self._reader = SourceReader(files, rules, layout.max_part_bytes)
        # Bodies have a reader of their own: where each part is sent once it is checked, the check goes on where it stands.
        # One reader for both would close, rewind or fetch again what the other still reads.
        self._bodies = SourceReader(files, rules, layout.max_part_bytes)
        keeper = HoleKeeper(number, spills[number], most_holes)
        self._checker = PartChecker(port, self._reader, layout, keeper, want)
        self._sender = PartSender(port, self._bodies, spills)
        self.aim, self.begin_pass = self._sender.aim, self._checker.begin_pass

    def cut(self) -> None:
        """Stop for good. Safe in a signal handler."""
        self._checker.stop()
        self._sender.cut()

    def close(self) -> None:
        """Close files and connection; an incomplete body is reset."""
        self._sender.close()
        self._reader.close()
        self._bodies.close()

    def do(self, task: WorkerTask) -> bool:
        """Do one task.

        :return: False where the source ends before this part.
        :raises SourceError: the source cannot be read, or is not what it was.
        :raises CheckStopped: :meth:`cut` was called while it was checked.
        :raises SendingCut: :meth:`cut` was called while it was sent.
        """
        part, holes = task.part, task.holes
        if task.check:
            found = self._checker.check(task.part, task.report)
            if found is None:
                return False
            part, holes = found.part, found.holes
        if task.send and part.lines:
            self._sender.send(part, holes or HoleList())
        return True
