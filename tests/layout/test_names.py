"""One name, one meaning: no class name stands for two classes, private ones included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from source_files import sources


def class_names(text: str) -> list[str]:
    """The names of all classes in a source text, wherever they are defined."""
    return [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]


def twice(texts: dict[str, str]) -> dict[str, list[str]]:
    """The class names that are defined more than once, with their files."""
    places: dict[str, list[str]] = {}
    for file, text in texts.items():
        for name in class_names(text):
            places.setdefault(name, []).append(file)
    return {name: files for name, files in places.items() if len(files) > 1}


# The emulator answers like a platform and knows nothing of the package: what both speak of has one name in each.
@pytest.mark.parametrize("emulator", [False, True], ids=["package", "emulator"])
def test_no_class_name_has_two_meanings(repository: Path, emulator: bool) -> None:
    texts = {
        path.relative_to(repository).as_posix(): path.read_text(encoding="utf-8")
        for room, path in sources(repository)
        if room != "example_dags" and (room == "emulator") is emulator
    }
    assert len(texts) > 30
    assert twice(texts) == {}


def test_a_second_class_of_a_name_is_seen() -> None:
    other = "def f():\n    class _Answer:\n        pass"
    assert twice({"a.py": "class _Answer:\n    pass", "b.py": other, "c.py": "class Other: ..."}) == {
        "_Answer": ["a.py", "b.py"]
    }
