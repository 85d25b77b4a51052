"""Older batch formats (extract_load.md section 1.3) are converted, or refused with the way to convert."""

import pytest

from airflow_bulk.extract_load import BatchDefinitionError, compile_batch


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


def refusals(*jobs):
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch({"jobs": list(jobs)})
    return [(problem.code, problem.jobs, problem.kind, problem.name) for problem in caught.value.problems]


def nested(extract="Bill", load="bills", **beside):
    return {"extract": {"object": extract}, "load": {"object": load}, **beside}


@pytest.mark.parametrize(
    ("required", "fault"),
    [
        ({"required_objects": "Account"}, ("not-an-object", "required_objects", None)),
        ({"required_objects": 5}, ("not-an-object", "required_objects", None)),
        ({"required_objects": {"extract": "Acc"}}, ("not-a-list", "extract", "Acc")),
        ({"required_objects": {"extracts": ["Acc"]}}, ("unknown-requirement", "extracts", "extracts")),
        ({"required_objects": {"load": "vendors"}}, ("not-a-list", "load", "vendors")),
        ({"required_objects": {"load_result": ["vendors"]}}, ("missing", "load_result", "vendors")),
        ({"required_objects": ["Account", 7]}, ("not-a-name", "extract", "7")),
        ({"required_object": ["Bill"]}, ("older-format", "required_object", None)),
    ],
)
@pytest.mark.parametrize("place", ["beside", "load"])
def test_faulty_requirements_of_a_nested_job_are_told(required, fault, place):
    job = nested(**required) if place == "beside" else {**nested(), "load": {"object": "bills", **required}}
    code, kind, name = fault
    jobs = [{"type": "extract", "object": "Account"}, job]
    assert refusals(*jobs) == [(code, (1,), kind, name)]


def test_all_requirements_of_nested_jobs_are_carried_onto_the_one_load():
    graph = compile_batch(
        {
            "jobs": [
                nested("Account", "accounts", required_objects={"load": ["vendors"]}),
                nested("Bill", "bills", required_objects={"load_result": ["accounts"]}),
                nested("Credit", "bills", required_objects=["Vendor"], required_object="Account"),
                {"load": {"object": "vendors"}, "extract": {"object": "Vendor"}},
            ]
        }
    )
    assert graph.upstream("apply:accounts") == {"extract:Account", "snapshot:accounts", "snapshot:vendors"}
    assert graph.upstream("apply:bills") == {
        *("extract:Bill", "extract:Credit", "extract:Vendor", "extract:Account"),
        *("apply:accounts", "snapshot:bills"),
    }
    bills = graph.loads["bills"]
    assert bills.extract == ("Bill", "Credit", "Account", "Vendor")
    assert bills.load_result == ("accounts",)


def test_a_required_object_does_not_hide_a_faulty_list_beside_it():
    job = {
        "type": "load",
        "object": "accounts",
        "required_object": "Nowhere",
        "required_objects": {"extract": "B"},
    }
    assert sorted(refusals(job)) == [
        ("missing", (0,), "extract", "Nowhere"),
        ("not-a-list", (0,), "extract", "B"),
    ]


def test_every_key_and_bound_of_nested_parts_is_checked():
    jobs = [
        {"extract": {"object": "Bill", "updatedsince": "2012-04-01"}, "load": {"object": "bills"}},
        {"extract": {"object": "Bill"}, "load": {"object": "bills", "since": "yesterday", "obiect": "x"}},
        {"extract": {"object": "Bill", "grain": 5, "type": "load"}, "load": {"object": "bills"}},
        nested(since="2012-04-01"),
        nested(requiredobjects={}),
        {"extract": "Account", "load": {"object": "accounts"}},
        {"extract": {"object": "Bill"}, "load": ["bills"]},
    ]
    assert sorted(refusals(*jobs), key=lambda fault: (fault[1], fault[0])) == [
        ("unknown-key", (0,), "key", "updatedsince"),
        ("not-a-time", (1,), "since", "yesterday"),
        ("not-text", (2,), "grain", "5"),
        ("older-format", (2,), "type", "load"),
        ("older-format", (3,), "since", None),
        ("unknown-key", (4,), "key", "requiredobjects"),
        ("not-an-object", (5,), "extract", None),
        ("missing-object", (6,), "object", None),
        ("not-an-object", (6,), "load", None),
    ]


def test_foreign_keys_of_nested_parts_warn():
    job = {"extract": {"object": "Bill", "colour": "red"}, "load": {"object": "bills", "shape": 1}, "size": 2}
    foreign = [warning for warning in compile_batch({"jobs": [job]}).warnings if "unknown key" in warning]
    assert foreign == [
        "job 0: unknown key 'size' of the nested job has no effect",
        "job 0: unknown key 'colour' of the job has no effect",
        "job 0: unknown key 'shape' of the job has no effect",
    ]


def test_a_fault_of_one_of_the_jobs_that_become_one_load_keeps_its_index():
    jobs = [nested(), nested("Credit", required_objects={"load_result": ["bills", "nowhere"]})]
    assert sorted(refusals(*jobs)) == [
        ("missing", (1,), "load_result", "nowhere"),
        ("own-result", (1,), "load_result", "bills"),
    ]


@pytest.mark.parametrize(
    ("flat", "code"),
    [
        ({"type": "extract", "object": "Bill"}, "duplicate-extract"),
        ({"type": "load", "object": "bills"}, "duplicate-load"),
    ],
)
def test_a_nested_job_and_a_newer_one_of_the_same_object_are_duplicates(flat, code):
    ((found, jobs, *_),) = refusals(nested(), flat)
    assert (found, jobs) == (code, (0, 1))


def test_connections_that_are_no_text_are_told():
    job = {
        "extract": {"object": "Bill", "connection": {"id": 5}},
        "load": {"object": "bills", "connection": 6},
    }
    assert sorted(refusals(job)) == [
        ("not-text", (0,), "source_connection_id", "5"),
        ("unknown-key", (0,), "key", "connection"),
    ]


def test_requirements_of_a_nested_extract_alone_have_no_effect():
    job = {"extract": {"object": "Bill"}, "required_objects": {"load": ["bills"]}}
    assert (
        "job 0: required_objects of an extract job has no effect: an extract never waits"
        in compile_batch({"jobs": [job]}).warnings
    )
