"""Older batch formats (extract_load.md section 1.3) are converted, or refused with the way to convert."""

import pytest

from airflow_bulk.batches import BatchDefinitionError, compile_batch


def test_nested_jobs_become_extracts_and_one_load_an_object():
    graph = compile_batch(
        {
            "source": {"connection": {"id": "s1"}},
            "destination.connection.id": "d1",
            "jobs": [
                {"extract": {"object": "Bill", "since": "2012-04-01"}, "load": {"object": "financial_txns"}},
                {"extract": {"object": "Invoice"}, "load": {"object": "financial_txns", "allowDelete": True}},
                {"extract": {"object": "Bill", "since": "2012-04-01"}, "load": {"object": "bills"}},
            ],
        }
    )
    assert graph.edges == {
        ("snapshot:financial_txns", "apply:financial_txns"),
        ("extract:Bill", "apply:financial_txns"),
        ("extract:Invoice", "apply:financial_txns"),
        ("snapshot:bills", "apply:bills"),
        ("extract:Bill", "apply:bills"),
    }
    assert graph.extracts["extract:Bill"].since == "2012-04-01T00:00:00+00:00"
    assert (graph.batch.source_connection_id, graph.batch.destination_connection_id) == ("s1", "d1")
    assert any("converted: jobs 0, 1, 2" in warning for warning in graph.warnings)
    assert any(warning.startswith("job 1: allowDelete has no effect") for warning in graph.warnings)


@pytest.mark.parametrize(
    "required",
    [
        {"required_object": "Account"},
        {"required_objects": ["Account"]},
        {"required_objects": {"extract": ["Account"]}},
    ],
)
def test_single_and_plain_requirements_mean_extracts(required):
    graph = compile_batch(
        {
            "jobs": [
                {"type": "extract", "object": "Account"},
                {"type": "load", "object": "accounts", **required},
            ]
        }
    )
    assert ("extract:Account", "apply:accounts") in graph.edges


def refusal(*jobs):
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch({"jobs": list(jobs)})
    (problem,) = caught.value.problems
    return problem


def test_two_bounds_for_one_extract_cannot_be_converted():
    problem = refusal(
        {"extract": {"object": "Bill", "since": "2012-04-01"}, "load": {"object": "bills"}},
        {"extract": {"object": "Bill"}, "load": {"object": "vendors"}},
    )
    assert (problem.code, problem.jobs) == ("older-format", (0, 1))
    assert "to convert, give both the same since" in str(problem)


def test_jobs_with_their_own_connections_cannot_be_converted():
    problem = refusal(
        {"extract": {"object": "Bill", "connection": {"id": "s1"}}, "load": {"object": "bills"}},
        {"extract": {"object": "Account", "connection": {"id": "s2"}}, "load": {"object": "accounts"}},
    )
    assert (problem.code, problem.jobs, problem.kind) == ("older-format", (0, 1), "source_connection_id")
    assert "to convert, make one batch for each pair of connections" in str(problem)


def test_faults_in_nested_jobs_keep_their_index():
    problem = refusal({"extract": {"object": "Bill"}}, {"extract": {}, "load": {"object": "bills"}})
    assert (problem.code, problem.jobs) == ("missing-object", (1,))


def test_an_odd_required_object_is_refused():
    problem = refusal({"type": "load", "object": "accounts", "required_object": {"extract": "Account"}})
    assert (problem.code, problem.jobs) == ("older-format", (0,))
    assert "write required_objects.extract" in str(problem)
