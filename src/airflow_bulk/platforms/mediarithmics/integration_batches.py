"""Integration batches of mediarithmics: records, statuses and spellings of plugins, versions, instances, executions.

The calls are in ``integration_batch_calls``. Facts: mediarithmics.md sections 7 to 9, conflicts 1 to 3 of
section 12. A fact marked [assumed] there is a constant here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from airflow_bulk.platforms.answers import RemoteId, seconds
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.mediarithmics.document_imports import (
    KNOWN_STATUSES,
    ExecutionError,
    is_id,
    remote_status,
)
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

#: Section 7.1 [documented]: the plugin type of integration batches.
PLUGIN_TYPE = "INTEGRATION_BATCH"
#: Section 8 [documented].
ACTIVE, PAUSED = "ACTIVE", "PAUSED"
CRON_STATUSES = (ACTIVE, PAUSED)
#: Section 9 [documented]: a person or a program asked for the run, or the instance's own schedule made it.
MANUAL, CRON = "MANUAL", "CRON"

#: Sizes as the documentation spells them (section 8); the console says XL for the largest (conflict 2).
SIZES = ("LOW", "MEDIUM", "LARGE", "EXTRA_LARGE")
SIZE_NAMES = ("ram_size", "cpu_size", "disk_size")
#: How the fields of the sizes are spelled when sent: the documented names, or the console's (conflict 2).
SIZE_FIELDS = ("documented", "execution_container")

#: Ways to cancel an execution, in the order of section 9 [assumed]: none is documented (conflict 1).
CANCEL_WAYS = ("put", "action", "delete")

#: A human version: three numbers and an optional suffix (section 7.2 [documented]).
HUMAN_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-\S+)?")


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin (section 7.1)."""

    id: RemoteId
    organisation_id: str | int | None = None
    plugin_type: str = ""
    group_id: str = ""
    artifact_id: str = ""
    current_version_id: str | int | None = None
    name: str | None = None


class PluginVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a plugin (section 7.2): ``id`` is the row id, ``version_id`` the human version."""

    id: RemoteId
    version_id: str = ""
    plugin_id: str | int | None = None
    organisation_id: str | int | None = None
    plugin_type: str | None = None
    group_id: str | None = None
    artifact_id: str | None = None
    max_qps: int | float | None = None
    archived: bool | None = None


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A property of a version or of an instance (section 7.3). Its value may be a secret: no repr shows it.

    :param value: an object whose keys depend on ``property_type``.
    """

    technical_name: str
    property_type: str = ""
    origin: str | None = None
    writable: bool | None = None
    deletable: bool | None = None
    value: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Property({self.technical_name!r}, {self.property_type}, {self.origin})"


class IntegrationBatchInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An integration batch instance (section 8); its sizes have either spelling (conflict 2)."""

    id: RemoteId
    group_id: str = ""
    artifact_id: str = ""
    #: The version's row id [seen], or the human version as the documented placeholder allows (conflict 3).
    version_id: str | int | None = None
    version_value: str | None = None
    organisation_id: str | int | None = None
    name: str | None = None
    archived: bool | None = None
    cron: str | None = None
    cron_status: str | None = None
    ram_size: str | None = None
    cpu_size: str | None = None
    disk_size: str | None = None
    execution_container_ram_size: str | None = None
    execution_container_cpu_size: str | None = None
    execution_container_disk_size: str | None = None

    def size(self, name: str) -> str | None:
        """Return the size of one of :data:`SIZE_NAMES` in the documented spelling, from the field that holds it."""
        value = getattr(self, name) or getattr(self, f"execution_container_{name}")
        return None if value is None else documented_size(value)


class IntegrationBatchParameters(msgspec.Struct, frozen=True, kw_only=True):
    """``parameters`` of a batch execution (section 9). The start is ms since 1970 UTC."""

    execution_type: str | None = None
    expected_start_date: int | str | None = None


class IntegrationBatchExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an instance (section 9). Dates are ms since 1970 UTC; ``result`` has no known shape."""

    id: RemoteId
    status: str = ""
    parameters: IntegrationBatchParameters | None = None
    error: ExecutionError | None = None
    creation_date: int | None = None
    start_date: int | None = None
    duration: int | None = None
    organisation_id: str | int | None = None
    external_model_id: str | int | None = None
    num_tasks: int | str | None = None
    completed_tasks: int | str | None = None
    erroneous_tasks: int | str | None = None


class IntegrationBatchSnapshot(RemoteSnapshot, frozen=True, kw_only=True):
    """A batch execution as last seen. Its "lines" are the tasks that the platform counts (section 9).

    :param execution_type: ``MANUAL``, ``CRON`` or what the platform said.
    :param expected_start: when the run is (or was) to start, in seconds since 1970; None when not said.
    """

    execution_type: str = ""
    expected_start: float | None = None

    @property
    def ran(self) -> bool:
        """Whether the run is over and was not cancelled before it began."""
        return self.remote_status.over and self.remote_status is not RemoteStatus.CANCELED


def execution_body(organisation_id: str | None, execution_type: str, expected_start: int) -> dict[str, Any]:
    """Return the body of an execution of either type: what the console sends (section 9 [seen]).

    :param organisation_id: left out when it is not known.
    :param expected_start: ms since 1970.
    """
    body: dict[str, Any] = {"organisation_id": organisation_id} if organisation_id else {}
    parameters = {"execution_type": execution_type, "expected_start_date": expected_start}
    return {**body, "status": "PENDING", "parameters": parameters}


# Names that the platform spells in two ways.


def documented_size(value: str) -> str:
    """Return a size in the documented spelling; an unknown size is returned unchanged."""
    return "EXTRA_LARGE" if value == "XL" else value


def size_body(sizes: Mapping[str, str], size_fields: str) -> dict[str, str]:
    """Return the three sizes as fields of an instance.

    :param sizes: by :data:`SIZE_NAMES`, in either spelling.
    :param size_fields: one of :data:`SIZE_FIELDS`.
    """
    if size_fields == "documented":
        return {name: documented_size(sizes[name]) for name in SIZE_NAMES}
    console = {"EXTRA_LARGE": "XL"}
    return {f"execution_container_{name}": console.get(sizes[name], sizes[name]) for name in SIZE_NAMES}


def is_human_version(version: str) -> bool:
    """Whether a version is written as people write it (``1.0.0``), and is no row id (conflict 3)."""
    return HUMAN_VERSION.fullmatch(version) is not None


def next_version(existing: Sequence[str], version: str) -> str:
    """Return the next free version after ``version``: the first two numbers stay, the third one goes up.

    :param existing: human versions that are taken.
    """
    major, minor, patch = version.partition("-")[0].split(".")
    taken = [int(patch)]
    for one in existing:
        numbers = one.partition("-")[0].split(".")
        if numbers[:2] == [major, minor] and len(numbers) == 3 and is_id(numbers[2]):
            taken.append(int(numbers[2]))
    return f"{major}.{minor}.{max(taken) + 1}"


def batch_console_url(base: str, organisation_id: str, instance_id: str) -> str | None:
    """Return the link to an instance in the computing console, or None when a part is missing (section 10 [seen])."""
    if not (base and is_id(organisation_id) and is_id(instance_id)):
        return None
    return f"{base.rstrip('/')}/#/o/{organisation_id}/jobs/integration_batch_instances/{instance_id}"


def _number(value: int | str | None) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def _seconds(value: int | str | None) -> float | None:
    return seconds(_number(value))


def run_snapshot(execution: IntegrationBatchExecution) -> IntegrationBatchSnapshot:
    """Return what a batch execution's fields mean (section 9; statuses as in section 4.2)."""
    parameters = execution.parameters or IntegrationBatchParameters()
    message = execution.error.message if execution.error is not None else None
    return IntegrationBatchSnapshot(
        id=execution.id,
        remote_status=remote_status(execution.status),
        status=execution.status,
        lines=_number(execution.num_tasks),
        accepted=_number(execution.completed_tasks),
        failed=_number(execution.erroneous_tasks),
        created=_seconds(execution.creation_date),
        unknown=execution.status not in KNOWN_STATUSES,
        owner=str(execution.organisation_id) if execution.organisation_id is not None else None,
        message=reduce_message(message) if message else "",
        execution_type=parameters.execution_type or "",
        expected_start=_seconds(parameters.expected_start_date),
        started=_seconds(execution.start_date),
    )


def cron_runs(
    found: Sequence[IntegrationBatchSnapshot], start: float, end: float
) -> list[IntegrationBatchSnapshot]:
    """Return the runs that the cron made for a window, without cancelled ones: those never ran.

    :param start: the window's beginning, in seconds since 1970: a run that was to start then belongs to the window.
    :param end: the window's end: a run that was to start then does not belong to the window.
    """
    return [
        one
        for one in found
        if one.execution_type == CRON
        and one.remote_status is not RemoteStatus.CANCELED
        and one.expected_start is not None
        and start <= one.expected_start < end
    ]


def run_report(instance_id: str, run: IntegrationBatchSnapshot) -> dict[str, Any]:
    """Return a run as events and sensors report it."""
    return {
        "instance_id": instance_id,
        "execution_id": run.id,
        "status": run.status,
        "execution_type": run.execution_type,
        "expected_start_date": iso(run.expected_start),
        "start_date": iso(run.started),
        "tasks": run.lines,
        "tasks_failed": run.failed,
    }


def iso(seconds: float | None) -> str | None:
    """Return a time as text in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
