"""Import files of documents into mediarithmics, wait for the executions and judge them, exactly once.

``ImportDocumentsOperator`` is the whole import. The single steps of an import are operators, too: they stand in
:mod:`airflow_bulk.operators.document_import_steps` and can be imported from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import SendingOptions
from airflow_bulk.links import DocumentImportLink
from airflow_bulk.operators.base import UploadOperator
from airflow_bulk.operators.document_import_steps import (
    CancelDocumentImportExecutionsOperator,
    CreateDocumentImportOperator,
    DeleteDocumentImportOperator,
    PruneDocumentImportsOperator,
    UpdateDocumentImportOperator,
)

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.platforms.mediarithmics.document_import_calls import DocumentImports
    from airflow_bulk.platforms.mediarithmics.document_imports import DocumentImport
    from airflow_bulk.runs.upload.run import UploadRun
    from airflow_bulk.runs.upload.submission import ExistingImport
    from airflow_bulk.triggers.waiting import UploadTrigger

__all__ = [
    "CancelDocumentImportExecutionsOperator",
    "CreateDocumentImportOperator",
    "DeleteDocumentImportOperator",
    "ImportDocumentsOperator",
    "PruneDocumentImportsOperator",
    "SendingOptions",
    "UpdateDocumentImportOperator",
    "UploadDocumentsOperator",
]


class DocumentsOperator(UploadOperator):
    """What all operators that send documents share: the connection, the datamart and the deletion guards."""

    template_fields: Sequence[str] = (*UploadOperator.template_fields, "datamart_id", "verify")
    operator_extra_links = (DocumentImportLink(),)
    ui_color = "#cfe8ef"

    def __init__(
        self,
        *,
        source: str | Sequence[str],
        datamart_id: str | int | None = None,
        mediarithmics_conn_id: str = "mediarithmics_default",
        allow_deletion: str | None = None,
        max_deletions: int | None = None,
        verify: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.datamart_id = datamart_id
        self.mediarithmics_conn_id = mediarithmics_conn_id
        self.verify = verify
        # The deletion guards are no template fields, so that no trigger form can set them.
        self.allow_deletion = read.never_a_template("allow_deletion", allow_deletion)
        self.max_deletions = read.never_a_template("max_deletions", max_deletions)

    def hook(self) -> MediarithmicsHook:
        """Return the hook of mediarithmics."""
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

        return MediarithmicsHook(self.mediarithmics_conn_id)

    def port(self, hook: MediarithmicsHook) -> DocumentImports:
        """Return the document imports of the datamart."""
        return hook.document_imports(read.optional_text("datamart_id", self.datamart_id))

    def seen_in(self, hook: MediarithmicsHook, port: DocumentImports) -> str:
        """Return the datamart."""
        return port.datamart_id

    def upload_trigger(self, port: DocumentImports, **waiting: Any) -> UploadTrigger:
        """Make the trigger."""
        from airflow_bulk.triggers.document_import import DocumentImportTrigger

        return DocumentImportTrigger(
            conn_id=self.mediarithmics_conn_id, datamart_id=port.datamart_id, **waiting
        )

    def console_url(
        self, hook: MediarithmicsHook, port: DocumentImports
    ) -> Callable[[str, str | None], str | None]:
        """Return the function that makes the link to the console."""
        return lambda import_id, owner: hook.console_url(import_id, port.datamart_id, owner)

    def _import(self, hook: MediarithmicsHook, import_id: str) -> DocumentImport:
        """Return an import as the first try read it: its format never changes, and an outage must not stop a resume."""
        import msgspec

        from airflow_bulk.platforms.mediarithmics.document_imports import DocumentImport

        stored = self._record.read("existing") if self._record else None
        if stored is not None and stored["id"] == import_id:
            return msgspec.convert(stored, DocumentImport)
        found = hook.get_document_import(import_id, self.port(hook).datamart_id)
        if self._record and not read.flag("dry_run", self.check_only):
            self._record.write("existing", msgspec.to_builtins(found))
        return found

    def destination_uri(self, run: UploadRun) -> str | None:
        """Return the asset URI of the datamart and the document type."""
        port: Any = run.work.port
        return f"mediarithmics://{port.datamart_id}/{run.args.document_type}"

    def _stays_the_same(self) -> str:
        """What ``seen_as`` is where it is not given."""
        return ""

    def _given(self) -> dict[str, Any]:
        return {
            **super()._given(),
            "seen_as": self.seen_as or self._stays_the_same(),
            "allow_deletion": self.allow_deletion,
            "max_deletions": self.max_deletions,
        }


class ImportDocumentsOperator(DocumentsOperator):
    """Import files into a new document import, wait, judge, report: everything accounted for, exactly once.

    Returns a dictionary with ``import_id``, ``execution_ids``, ``lines_read``, ``lines_rejected``,
    ``lines_accepted``, ``lines_failed``, ``lines_unprocessed``, ``lines_unjoined``, ``blank_lines``, ``parts``, ``bytes``
    (sent), ``seconds`` (since the submission began), ``rejects_uri``, ``results_uri``, ``error_file_uris``, ``possible_issue_on_identifiers``,
    ``console_url`` and ``verified``.
    ``lines_read = lines_rejected + lines_accepted + lines_failed``, or the task fails and says by how much.

    Every line is checked before the first byte is sent. Kill the task, its supervisor, the scheduler or the
    triggerer at any moment: a retry goes on, no line is lost and none is imported twice. Clearing a success
    imports again. Text from a template becomes a value of the argument's type, or an error that names the argument.

    :param document_type: one of the platform's types, such as ``USER_PROFILE``.
    :param source: file, pattern or URI (``s3://conn_id@bucket/key/*.gz``), or a list of them.
    :param name: name of the import; two words in brackets are added (``SendingOptions(name_marker)``).
    :param datamart_id: None takes the connection's.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    :param mime_type: None is the format of the document type; a ``USER_SEGMENT`` is CSV where all files end in
        ``.csv``.
    :param encoding: an encoding other than utf-8 needs ``SendingOptions(check=False)``.
    :param priority: ``LOW``, ``MEDIUM`` or ``HIGH``; None is not sent.
    :param shuffle_lines: None is not sent; the platform's default loses the order of lines.
    :param use_processing_pipeline: None is not sent.
    :param max_failures: how many bad lines are tolerated, rejected and failed lines together: a count, or a share of
        the lines read (``"0.1%"``). ``"100%"`` never fails.
    :param rejects_path: folder or URI for an NDJSON file of rejected lines, and for the results file, which tells all bad
        lines; with None only their counts are kept.
    :param rejects_content: ``"line"`` or ``"position"``; for deletions it is ``"position"`` unless given.
    :param error_file_reader: reads the platform's error files for the results file, where the default cannot tell the
        lines: an open binary file -> :class:`~airflow_bulk.documents.error_files.ErrorRow`. A function, no template.
    :param on_empty: ``"fail"``, ``"skip"`` or ``"ok"`` when there is nothing to send.
    :param on_clear: what clearing a success does: ``"import_again"``, or ``"keep"`` the recorded result.
    :param on_source_change: ``"fail"``, or ``"restart"`` when the source changed between tries.
    :param on_seen: what becomes of files that an earlier import has brought: ``"import_again"``; ``"skip"``, so that a pattern
        brings the new ones alone; or ``"fail"``. Files are known for each connection, datamart, document type and ``seen_as``; the
        result has two more names then: ``files_known`` and ``files_held``, files that were left out.
    :param seen_as: the name that stays the same over all runs; None takes what stands before the first template in ``name``.
    :param seen_days: how many days a file is known that no import finds any more.
    :param seen_files: how many files are known at most that no import has found for 32 days.
    :param allow_deletion: the document type spelled out, for the types that delete. Not a template field.
    :param max_deletions: with more lines than this nothing is sent, for the types that delete. Not a template field.
    :param verify: ``"input_file"``: at the end the platform's own copy of each part is read back, and its length and digest
        are compared with what was sent. ``verified`` of the result says so; a copy that differs fails the task, one that may
        not be read does not. Moves as many bytes once more.
    :param dry_run: only check the source, and report what would be sent and what would be refused. The result then has
        ``fingerprint``, of every line that would be sent, and ``sample``.
    :param sample: of a dry run: so many of the lines that would be sent, spread evenly, are told by ``number`` (from 1) and
        ``sha256`` (the first 12 digits of the hash of its bytes, without the line end). Reads the source once more.
    :param expect_fingerprint: the ``fingerprint`` of a dry run with the same source, options, type and datamart: nothing is sent where this
        task finds something else. One that is given and is empty or None, as a template or a mapped value may be, is refused.
    :param sending: how the source is cut and sent.
    :param wait_for_completion: False ends the task when everything is sent; accepted and failed lines are then None.
    :param poll_interval: seconds between two polls; the first polls are closer together.
    :param timeout: time from the first submission to the deadline (a timedelta, or seconds); retries and deferrals
        do not move the deadline, a clear does.
    :param cancel_on_kill: cancel the executions that are still PENDING when the task is stopped or late; a clear is no stop.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = (
        *DocumentsOperator.template_fields,
        "document_type",
        "name",
        "mime_type",
        "encoding",
        "priority",
        "shuffle_lines",
        "use_processing_pipeline",
    )

    def __init__(
        self,
        *,
        document_type: str,
        source: str | Sequence[str],
        name: str,
        mime_type: str | None = None,
        encoding: str = "utf-8",
        priority: str | None = None,
        shuffle_lines: bool | str | None = None,
        use_processing_pipeline: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.document_type = document_type
        self.name = name
        self._name_begins = read.before_template(name)
        self.mime_type = mime_type
        self.encoding = encoding
        self.priority = priority
        self.shuffle_lines = shuffle_lines
        self.use_processing_pipeline = use_processing_pipeline

    def _stays_the_same(self) -> str:
        return self._name_begins

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: MediarithmicsHook
    ) -> UploadArguments:
        """Read the arguments; see the class."""
        from airflow_bulk.runs.document_import.arguments import read_arguments

        return read_arguments(given, sending)


class UploadDocumentsOperator(DocumentsOperator):
    """Upload files into a document import that exists; the fields of the import say the format of the files.

    The promises and the result are those of :class:`ImportDocumentsOperator`, with one limit: others may upload into
    the same import. So when the answer to an upload was lost, the task takes an execution for its own only if you say
    ``exclusive=True`` and exactly one execution that was created since has the line count of the upload. Else the task
    fails, names the candidates, and sends nothing again. The task never cancels an execution that it did not create.

    Parameters that are not named here are those of :class:`ImportDocumentsOperator`.

    :param import_id: the document import.
    :param exclusive: nobody else uploads into it while this task runs.
    """

    template_fields: Sequence[str] = (*DocumentsOperator.template_fields, "import_id", "exclusive")

    def __init__(
        self,
        *,
        import_id: str,
        source: str | Sequence[str],
        exclusive: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.import_id = import_id
        self.exclusive = exclusive

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: MediarithmicsHook
    ) -> UploadArguments:
        """Read the arguments, and the import that ``import_id`` names."""
        from airflow_bulk.runs.document_import.arguments import read_upload_arguments

        return read_upload_arguments(
            given, sending, self._import(hook, read.text("import_id", self.import_id))
        )

    def _stays_the_same(self) -> str:
        return f"import {self.import_id}"

    def existing_import(self) -> ExistingImport:
        """Return the import that the operator was given."""
        from airflow_bulk.runs.upload.submission import ExistingImport

        return ExistingImport(read.text("import_id", self.import_id), read.flag("exclusive", self.exclusive))
