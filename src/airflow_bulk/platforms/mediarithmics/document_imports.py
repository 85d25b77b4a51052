"""Document imports of mediarithmics: records and statuses; the calls are in ``document_import_calls``.

Facts: mediarithmics.md sections 1 to 4. A fact marked [assumed] there is a constant here.
"""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import msgspec

from airflow_bulk.platforms.answers import RemoteId, json_reader, seconds
from airflow_bulk.platforms.call import AnswerProblem, Reply
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

T = TypeVar("T")

#: Base URL; the vendor asks to keep it configurable (section 1.1 [documented]).
BASE_URL = "https://api.mediarithmics.com"

#: Content-Type of an upload by the import's mime type (section 3 [documented][seen]).
CONTENT_TYPES = {"APPLICATION_X_NDJSON": "application/x-ndjson", "TEXT_CSV": "text/csv"}

#: Section 2.1: the types that the page on bulk imports names, then those of other pages.
DOCUMENT_TYPES = (
    "USER_ACTIVITY",
    "USER_SEGMENT",
    "USER_PROFILE",
    "USER_CHOICE",
    "USER_IDENTIFIERS_DELETION",
    "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
    "USER_DEVICE_POINTS_DELETION",
    "USER_POINTS_DELETION",
    "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS",
)
#: Other spellings of a type: the documentation's own sample has the singular (section 12, row 7).
SPELLINGS = {"USER_DEVICE_POINT_DELETION": "USER_DEVICE_POINTS_DELETION"}
#: Types whose lines delete for good (sections 6.5, 6.7, 6.8).
DELETIONS = ("USER_IDENTIFIERS_DELETION", "USER_DEVICE_POINTS_DELETION", "USER_POINTS_DELETION")
PRIORITIES = ("LOW", "MEDIUM", "HIGH")

#: Statuses (section 4.2 [seen]); that LOST is an end is [assumed]. With another status the execution is still going.
SUCCEEDED = frozenset({"SUCCEEDED", "SUCCESS"})
FAILED = frozenset({"FAILED", "LOST"})
CANCELED = frozenset({"CANCELED", "CANCELLED"})
PENDING = frozenset({"PENDING"})
ENDED = SUCCEEDED | FAILED | CANCELED
#: Statuses that a source names. Another status is unknown: it is kept as text, and the task waits and warns.
KNOWN_STATUSES = (
    ENDED | PENDING | {"RUNNING", "WAITING_DEPENDENT_JOB", "SCHEDULED", "EXECUTOR_NOT_RESPONDING"}
)

#: The page size with which lists are read; the console asks for 500 (section 1.4 [seen]).
PAGE_SIZE = 500

#: What the server names a file that arrived raw (section 3 [documented]) is not used: nothing depends on it.
CANCEL_BODY = {"action": "CANCEL"}


class DocumentImport(msgspec.Struct, frozen=True, kw_only=True):
    """A document import (section 2)."""

    id: RemoteId
    name: str = ""
    document_type: str = ""
    mime_type: str = ""
    encoding: str = ""
    datamart_id: str | int = ""
    datafarm_key: str = ""
    priority: str | None = None
    shuffle_lines: bool | None = None
    use_processing_pipeline: bool | None = None


class ExecutionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """``parameters`` of an execution; null until it started (section 4.3)."""

    number_of_lines: int | None = None
    input_file_name: str | None = None


class ExecutionResult(msgspec.Struct, frozen=True, kw_only=True):
    """``result`` of an execution; null until it ended (section 4.4). ``top_identifiers`` is never read."""

    total_success: int | None = None
    total_failure: int | None = None
    error_file_uri: str | None = None
    input_file_uri: str | None = None
    possible_issue_on_identifiers: bool | None = None


class ExecutionError(msgspec.Struct, frozen=True, kw_only=True):
    """``error`` of an execution (section 4.6). Its message may repeat a line: no repr shows it."""

    message: str | None = None

    def __repr__(self) -> str:
        return f"ExecutionError({len(self.message or '')} characters)"


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file on the platform (section 4.1). Dates are ms since 1970 UTC."""

    id: RemoteId
    status: str = ""
    parameters: ExecutionParameters | None = None
    result: ExecutionResult | None = None
    error: ExecutionError | None = None
    creation_date: int | None = None
    start_date: int | None = None
    end_date: int | None = None
    organisation_id: str | int | None = None
    cancel_status: str | None = None
    #: An int, null, or text in an old model of the console: all three are read (section 4.1 [seen]).
    num_tasks: int | str | None = None
    completed_tasks: int | str | None = None
    erroneous_tasks: int | str | None = None

    @property
    def number_of_lines(self) -> int | None:
        """How many lines the uploaded file has; None while the platform has not counted them."""
        if self.parameters is not None and self.parameters.number_of_lines is not None:
            return self.parameters.number_of_lines
        return _count(self.num_tasks)

    @property
    def accepted(self) -> int | None:
        """How many lines the platform took; None while it has not said."""
        said = self.result.total_success if self.result is not None else None
        return _count(self.completed_tasks) if said is None else said

    @property
    def failed(self) -> int | None:
        """How many lines the platform refused (section 4.2: two fields count); None while it has not said."""
        said = self.result.total_failure if self.result is not None else None
        return _count(self.erroneous_tasks) if said is None else said


def _count(value: int | str | None) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


class Envelope(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The envelope of one object (section 1.3)."""

    data: T


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; every field but ``data`` may be missing (section 1.3)."""

    data: list[T]
    count: int | None = None
    total: int | None = None
    first_result: int | None = None
    max_results: int | None = None
    max_result: int | None = None

    def next_offset(self, offset: int, asked: int) -> int | None:
        """Return the offset of the next page, or None at the end (section 1.4 [assumed]).

        :param offset: the offset with which this page was asked for.
        :param asked: the page size with which this page was asked for.
        """
        size = len(self.data)
        if not size:
            return None
        if self.total is not None:
            return offset + size if offset + size < self.total else None
        # The server may return smaller pages than were asked for: its own number decides.
        page_size = self.max_results or self.max_result or asked
        return offset + size if size >= page_size else None


class _ErrorBody(msgspec.Struct):
    status: str | None = None
    error: Any = None
    error_code: Any = None
    error_id: Any = None


#: Section 1.5: a value for the vendor's support, in the samples a uuid. Another text may be anybody's data, so it is not told.
_INCIDENT = re.compile(r"[0-9a-fA-F-]{1,64}")
#: How good answers begin (section 1.3): a long list need not be decoded twice.
_SAYS_OK = re.compile(rb'\s*\{\s*"status"\s*:\s*"ok"')
_import = json_reader(Envelope[DocumentImport])
_execution = json_reader(Envelope[Execution])
_failure = json_reader(_ErrorBody)


def problem(reply: Reply) -> AnswerProblem | None:
    """Return what a bad answer says: HTTP 400 and above, or ``status: error`` under any code (section 1.5).

    The body may be empty, HTML or anything else: no body makes this fail.
    """
    if reply.status < 300 and (_SAYS_OK.match(reply.body) or b'"error"' not in reply.body):
        return None
    try:
        failure = _failure(reply.body)
    except ValueError:
        failure = _ErrorBody()
    if reply.status < 300 and failure.status != "error":
        return None
    parts = [reduce_message(str(failure.error))] if failure.error else []
    parts += [f"code {reduce_message(str(failure.error_code))}"] if failure.error_code else []
    # The id of the incident is for the vendor's support; it identifies no person (section 1.5).
    incident = str(failure.error_id) if failure.error_id else ""
    parts += [f"error id {incident if _INCIDENT.fullmatch(incident) else '*'}"] if incident else []
    return AnswerProblem(reply.status, ", ".join(parts))


def read_import(body: bytes) -> DocumentImport:
    """Read an answer that holds one import; raises ``ValueError`` on anything else."""
    found: DocumentImport = _import(body).data
    return found


def read_execution(body: bytes) -> Execution:
    """Read the answer to an upload; raises ``ValueError`` on anything else."""
    found: Execution = _execution(body).data
    return found


def is_id(text: str) -> bool:
    """Whether a text may be an id: ids are decimal (section 1.7), and no other script's digits make one."""
    return text.isascii() and text.isdigit()


def import_console_url(base: str, organisation_id: str, datamart_id: str, import_id: str) -> str | None:
    """Return the link to an import in the console, or None when a part of it is missing (section 10 [seen]).

    Each id must be one, or the console's route does not match.
    """
    if not (base and is_id(organisation_id) and is_id(datamart_id) and is_id(import_id)):
        return None
    return (
        f"{base.rstrip('/')}/#/v2/o/{organisation_id}/datastudio/datamart/{datamart_id}/imports/{import_id}"
    )


def remote_status(status: str) -> RemoteStatus:
    """Return what a status means for those who wait (section 4.2); with an unknown status the work is still going."""
    if status in SUCCEEDED:
        return RemoteStatus.SUCCEEDED
    if status in FAILED:
        return RemoteStatus.FAILED
    if status in CANCELED:
        return RemoteStatus.CANCELED
    return RemoteStatus.PENDING if status in PENDING else RemoteStatus.GOING


_NO_RESULT = ExecutionResult()


def snapshot(execution: Execution) -> RemoteSnapshot:
    """Return what an execution's fields mean (sections 4.2 and 4.4)."""
    status, result, failed = execution.status, execution.result or _NO_RESULT, execution.failed
    message = execution.error.message if execution.error is not None else None
    return RemoteSnapshot(
        id=execution.id,
        remote_status=remote_status(status),
        status=status,
        lines=execution.number_of_lines,
        accepted=execution.accepted,
        failed=failed,
        created=seconds(execution.creation_date),
        started=seconds(execution.start_date),
        ended=seconds(execution.end_date),
        unknown=status not in KNOWN_STATUSES,
        # The field is there without failures, too; it has a meaning only where lines failed (section 4.4 [documented]).
        error_file=result.error_file_uri if failed else None,
        input_file=result.input_file_uri or None,
        doubtful_identifiers=bool(result.possible_issue_on_identifiers),
        owner=str(execution.organisation_id) if execution.organisation_id is not None else None,
        message=reduce_message(message) if message else "",
    )
