"""The documentation names everything there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from loading import accounts, loading

from airflow_bulk.emulator.centrapay_store import CentrapaySettings
from airflow_bulk.operators.centrapay_batch import CentrapayBatchOperator
from airflow_bulk.platforms.centrapay import BATCH_TYPES, STATUSES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(CentrapaySettings)])
def test_settings_of_the_emulator(field: str) -> None:
    assert f"| `{field}` |" in (DOCS / "emulator.md").read_text()


def test_types_and_results(centrapay: Any, files: Any, task: Any) -> None:
    text = (DOCS / "centrapay.md").read_text()
    result = task(loading(url=files.put("/a.jsonl", accounts(1)))).run()
    for name in (*result, *BATCH_TYPES):
        assert f"`{name}`" in text
        assert name in BATCH_TYPES or f"``{name}``" in (CentrapayBatchOperator.__doc__ or "")
    assert {"complete", "error"} < set(STATUSES)


def test_every_argument_is_documented() -> None:
    import inspect

    own = set(inspect.signature(CentrapayBatchOperator.__init__).parameters) - {"self", "kwargs"}
    documented = CentrapayBatchOperator.__doc__ or ""
    assert {name for name in own if f":param {name}:" not in documented} == set()
