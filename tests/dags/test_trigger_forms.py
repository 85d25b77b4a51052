"""The trigger forms of the example DAGs: a new user sees what there is to fill."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG

from example_dags import load_example

#: Of each example with a form: the fields outside any section. Airflow folds sections away.
SEEN_AT_ONCE = {
    "accounting_refresh": {"staging"},
    "batch_around_import": {"folder", "half_life_days"},
    "customer_profiles": {"staging"},
    "farmlands_accounts": {"folder", "customers", "account_id", "test"},
    "gdpr_deletion": {"source"},
    "nightly_with_approval": {"source", "bad_lines"},
    "spread_import": {"folder"},
    "store_purchases": {"datamart", "dry_run", "deferrable"},
    "told_import": {"source"},
}


def test_every_example_is_here(repository: Path) -> None:
    assert {path.stem for path in (repository / "dags").glob("[!_]*.py")} == set(SEEN_AT_ONCE)


@pytest.mark.parametrize("example", SEEN_AT_ONCE)
def test_what_most_people_set_is_not_folded_away(repository: Path, example: str) -> None:
    module = load_example(repository, example)
    if isinstance(dag := getattr(module, "dag", None), DAG):
        params = dag.params
    else:
        params = DAG(example, schedule=None, params=module.PARAMS).params
    seen = {name for name in params if "section" not in params.get_param(name).schema}
    assert seen == SEEN_AT_ONCE[example]
