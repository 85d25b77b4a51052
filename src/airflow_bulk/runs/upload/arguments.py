"""The arguments that every operator has that brings a source to a platform, read once when the task runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError, SendingOptions
from airflow_bulk.judging import Tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class UploadArguments:
    """What a task was asked to bring to a platform, every value proper.

    A subclass of :class:`~airflow_bulk.operators.upload.UploadOperator` makes one of them: its own fields come first,
    :func:`read_upload` reads the others.

    :param name: of the import that is created, before its marker.
    :param line_check: ``package.module:function`` that says what is wrong with a line of a platform of your own; see
        :mod:`airflow_bulk.documents.lines.own_check`.
    :param fields: what else the import is created with; the port's ``create`` gets them as they are.
    :param document_type: what a line is, of the types whose rules this package knows; it is not asked where there is a
        ``line_check``.
    :param mime_type: ``APPLICATION_X_NDJSON``, or ``TEXT_CSV``: a header line, which every part repeats.
    :param lines_worth_a_part: the log has a hint when a part has fewer lines; 0 for no hint.
    :param import_again_warning: what a person must know when a cleared success imports again; empty for nothing.
    :param max_deletions: for types that delete: so many lines at most; None elsewhere.
    :param source: files, patterns or URIs.
    :param tolerance: how many bad lines are good enough.
    :param rejects_path: folder of the reject file; None keeps counts alone.
    :param rejects_content: ``line`` or ``position``.
    :param on_empty: ``fail``, ``skip`` or ``ok``.
    :param on_clear: ``import_again`` or ``keep``.
    :param on_source_change: ``fail`` or ``restart``.
    :param timeout: seconds from the first submission to the deadline.
    :param poll_interval: seconds between two looks once the work has aged.
    :raises ArgumentError: lines are to be checked, and nothing says by which rules.
    """

    name: str
    line_check: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    document_type: str = ""
    mime_type: str = "APPLICATION_X_NDJSON"
    lines_worth_a_part: int = 0
    import_again_warning: str = ""
    max_deletions: int | None = None
    source: tuple[str, ...]
    tolerance: Tolerance
    rejects_path: str | None
    rejects_content: str
    on_empty: str
    on_clear: str
    on_source_change: str
    dry_run: bool
    sending: SendingOptions
    wait_for_completion: bool
    poll_interval: float
    timeout: float
    cancel_on_kill: bool

    def __post_init__(self) -> None:
        if self.sending.check and not (self.line_check or self.document_type):
            raise ArgumentError(
                "line_check",
                "must name the function that says what is wrong with a line; only SendingOptions(check=False) does "
                "without one",
            )


def read_sources(value: object) -> tuple[str, ...]:
    """Read the source: one text, a list of them, or a list's text as a template renders it."""
    several = read.listed(value)
    entries = [value] if several is None else several
    return tuple(read.text("source", str(entry) if entry is not None else "") for entry in entries)


def read_tolerance(value: object) -> Tolerance:
    """Read ``max_failures``."""
    try:
        return Tolerance.parse(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentError("max_failures", f"cannot be read: {str(error).rstrip('.')}") from None


def read_upload(given: Mapping[str, Any], sending: SendingOptions) -> dict[str, Any]:
    """Read what does not depend on the platform.

    :param given: what ``UploadOperator.upload_arguments`` was given: rendered values by the operator's own argument names.
    :param sending: likewise, already rendered.
    :returns: those fields of :class:`UploadArguments` that have no default, but for ``name``.
    :raises ArgumentError: naming the field.
    """
    return {
        "source": read_sources(given["source"]),
        "tolerance": read_tolerance(given["max_failures"]),
        "rejects_path": read.optional_text("rejects_path", given["rejects_path"]),
        "rejects_content": read.optional_choice(
            "rejects_content", given["rejects_content"], ("line", "position")
        )
        or "line",
        "on_empty": read.choice("on_empty", given["on_empty"], ("fail", "skip", "ok")),
        "on_clear": read.choice("on_clear", given["on_clear"], ("import_again", "keep")),
        "on_source_change": read.choice("on_source_change", given["on_source_change"], ("fail", "restart")),
        "dry_run": read.flag("dry_run", given["dry_run"]),
        "sending": sending,
        "wait_for_completion": read.flag("wait_for_completion", given["wait_for_completion"]),
        "poll_interval": read.duration("poll_interval", given["poll_interval"]),
        "timeout": read.duration("timeout", given["timeout"]),
        "cancel_on_kill": read.flag("cancel_on_kill", given["cancel_on_kill"]),
    }
