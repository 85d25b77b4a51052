"""An apply as a step runs it, without its staged files."""

from __future__ import annotations

from airflow_bulk.extract_load.applying import carry_out
from airflow_bulk.extract_load.planning import make_plan
from airflow_bulk.extract_load.transforming import wanted_records
from airflow_bulk.extract_load.work_file import WorkFile


def on_disk(
    mapping,
    extracted,
    current,
    tables,
    destination,
    limit,
    refused,
    *,
    load="accounts",
    counted=False,
    work_file=WorkFile,
    **more,
):
    """Apply, and return the counts and the records.

    :param counted: return how many records there are instead.
    """
    with work_file() as work:
        wanted = wanted_records(load, mapping, extracted, work)
        plan = make_plan(load, mapping, wanted, current, tables, deleting=refused is None)
        outcome = carry_out(load, mapping, plan, destination, limit=limit, refused=refused, **more)
        return outcome.applied, sum(1 for _ in outcome.records) if counted else list(outcome.records)
