"""Extract/load definitions: read from files, checked whole, turned into a graph. Pure: no Airflow, no network.

The facts are extract_load.md; its section 6 is the heart.
"""

from airflow_bulk.extract_load.graph import BatchGraph, compile_batch
from airflow_bulk.extract_load.mapping import LoadMapping
from airflow_bulk.extract_load.problems import BatchDefinitionError, Problem
from airflow_bulk.extract_load.reading import Definition, load_definition

__all__ = [
    "BatchDefinitionError",
    "BatchGraph",
    "Definition",
    "LoadMapping",
    "Problem",
    "compile_batch",
    "load_definition",
]
