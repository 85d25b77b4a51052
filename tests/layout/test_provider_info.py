"""The provider's metadata: valid for Airflow, and true."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator, TaskGroup
from airflow.triggers.base import BaseTrigger

from airflow_bulk.get_provider_info import get_provider_info
from airflow_stack import clean_environment

INFO = get_provider_info()
#: The rooms that Airflow lists, and of which classes the modules of each are made.
KINDS: dict[str, tuple[type, ...]] = {
    "operators": (BaseOperator, TaskGroup),
    "sensors": (BaseSensorOperator,),
    "hooks": (BaseHook,),
    "triggers": (BaseTrigger,),
}


def attribute(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def offers(module: ModuleType, kinds: tuple[type, ...]) -> bool:
    """Whether a module defines a public class of one of these kinds, or offers one in ``__all__``."""
    offered = getattr(module, "__all__", ())
    return any(
        inspect.isclass(value) and issubclass(value, kinds) and not name.startswith("_")
        for name, value in vars(module).items()
        if name in offered or getattr(value, "__module__", None) == module.__name__
    )


def declared(room: str) -> list[str]:
    """The modules that the metadata names of a room."""
    return [module for entry in INFO[room] for module in entry["python-modules"]]


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


@pytest.mark.parametrize("room", KINDS)
def test_each_module_that_offers_a_class_is_named_once(repository: Path, room: str) -> None:
    modules = [f"airflow_bulk.{room}.{path.stem}" for path in sorted((repository / room).glob("[!_]*.py"))]
    assert sorted(declared(room)) == [
        name for name in modules if offers(importlib.import_module(name), KINDS[room])
    ]


def test_a_module_counts_by_what_it_offers() -> None:
    assert offers(importlib.import_module("airflow_bulk.operators.extract_load"), (TaskGroup,))
    # A task group that stands in a module because the module uses it, and a class of another kind, do not count.
    assert not offers(importlib.import_module("airflow_bulk.operators.extract_load_steps"), (TaskGroup,))
    assert not offers(importlib.import_module("airflow_bulk.hooks.extract_load_sql"), (BaseHook,))


@pytest.mark.parametrize("room", KINDS)
def test_each_integration_of_a_room_is_declared(room: str) -> None:
    names = [one["integration-name"] for one in INFO["integrations"]]
    assert [entry["integration-name"] for entry in INFO[room]] == names
    assert len(names) == len(set(names))


def test_the_guides_exist(repository: Path) -> None:
    guides = [guide for one in INFO["integrations"] for guide in one["how-to-guide"]]
    assert guides
    assert [guide for guide in guides if not (repository / guide.lstrip("/")).is_file()] == []


@pytest.mark.parametrize("connection", INFO["connection-types"], ids=lambda one: one["connection-type"])
def test_the_hook_of_a_connection_type_is_its_hook(connection: dict[str, Any]) -> None:
    hook = attribute(connection["hook-class-name"])
    assert hook.conn_type == connection["connection-type"]
    assert hook.hook_name == connection["hook-name"]
    assert callable(hook.test_connection)


def test_the_links_are_links() -> None:
    from airflow.sdk import BaseOperatorLink

    for path in INFO["extra-links"]:
        assert issubclass(attribute(path), BaseOperatorLink)


def test_the_notifiers_are_notifiers() -> None:
    from airflow.sdk import BaseNotifier

    for path in INFO["notifications"]:
        assert issubclass(attribute(path), BaseNotifier)


def test_the_asset_uris_have_all_that_airflow_asks_for() -> None:
    assert [one["schemes"] for one in INFO["asset-uris"]] == [["mediarithmics"], ["centrapay"]]
    for one in INFO["asset-uris"]:
        assert all(callable(attribute(path)) for name, path in one.items() if name != "schemes")


def test_the_commands_are_callable() -> None:
    assert [attribute(path)()[0].name for path in INFO["cli"]] == ["bulk"]


#: Each command in one process: the import of Airflow takes seconds.
SCRIPT = """
import sys
from airflow.__main__ import main
for words in sys.argv[1:]:
    sys.argv = ["airflow", "providers", *words.split(), "--output", "json"]
    main()
    print(flush=True)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What ``airflow providers ...`` prints, by command."""
    commands = ["list", "get airflow-provider-bulk --full", "hooks", "links", "triggers"]
    home = tmp_path_factory.mktemp("command-line")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *commands],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env={**clean_environment(), "AIRFLOW_HOME": str(home)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # A line of the log may come before the answer.
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[{")]
    return {command.split()[0]: answer for command, answer in zip(commands, answers, strict=True)}


def test_the_command_line_lists_the_provider(shown: dict[str, list[dict[str, Any]]]) -> None:
    assert "airflow-provider-bulk" in {one["package_name"] for one in shown["list"]}


def test_the_command_line_shows_all_that_is_declared(shown: dict[str, list[dict[str, Any]]]) -> None:
    (mine,) = shown["get"]
    # Airflow shows numbers as texts, and each description without the full stop at its end.
    assert mine["description"] == INFO["description"].rstrip(".")
    others = set(INFO) - {"description", "connection-types"}
    assert {name: mine[name] for name in others} == {name: INFO[name] for name in others}
    fields = [set(one["conn-fields"]) for one in mine["connection-types"]]
    assert fields == [set(one["conn-fields"]) for one in INFO["connection-types"]]


def test_the_command_line_shows_hooks_links_and_triggers(shown: dict[str, list[dict[str, Any]]]) -> None:
    classes = {one["connection_type"]: one["class"] for one in shown["hooks"]}
    hooks = {one["connection-type"]: one["hook-class-name"] for one in INFO["connection-types"]}
    assert {name: classes[name] for name in hooks} == hooks
    assert set(INFO["extra-links"]) <= {one["extra_link_class_name"] for one in shown["links"]}
    mine = [one["class"] for one in shown["triggers"] if one["package_name"] == "airflow-provider-bulk"]
    assert sorted(mine) == sorted(declared("triggers"))
