"""The spool of a function's records: a file that every try reads, written once by a call of the function.

The function is called once a generation: when the spool is complete and recorded, a retry or a resume reads it again. A try that
is killed before that leaves nothing that counts: the next one calls the function again. A clear calls it again, too, as
long as nothing of the spool was sent; then the spool is what is sent, and what it holds must stay as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import xxhash
from airflow.sdk.exceptions import AirflowSkipException

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.documents.records import LineWriter, refuse_no_records
from airflow_bulk.documents.source.files import find_files, shown
from airflow_bulk.documents.source.parts import SourceChanged, SourceError, SourceMissing
from airflow_bulk.judging import how_many
from airflow_bulk.runs.failures import TaskStopped
from airflow_bulk.runs.own_files import (
    open_folder,
    own_files,
    own_name,
    owner_of,
    remove_file,
    remove_old,
    without_failing,
    writing,
)
from airflow_bulk.runs.record import RecordLost
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.progress import gigabytes

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
RESTART = (
    "Or say on_source_change='restart': what can be cancelled is cancelled, the function is called again, and all its records are "
    "imported."
)
_ENDINGS = {"TEXT_CSV": "csv"}


class SpoolLost(SourceChanged):
    """The spool is gone or not what it was, while parts of it were sent."""


class FunctionFailed(Exception):
    """The function raised; the operator raises its error as it is.

    :ivar error: what the function raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class SpooledFile(msgspec.Struct, kw_only=True):
    """A complete spool, as recorded.

    :param uri: where it is.
    :param size: bytes.
    :param version: what the system or the store calls its version.
    :param records: how many.
    :param digest: xxh3-128 of its bytes, hexadecimal.
    :param max_tries: of the try that has written it; a clear changes the number (airflow.md section 2.1).
    """

    uri: str
    size: int
    version: str
    records: int
    digest: str
    max_tries: int


class Spool:
    """The spool of one task instance.

    :param call: calls the function.
    :param folder: a local folder or a storage URI that every worker reads.
    :param keep: seconds that a spool of a run that is over stays there.
    :param record: the task's memory.
    :param place: task, map index and place in a loop: the readable part of the name.
    :param args: what the import was asked for.
    :param way_out: what a person can do, beside putting it back, where the spool is lost.
    :raises ArgumentError: the folder's URI holds a password or a query.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        *,
        folder: str,
        keep: float,
        record: Record,
        place: str,
        args: UploadArguments,
        way_out: str = RESTART,
    ) -> None:
        if shown(folder) != folder:
            raise ArgumentError(
                "spool_path",
                "must hold no password and no query: name a connection (s3://conn_id@bucket/folder), since the path "
                "of the spool is recorded",
            )
        self._call, self._folder, self._keep, self._record = call, folder, keep, record
        self._lines = LineWriter(mime_type=args.mime_type, encoding=str(args.fields.get("encoding", "utf-8")))
        self._ending = _ENDINGS.get(args.mime_type, "ndjson")
        self._ti = record.identity
        self._owner = owner_of(self._ti.dag_id, self._ti.task_id)
        self._place, self._way_out = place, way_out
        self._file: SpooledFile | None = None
        #: This try has called the function; for a dry run.
        self.fresh = self.dry = False

    def source(self, *, begun: bool) -> str:
        """Return where the records are: in the spool of an earlier try, or in one that a call of the function makes.

        :param begun: parts of the recorded spool may have been sent.
        :raises SpoolLost: they have, and it is gone or changed.
        :raises FunctionFailed: the function raised.
        :raises SourceError: a record cannot become a line, or the spool cannot be written.
        """
        stored = self._record.read("spool")
        if stored is not None:
            file = msgspec.convert(stored, SpooledFile)
            if begun or file.max_tries == self._record.max_tries:
                if self._is_whole(file, begun=begun):
                    self._file = file
                    return file.uri
                log.warning(
                    "The spool %s is gone. Nothing of it was sent: the function is called again.", file.uri
                )
            else:
                log.info("This task was cleared before anything was sent: the function is called again.")
        self._forget_leftovers()
        self._file = self._write(f"g{self._record.generation}")
        self.fresh = True
        try:
            self._record.write("spool", msgspec.to_builtins(self._file))
        except RecordLost:
            self.discard()  # a newer try has a spool of its own
            raise
        return self._file.uri

    def dry_source(self) -> str:
        """Call the function for a dry run, which records nothing."""
        self.dry = True
        self._file = self._write(f"g{self._record.generation}.dry")
        return self._file.uri

    @property
    def fingerprint(self) -> str:
        """What the source is known by over all tries: its content, wherever the spool lies."""
        assert self._file is not None  # noqa: S101
        return self._file.digest

    def _is_whole(self, file: SpooledFile, *, begun: bool) -> bool:
        """Whether the file is what was recorded; False where it is gone and need not be there.

        :raises SpoolLost: parts of it were sent, and it is gone or changed.
        """
        try:
            now = find_files([file.uri], planning.open_path, check_extension=False)[0].record
        except SourceMissing:
            if not begun:
                return False
            raise SpoolLost(self._lost(file, "is gone")) from None
        if (now.size, now.version) == (file.size, file.version):
            return True
        # A person may have put it back from a copy.
        if now.size == file.size and self._digest(file.uri) == file.digest:
            return True
        if not begun:
            return False
        raise SpoolLost(self._lost(file, "has changed"))

    @staticmethod
    def _digest(uri: str) -> str:
        digest = xxhash.xxh3_128()
        with open_folder(uri).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return str(digest.hexdigest())

    # Writing.

    def _name(self, generation: str) -> str:
        return own_name(f"{self._place}.{generation}", self._owner, self._ti.run_id)

    def _write(self, generation: str) -> SpooledFile:
        name = f"{self._name(generation)}.{self._ending}"
        began = time.monotonic()
        digest = xxhash.xxh3_128()
        try:
            folder = open_folder(self._folder)
            with writing(folder, name) as file, closing(self._records()) as records:
                count = self._copy(records, file, digest)
            uri = str(folder / name) if isinstance(folder, Path) else f"{self._folder.rstrip('/')}/{name}"
            found = find_files([uri], planning.open_path, check_extension=False)[0].record
        except (FunctionFailed, SourceError, TaskStopped, AirflowSkipException):
            raise
        except Exception as error:  # noqa: BLE001
            # A store's library has errors of its own; their text may hold more than a log should.
            why = getattr(error, "strerror", None) or type(error).__name__
            raise SourceError(
                f"spool_path {self._folder}: the records cannot be written there ({why}). Nothing was sent; a retry "
                "calls the function again."
            ) from None
        log.info(
            "Spooled %s: %s in %.1f s, in %s.",
            how_many(count, "record"),
            gigabytes(found.size),
            time.monotonic() - began,
            uri,
        )
        return SpooledFile(
            uri=uri,
            size=found.size,
            version=found.version,
            records=count,
            digest=digest.hexdigest(),
            max_tries=self._record.max_tries,
        )

    def _copy(self, records: Iterator[Any], file: IO[bytes], digest: Any) -> int:
        number, block = 0, bytearray()
        for number, record in enumerate(records, 1):
            block += self._lines.line(record, number)
            if len(block) >= _BLOCK:
                file.write(bytes(block))
                digest.update(block)
                block.clear()
        file.write(bytes(block))
        digest.update(block)
        return number

    def _records(self) -> Generator[Any]:
        """Call the function, and give its records one by one.

        :raises FunctionFailed: the function, or what it returned, raised.
        """
        try:
            returned = self._call()
        except (TaskStopped, AirflowSkipException, SourceError, RecordLost):
            raise
        except Exception as error:
            raise FunctionFailed(error) from error
        refuse_no_records(returned)
        try:
            yield from returned
        except (TaskStopped, AirflowSkipException, SourceError, RecordLost):
            raise
        except Exception as error:
            raise FunctionFailed(error) from error

    # Removing.

    def _forget_leftovers(self) -> None:
        """Remove what killed tries of this task instance have left, and once a run what runs that are over have left."""
        if (self._ti.map_index or 0) <= 0:
            remove_old(self._folder, self._owner, self._keep, self._ti, "spools of this task")
        if self._record.try_number > 1:
            begins = self._name(f"g{self._record.generation}").rpartition(".")[0]
            without_failing(
                lambda: [one.remove() for one in own_files(self._folder, self._owner) if one.begins(begins)],
                "what an earlier try has left of the spool",
            )

    def discard(self) -> None:
        """Remove the spool after a good end, which needs it no more. It never fails: it warns."""
        if self._file is None and (stored := self._record.read("spool")) is not None:
            self._file = msgspec.convert(stored, SpooledFile)
        if self._file is not None:
            uri = self._file.uri
            without_failing(lambda: remove_file(uri), "the spool of this import")

    def _lost(self, file: SpooledFile, what: str) -> str:
        return (
            f"The spool {file.uri} {what}, while parts of it were sent. Nothing more was sent, and the records are not made "
            f"again: they may be others. Put the file back ({how_many(file.records, 'record')}, "
            f"{how_many(file.size, 'byte')}, xxh3-128 {file.digest}) and clear this task. {self._way_out}"
        )
