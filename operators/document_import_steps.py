"""The single steps of a document import as operators: create, update, delete, prune, cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_bulk import arguments as read
from airflow_bulk.links import DocumentImportLink
from airflow_bulk.operators.base import RecordedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook


class _StepOperator(BaseOperator):
    """What the steps share: the connection and the datamart."""

    def __init__(
        self,
        *,
        datamart_id: str | int | None = None,
        mediarithmics_conn_id: str = "mediarithmics_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datamart_id = datamart_id
        self.mediarithmics_conn_id = mediarithmics_conn_id

    def _hook(self) -> tuple[MediarithmicsHook, str]:
        from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

        hook = MediarithmicsHook(self.mediarithmics_conn_id)
        return hook, hook.datamart(read.optional_text("datamart_id", self.datamart_id))


class CreateDocumentImportOperator(RecordedOperator, _StepOperator):
    """Create a document import and return its id; exactly one, however often the task is killed and retried.

    Clearing the task after a success creates another one. Parameters as in
    :class:`~airflow_bulk.operators.document_import.ImportDocumentsOperator`.

    :param mime_type: None is ``APPLICATION_X_NDJSON``, since no file name says CSV here.
    :param name_marker: end the name in a word in brackets, the marker, by which a later try finds the import again; as
        :class:`~airflow_bulk.arguments.SendingOptions` has it.
    :param settle: seconds to wait until the platform lists an import whose creation got no answer.
    """

    template_fields: Sequence[str] = (
        "document_type",
        "name",
        "datamart_id",
        "mime_type",
        "encoding",
        "priority",
        "shuffle_lines",
        "use_processing_pipeline",
        "name_marker",
        "settle",
    )
    operator_extra_links = (DocumentImportLink(),)

    def __init__(
        self,
        *,
        document_type: str,
        name: str,
        mime_type: str | None = None,
        encoding: str = "utf-8",
        priority: str | None = None,
        shuffle_lines: bool | str | None = None,
        use_processing_pipeline: bool | str | None = None,
        name_marker: bool | str = True,
        settle: float | str = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.document_type = document_type
        self.name = name
        self.mime_type = mime_type
        self.encoding = encoding
        self.priority = priority
        self.shuffle_lines = shuffle_lines
        self.use_processing_pipeline = use_processing_pipeline
        self.name_marker = name_marker
        self.settle = settle

    def execute(self, context: Context) -> str:
        """Create the import, or return the one an earlier try created."""
        from airflow_bulk.runs.creation import find_or_create
        from airflow_bulk.runs.document_import.arguments import ImportDefinition
        from airflow_bulk.runs.failures import as_airflow_errors
        from airflow_bulk.runs.record import EndMeaning, Record

        with as_airflow_errors():
            hook, datamart_id = self._hook()
            given = {name: getattr(self, name) for name in self.template_fields}
            definition = ImportDefinition.read(given)
            record = Record.of(context)
            meaning, _ = record.recorded_end()
            if meaning is EndMeaning.BEGIN_AGAIN:
                record.next_generation()
            import_id = find_or_create(
                hook,
                hook.document_imports(datamart_id),
                record,
                name=definition.name,
                fields=definition.fields,
                marked=read.marker("name_marker", self.name_marker),
                settle=read.number("settle", self.settle),
            ).import_id
            context["ti"].xcom_push(key="import_id", value=import_id)
            if url := hook.console_url(import_id, datamart_id):
                context["ti"].xcom_push(key="console_url", value=url)
            record.write_end(good=True, result={"import_id": import_id})
            return import_id


class UpdateDocumentImportOperator(_StepOperator):
    """Change fields of an import: read, merge, put the whole object back (mediarithmics.md section 2.2).

    Safe to retry. Returns the import's id.

    :param changes: fields and their new values: ``name``, ``priority``, ``shuffle_lines``,
        ``use_processing_pipeline``. The format of an import with executions must not change.
    """

    template_fields: Sequence[str] = ("import_id", "datamart_id", "changes")
    operator_extra_links = (DocumentImportLink(),)
    CHANGEABLE = ("name", "priority", "shuffle_lines", "use_processing_pipeline")

    def __init__(
        self,
        *,
        import_id: str,
        changes: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.import_id = import_id
        self.changes = changes

    def execute(self, context: Context) -> str:
        """Put the changed import."""
        from airflow_bulk.runs.document_import.arguments import read_changes
        from airflow_bulk.runs.failures import as_airflow_errors

        with as_airflow_errors():
            hook, datamart_id = self._hook()
            import_id = read.text("import_id", self.import_id)
            changes = read_changes(self.changes, self.CHANGEABLE)
            hook.update_document_import(import_id, changes, datamart_id)
            self.log.info("Updated %s of document import %s.", ", ".join(changes), import_id)
            return import_id


class DeleteDocumentImportOperator(_StepOperator):
    """Delete an import. The task fails while executions are PENDING or RUNNING, unless ``force=True``.

    An import that is gone already is no error, so a retry is safe.

    :param force: delete the import although executions are not over.
    """

    template_fields: Sequence[str] = ("import_id", "datamart_id", "force")

    def __init__(
        self,
        *,
        import_id: str,
        force: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.import_id = import_id
        self.force = force

    def execute(self, context: Context) -> None:
        """Delete the import."""
        from airflow.sdk.exceptions import AirflowException

        from airflow_bulk.judging import how_many, name_ids
        from airflow_bulk.platforms.errors import NotFound
        from airflow_bulk.runs.failures import as_airflow_errors

        with as_airflow_errors():
            hook, datamart_id = self._hook()
            import_id = read.text("import_id", self.import_id)
            try:
                found = hook.executions(import_id, datamart_id).snapshots()
                going = [one.id for one in found if not one.remote_status.over]
                if going and not read.flag("force", self.force):
                    raise AirflowException(
                        f"Document import {import_id} was not deleted: {how_many(len(going), 'execution')} not over "
                        f"({name_ids(going)}). A retry looks again; force=True deletes all the same."
                    )
                hook.delete_document_import(import_id, datamart_id)
            except NotFound:
                self.log.info("Document import %s is gone already.", import_id)


class PruneDocumentImportsOperator(_StepOperator):
    """Delete old imports of one name, and never one that a person has made or that a run may still need.

    Each run of an import makes an import of its own, so their number grows for ever. Deleted is only an import

    * whose name begins with ``name_prefix`` and ends in the marker that the operators of this package write, so with
      ``SendingOptions(name_marker=True)``;
    * that is not among the ``keep`` newest of those;
    * whose executions are all over, and to which nothing has happened for ``older_than``. An import without executions is
      kept, since its first upload may be on its way.

    What the platform keeps of a deleted import is not documented (mediarithmics.md section 2.2). A task whose import was
    deleted can be neither retried nor judged again, so ``older_than`` should be longer than anybody retries or clears. A
    datamart that two Airflows feed needs names that differ in how they begin.

    Returns ``dry_run``, ``found`` (imports of this name, with a marker), ``deleted`` (in a dry run: ``to_delete``), ``gone_already``
    (somebody else has deleted them meanwhile), ``kept`` (a count for each of ``newest``, ``not_over``, ``no_executions``,
    ``too_young``), and ``imports``: id and name of what was, or would be, deleted, 100 at most. The log names all. A retry goes on
    with what is left, and counts that alone.

    :param name_prefix: how the names begin, in upper and lower case as they are; blanks count.
    :param keep: how many of the newest are kept, whatever their age; 0 lets their age alone decide.
    :param older_than: time since the newest execution of the import ended (a timedelta, or seconds).
    :param dry_run: only say what would be deleted; False deletes.
    :param datamart_id: None takes the connection's.
    :param mediarithmics_conn_id: connection of type ``mediarithmics``.
    """

    template_fields: Sequence[str] = ("name_prefix", "keep", "older_than", "check_only", "datamart_id")

    def __init__(
        self,
        *,
        name_prefix: str,
        keep: int | str = 30,
        older_than: timedelta | float | str = timedelta(days=7),
        dry_run: bool | str = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name_prefix = name_prefix
        self.keep = keep
        self.older_than = older_than
        self.check_only = dry_run  # BaseOperator.dry_run is a method

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete, or say what would be deleted."""
        from airflow_bulk.runs.document_import.pruning import PruneArguments, Pruning
        from airflow_bulk.runs.failures import as_airflow_errors

        with as_airflow_errors():
            given = {name: getattr(self, name) for name in self.template_fields}
            args = PruneArguments.read({"dry_run": given.pop("check_only"), **given})
            hook, datamart_id = self._hook()
            return Pruning(hook, datamart_id, args).run()


class CancelDocumentImportExecutionsOperator(_StepOperator):
    """Cancel the executions of an import that are still PENDING; made to be a teardown of the import.

    A task marked failed before the triggerer has its trigger, or while the triggerer is down, gets no
    ``on_kill`` at all (airflow.md section 3.3). Run this one with ``trigger_rule="all_done"`` or as a
    teardown on the ``import_id`` that the import pushes to XCom as soon as it is known.

    Returns how many executions were cancelled, and the ids of those that still run: only a PENDING execution can be
    cancelled.

    :param import_id: the import; None or empty (the import was never created) does nothing.
    :param execution_ids: cancel only these executions; None cancels all executions of the import.
    :param seconds: how long the task may take.
    """

    template_fields: Sequence[str] = ("import_id", "datamart_id", "execution_ids", "seconds")

    def __init__(
        self,
        *,
        import_id: str | None,
        execution_ids: Sequence[str] | str | None = None,
        seconds: float | str = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.import_id = import_id
        self.execution_ids = execution_ids
        self.seconds = seconds

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel, list the executions to prove it, and name those that still run."""
        from airflow_bulk.judging import name_ids
        from airflow_bulk.platforms.status import RemoteStatus
        from airflow_bulk.runs.failures import as_airflow_errors

        with as_airflow_errors():
            import_id = read.optional_text("import_id", self.import_id)
            if import_id is None:
                self.log.info("There is no import, so there is nothing to cancel.")
                return {"canceled": 0, "still_running": []}
            hook, datamart_id = self._hook()
            executions = hook.executions(import_id, datamart_id)
            wanted = read.optional_texts("execution_ids", self.execution_ids)
            pending = [
                one.id
                for one in executions.snapshots()
                if one.remote_status is RemoteStatus.PENDING and (wanted is None or one.id in wanted)
            ]
            left = executions.cancel_pending(pending, read.number("seconds", self.seconds, least=1))
            running = [
                one.id
                for one in executions.snapshots()
                if not one.remote_status.over and (wanted is None or one.id in wanted)
            ]
            if running:
                self.log.warning("Still running, only PENDING can be cancelled: %s.", name_ids(running))
            return {"canceled": len(pending) - len(left), "still_running": running}
