"""Send the bad lines of a document import again, corrected by a function of yours, round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.base import IMPORT_AGAIN
from airflow_bulk.operators.document_import import DocumentsOperator
from airflow_bulk.operators.document_import_task import KEEP_SPOOL

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.chosen_lines import Transform
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.platforms.mediarithmics.document_imports import DocumentImport
    from airflow_bulk.runs.upload.resending import ResendRun
    from airflow_bulk.runs.upload.rounds import FormerImport, ResendArguments
    from airflow_bulk.runs.upload.spool import Spool

#: What a resend takes from the import or decides itself, so that nobody can say it twice.
NOT_ASKED = (
    "source",
    "check_only",
    "sample",
    "expect_fingerprint",
    "on_source_change",
    "on_seen",
    "seen_as",
    "seen_days",
    "seen_files",
    "wait_for_completion",
)


class ResendLinesOperator(DocumentsOperator):
    """Send the bad lines of a document import again, as an import of their own.

    The lines come from the results file of the import, so that import needs ``rejects_path``. ``transform`` gets each of
    them, and returns the line to send. They are spooled beside the results file, checked, sent, waited for and judged as
    :class:`~airflow_bulk.operators.document_import.ImportDocumentsOperator` does it, with the same promises. Lines that are bad again
    are sent in the next round, ``rounds`` times at most; each round is an import, whose name tells the round and the first import.

    Returns the result of the last import, and beside it ``round``, ``rounds`` (what became of the lines of each), ``former_import_id`` (the first import) and ``totals``: of all
    lines of the first import, how many are ``lines_accepted``, ``lines_rejected``, ``lines_failed``, ``lines_unprocessed`` and
    ``lines_dropped`` (left out by ``transform``) by now; together they are its ``lines_read``.

    Where the import was cleared and has run again, ``results`` names another one: the resend then begins anew, with those bad lines.

    Parameters that are not named here are those of ``ImportDocumentsOperator``. ``max_failures`` judges the totals, and ``on_empty`` is asked in the
    first round alone.

    :param results: what the import returned (``imported.output``, or its text as a template renders it, also with ``tojson``), or the URI of its results file; then say ``import_id``, too.
    :param import_id: the first import. None takes it from ``results``.
    :param transform: called with a :class:`~airflow_bulk.documents.chosen_lines.BadLine` for each line; returns a text or a dictionary, or None to leave
        the line out. The same line must give the same line again. None sends the lines as they were.
    :param only: ``"failed"`` on the platform, ``"rejected"`` by the check, or ``"both"``.
    :param whole_parts: where the failed lines of a part are not known one by one, send the whole part again. Its good lines are there
        twice then, so activities need a ``$unique_key``. With False such lines are left, and stay failed in the totals.
    :param rounds: imports at most.
    :param document_type: of an import that was never created, since all its lines were rejected; else it is the import's own.
    :param mime_type: likewise.
    :param name: of the new imports, before "resend 1 of" and the id; None takes the first import's name.
    """

    template_fields: Sequence[str] = (
        *(field for field in DocumentsOperator.template_fields if field not in NOT_ASKED),
        "results",
        "import_id",
        "only",
        "whole_parts",
        "rounds",
        "document_type",
        "mime_type",
        "name",
    )

    def __init__(
        self,
        *,
        results: Any,
        import_id: str | None = None,
        transform: Transform | None = None,
        only: str = "failed",
        whole_parts: bool | str = False,
        rounds: int | str = 1,
        document_type: str | None = None,
        mime_type: str | None = None,
        name: str | None = None,
        on_empty: str = "ok",
        **kwargs: Any,
    ) -> None:
        if not_asked := [field for field in (*NOT_ASKED, "dry_run") if field in kwargs]:
            raise read.ArgumentError(not_asked[0], "is no argument of a resend")
        super().__init__(source="", on_empty=on_empty, **kwargs)
        self.results = results
        self.import_id = import_id
        self.transform = transform
        self.only = only
        self.whole_parts = whole_parts
        self.rounds = rounds
        self.document_type = document_type
        self.mime_type = mime_type
        self.name = name

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: MediarithmicsHook
    ) -> UploadArguments:
        """Read the arguments of a round but for its source and its name."""
        from airflow_bulk.runs.document_import.resend_arguments import read_resent_arguments

        return read_resent_arguments(given, sending, self._import_before(hook))

    def _import_before(self, hook: MediarithmicsHook) -> DocumentImport:
        from airflow_bulk.runs.document_import.resend_arguments import read_definition

        former = self._former()
        if former.import_id:
            return self._import(hook, former.import_id)
        return read_definition(self._given(), sends=former.results_uri is not None)

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the lines, round after round, or go on where an earlier try stopped; see the class for the result."""
        result: dict[str, Any] = super().execute(context)
        if self._run is not None:
            self._run.forget_spools(result)
        return result

    def _former(self) -> FormerImport:
        from airflow_bulk.runs.document_import.resend_arguments import read_former

        return read_former(self.results, self.import_id)

    def _open(self, context: Context) -> ResendRun:
        from airflow_bulk.runs.upload.resending import ResendRun

        self._resend("")  # before anything is asked of the platform
        make_work = self._make_work(context)
        first = make_work()
        return ResendRun(self._resend(first.args.name), first, make_work, self.error_file_reader)

    def _resend(self, base_name: str) -> ResendArguments:
        from airflow_bulk.runs.document_import.resend_arguments import read_resend

        return read_resend(self._given(), self._former(), self.transform, base_name)

    def _spool_of(self, args: UploadArguments, context: Context) -> Spool | None:
        from airflow_bulk.runs.upload.rounds import lines_of_round
        from airflow_bulk.runs.upload.spool import Spool

        assert self._record is not None  # noqa: S101
        record, resend, ti = self._record, self._resend(args.name), context["ti"]
        if resend.former.results_uri is None:
            return None
        return Spool(
            lambda: lines_of_round(resend, args, record),
            folder=str(args.rejects_path or ""),
            keep=KEEP_SPOOL.total_seconds() + args.timeout,
            record=record,
            place=self._identity(context).removeprefix(f"{ti.dag_id}.{ti.run_id}."),
            args=args,
            way_out="Or resend in a new DAG run what this resend has left.",
        )

    def _given(self) -> dict[str, Any]:
        given = {**super()._given(), "source": "", "dry_run": False, "on_source_change": "fail"}
        return {**given, "wait_for_completion": True, "on_seen": IMPORT_AGAIN}
