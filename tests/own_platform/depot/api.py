"""The Depot's API: each call as a value, and how its answer is read. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from airflow_bulk.platforms.call import AnswerProblem, Call, CallSequence, Reply
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.platforms.upload_port import UploadRequest

#: What the Depot's states mean for the one who waits.
STATES = {
    "queued": RemoteStatus.PENDING,
    "working": RemoteStatus.GOING,
    "done": RemoteStatus.SUCCEEDED,
    "broken": RemoteStatus.FAILED,
    "cancelled": RemoteStatus.CANCELED,
}


class Load(msgspec.Struct, frozen=True):
    """A load: what files are sent into."""

    id: str
    name: str


class Job(msgspec.Struct, frozen=True):
    """A job: one upload into a load. Its counts are null until the Depot has read the upload."""

    id: str
    load: str
    state: str
    created: str
    records: int | None = None
    stored: int | None = None
    refused: int | None = None


class LineError(msgspec.Struct, frozen=True):
    """Why the Depot refused a line.

    :param line: its number in the upload, from 1.
    """

    line: int
    message: str


class LoadAnswer(msgspec.Struct, frozen=True):
    """The answer that holds one load."""

    load: Load


class JobAnswer(msgspec.Struct, frozen=True):
    """The answer that holds one job."""

    job: Job


class Page(msgspec.Struct, frozen=True):
    """A page of a list, of loads or of jobs; ``next_page`` is null on the last one."""

    next_page: int | None
    loads: list[Load] = []
    jobs: list[Job] = []


class Problem(msgspec.Struct, frozen=True):
    """What the Depot says when something is wrong."""

    problem: str


def read_problem(reply: Reply) -> AnswerProblem | None:
    """Say what a bad answer says, without what could name a person; a proxy may answer anything, too."""
    if reply.status < 300:
        return None
    try:
        said = msgspec.json.decode(reply.body, type=Problem).problem
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    return AnswerProblem(reply.status, reduce_message(said))


def snapshot(job: Job) -> RemoteSnapshot:
    """Say what a job is in the package's words. A state that is new to us is one to wait on."""
    return RemoteSnapshot(
        id=job.id,
        remote_status=STATES.get(job.state, RemoteStatus.GOING),
        status=job.state,
        unknown=job.state not in STATES,
        lines=job.records,
        accepted=job.stored,
        failed=job.refused,
        created=datetime.fromisoformat(job.created).timestamp(),
        error_file=f"{job_path(job.load, job.id)}/errors" if job.refused else None,
    )


def jobs_path(load_id: str) -> str:
    """Path of a load's jobs."""
    return f"/loads/{load_id}/jobs"


def job_path(load_id: str, job_id: str) -> str:
    """Path of one job."""
    return f"{jobs_path(load_id)}/{job_id}"


def all_pages(path: str, what: str, **query: str) -> CallSequence[list[Page]]:
    """Ask for page after page of a list: how many calls that takes, only the answers tell."""
    pages: list[Page] = []
    number: int | None = 1
    while number is not None:
        page: Page = yield Call(
            "GET",
            path,
            what,
            lambda reply: msgspec.json.decode(reply.body, type=Page),
            read_problem,
            query={**query, "page": number},
        )
        pages.append(page)
        number = page.next_page
    return pages


def line_errors(path: str) -> Call[list[LineError]]:
    """Fetch the errors of a job, line by line.

    :param path: the ``error_file`` of its snapshot.
    """
    read = msgspec.json.Decoder(LineError).decode_lines
    return Call("GET", path, "read the errors of a job", lambda reply: read(reply.body), read_problem)


class DepotLoads:
    """The Depot's loads and jobs, as an ``UploadPort``."""

    noun = "load"
    place: Mapping[str, str] = {}

    def create(self, name: str, fields: Mapping[str, Any]) -> Call[str]:
        """Create a load and return its id. Sent twice it would create two, so it is not repeatable."""
        return Call(
            "POST",
            "/loads",
            "create the load",
            lambda reply: msgspec.json.decode(reply.body, type=LoadAnswer).load.id,
            read_problem,
            json={**fields, "name": name},
            repeatable=False,
        )

    def find(self, marker: str) -> CallSequence[list[str]]:
        """Find the loads whose name ends in the marker."""
        pages = yield from all_pages("/loads", "list the loads", name_contains=marker)
        return [load.id for page in pages for load in page.loads if load.name.endswith(f"[{marker}]")]

    def upload(self, import_id: str, mime_type: str) -> UploadRequest:
        """Send a part to the load's jobs."""
        return UploadRequest(jobs_path(import_id), {"Content-Type": "application/x-ndjson"})

    def read_upload(self, reply: Reply) -> RemoteSnapshot:
        """Read the job that an upload made."""
        return snapshot(msgspec.json.decode(reply.body, type=JobAnswer).job)

    def problem(self, reply: Reply) -> AnswerProblem | None:
        """Say what a bad answer to an upload says."""
        return read_problem(reply)

    def list_executions(self, import_id: str) -> CallSequence[list[RemoteSnapshot]]:
        """List all jobs of a load. One that moves to the next page meanwhile counts once."""
        pages = yield from all_pages(jobs_path(import_id), f"list the jobs of load {import_id}")
        return list({job.id: snapshot(job) for page in pages for job in page.jobs}.values())

    def get_execution(self, import_id: str, execution_id: str) -> Call[RemoteSnapshot]:
        """Read one job."""
        what = f"read job {execution_id} of load {import_id}"
        return Call("GET", job_path(import_id, execution_id), what, self.read_upload, read_problem)

    def cancel_execution(self, import_id: str, execution_id: str) -> Call[RemoteSnapshot]:
        """Cancel a job; the Depot refuses it with 409 once it works on it, and a second cancel does no harm."""
        what = f"cancel job {execution_id} of load {import_id}"
        path = f"{job_path(import_id, execution_id)}/cancel"
        return Call("POST", path, what, self.read_upload, read_problem)
