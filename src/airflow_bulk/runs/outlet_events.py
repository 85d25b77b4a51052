"""What a good end puts into the asset events of its task: counts, ids and URIs, and never the content of a line.

Airflow emits one event an outlet when the task has succeeded; what stands in ``outlet_events[asset].extra`` goes with it, to
the DAGs that the asset starts (airflow.md section 12.1). Nothing is emitted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.sdk import Context

#: What an event takes of the result of any kind of run, where the result has it.
TOLD = (
    "import_id",
    "batch_id",
    "instance_id",
    "execution_id",
    "status",
    "lines_read",
    "lines_rejected",
    "lines_breaking_rules",
    "lines_accepted",
    "lines_failed",
    "lines_unprocessed",
    "lines_unjoined",
    "blank_lines",
    "round",
    "totals",
    "files_known",
    "tasks",
    "tasks_failed",
    "errors",
    "parts",
    "bytes",
    "rejects_uri",
    "results_uri",
    "errors_uri",
    "finished_at",
    "console_url",
)


def event_extra(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the event of an outlet tells of a result: its counts, ids and URIs.

    ``executions`` is how many there are; their ids may be thousands, and stay in the result.
    """
    told = {name: result[name] for name in TOLD if name in result}
    if "execution_ids" in result:
        told["executions"] = len(result["execution_ids"])
    return told


def tell_outlets(
    context: Context, outlets: Sequence[Any], result: Mapping[str, Any], destination: str | None
) -> None:
    """Put a result into the events of a task's outlets. What the DAG's own hooks have put there stays.

    An ``AssetAlias`` among the outlets gets an event of the destination's asset, if anything was sent and nobody has
    added an asset to it.

    :param outlets: of the task; what is no asset is passed over.
    :param destination: the asset URI of what was written, where there is one.
    """
    told = event_extra(result)
    for outlet in outlets:
        try:
            event = context["outlet_events"][outlet]
        except TypeError:
            continue  # a table or a file of a lineage system: it has no events
        if not isinstance(outlet, AssetAlias):
            for name, value in told.items():
                event.extra.setdefault(name, value)
        elif destination and not event.asset_alias_events and (told.get("import_id") or told.get("batch_id")):
            event.add(Asset(uri=destination), extra=told)
