"""The arguments of the integration batch operators, read once when a task runs."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.judging import Tolerance
from airflow_bulk.platforms.mediarithmics import integration_batches as batches
from airflow_bulk.platforms.mediarithmics.cron import CronError, cron_warning, read_cron
from airflow_bulk.platforms.mediarithmics.document_imports import is_id
from airflow_bulk.platforms.mediarithmics.plugin_properties import REQUIRED, PluginProperty, PropertyError

log = logging.getLogger(__name__)

#: The console refuses a start in a past minute (mediarithmics.md section 9 [seen]); the current minute is accepted.
MINUTE = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """The arguments of a run; every value has its own type and was checked.

    :param expected_start: seconds since 1970, or None for now.
    """

    instance_id: str
    organisation_id: str | None
    expected_start: float | None
    tolerance: Tolerance
    on_clear: str
    run_again_after_failure: bool
    wait_for_completion: bool
    poll_interval: float
    timeout: float
    cancel_on_kill: bool
    cancel_ways: tuple[str, ...]
    settle: float


def read_run_arguments(given: Mapping[str, Any]) -> RunArguments:
    """Read the arguments of a run after its templates were rendered.

    :raises ArgumentError: naming the field.
    """
    return RunArguments(
        instance_id=instance_id(given["instance_id"]),
        organisation_id=read.optional_text("organisation_id", given["organisation_id"]),
        expected_start=moment("expected_start_date", given["expected_start_date"]),
        tolerance=read.read_tolerance(given["max_failures"]),
        on_clear=read.choice("on_clear", given["on_clear"], ("run_again", "keep")),
        run_again_after_failure=read.flag("run_again_after_failure", given["run_again_after_failure"]),
        wait_for_completion=read.flag("wait_for_completion", given["wait_for_completion"]),
        poll_interval=read.duration("poll_interval", given["poll_interval"]),
        timeout=read.duration("timeout", given["timeout"]),
        cancel_on_kill=read.flag("cancel_on_kill", given["cancel_on_kill"]),
        cancel_ways=cancel_ways(given["cancel_ways"]),
        settle=read.number("settle", given["settle"]),
    )


def instance_id(value: object) -> str:
    """Read an instance's id: digits, as every id of the platform (mediarithmics.md section 1.7)."""
    text = read.text("instance_id", value)
    if not is_id(text):
        raise ArgumentError("instance_id", f"must be made of digits, not {text[:40]!r}")
    return text


def cancel_ways(value: object) -> tuple[str, ...]:
    """Read the ways to cancel, in the order to try them."""
    ways = read.optional_texts("cancel_ways", value) or list(batches.CANCEL_WAYS)
    return tuple(read.choice("cancel_ways", way, batches.CANCEL_WAYS) for way in ways)


def moment(field: str, value: object) -> float | None:
    """Read a time as seconds since 1970; None and empty text mean now. A time without a zone is UTC."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    text = read.optional_text(field, value)
    if text is None:
        return None
    import pendulum

    try:
        parsed = pendulum.parse(text, tz="UTC")
    except (ValueError, TypeError, OverflowError):
        parsed = None
    if not isinstance(parsed, pendulum.DateTime):
        raise ArgumentError(field, f"must be a time such as 2031-04-02T03:00:00+02:00, not {text[:60]!r}")
    return float(parsed.timestamp())


def refuse_past(field: str, at: float, now: float | None = None) -> None:
    """Refuse a start before the current minute."""
    now = time.time() if now is None else now
    if at < now - now % MINUTE:
        told = datetime.fromtimestamp(at, UTC).isoformat()
        raise ArgumentError(
            field, f"lies in the past ({told}); give a time that is to come, or leave it out to start now"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """A plugin, a version and an instance as they are declared.

    :param properties: of the version; None compares no properties, and the version must then exist.
    :param sizes: the sizes that were given.
    """

    organisation_id: str | None
    group_id: str
    artifact_id: str
    version: str
    properties: tuple[PluginProperty, ...] | None
    name: str
    cron: str | None
    cron_status: str | None
    sizes: dict[str, str]
    size_fields: str
    instance_properties: tuple[PluginProperty, ...]


def read_declaration(given: Mapping[str, Any]) -> Declaration:
    """Read a declaration after its templates were rendered.

    :raises ArgumentError: naming the field.
    """
    group_id = read.text("group_id", given["group_id"])
    artifact_id = read.text("artifact_id", given["artifact_id"])
    if group_id == artifact_id:
        raise ArgumentError("artifact_id", "must differ from group_id")
    properties = given["plugin_properties"]
    cron, cron_status = schedule(given["cron"], given["cron_status"])
    return Declaration(
        organisation_id=read.optional_text("organisation_id", given["organisation_id"]),
        group_id=group_id,
        artifact_id=artifact_id,
        version=version(given["version_id"]),
        properties=None if properties is None else version_properties(properties),
        name=read.text("name", given["name"]),
        cron=cron,
        cron_status=cron_status,
        sizes=sizes(given),
        size_fields=read.choice("size_fields", given["size_fields"], batches.SIZE_FIELDS),
        instance_properties=declared("instance_properties", given["instance_properties"] or ()),
    )


def version(value: object) -> str:
    """Read a version: as people write it, or a row id (conflict 3)."""
    text = read.text("version_id", value)
    if not batches.is_human_version(text) and not is_id(text):
        raise ArgumentError(
            "version_id", f"must be like 1.0.0 or 1.0.0-rc1, or the row id of a version, not {text[:40]!r}"
        )
    return text


def schedule(cron: object, cron_status: object) -> tuple[str | None, str | None]:
    """Read cron and cron_status: both or neither must be given (mediarithmics.md section 8 [documented])."""
    text = read.optional_text("cron", cron)
    status = read.optional_choice("cron_status", cron_status, batches.CRON_STATUSES)
    if (text is None) != (status is None):
        missing, there = ("cron", "cron_status") if text is None else ("cron_status", "cron")
        raise ArgumentError(missing, f"is missing beside {there}: give both or neither")
    if text is None:
        return None, None
    try:
        joined = read_cron(text)
    except CronError as error:
        raise ArgumentError("cron", f"{text!r} {error}") from None
    if odd := cron_warning(joined):
        log.warning("%s", odd)
    return joined, status


def sizes(given: Mapping[str, Any]) -> dict[str, str]:
    """Read the sizes that were given, in either spelling; return them in the documented spelling."""
    found = {}
    for name in batches.SIZE_NAMES:
        size = read.optional_choice(name, given[name], (*batches.SIZES, "XL"))
        if size is not None:
            found[name] = batches.documented_size(size)
    return found


def declared(field: str, given: object) -> tuple[PluginProperty, ...]:
    """Read declared properties; their values may come from templates."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ArgumentError(field, "must be a list of properties, such as string_property('name', 'nightly')")
    for one in given:
        if not isinstance(one, PluginProperty):
            raise ArgumentError(field, f"must hold properties, not {type(one).__name__}")
        try:
            one.body()
        except PropertyError as error:
            raise ArgumentError(field, f"cannot be used: {error}") from None
    names = [one.technical_name for one in given]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArgumentError(field, f"names a property twice: {', '.join(twice)}")
    return tuple(given)


def version_properties(given: object) -> tuple[PluginProperty, ...]:
    """Read the properties of a version; ``provider`` and ``name`` must be there (section 7.2 [documented])."""
    found = declared("plugin_properties", given)
    names = {one.technical_name for one in found}
    if missing := [name for name in REQUIRED if name not in names]:
        raise ArgumentError(
            "plugin_properties",
            f"must hold {' and '.join(missing)}: every version has provider and name",
        )
    return found
