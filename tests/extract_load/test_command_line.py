"""``airflow bulk batch``: through Airflow's own parser, as a person types it."""

import json

import pytest
from airflow.cli.cli_parser import get_parser

from airflow_bulk.batches import load_definition
from airflow_bulk.cli.commands import get_cli_commands
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


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_snapshot_writes_what_compile_reads(extract_load, tmp_path, capsys, suffix):
    made = ExtractLoadHook("el_server").create_batch(GOOD)
    path = tmp_path / f"saved.{suffix}"
    airflow("bulk", "batch", "snapshot", made.id, "--conn-id", "el_server", "-o", path)
    assert capsys.readouterr().out == f"{path}: 2 jobs\n"
    assert load_definition(path) == GOOD
