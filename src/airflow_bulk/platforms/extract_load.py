"""The extract/load server ("Batches" API): records and calls. Facts: extract_load.md sections 1 to 4.

What is [assumed] there is a constant or an argument here: the path prefix, the bearer token, the error body.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

T = TypeVar("T")

#: Resources; their paths are singular (section 1 [documented]).
RESOURCES = ("batch", "connection", "tenant")
#: Fields of a connection whose values are secrets; GET returns them in clear (section 1.4 [documented]).
SECRETS = frozenset(
    {
        *("oauth_consumer_key", "oauth_consumer_secret", "oauth_access_key", "oauth_access_secret"),
        *("token", "password", "username", "oauth"),
    }
)
MASK = "***"
#: Statuses of the optional extension (section 4 [assumed]); a server without the extension stores none.
FAILED = frozenset({"failed", "stopped"})
STATUSES = FAILED | {"running", "complete"}
#: Why a batch goes on when its task is stopped (section 4).
NO_STOP = "No call that stops a batch is documented."
#: Kinds of errors that a report names at most.
KINDS = 20
#: `id` is a MongoDB object id (section 1 [documented]).
_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)
#: Fields that the server keeps as they were sent; tenant_id is filled in for batches of a schedule alone (section 1.1).
_KEPT_OF_BATCH = (
    *("tenant_id", "source_connection_id", "destination_connection_id", "since", "updated_since"),
)
_KEPT_OF_JOB = ("type", "object", "grain", "since", "updated_since")

_any = json_reader(Any)
_one_object = json_reader(dict[str, Any])
_all_objects = json_reader(list[dict[str, Any]])


class ServerBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch (section 1.1). Its repr shows neither its connections nor the messages of its errors.

    :param finished_at: set when the run ended, well or not; ``None`` while the run lasts, which may be for ever.
    :param status: only where the server has the extension.
    :param errors: by object, likewise.
    :param raw: the whole object as the server sent it.
    """

    id: str
    tenant_id: str | None = None
    created_at: Any = None
    finished_at: Any = None
    status: str | None = None
    errors: Any = None
    raw: dict[str, Any] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ServerBatch({self.id!r}, finished_at={self.finished_at!r}, status={self.status!r})"

    @property
    def finished(self) -> bool:
        """Whether the run is over."""
        return bool(self.finished_at)

    @property
    def failure(self) -> str | None:
        """What went wrong, if the server says so; ``None`` is no proof of success."""
        names = ", ".join(sorted(map(str, self.errors))[:20]) if isinstance(self.errors, Mapping) else ""
        if self.status in FAILED:
            return f"status {self.status}{f', errors in {names}' if names else ''}"
        return f"errors in {names}" if names else None


def checked_id(identifier: str) -> str:
    """Return an id that may stand in a path.

    :raises ValueError: it is not 24 hexadecimal characters.
    """
    text = str(identifier).strip()
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no id of this server: an id has 24 hexadecimal characters")
    return text


def list_objects(resource: str, prefix: str = "") -> Call[list[dict[str, Any]]]:
    """GET all objects of a resource: a bare array, no paging (section 1)."""
    return _call("GET", resource, prefix, None, f"list the {resource} objects", _objects)


def get_object(resource: str, identifier: str, prefix: str = "") -> Call[dict[str, Any]]:
    """GET one object."""
    return _call("GET", resource, prefix, identifier, f"read {resource} {identifier}", _object)


def create_object(resource: str, body: Mapping[str, Any], prefix: str = "") -> Call[dict[str, Any]]:
    """POST a new object. The POST of a batch starts its run (section 2), so it is never repeated without a look.

    :raises ValueError: *body* has an id: the server assigns it.
    """
    return _without_id(resource, body, prefix, _object)


def _without_id(resource: str, body: Mapping[str, Any], prefix: str, parse: Any) -> Call[Any]:
    if any(body.get(key) for key in ("id", "_id")):
        raise ValueError(f"a new {resource} must not have an id: the server assigns it")
    what = f"create the {resource}"
    return _call("POST", resource, prefix, None, what, parse, json=dict(body), repeatable=False)


def replace_object(
    resource: str, identifier: str, body: Mapping[str, Any], prefix: str = ""
) -> Call[dict[str, Any]]:
    """PUT an object with all its fields. Never starts a run (section 2).

    :raises ValueError: the id in *body* is another one.
    """
    if str(body.get("id", identifier)) != identifier:
        raise ValueError(f"the body's id and the {resource}'s id differ")
    what = f"replace {resource} {identifier}"
    return _call("PUT", resource, prefix, identifier, what, _object, json={**body, "id": identifier})


def delete_object(resource: str, identifier: str, prefix: str = "") -> Call[dict[str, Any]]:
    """DELETE an object; the answer is the deleted object."""
    return _call("DELETE", resource, prefix, identifier, f"delete {resource} {identifier}", _object)


def as_batch(raw: dict[str, Any]) -> ServerBatch:
    """Read a batch from the server's answer; unknown fields stay in ``raw``."""
    identifier = raw.get("id") or raw.get("_id")
    if not isinstance(identifier, str):
        raise ValueError("the answer is no batch: it has no id")  # noqa: TRY004
    status = raw.get("status")
    return ServerBatch(
        id=identifier,
        tenant_id=raw.get("tenant_id"),
        created_at=raw.get("created_at"),
        finished_at=raw.get("finished_at"),
        status=status if isinstance(status, str) else None,
        errors=raw.get("errors"),
        raw=raw,
    )


def get_batch(identifier: str, prefix: str = "") -> Call[ServerBatch]:
    """GET one batch as a record."""
    what = f"read batch {identifier}"
    return _call("GET", "batch", prefix, identifier, what, lambda reply: as_batch(_object(reply)))


def create_batch(definition: Mapping[str, Any], prefix: str = "") -> Call[ServerBatch]:
    """POST a batch, which starts its run (section 2); never repeated blindly.

    :raises ValueError: *definition* has an id.
    """
    return _without_id("batch", definition, prefix, lambda reply: as_batch(_object(reply)))


def snapshot(batch: ServerBatch) -> RemoteSnapshot:
    """How a batch stands for who waits: ``finished_at`` alone says that it is over (section 4)."""
    over = RemoteStatus.FAILED if batch.failure else RemoteStatus.SUCCEEDED
    return RemoteSnapshot(
        id=batch.id,
        remote_status=over if batch.finished else RemoteStatus.GOING,
        status=batch.status or ("finished" if batch.finished else "running"),
        unknown=batch.status is not None and batch.status not in STATUSES,
        message=batch.failure or "",
    )


def batch_report(batch: ServerBatch | None, batch_id: str | None) -> dict[str, Any]:
    """What is known of a batch, with exactly the documented names; None for what its server does not tell.

    :param batch: as last seen; None where nobody has looked.
    """
    errors = batch.errors if batch is not None and isinstance(batch.errors, Mapping) else None
    finished_at = batch.finished_at if batch is not None else None
    return {
        "batch_id": batch_id,
        "finished_at": str(finished_at) if finished_at else None,
        "status": batch.status if batch is not None else None,
        "errors": None
        if errors is None
        else {str(name): len(_messages(one)) for name, one in errors.items()},
        "error_kinds": None if errors is None else _kinds(errors),
    }


def _messages(told: Any) -> list[str]:
    """The messages of one object's errors, as the server wrote them: at least one (section 4, g3)."""
    messages = told.get("messages") if isinstance(told, Mapping) else None
    if not isinstance(messages, list) or not messages:
        return [told if isinstance(told, str) else ""]
    parts = [one if isinstance(one, Mapping) else {"message": one} for one in messages]
    return [": ".join(str(one[key]) for key in ("type", "message") if one.get(key)) for one in parts]


def _kinds(errors: Mapping[str, Any]) -> list[str]:
    kinds = {reduce_message(text) for told in errors.values() for text in _messages(told)}
    return sorted(kind for kind in kinds if kind)[:KINDS]


def fingerprints(batch: Mapping[str, Any]) -> tuple[str, str]:
    """What tells a batch from others, for a server that has neither a key nor a marker (section 1).

    Of what was sent the server keeps these fields as they were (section 1.1, 1.2). That it adds empty requirements is
    possible [assumed]; they count as none.

    :param batch: as sent, or as the server shows it.
    :returns: of everything that is kept, and of the types and objects of the jobs alone.
    """
    # As the server holds it: lists for tuples, and ids as text (section 1.1).
    batch = msgspec.json.decode(msgspec.json.encode(batch))
    given = batch.get("jobs")
    jobs = [job for job in given if isinstance(job, Mapping)] if isinstance(given, list) else []
    objects = sorted([str(job.get("type")), str(job.get("object"))] for job in jobs)
    kept = [None if batch.get(key) in (None, "") else str(batch[key]) for key in _KEPT_OF_BATCH]
    # The order of jobs and of names means nothing.
    whole = sorted((_kept_of_job(job) for job in jobs), key=lambda one: msgspec.json.encode(one))
    return _hashed([kept, whole]), _hashed(objects)


def _kept_of_job(job: Mapping[str, Any]) -> list[Any]:
    required = job.get("required_objects")
    names = required.items() if isinstance(required, Mapping) else ()
    needs = sorted(
        [str(key), sorted(map(str, value))] for key, value in names if isinstance(value, list) and value
    )
    return [*(job.get(key) for key in _KEPT_OF_JOB), needs]


def _hashed(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


def masked(value: Any) -> Any:
    """Return a copy of the server's answer, with every secret replaced."""
    if isinstance(value, Mapping):
        return {key: MASK if key in SECRETS and item else masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


def problem(reply: Reply) -> AnswerProblem | None:
    """Return what a bad answer says: ``{"error": "..."}`` (section 1 [assumed]), or nothing readable."""
    if 200 <= reply.status < 300:
        return None
    try:
        said = _any(reply.body)
    except ValueError:
        return AnswerProblem(reply.status, "")
    error = said.get("error") if isinstance(said, dict) else None
    return AnswerProblem(reply.status, reduce_message(error) if isinstance(error, str) else "")


def _call(
    method: str, resource: str, prefix: str, identifier: str | None, what: str, parse: Any, **options: Any
) -> Call[Any]:
    if resource not in RESOURCES:
        raise ValueError(f"there is no resource {resource!r}: there are {', '.join(RESOURCES)}")
    path = f"{prefix.rstrip('/')}/{resource}"
    if identifier is not None:
        path += f"/{checked_id(identifier)}"
    return Call(method, path, what, parse, problem, **options)


def _object(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = _one_object(reply.body)
    return found


def _objects(reply: Reply) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _all_objects(reply.body)
    return found
