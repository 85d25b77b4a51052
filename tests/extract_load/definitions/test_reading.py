"""Definitions from files: YAML and JSON, relative to the caller, never from the network."""

import json

import pytest

from airflow_bulk.extract_load import BatchDefinitionError, compile_batch, load_definition

YAML = """
since: 2012-04-01        # YAML makes a date of it
jobs:
  - {type: extract, object: Vendor}
  - type: load
    object: vendors
    required_objects: {extract: [Vendor]}
"""


def test_yaml_and_json_say_the_same(tmp_path):
    (tmp_path / "b.yaml").write_text(YAML)
    job = {"type": "load", "object": "vendors", "required_objects": {"extract": ["Vendor"]}}
    jobs = [{"type": "extract", "object": "Vendor"}, job]
    (tmp_path / "b.json").write_text(json.dumps({"since": "2012-04-01", "jobs": jobs}))
    yaml, plain = (compile_batch(load_definition(tmp_path / name)) for name in ("b.yaml", "b.json"))
    assert (yaml.edges, yaml.extracts) == (plain.edges, plain.extracts)


def test_a_relative_path_starts_at_the_calling_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(load_definition("samples/S2.json")["jobs"]) == 2


def test_the_error_names_the_file(tmp_path):
    (tmp_path / "bad.yaml").write_text("jobs: [{type: load}]")
    with pytest.raises(BatchDefinitionError, match=r"^The batch definition bad\.yaml has 1 problem:"):
        compile_batch(load_definition(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.yaml", "jobs: []\njobs: []", "key 'jobs' is given twice"),
        ("b.json", '{"jobs": [], "jobs": []}', "key 'jobs' is given twice"),
        ("b.yaml", "jobs: [", "cannot be read"),
        ("b.json", "{", "cannot be read"),
        ("b.yaml", "", "holds nothing"),
        ("b.yaml", "- a", "holds a list"),
        ("b.yaml", "jobs: !!python/object/apply:os.getcwd []", "cannot be read"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(BatchDefinitionError, match=message):
        load_definition(tmp_path / name)


def test_the_network_is_refused():
    with pytest.raises(ValueError, match="save it beside the DAG first"):
        load_definition("https://example.org/batch.yaml")


def test_yaml_anchors_and_merges_work(tmp_path):
    text = "jobs:\n- &a {type: extract, object: A}\n- {<<: *a, object: B}\n"
    (tmp_path / "b.yaml").write_text(text)
    assert compile_batch(load_definition(tmp_path / "b.yaml")).nodes == {"extract:A", "extract:B"}
