"""The arguments of a document import, read once when the task runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError, SendingOptions, UploadArguments, read_sources, read_upload
from airflow_bulk.documents.records import is_utf8
from airflow_bulk.platforms.mediarithmics import document_imports as api

COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
#: The vendor's figure for when bulk import pays off; a hint, never a reason (mediarithmics.md section 3).
WORTH_A_PART = 1000
#: What a second import of the same lines does, where it is not the same as one.
IMPORT_AGAIN_WARNINGS = {"USER_ACTIVITY": "USER_ACTIVITY lines without $unique_key will be there twice."}


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

    @property
    def fields(self) -> dict[str, Any]:
        """What the import is created with, besides its name."""
        return {
            "document_type": self.document_type,
            "mime_type": self.mime_type,
            "encoding": self.encoding,
            **self.optional,
        }

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


def read_arguments(given: Mapping[str, Any], sending: SendingOptions) -> UploadArguments:
    """Read the arguments of an operator after its templates were rendered.

    :param given: by the operator's own argument names.
    :param sending: already rendered.
    :raises ArgumentError: naming the field.
    """
    return _arguments(given, sending, ImportDefinition.read(given, read_sources(given["source"])))


def read_upload_arguments(
    given: Mapping[str, Any], sending: SendingOptions, imported: api.DocumentImport
) -> UploadArguments:
    """Read the arguments of an upload into an existing import: the import's own fields decide the format.

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
    return _arguments(given, sending, definition)


def _verify(value: object, *, waits: bool) -> str:
    """Read whether the platform's copies are read back; they are there only once the executions are over."""
    given = read.optional_choice("verify", value, ("input_file",)) or ""
    if given and not waits:
        raise ArgumentError("verify", "needs wait_for_completion=True: the copies are read back at the end")
    return given


def _arguments(
    given: Mapping[str, Any], sending: SendingOptions, definition: ImportDefinition
) -> UploadArguments:
    if not is_utf8(definition.encoding) and sending.check:
        raise ArgumentError(
            "encoding",
            f"{definition.encoding!r} cannot be checked: lines are checked as utf-8. Say "
            "SendingOptions(check=False) to send the bytes untouched",
        )
    document_type = definition.document_type
    shared = read_upload(given, sending)
    if (
        document_type in api.DELETIONS
        and read.optional_text("rejects_content", given["rejects_content"]) is None
    ):
        shared["rejects_content"] = "position"
    return UploadArguments(
        name=definition.name,
        fields=definition.fields,
        document_type=document_type,
        mime_type=definition.mime_type,
        max_deletions=check_deletion(document_type, given["allow_deletion"], given["max_deletions"], sending),
        lines_worth_a_part=WORTH_A_PART,
        import_again_warning=IMPORT_AGAIN_WARNINGS.get(document_type, ""),
        verify=_verify(given.get("verify"), waits=shared["wait_for_completion"]),
        **shared,
    )
