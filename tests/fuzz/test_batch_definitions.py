"""Any value is a batch definition that compiles, or a BatchDefinitionError that lists its faults; nothing else happens."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_bulk.extract_load import BatchDefinitionError, BatchGraph, compile_batch
from airflow_bulk.extract_load.reading import read_text

BATCH = {
    "name": "sales",
    "tenant_id": "t1",
    "source_connection_id": "s1",
    "destination_connection_id": "d1",
    "since": "2013-01-01",
    "updated_since": "watermark",
    "jobs": [
        {"type": "extract", "object": "Sales", "grain": "daily", "since": "window"},
        {"type": "extract", "object": "Items"},
        {"type": "load", "object": "items", "required_objects": {"extract": ["Items"]}},
        {
            "type": "load",
            "object": "sales",
            "required_objects": {"extract": ["Sales"], "load": ["items"], "load_result": ["items"]},
        },
    ],
    "mappings": {"items": {"key": "id", "fields": {"id": "Id"}, "feeds": ["Items"]}},
}
#: The older format: an object of jobs, each with its extracts and loads (extract_load.md section 1.3).
OLDER = {
    "jobs": {
        "sales": {"extract": {"Sales": {}}, "load": {"sales": {"required_objects": {"extract": ["Sales"]}}}}
    },
    "extract": ["Sales"],
    "load": [{"object": "sales", "required_objects": ["Sales"]}],
}
NAMES = ["jobs", "type", "object", "grain", "since", "updated_since", "required_objects", "extract", "load"]
NAMES += [
    "load_result",
    "mappings",
    "feeds",
    "fields",
    "key",
    "name",
    "tenant_id",
    "id",
    "_id",
    "typ",
    "x",
    "",
]
TEXTS = [
    "",
    " ",
    "extract",
    "load",
    "Sales",
    "sales",
    "items",
    "periods",
    "window",
    "watermark",
    "2013-01-01",
]
TEXTS += ["{{ ds }}", "\ud800", "x" * 3000, "\u017f", "\u0130", "2013-13-45", "\u0663"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(TEXTS) | st.text(max_size=4)
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


@st.composite
def waiting_loads(draw: Any) -> Any:
    """Loads that wait for each other at random, in circles, too; some names are misspelled or differ in case."""
    names = draw(
        st.lists(st.sampled_from(["a", "b", "c", "d", "A", "periods", "items"]), min_size=1, max_size=6)
    )
    wanted = st.lists(st.sampled_from([*names, *names, "itms"]), max_size=3)
    kinds = st.sampled_from(["load", "load_result", "load_result", "extract", "loadresult"])
    required = st.dictionaries(kinds, wanted, max_size=3)
    return {
        "jobs": [{"type": "load", "object": name, "required_objects": draw(required)} for name in names]
        + [
            {"type": "extract", "object": name, "grain": draw(st.sampled_from([None, "", "day"]))}
            for name in names[:2]
        ]
    }


@st.composite
def definitions(draw: Any) -> Any:
    """A good definition with up to four values replaced, anywhere; or anything."""
    if draw(st.integers(0, 4)) == 0:
        return draw(ANYTHING)
    value: Any = draw(st.sampled_from([BATCH, BATCH, OLDER]) | waiting_loads())
    for _ in range(draw(st.integers(0, 4))):
        value = _changed(value, draw)
    return value


def _changed(value: Any, draw: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(value, key=str)))
        return {**value, name: _changed(value[name], draw)}
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(st.sampled_from(NAMES)): draw(ANYTHING)}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _changed(value[place], draw), *value[place + draw(st.integers(0, 1)) :]]
    return draw(ANYTHING)


def assert_graph_or_faults(definition: Any, mappings: Any = None, *, strict: bool = False) -> None:
    try:
        graph = compile_batch(definition, mappings=mappings, strict=strict)
    except BatchDefinitionError as error:
        assert error.problems and all(problem.code and problem.message for problem in error.problems)
        assert str(error)
        return
    assert isinstance(graph, BatchGraph)
    assert set(graph.order) == graph.nodes and len(graph.order) == len(graph.nodes)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@settings(max_examples=500, deadline=None, derandomize=True)
@given(definition=definitions(), strict=st.booleans())
def test_any_definition(definition: Any, strict: bool) -> None:
    assert_graph_or_faults(definition, strict=strict)


@pytest.mark.parametrize(
    "value", [nested(3000), 10**5000, [{"a": nested(60)}]], ids=["deep", "digits", "inside"]
)
@pytest.mark.parametrize("place", ["jobs", "since", "mappings", "type", "object", "required_objects"])
def test_a_value_that_cannot_be_written_down(value: Any, place: str) -> None:
    # Not as examples: hypothesis would write them down.
    definition = (
        {**BATCH, place: value}
        if place in BATCH
        else {"jobs": [{"type": "load", "object": "x", place: value}]}
    )
    with pytest.raises(BatchDefinitionError, match=r"nested more than 50 levels|thousands of digits"):
        compile_batch(definition)
    with pytest.raises(BatchDefinitionError, match=r"nested more than 50 levels|thousands of digits"):
        compile_batch(BATCH, mappings={"items": value})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(mappings=st.none() | st.dictionaries(st.sampled_from(TEXTS), ANYTHING, max_size=3))
def test_any_mappings(mappings: Any) -> None:
    assert_graph_or_faults(BATCH, mappings)


@st.composite
def texts(draw: Any) -> str:
    """The text of a definition file, with some characters changed."""
    value = draw(definitions())
    try:
        text = json.dumps(value) if draw(st.booleans()) else yaml.safe_dump(value)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        text = json.dumps(value)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text)))
        put = draw(
            st.sampled_from([*"{}[]:,-&*!?|>%@`#'\"\t\n\0", "<<: ", "!!python/name:os.system ", "\ufeff"])
        )
        text = text[:place] + put + text[place + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=texts() | st.text(max_size=30), is_json=st.booleans())
@example(text="[" * 3000, is_json=True)
@example(text="[" * 3000, is_json=False)
@example(text='{"jobs": ' + "9" * 5000 + "}", is_json=True)
@example(text="jobs: " + "9" * 5000, is_json=False)
@example(text="? [a]\n: 1\n", is_json=False)
@example(text="jobs: &a [*a]\n", is_json=False)
@example(text="jobs: 2001-99-99\n", is_json=False)
@example(text="&a {*a: 1}", is_json=False)
@example(text="<<: 1", is_json=False)
@example(text="jobs: 0x" + "f" * 5000, is_json=False)
@example(
    text="a: &a [1, 1, 1, 1]\n"
    + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in pairwise("abcdefghijk")),
    is_json=False,
)
def test_any_text_of_a_file(text: str, is_json: bool) -> None:
    try:
        definition = read_text(text, source="batch.yaml", is_json=is_json)
    except BatchDefinitionError as error:
        assert str(error)
        return
    assert_graph_or_faults(definition)
