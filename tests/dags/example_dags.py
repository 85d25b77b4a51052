"""Example DAGs as modules: a test calls what their tasks call."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def load_example(repository: Path, dag_id: str) -> ModuleType:
    """The module of the example DAG of this id."""
    return load_dag_file(repository / "dags" / f"{dag_id}.py")


def load_dag_file(path: Path) -> ModuleType:
    """A DAG file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
