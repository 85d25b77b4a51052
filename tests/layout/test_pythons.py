"""Which Pythons are declared, and which one `make test-newest-python` takes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from newest_python import newest

#: The suite was run on these: docs/supported_versions.md says how.
RUN = ("3.11", "3.12", "3.13")
ALL = SpecifierSet(">=3.10")
HERE = f"3.{sys.version_info[1]}"


def test_what_was_run_is_declared_and_nothing_else(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert tuple(declared) == RUN
    assert project["requires-python"] == f">={RUN[0]}"


@pytest.mark.parametrize("page", ["README.md", "docs/supported_versions.md"])
def test_the_pages_say_the_same(repository: Path, page: str) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    assert re.findall(r"Python (3\.\d+) to (3\.\d+)", text) == [(RUN[0], RUN[-1])]


def test_this_one_is_declared() -> None:
    assert HERE in RUN


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_newest_that_starts_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "path"
    program(path, "python3.15", "echo 'pyenv: python3.15: command not found' >&2; exit 127")
    program(path, "python3.14", "echo 3.13.9")  # it lies about its name
    built = tmp_path / "home" / ".pyenv" / "versions" / "3.13.0" / "bin"
    wanted = program(built, "python3.13", "echo 3.13.0")
    program(path, "python3.12", "echo 3.12.1")
    where = {"PATH": str(path), "HOME": str(tmp_path / "home")}
    assert newest(where, ALL, (3, 11)) == wanted
    # One on PATH comes before one that pyenv keeps.
    first = program(path, "python3.13", "echo 3.13.1")
    assert newest(where, ALL, (3, 11)) == first


def test_one_that_airflow_does_not_support_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3.15", "echo 3.15.0")
    older = program(tmp_path, "python3.12", "echo 3.12.1")
    assert newest({"PATH": str(tmp_path)}, SpecifierSet("!=3.15.*,>=3.10"), (3, 11)) == older


def test_there_may_be_none(tmp_path: Path) -> None:
    program(tmp_path, "python3.12", "echo 3.12.1")
    assert newest({"PATH": str(tmp_path)}, ALL, (3, 12)) is None
