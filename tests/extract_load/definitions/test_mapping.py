"""Mappings as data: shapes, dotted paths, the feeding table, and references that have to be there."""

import pytest

from airflow_bulk.extract_load import BatchDefinitionError, LoadMapping, compile_batch
from airflow_bulk.extract_load.mapping import read_mapping

JOBS = [
    {"type": "extract", "object": "Account"},
    {"type": "extract", "object": "Invoice"},
    {"type": "extract", "object": "Bill"},
    {"type": "load", "object": "accounts", "required_objects": {"extract": ["Account"]}},
    {"type": "load", "object": "ledger", "required_objects": {"extract": ["Invoice", "Bill"]}},
]
LEDGER = {"ledger": LoadMapping(feeds=["Invoice", "Bill"])}


def problem_texts(definition, **options):
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch(definition, **options)
    return [str(problem) for problem in caught.value.problems]


def test_dotted_paths_are_imported():
    mapping = read_mapping({"fields": "json.loads", "scope": "operator:truth"})
    assert mapping.fields.__name__ == "loads"
    assert mapping.scope.__name__ == "truth"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"fields": "json.nothing"}, "cannot import 'json.nothing'"),
        ({"fields": "nothing"}, "is no dotted path"),
        ({"fields": "math.pi"}, "fields must be a dict"),
        ({"field": {}}, "unknown key field"),
        ({"fields": {"name": 1}}, "fields must be a dict"),
        ({"match_on": []}, "match_on must be a name"),
        ({"feeds": [1]}, "feeds must be a name"),
        ({"references": ["accounts"]}, "references must be a dict"),
        ({"scope": ["open"]}, "scope must be a dict"),
        ("Account", "a mapping is a LoadMapping or a dict"),
    ],
)
def test_a_bad_mapping_names_its_job(mapping, message):
    (text,) = problem_texts({"jobs": JOBS, "mappings": {"accounts": mapping}})
    assert text.startswith("job 3: load accounts: its mapping: ")
    assert message in text


def test_mappings_of_the_dag_stand_over_those_of_the_file():
    definition = {"jobs": JOBS, "mappings": {"accounts": {"match_on": "code"}, "ledger": {"feeds": "Bill"}}}
    graph = compile_batch(definition, mappings=LEDGER)
    assert graph.mappings["accounts"].match_fields == ("code",)
    assert graph.mappings["ledger"].feeds == ("Invoice", "Bill")


def test_feeds_that_nobody_tells_are_a_fault_only_when_records_are_to_be_made():
    assert "ledger" not in compile_batch({"jobs": JOBS}).mappings
    (text,) = problem_texts({"jobs": JOBS}, mappings={})
    assert text.startswith("job 4: load ledger: nothing says which of its extracts (Invoice, Bill) feed it")


def test_feeds_must_be_extracts_of_the_batch():
    (text,) = problem_texts({"jobs": JOBS}, mappings={"ledger": LoadMapping(feeds=["Invoices"])})
    assert "job 4: " in text
    assert "did you mean 'Invoice'?" in text


def test_a_mapping_for_no_load_is_a_fault():
    (text,) = problem_texts({"jobs": JOBS}, mappings={**LEDGER, "acounts": LoadMapping()})
    assert text == "mapping 'acounts': no load job has this object; did you mean 'accounts'?"


def test_references_need_the_other_load_to_be_required():
    mappings = {"ledger": LoadMapping(feeds=["Bill"], references={"account_id": "accounts"})}
    (text,) = problem_texts({"jobs": JOBS}, mappings=mappings)
    assert "reference account_id -> 'accounts' needs 'accounts' in required_objects.load_result" in text
    own = {**LEDGER, "accounts": LoadMapping(references={"parent_account_id": "accounts"})}
    assert compile_batch({"jobs": JOBS}, mappings=own).mappings["accounts"].references


def test_a_feeding_extract_that_is_not_required_warns():
    jobs = [*JOBS[:3], {"type": "load", "object": "accounts"}]
    (warning,) = compile_batch({"jobs": jobs}).warnings
    assert warning.startswith("job 3: load accounts is fed by Account, but does not require it")


def test_a_load_that_nothing_feeds_warns():
    (warning,) = compile_batch({"jobs": [{"type": "load", "object": "vendors"}]}).warnings
    assert "its apply changes nothing" in warning


def test_a_module_that_cannot_be_loaded_is_a_fault_of_the_mapping(tmp_path, monkeypatch):
    (tmp_path / "broken_maps.py").write_text("def fields(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"cannot import 'broken_maps\.fields': SyntaxError"):
        read_mapping({"fields": "broken_maps.fields"})
