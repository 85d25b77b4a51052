"""What is wrong with a batch definition: every fault at once, each with its job, its name and a hint.

The server stores bad definitions without a word and then waits for ever (extract_load.md section 6.7);
here they end before a task exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMES_SHOWN = 20
_SEARCHES = 200  # a near miss costs a pass over all names; a wholly wrong definition must not cost minutes


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


class Names:
    """The names that exist, searched for the one that was probably meant.

    :param names: the names, case as written.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._all = frozenset(names)
        self.names = sorted(self._all)
        self._folded = {_fold(name): name for name in self.names}
        self._found: dict[str, str | None] = {}

    def near(self, name: str) -> str | None:
        """Return the name closest to *name*: equal but for case and blanks, else alike; else ``None``."""
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
