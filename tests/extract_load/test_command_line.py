"""``airflow bulk batch``: through Airflow's own parser, as a person types it."""

import json
import sys

import pytest
from airflow.cli.cli_parser import get_parser

from airflow_bulk.cli.commands import get_cli_commands
from airflow_bulk.extract_load import load_definition
from airflow_bulk.get_provider_info import get_provider_info
from airflow_bulk.hooks.extract_load import ExtractLoadHook

GOOD = {
    "since": "2013-01-01",
    "jobs": [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}],
}


def airflow(*words):
    args = get_parser().parse_args(list(map(str, words)))
    return args.func(args)


@pytest.fixture
def definition(tmp_path):
    def write(content):
        path = tmp_path / "batch.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_the_metadata_names_the_commands():
    assert get_provider_info()["cli"] == ["airflow_bulk.cli.commands.get_cli_commands"]
    assert [command.name for command in get_cli_commands()] == ["bulk"]


def test_compile_prints_nodes_and_edges(definition, capsys):
    airflow("bulk", "batch", "compile", definition(GOOD))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "extract:Vendor",
        "snapshot:vendors",
        "apply:vendors  <-  snapshot:vendors",
        "3 nodes, 1 edges",
    ]
    assert err.startswith("warning: job 1: load vendors is fed by Vendor, but does not require it")


def test_compile_prints_dot(definition, capsys):
    airflow("bulk", "batch", "compile", definition(GOOD), "--dot")
    assert '  "snapshot:vendors" -> "apply:vendors";' in capsys.readouterr().out.splitlines()


def test_compile_ends_with_1_and_every_problem(definition, capsys):
    with pytest.raises(SystemExit) as caught:
        airflow("bulk", "batch", "compile", definition({"jobs": [{"type": "Load"}, {"object": "x"}]}))
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert "has 3 problems" in err
    assert "did you mean 'load'?" in err


def test_compile_of_no_file_says_so(tmp_path):
    with pytest.raises(SystemExit, match="No such file"):
        airflow("bulk", "batch", "compile", tmp_path / "missing.yaml")


@pytest.mark.parametrize("place", ["the DAG folder", "the definition's folder"])
def test_compile_imports_what_airflow_would_import(place, definition, tmp_path, monkeypatch):
    folder = tmp_path
    if place == "the DAG folder":
        folder = tmp_path / "dags"
        folder.mkdir()
        monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder))
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = f"maps_in_{place.split()[1]}".replace("'", "")
    (folder / f"{module}.py").write_text("def vendor(record):\n    return {}\n")
    mappings = {"vendors": {"fields": f"{module}.vendor"}}
    airflow("bulk", "batch", "compile", definition({**GOOD, "mappings": mappings}))
    assert sys.modules.pop(module).vendor({}) == {}


def test_compile_of_no_text_says_so(tmp_path):
    path = tmp_path / "batch.yaml"
    path.write_bytes(b"jobs: \xff")
    with pytest.raises(SystemExit, match="not UTF-8: invalid start byte at byte 6"):
        airflow("bulk", "batch", "compile", path)


@pytest.mark.parametrize(
    ("batch_id", "conn_id", "why"),
    [
        ("../connection", "el_server", "'../connection' is no id of this server"),
        ("0" * 24, "el_server", "404"),
        ("0" * 24, "el_nowhere", "The conn_id `el_nowhere` isn't defined"),
    ],
)
def test_snapshot_of_what_cannot_be_read_says_why(extract_load, tmp_path, batch_id, conn_id, why):
    path = tmp_path / "saved.yaml"
    with pytest.raises(SystemExit) as caught:
        airflow("bulk", "batch", "snapshot", batch_id, "--conn-id", conn_id, "-o", path)
    assert caught.value.code.startswith(f"batch {batch_id} over connection {conn_id}: ")
    assert why in caught.value.code
    assert "retry" not in caught.value.code
    assert caught.value.code.endswith(f"{path} was not written.")
    assert not path.exists()


def test_snapshot_into_no_folder_says_so(extract_load, tmp_path):
    made = ExtractLoadHook("el_server").create_batch(GOOD)
    with pytest.raises(SystemExit, match=r"nowhere/saved\.yaml: No such file or directory"):
        airflow(
            *("bulk", "batch", "snapshot", made.id, "--conn-id", "el_server"),
            *("-o", tmp_path / "nowhere" / "saved.yaml"),
        )


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_snapshot_writes_what_compile_reads(extract_load, tmp_path, capsys, suffix):
    made = ExtractLoadHook("el_server").create_batch(GOOD)
    path = tmp_path / f"saved.{suffix}"
    airflow("bulk", "batch", "snapshot", made.id, "--conn-id", "el_server", "-o", path)
    assert capsys.readouterr().out == f"{path}: 2 jobs\n"
    assert load_definition(path) == GOOD
