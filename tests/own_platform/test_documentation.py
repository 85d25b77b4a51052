"""docs/own_platform.md shows the tested code, all of it and nothing else, and keeps to its limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "own_platform.md"
CLIENT = sorted((FOLDER / "depot").rglob("*.py"))
SHOWN = [*CLIENT, FOLDER / "dag_files" / "depot_stock.py"]
MOST_FILES, MOST_LINES = 5, 350


def blocks() -> dict[str, list[str]]:
    """The page's Python blocks in their order, by the file that the line before each names."""
    found: dict[str, list[str]] = {}
    named = r"^\*\*`(?P<file>[\w/.]+)`\*\*\n\n```python\n(?P<code>.*?)^```$"
    for match in re.finditer(named, PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        found.setdefault(match["file"], []).append(match["code"])
    return found


def name_of(file: Path) -> str:
    return file.relative_to(FOLDER).as_posix().replace("dag_files/", "dags/")


def written(text: str) -> list[str]:
    """The lines of a text but the blank ones: between two blocks the page has none of a file's."""
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("file", SHOWN, ids=name_of)
def test_the_blocks_of_a_file_are_the_file(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    code = blocks()[name_of(file)]
    assert [line for block in code for line in written(block)] == written(text)
    assert all(block in text for block in code)


def test_no_other_code_is_shown() -> None:
    assert sorted(blocks()) == sorted(map(name_of, SHOWN))
    assert PAGE.read_text(encoding="utf-8").count("```python") == sum(map(len, blocks().values()))


def test_the_client_is_small() -> None:
    assert 0 < len(CLIENT) <= MOST_FILES
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in CLIENT) <= MOST_LINES
