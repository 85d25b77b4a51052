"""The faults of a batch definition: all of them in one error, each with its job, its name and a hint.

The server stores bad definitions without an error, and then waits for ever (extract_load.md section 6.7). Here a bad
definition is an error before a task exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMES_SHOWN = 20
#: Hints are searched for so often at most: each costs a pass over all names.
_SEARCHES = 200

#: A definition beyond these is none: real ones have five levels, and a few values a job.
_LEVELS = 50
_VALUES = 1_000_000
#: Of a whole number: Python writes 4,300 digits at most.
_BITS = 14_000

#: Fields that the server adds; a definition that was read from the server holds them.
_SERVER_KEYS = {
    "id",
    "_id",
    "__v",
    "created_at",
    "finished_at",
    "status",
    "errors",
    "tenant_id",
    "company_id",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a definition.

    :param code: what kind of fault, e.g. ``"missing"``, ``"cycle"``, ``"duplicate-load"``.
    :param message: the fault in words, without the job's index.
    :param jobs: 0-based indexes, in the definition as written, of the jobs concerned.
    :param kind: the requirement or field concerned, e.g. ``"load_result"``; else ``None``.
    :param name: the offending name or value; else ``None``.
    :param near: the name that was probably meant; else ``None``.
    :param cycle: the objects of a ``load_result`` cycle in order, the first one repeated at the end.
    """

    code: str
    message: str
    jobs: tuple[int, ...] = ()
    kind: str | None = None
    name: str | None = None
    near: str | None = None
    cycle: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.jobs:
            return self.message
        word = "job" if len(self.jobs) == 1 else "jobs"
        return f"{word} {', '.join(map(str, self.jobs))}: {self.message}"


class BatchDefinitionError(ValueError):
    """A batch definition cannot become tasks. Nothing was read or written anywhere.

    :param problems: every fault found.
    :param source: the file it came from, if any.
    """

    def __init__(self, problems: Sequence[Problem], source: str | None = None) -> None:
        self.problems = list(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        count = len(self.problems)
        title = f"The batch definition{f' {self.source}' if self.source else ''} has "
        title += "1 problem:" if count == 1 else f"{count} problems:"
        return "\n".join(
            [title, *(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))]
        )


def size_problem(definition: Any) -> Problem | None:
    """Return what makes a definition too large for its faults to be told, or ``None``.

    A message quotes the value that is wrong. A value of many levels, which may hold itself by an alias of YAML, and a
    number of thousands of digits cannot be written down; aliases of aliases make a small file a value without end.
    """
    waiting = [(definition, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, int) and value.bit_length() > _BITS:
            return Problem("too-large", "holds a number of thousands of digits")
        if isinstance(value, Mapping | list | tuple):
            if depth == _LEVELS:
                return Problem("too-large", f"is nested more than {_LEVELS} levels deep")
            inner = [*value, *value.values()] if isinstance(value, Mapping) else value
            waiting += [(one, depth + 1) for one in inner]
        if count > _VALUES:
            return Problem("too-large", f"holds more than {_VALUES:,} values")
    return None


class Names:
    """The names that exist, to find the one that was probably meant.

    :param names: the names, in the case of the definition.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._all = frozenset(names)
        self.names = sorted(self._all)
        self._folded = {_fold(name): name for name in self.names}
        self._found: dict[str, str | None] = {}

    def near(self, name: str) -> str | None:
        """Return the name closest to *name*: equal but for case and blanks, else similar; else ``None``."""
        if name not in self._found:
            close = self._folded.get(_fold(name))
            if close is None and len(self._found) < _SEARCHES:
                alike = difflib.get_close_matches(_fold(name), self._folded, n=1, cutoff=0.75)
                close = self._folded[alike[0]] if alike else None
            self._found[name] = close
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __str__(self) -> str:
        if not self.names:
            return "none"
        more = len(self.names) - _NAMES_SHOWN
        shown = ", ".join(self.names[:_NAMES_SHOWN])
        return f"{shown} and {more} more" if more > 0 else shown


def _fold(name: str) -> str:
    return "".join(name.split()).casefold()


def meant(near: str | None) -> str:
    """Return the name that was probably meant, as the end of a sentence; empty where there is none."""
    return f" (did you mean {near!r}?)" if near else ""


class Faults:
    """Collects problems and warnings while a definition is read.

    :param strict: a part that has no effect is a problem, not a warning.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def add(self, code: str, message: str, *jobs: int, **parts: Any) -> None:
        """Note a problem of the jobs with these indexes."""
        self.problems.append(Problem(code, message, tuple(jobs), **parts))

    def warn(self, message: str, *jobs: int) -> None:
        """Note something that is allowed but probably a mistake."""
        self.warnings.append(str(Problem("warning", message, tuple(jobs))))

    def ignored(self, code: str, message: str, *jobs: int, **parts: Any) -> None:
        """Note something that has no effect: a warning, or a problem in strict mode."""
        if self.strict:
            self.add(code, message, *jobs, **parts)
        else:
            self.warn(message, *jobs)

    def check_keys(self, part: Mapping[str, Any], known: tuple[str, ...], where: str, *index: int) -> None:
        """Note unknown keys: the server ignores them, also one that is a misspelled known key."""
        for key in part:
            if key in known or key in _SERVER_KEYS:
                continue
            near = Names(known).near(str(key))
            if near and near not in part:
                message = f"unknown key {key!r}{meant(near)}"
                self.add("unknown-key", message, *index, kind="key", name=str(key), near=near)
            else:
                message = f"unknown key {key!r} of {where} has no effect"
                self.ignored("unknown-key", message, *index, kind="key", name=str(key))
