"""Each row of extract_load.md section 6.7: the message, and the index of the job to blame."""

import pytest

from airflow_bulk.extract_load import BatchDefinitionError, compile_batch

ACCOUNT = {"type": "extract", "object": "Account"}


def load(name, **required):
    return {"type": "load", "object": name, "required_objects": required}


def problems(*jobs, **options):
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch({"jobs": list(jobs)}, **options)
    return caught.value.problems


def only(*jobs, **options):
    found = problems(*jobs, **options)
    assert len(found) == 1, found
    return found[0]


def test_missing_name_lists_what_there_is():
    problem = only(ACCOUNT, load("accounts", extract=["Invoice"]))
    assert (problem.code, problem.jobs, problem.kind, problem.name) == ("missing", (1,), "extract", "Invoice")
    assert str(problem) == (
        "job 1: load accounts: required_objects.extract names 'Invoice', but no extract job has this object;"
        " extract jobs are: Account"
    )


@pytest.mark.parametrize(
    ("written", "kind", "meant"), [("Acount", "extract", "Account"), ("Vendors", "load", "vendors")]
)
def test_missing_name_with_a_near_miss(written, kind, meant):
    problem = only(ACCOUNT, load("vendors"), load("accounts", **{kind: [written]}))
    assert problem.jobs == (2,)
    assert problem.near == meant
    assert f"did you mean {meant!r}?" in str(problem)


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("extract", "vendors", "'vendors' is the name of a load job: is load or load_result meant?"),
        ("load", "Account", "'Account' is the name of an extract job: is extract meant?"),
        ("load_result", "Account", "'Account' is the name of an extract job: is extract meant?"),
    ],
)
def test_missing_name_that_exists_under_another_kind(kind, name, hint):
    problem = only(ACCOUNT, load("vendors"), load("accounts", **{kind: [name]}))
    assert problem.jobs == (2,)
    assert problem.kind == kind
    assert hint in str(problem)


def test_cycle_shows_its_whole_path():
    problem = only(
        load("c", load_result=["b"]),
        load("x"),
        load("a", load_result=["c", "x"]),
        load("b", load_result=["a"]),
    )
    assert problem.cycle == ("a", "b", "c", "a")
    assert problem.jobs == (0, 2, 3)
    assert "load_result cycle a -> b -> c -> a" in str(problem)
    assert "perhaps `load` is meant instead of `load_result`" in str(problem)


def test_two_cycles_through_one_load_are_two_problems():
    found = problems(
        load("a", load_result=["b"]), load("b", load_result=["a", "c"]), load("c", load_result=["b"])
    )
    assert {problem.cycle for problem in found} == {("a", "b", "a"), ("b", "c", "b")}


def test_a_tangle_of_cycles_is_told_within_bounds():
    names = [f"load{number}" for number in range(30)]
    found = problems(*(load(name, load_result=[other for other in names if other != name]) for name in names))
    assert [problem.code for problem in found] == ["cycle"] * 100 + ["more-cycles"]


def test_own_result():
    problem = only(load("accounts", load_result=["accounts"]))
    assert (problem.code, problem.jobs) == ("own-result", (0,))
    assert "load accounts cannot wait for its own result" in str(problem)


def test_own_snapshot_is_no_fault():
    graph = compile_batch({"jobs": [load("accounts", load=["accounts"])]})
    assert graph.edges == {("snapshot:accounts", "apply:accounts")}


@pytest.mark.parametrize("second", ["accounts", "Accounts"])
def test_duplicate_load_names_both_jobs(second):
    problem = only(load("accounts"), ACCOUNT, load(second))
    assert (problem.code, problem.jobs) == ("duplicate-load", (0, 2))
    assert str(problem).startswith("jobs 0, 2: load ")


def test_two_loads_of_one_object_with_different_grains_are_duplicates():
    problem = only({**load("accounts"), "grain": "daily"}, {**load("accounts"), "grain": "monthly"})
    assert (problem.code, problem.jobs) == ("duplicate-load", (0, 1))


def test_duplicate_extract_names_both_jobs_and_the_grain():
    report = {"type": "extract", "object": "Report", "grain": "daily"}
    problem = only(report, {**report, "grain": "monthly"}, {**report, "since": "2013-01-01"})
    assert (problem.code, problem.jobs) == ("duplicate-extract", (0, 2))
    assert "extract Report with grain daily is given 2 times" in str(problem)


@pytest.mark.parametrize(
    ("value", "near"), [("transform", None), ("Load", "load"), ("loads", "load"), (["load"], None)]
)
def test_unknown_type(value, near):
    problem = only(ACCOUNT, {"type": value, "object": "accounts"})
    assert (problem.code, problem.jobs, problem.near) == ("unknown-type", (1,), near)
    assert f"unknown type {value!r}: it must be extract or load" in str(problem)


def test_missing_type():
    problem = only({"object": "accounts"})
    assert (problem.code, problem.jobs) == ("missing-type", (0,))


@pytest.mark.parametrize("name", [{}, {"object": ""}, {"object": " "}, {"object": None}])
def test_missing_object(name):
    problem = only(ACCOUNT, {"type": "load", **name})
    assert (problem.code, problem.jobs) == ("missing-object", (1,))
    assert "the load job has no `object`" in str(problem)


def test_object_that_yaml_took_for_something_else():
    problem = only({"type": "extract", "object": False})
    assert (problem.code, problem.jobs) == ("missing-object", (0,))
    assert "quote it in YAML" in str(problem)


def test_unknown_requirement_key():
    problem = only(ACCOUNT, load("accounts", extracts=["Account"]))
    assert (problem.code, problem.jobs, problem.near) == ("unknown-requirement", (1,), "extract")
    assert "there are extract, load, load_result (did you mean 'extract'?)" in str(problem)


def test_a_string_where_a_list_is_due():
    problem = only(ACCOUNT, load("accounts", extract="Account"))
    assert (problem.code, problem.jobs, problem.kind) == ("not-a-list", (1,), "extract")
    assert "required_objects.extract must be a list of names, but is the text 'Account'" in str(problem)


def test_a_string_where_the_requirements_are_due():
    problem = only(ACCOUNT, {"type": "load", "object": "accounts", "required_objects": "Account"})
    assert (problem.code, problem.jobs) == ("not-an-object", (1,))


def test_requirements_of_an_extract_warn_or_fail_when_strict():
    job = {**ACCOUNT, "required_objects": {"load": ["accounts"]}}
    assert compile_batch({"jobs": [job]}).warnings == (
        "job 0: required_objects of an extract job has no effect: an extract never waits",
    )
    problem = only(job, strict=True)
    assert (problem.code, problem.jobs) == ("ignored-requirements", (0,))


def test_empty_jobs_are_an_empty_graph_with_a_warning():
    graph = compile_batch({"jobs": []})
    assert (graph.nodes, graph.edges, graph.order) == (frozenset(), frozenset(), ())
    assert graph.warnings == ("`jobs` is empty: the batch does nothing",)


def test_no_jobs_at_all_is_a_fault():
    with pytest.raises(BatchDefinitionError, match="`jobs` is missing"):
        compile_batch({"since": "2013-01-01"})


def test_requirements_of_periods_are_ignored_with_a_warning_and_close_no_cycle():
    graph = compile_batch(
        {
            "jobs": [
                load("accounts", load_result=["periods"]),
                load("periods", load_result=["accounts", "nowhere"]),
            ]
        }
    )
    assert graph.edges == {
        ("snapshot:accounts", "apply:accounts"),
        ("snapshot:periods", "apply:periods"),
        ("apply:periods", "apply:accounts"),
    }
    assert any(warning.startswith("job 1: load periods is read-only") for warning in graph.warnings)


def test_read_only_objects_are_configurable():
    jobs = [load("accounts", load_result=["periods"]), load("periods", load_result=["accounts"])]
    assert only(*jobs, read_only=frozenset()).cycle == ("accounts", "periods", "accounts")
    assert compile_batch({"jobs": jobs}, read_only={"accounts"}).read_only == {"accounts"}


def test_a_misspelled_key_would_drop_what_it_says():
    problem = only({**ACCOUNT, "update_since": "2013-01-01"})
    assert (problem.code, problem.jobs, problem.near) == ("unknown-key", (0,), "updated_since")
    with pytest.raises(BatchDefinitionError, match=r"unknown key 'Since' \(did you mean 'since'\?\)"):
        compile_batch({"Since": "2013-01-01", "jobs": [ACCOUNT]})


def test_a_foreign_key_warns():
    assert compile_batch({"jobs": [{**ACCOUNT, "colour": "red"}]}).warnings == (
        "job 0: unknown key 'colour' of the job has no effect",
    )


def test_a_path_is_no_definition():
    with pytest.raises(
        BatchDefinitionError, match=r"a dict or load_definition\(FILE\), not str 'batch.yaml'"
    ):
        compile_batch("batch.yaml")


def test_every_fault_is_reported_at_once():
    found = problems(
        {"type": "Extract", "object": "Account"},
        {"type": "load"},
        load("a", load_result=["b"], extract=["Nothing"]),
        load("b", load_result=["a"]),
        load("b", load_results=["a"]),
        "load",
        {"type": "extract", "object": "Bill", "since": "yesterday"},
    )
    assert sorted((problem.code, problem.jobs) for problem in found) == [
        ("cycle", (2, 3, 4)),
        ("duplicate-load", (3, 4)),
        ("missing", (2,)),
        ("missing-object", (1,)),
        ("not-a-job", (5,)),
        ("not-a-time", (6,)),
        ("unknown-requirement", (4,)),
        ("unknown-type", (0,)),
    ]


def test_the_error_counts_and_numbers_its_problems():
    with pytest.raises(BatchDefinitionError) as caught:
        compile_batch({"jobs": [{"type": "load"}, {"object": "x"}]})
    assert str(caught.value).splitlines() == [
        "The batch definition has 2 problems:",
        "  1. job 0: the load job has no `object`",
        "  2. job 1: has no `type`: it must be extract or load",
    ]


def test_a_name_written_as_another_objects_grain_does_not_merge():
    problem = only({**ACCOUNT, "grain": "daily"}, {"type": "extract", "object": "Account@daily"})
    assert (problem.code, problem.jobs) == ("duplicate-extract", (0, 1))


def test_hundreds_of_faults_are_found_in_reasonable_work():
    jobs = [load(f"load{number:04}", extract=[f"Objekt{number:04}"]) for number in range(1000)]
    jobs += [{"type": "extract", "object": f"Object{number:04}"} for number in range(1000)]
    assert len(problems(*jobs)) == 1000
