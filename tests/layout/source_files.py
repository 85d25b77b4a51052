"""The Python files of the checkout, as the layout tests read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PACKAGE = "airflow_bulk"
TOP_LEVEL = ("hooks", "operators", "sensors", "triggers")


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Every Python file of the package and of dags/, with its room."""
    package = root / "src" / PACKAGE
    for path in sorted(package.glob("*.py")):
        yield path.stem, path
    for folder in sorted(path for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"):
        # A linked room is read through its folder at the top: rglob does not follow links.
        for path in sorted(folder.resolve().rglob("*.py")):
            yield folder.name, path
    for path in sorted((root / "dags").rglob("*.py")):
        yield "dags", path
