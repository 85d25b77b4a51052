"""The arguments of a resend, read once when the task runs: which import, which lines, and what the new imports are."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError, SendingOptions, UploadArguments, read_tolerance
from airflow_bulk.judging import Tolerance, how_many
from airflow_bulk.platforms.mediarithmics import document_imports as api
from airflow_bulk.runs.document_import.arguments import ImportDefinition, read_upload_arguments
from airflow_bulk.runs.marking import read_marked
from airflow_bulk.runs.upload.resending import counts_of
from airflow_bulk.runs.upload.rounds import FormerImport, ResendArguments

if TYPE_CHECKING:
    from airflow_bulk.documents.chosen_lines import Only, Transform

#: The id of an import that was never created.
NEVER_CREATED = "0"
#: Rounds at most: each is an import on the platform.
MOST_ROUNDS = 20
#: What a missing XCom means.
NOTHING_PUSHED = (
    "must be what an import returned, or the URI of its results file, and is empty: the import has pushed no results, since it failed "
    "before its end or was skipped. Look at its log; once it has ended, clear this task"
)


def read_former(results: object, import_id: object) -> FormerImport:
    """Read which import's lines are sent again.

    :param results: what the import returned, the same as a template renders it or as JSON, or the URI of its results file.
    :param import_id: of the import; None where the result tells it.
    :raises ArgumentError: neither tells the import, or it kept no bad line.
    """
    results, import_id = _unless_missing(results), _unless_missing(import_id)
    if results is None:
        raise ArgumentError("results", NOTHING_PUSHED)
    if isinstance(results, str) and results.strip().startswith("{"):
        results = _parsed(results.strip())
    given = read.optional_text("import_id", import_id)
    if isinstance(results, str) and results.strip() and not results.strip().startswith("{"):
        if given is None:
            raise ArgumentError("import_id", "must name the import where results is a file's URI")
        return FormerImport(import_id=given, results_uri=results.strip())
    if not isinstance(results, Mapping) or "lines_read" not in results:
        raise ArgumentError("results", "must be what an import returned, or the URI of its results file")
    if results.get("lines_accepted") is None or "fingerprint" in results:
        raise ArgumentError(
            "results",
            "must be of an import whose end was waited for, and not of a dry run: what became of its lines is not known",
        )
    totals = counts_of(results.get("totals") or results)
    bad = totals["lines_rejected"] + totals["lines_failed"] + totals["lines_unprocessed"]
    if bad and not results.get("results_uri"):
        raise ArgumentError(
            "results",
            f"tells of {how_many(bad, 'bad line')} but of no results file: give the import a rejects_path, and let it wait for its end",
        )
    # A resend that has created no import tells the one whose lines it was to send.
    known = given or results.get("import_id") or results.get("former_import_id")
    return FormerImport(
        import_id=str(known) if known else "", results_uri=results.get("results_uri"), totals=totals
    )


def _unless_missing(given: object) -> object:
    """None for what a template makes of an XCom that is not there: the word "None", or nothing."""
    return None if isinstance(given, str) and given.strip() in ("None", "") else given


def _parsed(text: str) -> object:
    """A result as a template renders it, or as JSON; what is neither stays a text, and is refused as no result."""
    for parse in (msgspec.json.decode, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return parse(text)
    return text


def read_definition(given: Mapping[str, Any], *, sends: bool) -> api.DocumentImport:
    """Read what an import would have been that was never created.

    :param sends: there are lines to send; else any type will do, for nothing is created.
    """
    if not sends:
        return api.DocumentImport(
            id=NEVER_CREATED, document_type="USER_PROFILE", mime_type="APPLICATION_X_NDJSON"
        )
    definition = ImportDefinition.read(
        {**given, "name": given["name"] or "lines", "encoding": "utf-8"},
    )
    return api.DocumentImport(
        id=NEVER_CREATED,
        name=definition.name,
        document_type=definition.document_type,
        mime_type=definition.mime_type,
        encoding=definition.encoding,
    )


def read_resent_arguments(
    given: Mapping[str, Any], sending: SendingOptions, imported: api.DocumentImport
) -> UploadArguments:
    """Read the arguments of a round: the new import is what the first one was.

    :param imported: the first import.
    :raises ArgumentError: naming the field.
    """
    given = {**given, "source": "spool"}
    args = read_upload_arguments(given, sending, imported)
    optional = {
        field: getattr(imported, field) for field in ("priority", "shuffle_lines", "use_processing_pipeline")
    }
    results_uri = read_former(given["results"], given["import_id"]).results_uri
    marked = read_marked(imported.name)
    return dataclasses.replace(
        args,
        name=read.optional_text("name", given["name"]) or (marked.name if marked else imported.name),
        fields={**args.fields, **optional},
        rejects_path=args.rejects_path or (results_uri.rpartition("/")[0] if results_uri else None),
        tolerance=Tolerance.parse("100%"),
    )


def read_resend(
    given: Mapping[str, Any], former: FormerImport, transform: Transform | None, base_name: str
) -> ResendArguments:
    """Read what a resend is asked for beside what every upload is asked for.

    :param given: by the operator's own argument names.
    :param base_name: of the new imports, as :func:`read_resent_arguments` has read it.
    :raises ArgumentError: naming the field.
    """
    rounds = read.integer("rounds", given["rounds"], least=1)
    if rounds > MOST_ROUNDS:
        raise ArgumentError(
            "rounds", f"must be {MOST_ROUNDS} at most: each round is an import on the platform"
        )
    if transform is not None and not callable(transform):
        raise ArgumentError("transform", f"must be a function, not {type(transform).__name__}")
    return ResendArguments(
        former=former,
        only=cast("Only", read.choice("only", given["only"], ("failed", "rejected", "both"))),
        whole_parts=read.flag("whole_parts", given["whole_parts"]),
        transform=transform,
        rounds=rounds,
        tolerance=read_tolerance(given["max_failures"]),
        base_name=base_name,
    )
