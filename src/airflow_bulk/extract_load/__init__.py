"""Extract/load definitions are read from files, checked as a whole, and turned into a graph. No Airflow, no network.

The facts stand in extract_load.md, those about the graph in its section 6.
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
