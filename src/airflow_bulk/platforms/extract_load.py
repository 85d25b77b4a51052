"""The extract/load server ("Batches" API): records and calls. Facts: extract_load.md sections 1 to 4.

What is [assumed] there is a constant or an argument here: the path prefix, the bearer token, the error body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.errors import reduce_message

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
RUNNING, FAILED = "running", frozenset({"failed", "stopped"})
#: `id` is a MongoDB object id (section 1 [documented]).
_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)


class ServerBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch (section 1.1).

    :param finished_at: set when the run ended, well or not; ``None`` while the run lasts, which may be for ever.
    :param status: only where the server has the extension.
    :param errors: likewise.
    :param raw: the whole object as the server sent it.
    """

    id: str
    tenant_id: str | None = None
    created_at: Any = None
    finished_at: Any = None
    status: str | None = None
    errors: Any = None
    raw: dict[str, Any] = msgspec.field(default_factory=dict)

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
    if any(body.get(key) for key in ("id", "_id")):
        raise ValueError(f"a new {resource} must not have an id: the server assigns it")
    return _call(
        "POST", resource, prefix, None, f"create the {resource}", _object, json=dict(body), repeatable=False
    )


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
        errors=raw.get("errors") or None,
        raw=raw,
    )


def get_batch(identifier: str, prefix: str = "") -> Call[ServerBatch]:
    """GET one batch as a record."""
    what = f"read batch {identifier}"
    return _call("GET", "batch", prefix, identifier, what, lambda reply: as_batch(_object(reply)))


def failed_end(batch_id: str, failure: str) -> str:
    """Return the message for a finished batch of which the server says that it failed."""
    return f"Batch {batch_id} is finished, but failed: {failure}. A retry cannot change that."


def finished_end(batch_id: str) -> str:
    """Return the message for a finished batch without a known failure."""
    return f"Batch {batch_id} is finished. A server without the optional status does not tell success from failure."


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
        said = msgspec.json.decode(reply.body)
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
    return msgspec.json.decode(reply.body, type=dict[str, Any])


def _objects(reply: Reply) -> list[dict[str, Any]]:
    return msgspec.json.decode(reply.body, type=list[dict[str, Any]])
