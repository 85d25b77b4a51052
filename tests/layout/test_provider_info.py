"""The provider's metadata: valid for Airflow, and true."""

from __future__ import annotations

import importlib
import json
from importlib import resources
from importlib.metadata import entry_points
from typing import Any

import jsonschema
import pytest

from airflow_bulk.get_provider_info import get_provider_info

INFO = get_provider_info()


def attribute(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_it_is_what_the_entry_point_leads_to() -> None:
    points = {
        point.value
        for point in entry_points(group="apache_airflow_provider")
        if "airflow_bulk" in point.value
    }
    assert points == {"airflow_bulk.get_provider_info:get_provider_info"}


def test_it_follows_airflows_schema() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("declared", INFO["connection-types"], ids=lambda one: one["connection-type"])
def test_the_hook_of_a_connection_type_is_its_hook(declared: dict[str, Any]) -> None:
    hook = attribute(declared["hook-class-name"])
    assert hook.conn_type == declared["connection-type"]
    assert hook.hook_name == declared["hook-name"]
    assert callable(hook.test_connection)


def test_the_links_are_links() -> None:
    from airflow.sdk import BaseOperatorLink

    for path in INFO.get("extra-links", []):
        assert issubclass(attribute(path), BaseOperatorLink)
