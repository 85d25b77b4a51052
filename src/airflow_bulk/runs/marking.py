"""Which marker an import's name ends in, and which import bears it: the look-up where nothing is recorded.

A marker follows from dag, run, task, map index and the number of the work, so it is known where every record was lost
(ARCHITECTURE.md sections 5.1 and 5.9).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_bulk.judging import name_ids
from airflow_bulk.runs.reconcile import SeveralFit, StaysUnclear
from airflow_bulk.runs.record_copy import marker_of
from airflow_bulk.runs.renamed import tasks_gone

if TYPE_CHECKING:
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)

#: Digits of the source's fingerprint in an import's name.
SOURCE_DIGITS = 8
#: Each success that is cleared begins another generation of a task's work; nobody clears one task oftener than this.
GENERATIONS = 100
#: What :func:`~airflow_bulk.runs.creation.find_or_create` ends a name in: the source's first digits, where there is a source,
#: and the marker.
_MARKED_NAME = re.compile(r"(?P<name>.*?)(?: \[[0-9a-f]{8}\])? \[(?P<marker>[0-9a-f]{12})\]", re.DOTALL)


class Marked(NamedTuple):
    """An import that bears a marker of a task.

    :param generation: of the work that made it.
    """

    import_id: str
    marker: str
    generation: int


class MarkedName(NamedTuple):
    """A name that ends in a marker.

    :param name: as the DAG's author gave it.
    """

    name: str
    marker: str


def read_marked(name: str) -> MarkedName | None:
    """Take the marker from a name; None where there is none: a person has made that import, or another program."""
    found = _MARKED_NAME.fullmatch(name)
    return None if found is None else MarkedName(found["name"], found["marker"])


def own_marker(record: Record) -> str:
    """The word that tells this generation's work from all others, so that it is found where every record was lost."""
    return marker_of(record.identity, record.generation)


def marker_beside(record: Record, source: str) -> str:
    """A marker for an import that is to stand beside what bears :func:`own_marker`, since its source is another one."""
    return marker_of(record.identity, f"{record.generation} {source}")


def chosen_marker(record: Record, words: str, source: str) -> str | None:
    """The marker that a person has chosen for this very task; None where all words answer for other tasks or runs.

    A word stays in the DAG file after it has served, and stands there for every run and every mapped task: it counts only
    where an error of this task has named it.

    :param words: markers, with spaces between them.
    :param source: the fingerprint of what is to be sent.
    """
    chosen = set(words.split())
    ours = {own_marker(record), marker_beside(record, source)}
    if not chosen & ours and record.generation == 1:
        gone = list(tasks_gone(record.identity))
        ours |= {marker_of(one, number) for one in gone for number in range(1, GENERATIONS)}
    if found := chosen & ours:
        return min(found)
    log.info("name_marker=%r answers for another task or run: this one has a marker of its own.", words)
    return None


def newest_marked(identity: Any, find: Callable[[str], list[str]], generation: int = 1) -> Marked | None:
    """The import of a task's newest work, if any is there: each later one was begun after the one before had ended.

    :param identity: ``ti``, or what names dag, run, task and map index as it does.
    :param find: the ids of the imports that bear a marker.
    :param generation: the first that is looked for.
    :raises SeveralFit: two imports bear the same marker.
    """
    newest = None
    for number in range(generation, GENERATIONS):
        marker = marker_of(identity, number)
        import_id = only_one(find(marker))
        if import_id is None:
            break
        newest = Marked(import_id, marker, number)
    return newest


def refuse_renamed_import(noun: str, record: Record, find: Callable[[str], list[str]]) -> None:
    """Refuse to create an import while a task that has left the DAG in mid-run has one: this task may be that one, renamed.

    :param noun: what the platform calls an import.
    :param find: the ids of the imports that bear a marker.
    :raises StaysUnclear: naming all such tasks, and what to say in each case.
    """
    newest = {gone.task_id: newest_marked(gone, find) for gone in tasks_gone(record.identity)}
    found = {task_id: one for task_id, one in newest.items() if one is not None}
    if not found:
        return
    ways = "; ".join(
        f"if this task is {task_id!r} under a new name, say name_marker={one.marker!r}: it goes on with {one.import_id}"
        for task_id, one in found.items()
    )
    mapped = getattr(record.identity, "map_index", None) not in (None, -1)
    raise StaysUnclear(
        f"create a {noun}",
        "; ".join(
            f"{one.import_id} was created in this run by task {task_id!r}" for task_id, one in found.items()
        )
        + f", which {'is' if len(found) == 1 else 'are'} not in the DAG any more",
        retry=f"Nothing was sent. Decide: {ways}; if it is another task, say name_marker={own_marker(record)!r}."
        + (
            " Each mapped task has words of its own: put them into one text, with spaces between them."
            if mapped
            else ""
        ),
    )


def refuse_other_source(
    noun: str, record: Record, there: Marked, find: Callable[[str], list[str]], source: str
) -> None:
    """Refuse an import that was made of another source than the one that is to be sent: the name of an import tells both.

    :param source: the fingerprint of what is to be sent.
    :raises StaysUnclear: naming the import, and what to say to import beside it.
    """
    if there.import_id not in find(f"{source[:SOURCE_DIGITS]}] [{there.marker}"):
        raise StaysUnclear(
            f"create a {noun}",
            f"{there.import_id} bears this task's mark, was made of another source, and nothing is recorded of it: it may be of "
            "another Airflow, or of a DAG run that was deleted",
            retry="Nothing was sent. To import this source beside it, say name_marker="
            f"{marker_beside(record, source)!r}.",
        )


def only_one(found: list[str]) -> str | None:
    """The one that was found, if any.

    :raises SeveralFit: there are more.
    """
    if len(found) > 1:
        raise SeveralFit(
            "tell which object an earlier act created",
            f"{len(found)} fit: {name_ids(found)}",
            retry="While two fit, a retry creates nothing and ends in the same way: remove what is not this task's.",
        )
    return found[0] if found else None
