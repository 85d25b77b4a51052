"""The samples of extract_load.md section 7 compile to exactly the edges printed there."""

from pathlib import Path

import pytest

from airflow_bulk.extract_load import compile_batch, load_definition

SAMPLES = Path(__file__).parent / "samples"
COUNTS = {"S1": (1, 0), "S2": (3, 2), "S3": (6, 4), "S4": (8, 9), "S5": (7, 6), "S6": (6, 6), "S7": (14, 17)}


def printed_edges(name: str) -> set[tuple[str, str]]:
    edges = set()
    for line in (SAMPLES / f"{name}.edges.txt").read_text().splitlines():
        after, _, before = line.partition("<-")
        edges.update((node.strip(), after.strip()) for node in before.split(","))
    return edges


@pytest.mark.parametrize("name", COUNTS)
def test_sample_compiles_to_the_printed_edges(name):
    graph = compile_batch(load_definition(f"samples/{name}.json"))
    assert graph.edges == printed_edges(name)
    assert (len(graph.nodes), len(graph.edges)) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_order_puts_each_node_after_what_it_waits_for(name):
    graph = compile_batch(load_definition(SAMPLES / f"{name}.json"))
    place = {node: number for number, node in enumerate(graph.order)}
    assert place.keys() == graph.nodes
    assert all(place[before] < place[after] for before, after in graph.edges)


def test_bounds_are_inherited_unless_the_job_has_its_own():
    graph = compile_batch(load_definition("samples/S5.json"))
    bounds = {node: job.since for node, job in graph.extracts.items()}
    assert bounds == {
        "extract:ProfitAndLoss@daily": "2013-10-01T00:00:00+00:00",
        "extract:ProfitAndLoss@monthly": "2013-06-15T00:00:00+00:00",
        "extract:Account": "2013-06-15T00:00:00+00:00",
    }


def test_feeding_table_tells_which_extracts_become_records():
    graph = compile_batch(load_definition("samples/S4.json"))
    assert graph.mappings["accounts"].feeds == ("Account",)
    assert graph.mappings["financial_transactions"].feeds == ("Bill",)
    assert graph.mappings["periods"].feeds == ()
    assert graph.read_only == {"periods"}
