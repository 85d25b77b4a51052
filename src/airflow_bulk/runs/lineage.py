"""What a run tells OpenLineage at its end, good or bad: which files it read, where their lines went, and how many.

Only the OpenLineage provider calls this, so it is installed then. It may call from a fork of the task's process, in which
nothing can be asked of Airflow any more: all that is told was kept in memory. The provider itself adds the error's message
to the event of a failure; no message of this package holds the content of a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attr

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset, OutputDataset
    from openlineage.client.facet_v2 import RunFacet

#: Source files that an event names; all are counted.
NAMED_FILES = 100
#: The key of the run facet.
SUMMARY = "bulk_summary"
#: What the run facet has: a name there, the name in the row of the run.
_FACET = {
    "kind": "kind",
    "id": "id",
    "generation": "generation",
    "files": "files",
    "parts": "parts",
    "executions": "executions",
    "bytes": "bytes",
    "linesRead": "lines_read",
    "linesRejected": "lines_rejected",
    "linesAccepted": "lines_accepted",
    "linesFailed": "lines_failed",
    "rejectsUri": "rejects_uri",
    "resultsUri": "results_uri",
    "errorsUri": "errors_uri",
    "consoleUrl": "console_url",
}
#: Schemes of object stores that have several names.
_STORES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


def lineage_of(
    row: Mapping[str, Any],
    sources: Sequence[str],
    destination: str | None,
    *,
    inlets: Iterable[Any] = (),
    outlets: Iterable[Any] = (),
) -> OperatorLineage[Any, Any]:
    """Make the lineage of a run.

    :param row: what the page shows of the run (:mod:`airflow_bulk.shown`); empty where it never began.
    :param sources: paths and URIs of the files that were read.
    :param destination: the asset URI of what was written to; None where it has none, or nothing was sent.
    :param inlets: of the task: what its author gave counts, too.
    :param outlets: the same.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    inputs: list[Dataset] = _inputs(row, sources)
    outputs: list[Dataset] = _outputs(row, destination)
    _add_assets(inputs, inlets)
    _add_assets(outputs, outlets)
    return OperatorLineage(inputs=inputs, outputs=outputs, run_facets={SUMMARY: _summary(row)} if row else {})


def dataset_name(path: str) -> tuple[str, str]:
    """Namespace and name of a file or an object, as OpenLineage names them, and as Airflow names its file assets.

    :param path: a local path, or a URI, in which a connection's id may stand before the bucket.
    """
    if "://" not in path:
        return "file", path
    parts = urlsplit(path, allow_fragments=False)
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
    if scheme == "file":
        return (f"file://{host}" if host else "file"), parts.path
    return f"{_STORES.get(scheme, scheme)}://{host}", parts.path.removeprefix("/") or "/"


def _inputs(row: Mapping[str, Any], sources: Sequence[str]) -> list[Dataset]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset

    named = [dataset_name(one) for one in sources[:NAMED_FILES]]
    facets: dict[str, Any] = {}
    if len(named) == 1 and row.get("lines_read") is not None:
        # The lines of several files are counted together: those of one of them are not known.
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=row["lines_read"], fileCount=1
        )
    return [InputDataset(namespace, name, inputFacets=facets) for namespace, name in named]


def _outputs(row: Mapping[str, Any], destination: str | None) -> list[Dataset]:
    from airflow_bulk.assets.address import to_openlineage

    found: list[Dataset] = []
    if destination:
        known = to_openlineage(destination)
        size = (
            row.get("bytes") if row.get("phase") in ("submitted", "over") else None
        )  # else not all was sent
        found.append(_output(known.namespace, known.name, row.get("lines_accepted"), size))
    for uri, lines in (
        (row.get("rejects_uri"), row.get("lines_rejected")),
        (row.get("results_uri"), None),
        (row.get("errors_uri"), None),
    ):
        if uri:
            found.append(_output(*dataset_name(uri), lines, None))
    return found


def _output(namespace: str, name: str, rows: int | None, size: int | None) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    if rows is None and size is None:
        return OutputDataset(namespace, name)
    counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
    return OutputDataset(namespace, name, outputFacets={"outputStatistics": counted})


def _add_assets(found: list[Dataset], given: Iterable[Any]) -> None:
    """Add the author's own assets: OpenLineage leaves them out once an operator tells anything."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager

    names = {(one.namespace, one.name) for one in found}
    for asset in given:
        dataset = ExtractorManager.convert_to_ol_dataset(asset)
        if dataset is not None and (dataset.namespace, dataset.name) not in names:
            names.add((dataset.namespace, dataset.name))
            found.append(dataset)


def _summary(row: Mapping[str, Any]) -> RunFacet:
    """A run facet of our own: no facet of OpenLineage tells refused lines from failed ones, without a column."""
    from openlineage.client.facet_v2 import RunFacet

    made = attr.make_class(
        "BulkSummaryRunFacet",
        {name: attr.ib(default=None, kw_only=True) for name in _FACET},
        bases=(RunFacet,),
    )
    facet: RunFacet = made(**{name: row.get(key) for name, key in _FACET.items()})
    return facet
