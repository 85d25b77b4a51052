"""An Airflow that has the wheel, not the checkout: what a user's Airflow sees of this package."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.get_provider_info import get_provider_info
from airflow_stack import AirflowStack, clean_environment


@pytest.fixture(scope="module")
def emulator(airflow_stack: AirflowStack) -> Iterator[Emulator]:
    with Emulator.start() as running:
        airflow_stack.api.add_connection("mediarithmics_default", running.connection_json())
        yield running


def test_the_package_comes_from_the_wheel(installed: str, tmp_path: Path) -> None:
    asked = subprocess.run(
        [installed, "-c", "import airflow_bulk.hooks as h; print(h.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=clean_environment(),
    )
    assert Path(asked.stdout.strip()).is_relative_to(Path(installed).parents[1])


def test_the_command_line_lists_the_provider(installed: str, tmp_path: Path) -> None:
    listed = subprocess.run(
        [installed, "-m", "airflow", "providers", "list", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**clean_environment(), "AIRFLOW_HOME": str(tmp_path)},
    )
    providers = {one["package_name"]: one for one in json.loads(listed.stdout[listed.stdout.index("[{") :])}
    mine = providers["airflow-provider-bulk"]
    assert mine["version"] == "0.1.0"
    assert mine["description"] == get_provider_info()["description"].rstrip(
        "."
    )  # as Airflow shows all of them


def test_airflow_lists_the_provider(airflow_stack: AirflowStack) -> None:
    providers = airflow_stack.api.call("GET", "/providers", params={"limit": 200})["providers"]
    mine = [one for one in providers if one["package_name"] == "airflow-provider-bulk"]
    assert [one["version"] for one in mine] == ["0.1.0"]


def test_the_connection_form_shows_the_declared_fields(airflow_stack: AirflowStack) -> None:
    with httpx.Client(base_url=airflow_stack.url, trust_env=False, timeout=60) as pages:
        forms = {form["connection_type"]: form for form in pages.get("/ui/connections/hook_meta").json()}
    for declared in get_provider_info()["connection-types"]:
        form = forms[declared["connection-type"]]
        assert set(form["extra_fields"]) == set(declared["conn-fields"])
        behaviour = declared["ui-field-behaviour"]
        shown = form["standard_fields"]
        assert {name: shown[name]["title"] for name in behaviour["relabeling"]} == behaviour["relabeling"]
        # The page calls the field "schema" by another name.
        assert all(
            shown[name.replace("schema", "url_schema")]["hidden"] for name in behaviour["hidden-fields"]
        )


def press_test_button(airflow_stack: AirflowStack, connection: dict) -> tuple[bool, str]:
    body = {
        "connection_id": "tried",
        "conn_type": connection["conn_type"],
        "host": connection["host"],
        "password": connection["password"],
        "extra": json.dumps(connection["extra"]),
    }
    answer = airflow_stack.api.call("POST", "/connections/test", json=body)
    return answer["status"], answer["message"]


def test_the_test_button_tells_good_from_bad_tokens(airflow_stack: AirflowStack, emulator: Emulator) -> None:
    good = json.loads(emulator.connection_json())
    assert press_test_button(airflow_stack, good) == (
        True,
        f"The API token is accepted, and datamart {emulator.datamart_id} can be read.",
    )

    status, message = press_test_button(airflow_stack, {**good, "password": "not-a-token-of-the-platform"})
    assert not status
    assert message.startswith("401")
    assert "not-a-token-of-the-platform" not in message

    foreign = {**good, "extra": {**good["extra"], "datamart_id": "999999"}}
    status, message = press_test_button(airflow_stack, foreign)
    assert not status
    assert message.startswith("403")


def test_the_example_runs_and_links_to_the_console(airflow_stack: AirflowStack, emulator: Emulator) -> None:
    dag_id, task_id = "store_purchases", "import_on_a_worker"
    airflow_stack.api.wait_for_dag(dag_id)
    airflow_stack.api.unpause(dag_id)
    run_id = airflow_stack.api.trigger(dag_id, conf={"deferrable": False})
    assert airflow_stack.api.wait_for_run(dag_id, run_id) == "success"
    result = airflow_stack.api.xcom(dag_id, run_id, task_id)
    assert emulator.held(result["import_id"]).total() == result["lines_accepted"] == 69_659
    links = airflow_stack.api.links(dag_id, run_id, task_id)
    assert list(links.values()) == [result["console_url"]]
    assert f"/{emulator.datamart_id}/imports/{result['import_id']}" in result["console_url"]
