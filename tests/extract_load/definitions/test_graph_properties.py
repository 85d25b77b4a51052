"""Random definitions against an independent slow model: edges, cycles, and that order has no meaning."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bulk.extract_load import BatchDefinitionError, compile_batch

EXTRACTS = ["Account", "Bill", "Vendor", "Item"]
LOADS = ["accounts", "bills", "vendors", "items", "periods"]
GRAINS = [None, "daily", "monthly"]

extracts = st.lists(st.tuples(st.sampled_from(EXTRACTS), st.sampled_from(GRAINS)), unique=True, max_size=5)


@st.composite
def definitions(draw):
    """A definition whose only possible faults are cycles and own results."""
    chosen = draw(extracts)
    loads = draw(st.lists(st.sampled_from(LOADS), unique=True, max_size=5))
    jobs = [
        {"type": "extract", "object": name, **({"grain": grain} if grain else {})} for name, grain in chosen
    ]
    present = sorted({name for name, _ in chosen})
    for name in loads:
        required = {
            kind: draw(st.lists(st.sampled_from(names), max_size=3)) if names else []
            for kind, names in (("extract", present), ("load", loads), ("load_result", loads))
        }
        jobs.append({"type": "load", "object": name, "required_objects": required})
    return draw(st.permutations(jobs))


def slow_edges(jobs):
    """extract_load.md section 6.3, read sentence by sentence, over all pairs of nodes."""
    edges = set()
    for x in jobs:
        if x["type"] != "load":
            continue
        edges.add(("snapshot:" + x["object"], "apply:" + x["object"]))
        if x["object"] == "periods":
            continue
        for y in jobs:
            required = x["required_objects"]
            if y["type"] == "extract" and y["object"] in required["extract"]:
                grain = f"@{y['grain']}" if "grain" in y else ""
                edges.add((f"extract:{y['object']}{grain}", "apply:" + x["object"]))
            if y["type"] == "load" and y["object"] in required["load"]:
                edges.add(("snapshot:" + y["object"], "apply:" + x["object"]))
            if y["type"] == "load" and y["object"] in required["load_result"]:
                edges.add(("apply:" + y["object"], "apply:" + x["object"]))
    return edges


def slow_cycles(edges):
    """Every cycle, by trying every order of every choice of applies."""
    applies = sorted({node for edge in edges for node in edge if node.startswith("apply:")})
    cycles = set()
    for length in range(1, len(applies) + 1):
        for path in permutations(applies, length):
            if path[0] == min(path) and all(
                (path[i], path[(i + 1) % length]) in edges for i in range(length)
            ):
                cycles.add(tuple(node.removeprefix("apply:") for node in path))
    return cycles


@settings(max_examples=400, deadline=None)
@given(definitions())
def test_edges_and_cycles_match_the_slow_model(jobs):
    edges = slow_edges(jobs)
    cycles = slow_cycles(edges)
    try:
        graph = compile_batch({"jobs": jobs})
    except BatchDefinitionError as error:
        found = [problem.cycle[:-1] for problem in error.problems if problem.code == "cycle"]
        found += [(problem.name,) for problem in error.problems if problem.code == "own-result"]
        assert len(found) == len(error.problems) == len(set(found))
        assert set(found) == cycles
        for problem in error.problems:
            members = {jobs[index]["object"] for index in problem.jobs}
            assert members == set(problem.cycle or (problem.name,))
    else:
        assert not cycles
        assert graph.edges == edges
        place = {node: number for number, node in enumerate(graph.order)}
        assert all(place[before] < place[after] for before, after in edges)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_order_of_jobs_never_matters(data):
    jobs = data.draw(definitions())
    shuffled = data.draw(st.permutations(jobs))

    def outcome(jobs):
        try:
            graph = compile_batch({"jobs": list(jobs)})
        except BatchDefinitionError as error:
            return sorted((problem.code, problem.message, problem.cycle) for problem in error.problems)
        return graph.nodes, graph.edges, graph.order

    assert outcome(jobs) == outcome(shuffled)
