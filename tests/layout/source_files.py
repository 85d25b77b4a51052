"""The Python files of the checkout, as the layout tests read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PACKAGE = "airflow_bulk"
#: The rooms that stand at the top of the repository, by the names of the links that lead to them from the package.
LINKED = {
    "example_dags": "dags",
    "hooks": "hooks",
    "operators": "operators",
    "sensors": "sensors",
    "triggers": "triggers",
}


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Every Python file of the package, with its room; the examples are the room ``example_dags``."""
    package = root / "src" / PACKAGE
    for path in sorted(package.glob("*.py")):
        yield path.stem, path
    for folder in sorted(path for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"):
        # A linked room is read through its folder at the top: rglob does not follow links.
        for path in sorted(folder.resolve().rglob("*.py")):
            yield folder.name, path
