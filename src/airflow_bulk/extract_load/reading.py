"""Read batch definitions from YAML or JSON files beside the DAG, never from the network.

Airflow parses a DAG file every few seconds, so a definition must come from the disk. To use a definition that is stored
on a server, save it first: ``airflow bulk batch snapshot``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from airflow_bulk.extract_load.problems import BatchDefinitionError, Problem

# The parser in C reads a definition of 1,000 jobs about ten times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Definition(dict[str, Any]):
    """A definition as it stands in its file.

    :param content: the batch.
    :param source: the file's name, for messages.
    """

    def __init__(self, content: dict[str, Any], source: str) -> None:
        super().__init__(content)
        self.source = source


class _StrictLoader(_Loader):  # type: ignore[misc]
    """A YAML loader that refuses a key that is given twice; the usual one keeps the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            try:
                twice = key in seen
            except TypeError:  # a tuple says that it can be hashed, and what it holds may not be
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or an object", key_node.start_mark
                ) from None
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        content: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return content


def load_definition(path: str | os.PathLike[str]) -> Definition:
    """Read a batch definition from a YAML or JSON file.

    :param path: the file; a relative path starts at the folder of the file that calls this function (the DAG file).
    :raises BatchDefinitionError: the text is not YAML or JSON, or holds no batch.
    :raises FileNotFoundError: there is no such file.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", os.fspath(path)):
        raise ValueError(
            f"load_definition({os.fspath(path)!r}): a definition is read from a local file, since DAG files are parsed"
            " all the time; save it beside the DAG first (airflow bulk batch snapshot)"
        )
    file = Path(path).expanduser()
    if not file.is_absolute():
        caller = sys._getframe(1).f_globals.get("__file__")
        file = (Path(caller).resolve().parent if caller else Path.cwd()) / file
    return read_text(
        file.read_text(encoding="utf-8"), source=file.name, is_json=file.suffix.lower() == ".json"
    )


def read_text(text: str, *, source: str, is_json: bool) -> Definition:
    """Read a batch definition from *text*.

    :param source: the file's name, for messages.
    :param is_json: JSON, else YAML.
    :raises BatchDefinitionError: the text is not YAML or JSON, or holds no batch.
    """
    try:
        content = json.loads(text, object_pairs_hook=_no_twice) if is_json else yaml.load(text, _StrictLoader)  # noqa: S506
    except (ValueError, yaml.YAMLError) as error:
        raise BatchDefinitionError([Problem("unreadable", f"cannot be read: {error}")], source) from error
    except RecursionError:
        problem = Problem("unreadable", "cannot be read: it is nested too deeply")
        raise BatchDefinitionError([problem], source) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        problem = Problem("not-a-batch", f"must hold an object with a list `jobs`, but holds {found}")
        raise BatchDefinitionError([problem], source)
    return Definition(content, source)


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [key for key, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {', '.join(map(repr, twice))} is given twice")
    return content
