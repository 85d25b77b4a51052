"""The arguments of a document import, read once when the task runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError, SendingOptions
from airflow_bulk.judging import Tolerance
from airflow_bulk.platforms.mediarithmics import document_imports as api

COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportDefinition:
    """What an import is on the platform (mediarithmics.md section 2).

    :param optional: ``priority``, ``shuffle_lines``, ``use_processing_pipeline``; None is not sent.
    """

    document_type: str
    name: str
    mime_type: str
    encoding: str
    optional: dict[str, Any]

    @classmethod
    def read(cls, given: Mapping[str, Any], source: tuple[str, ...] = ()) -> ImportDefinition:
        """Read a definition from an operator's rendered arguments; raises :class:`ArgumentError`."""
        document_type = read.choice("document_type", given["document_type"], api.DOCUMENT_TYPES)
        return cls(
            document_type=document_type,
            name=read.text("name", given["name"]),
            mime_type=mime_type(given["mime_type"], document_type, source),
            encoding=read.text("encoding", given["encoding"]),
            optional=_optional_fields(given),
        )


def _optional_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "priority": read.optional_choice("priority", given.get("priority"), api.PRIORITIES),
        "shuffle_lines": read.optional_flag("shuffle_lines", given.get("shuffle_lines")),
        "use_processing_pipeline": read.optional_flag(
            "use_processing_pipeline", given.get("use_processing_pipeline")
        ),
    }


def read_changes(changes: object, changeable: Sequence[str]) -> dict[str, Any]:
    """Read the changes to an import; empty text and None leave a field as it is.

    :raises ArgumentError: a field that must not change, or nothing to change.
    """
    if not isinstance(changes, Mapping) or not changes:
        raise ArgumentError("changes", "must name at least one field and its new value")
    if unknown := sorted(set(changes) - set(changeable)):
        raise ArgumentError(
            "changes", f"may hold {', '.join(changeable)}, not {', '.join(map(str, unknown))}"
        )
    values = {key: value for key, value in _optional_fields(changes).items() if value is not None}
    values |= {"name": read.text("name", changes["name"])} if "name" in changes else {}
    if not values:
        raise ArgumentError("changes", f"must give at least one of {', '.join(changes)} a value")
    return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportArguments:
    """What an import task was asked for, every value proper."""

    definition: ImportDefinition
    source: tuple[str, ...]
    datamart_id: str | None
    tolerance: Tolerance
    rejects_path: str | None
    rejects_content: str
    on_empty: str
    on_clear: str
    on_source_change: str
    max_deletions: int | None
    dry_run: bool
    sending: SendingOptions
    wait_for_completion: bool
    poll_interval: float
    timeout: float
    cancel_on_kill: bool

    @property
    def deletes(self) -> bool:
        """Whether the lines delete what cannot be brought back."""
        return self.document_type in api.DELETIONS

    @property
    def document_type(self) -> str:
        """The import's type."""
        return self.definition.document_type

    @property
    def mime_type(self) -> str:
        """The import's format."""
        return self.definition.mime_type


def sources(value: object) -> tuple[str, ...]:
    """Read the source: one text, a list of them, or a list's text as a template renders it."""
    several = read.listed(value)
    entries = [value] if several is None else several
    return tuple(read.text("source", str(entry) if entry is not None else "") for entry in entries)


def tolerance(value: object) -> Tolerance:
    """Read ``max_failures``."""
    try:
        return Tolerance.parse(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentError("max_failures", f"cannot be read: {str(error).rstrip('.')}") from None


def mime_type(value: object, document_type: str, source: tuple[str, ...]) -> str:
    """Read the mime type, or take it from the type; a USER_SEGMENT is CSV when all its files end in ``.csv``.

    :param source: empty where an import is created alone: nothing says CSV then.
    """
    given = read.optional_choice("mime_type", value, tuple(api.CONTENT_TYPES))
    if given is None:
        names = [PurePosixPath(entry.rstrip("/")) for entry in source]
        plain = [PurePosixPath(name.stem) if name.suffix in COMPRESSED else name for name in names]
        csv = bool(plain) and all(name.suffix.lower() == ".csv" for name in plain)
        return "TEXT_CSV" if csv and document_type == "USER_SEGMENT" else "APPLICATION_X_NDJSON"
    if given == "TEXT_CSV" and document_type not in ("USER_SEGMENT", ""):
        raise ArgumentError("mime_type", f"TEXT_CSV is for USER_SEGMENT alone, not for {document_type}")
    return given


def check_deletion(
    document_type: str, allow_deletion: object, max_deletions: object, sending: SendingOptions
) -> int | None:
    """Read the deletion guards: the type spelled out, and how many lines at most.

    :raises ArgumentError: the type deletes and a guard is missing or does not fit.
    """
    if document_type not in api.DELETIONS:
        return None
    if allow_deletion != document_type:
        raise ArgumentError(
            "allow_deletion",
            f"must be {document_type!r} spelled out: these lines delete what cannot be brought back",
        )
    if max_deletions is None or read.is_template(max_deletions):
        raise ArgumentError("max_deletions", "must be the highest number of lines that may be sent")
    if sending.overlap is True:
        raise ArgumentError(
            "sending.overlap", "must be false for deletions: they are counted before any is sent"
        )
    if not sending.check:
        raise ArgumentError("sending.check", "must be true for deletions")
    return read.integer("max_deletions", max_deletions)


def read_arguments(given: Mapping[str, Any], sending: SendingOptions) -> ImportArguments:
    """Read the arguments of an operator after its templates were rendered.

    :param given: by the operator's own argument names.
    :param sending: already rendered.
    :raises ArgumentError: naming the field.
    """
    source = sources(given["source"])
    return _arguments(given, sending, ImportDefinition.read(given, source), source)


def read_upload_arguments(
    given: Mapping[str, Any], sending: SendingOptions, imported: api.DocumentImport
) -> ImportArguments:
    """Read the arguments of an upload into an import given from outside: its own fields decide the format.

    :raises ArgumentError: naming the field; also for an import of a type or format that nobody here knows, whether
        or not its lines are to be checked: they may delete.
    """
    document_type = api.SPELLINGS.get(imported.document_type, imported.document_type)
    if document_type not in api.DOCUMENT_TYPES or imported.mime_type not in api.CONTENT_TYPES:
        raise ArgumentError(
            "import_id",
            f"names document import {imported.id}, of type {imported.document_type!r} and format "
            f"{imported.mime_type!r}: what its lines do is not known here",
        )
    definition = ImportDefinition(
        document_type=document_type,
        name=imported.name,
        mime_type=imported.mime_type,
        encoding=imported.encoding or "utf-8",
        optional={},
    )
    return _arguments(given, sending, definition, sources(given["source"]))


def _arguments(
    given: Mapping[str, Any], sending: SendingOptions, definition: ImportDefinition, source: tuple[str, ...]
) -> ImportArguments:
    if definition.encoding.lower().replace("_", "-") not in ("utf-8", "utf8") and sending.check:
        raise ArgumentError(
            "encoding",
            f"{definition.encoding!r} cannot be checked: lines are checked as utf-8. Say "
            "SendingOptions(check=False) to send the bytes untouched",
        )
    guards = (given["allow_deletion"], given["max_deletions"])
    content = read.optional_choice("rejects_content", given["rejects_content"], ("line", "position"))
    deletes = definition.document_type in api.DELETIONS
    return ImportArguments(
        definition=definition,
        source=source,
        datamart_id=read.optional_text("datamart_id", given["datamart_id"]),
        max_deletions=check_deletion(definition.document_type, *guards, sending),
        rejects_content=content or ("position" if deletes else "line"),
        **_shared(given, sending),
    )


def _shared(given: Mapping[str, Any], sending: SendingOptions) -> dict[str, Any]:
    return {
        "tolerance": tolerance(given["max_failures"]),
        "rejects_path": read.optional_text("rejects_path", given["rejects_path"]),
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
