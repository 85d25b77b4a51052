"""The writes of the record, read from the code: every call that ends in a write of the task's state, or of its copy.

A new write is found by itself, and a test says whether any scenario reaches it.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "airflow_bulk"
#: Where every write of the record passes.
RECORD = tuple(PACKAGE / "runs" / name for name in ("record.py", "record_copy.py", "recorded_parts.py"))
#: The last word of what such a method is called on.
HOLDERS = {"record", "recorded", "store", "copy", "task_state"}
#: They read, and may write on the way: such a write is one place, and not one for each reader.
READERS = {"_get", "_begin", "of"}


@dataclass(frozen=True)
class Write:
    """One place in the code that writes.

    :param name: tells it from all others: file, function and the call's text.
    """

    name: str
    path: Path
    first: int
    last: int


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _calls(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.Call, str, str]]:
    """All calls of a method: the function around it, the call, the method, the last word before the dot."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls(child, child.name)
            continue
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
            holder = ast.unparse(child.func.value).rpartition(".")[2].lstrip("_")
            yield within, child, child.func.attr, holder
        yield from _calls(child, within)


@cache
def writing_methods() -> frozenset[str]:
    """The methods of the record that write, at first hand or through each other."""
    found = {"set", "delete"}
    while True:
        more = {
            function
            for path in RECORD
            for function, _, method, holder in _calls(_tree(path))
            if method in found and holder in HOLDERS | {"self"}
        } - READERS
        if more <= found:
            return frozenset(found)
        found |= more


@cache
def writes() -> list[Write]:
    """Every write of the record that the code holds."""
    found, names = [], Counter[str]()
    for path in sorted([*(PACKAGE / "runs").rglob("*.py"), *(ROOT / "operators").glob("*.py")]):
        holders = HOLDERS | {"self"} if path in RECORD else HOLDERS
        for function, call, method, holder in _calls(_tree(path)):
            if method in writing_methods() and holder in holders:
                file = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT)
                name = f"{file} {function}: {ast.unparse(call)}"
                names[name] += 1
                name += f" ({names[name]})" if names[name] > 1 else ""
                found.append(Write(name, path, call.lineno, call.end_lineno or call.lineno))
    return found


def lines_on_the_stack() -> list[tuple[Path, int]]:
    """The lines of operators and runs that are being executed now, the innermost first."""
    found, frame = [], sys._getframe(1)
    while frame:
        path = _watched(frame.f_code.co_filename)
        if path is not None:
            found.append((path, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return found


@cache
def _watched(name: str) -> Path | None:
    path = Path(name).resolve()
    inside = path.is_relative_to(PACKAGE / "runs") or path.is_relative_to(ROOT / "operators")
    return path if inside else None


def reached(lines: set[tuple[Path, int]]) -> set[str]:
    """The names of the writes that stand on these lines."""
    return {
        one.name
        for one in writes()
        if any(path == one.path and one.first <= line <= one.last for path, line in lines)
    }


def is_read(stack: list[tuple[Path, int]]) -> bool:
    """Whether a write is one that a read makes on the way."""
    return any(name.split()[1].rstrip(":") in READERS for name in reached(set(stack)))
