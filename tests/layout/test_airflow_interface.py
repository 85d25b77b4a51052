"""What the package imports from Airflow is public, or stands in ARCHITECTURE.md with the reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import airflow.sdk
import pytest

from source_files import sources

# Beside airflow.sdk.__all__; "Public Interface" names the first, the API reference of the Task SDK the second.
PUBLIC_MODULES = re.compile(r"airflow\.triggers\.base|airflow\.providers\.\w+\.(hooks|operators)\.\w+")
PUBLIC_NAMES = {("airflow.sdk.log", "mask_secret")}


def from_airflow(text: str) -> set[tuple[str, str]]:
    """Each name that a file imports from Airflow, wherever in it, with its module; a whole module has no name."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {(node.module, alias.name) for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "airflow"}


def is_public(module: str, name: str) -> bool:
    if module == "airflow.sdk":
        return not name or name in airflow.sdk.__all__
    return bool(PUBLIC_MODULES.fullmatch(module)) or (module, name) in PUBLIC_NAMES


def table(architecture: str) -> dict[tuple[str, str], set[str]]:
    """The imports that the table names, each with its places: files, or rooms that end in a slash."""
    section = architecture.partition("## What is used of Airflow\n")[2].partition("\n## ")[0]
    rows: dict[tuple[str, str], set[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            what, where, why = (cell.strip() for cell in line.strip("|").split("|"))
            assert why
            module, *names = re.findall(r"`([^`]+)`", what)
            rows |= {(module, name): set(re.findall(r"`([^`]+)`", where)) for name in names or [""]}
    return rows


@pytest.fixture(scope="module")
def private(repository: Path) -> dict[tuple[str, str], set[str]]:
    """Each import that is not public, with the files that have it."""
    found: dict[tuple[str, str], set[str]] = {}
    for _, path in sources(repository):
        for one in from_airflow(path.read_text(encoding="utf-8")):
            if not is_public(*one):
                found.setdefault(one, set()).add(path.relative_to(repository).as_posix())
    return found


def test_every_import_that_is_not_public_is_in_the_table(
    repository: Path, private: dict[tuple[str, str], set[str]]
) -> None:
    rows = table((repository / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert set(private) == set(rows)
    for one, files in private.items():
        assert {file for file in files if not file.startswith(tuple(rows[one]))} == set(), one
    # Rows of one module share their places, so a place may be another name's.
    for module in {module for module, _ in rows}:
        files = {file for one, found in private.items() if one[0] == module for file in found}
        places = {place for one, found in rows.items() if one[0] == module for place in found}
        assert {place for place in places if not any(file.startswith(place) for file in files)} == set(), (
            module
        )


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("from airflow.sdk import BaseOperator", True),
        ("def f():\n    from airflow.sdk.log import mask_secret", True),
        ("from airflow.providers.http.hooks.http import HttpHook", True),
        ("from airflow.sdk import execution_time", False),
        ("from airflow.sdk.log import redact", False),
        ("if TYPE_CHECKING:\n    from airflow.models import DagRun", False),
        ("import airflow.settings", False),
        ("from airflow import settings", False),
    ],
)
def test_what_is_public_is_told_from_what_is_not(text: str, public: bool) -> None:
    (one,) = from_airflow(text)
    assert is_public(*one) is public


def test_the_table_is_read() -> None:
    text = "## What is used of Airflow\n\n| import | where | why |\n| --- | --- | --- |\n| `a.b`: `C`, `D` | `x.py`, `y/` | z |\n"
    assert table(text + "\n## Next\n| `e` | `f` | g |\n") == {("a.b", name): {"x.py", "y/"} for name in "CD"}
