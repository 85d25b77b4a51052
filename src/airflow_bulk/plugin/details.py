"""What the page shows of one task instance, besides its row: parts, findings, tries; or the jobs of a group.

Read from the task's state (:mod:`airflow_bulk.runs.record` owns its keys), from the history of its tries, and from XCom.
Each query names its task instance, and what can be long is read in pages.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import select

from airflow_bulk.judging import id_order
from airflow_bulk.plugin.rows import count, moment, text
from airflow_bulk.plugin.tables import XCOM_KEY, XCOM_VALUE, at, is_current, of_ti, task_state, tries, xcoms
from airflow_bulk.runs.recorded_parts import PAGE, RecordedPart
from airflow_bulk.runs.upload.shown import EXECUTIONS, FOUND
from airflow_bulk.shown import GROUP_KEY, NOW_KEY, ROW_KEYS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Pages of parts that are read to tell which try has sent what; of more parts only one page is read.
PAGES_READ = 30


class ShownExecution(NamedTuple):
    """An execution as last seen."""

    id: str
    status: str = ""
    accepted: int | None = None
    failed: int | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    message: str = ""


class ShownPart(NamedTuple):
    """A part, its place in the source, and the execution that counts.

    :param former: ids of its executions that were cancelled or failed before.
    """

    number: int
    file: str
    line: int
    lines: int
    rejected: int
    bytes: int
    state: str
    execution: ShownExecution | None
    former: list[str]


class Try(NamedTuple):
    """A try of the task.

    :param sent: how many parts it has sent; None where that is not known.
    """

    number: int
    state: str
    began: datetime | None
    ended: datetime | None
    sent: int | None


@dataclass
class Detail:
    """What is known of one import.

    :param part_pages: how many pages of parts there are.
    :param first: the first rejected lines: file, line, reasons; never their content.
    :param reasons: how many lines were rejected for each reason, the most frequent first.
    :param kinds: how many executions had each kind of error.
    :param unread: pieces that cannot be read.
    """

    parts: list[ShownPart] = field(default_factory=list)
    part_pages: int = 0
    first: list[tuple[str, int, list[str]]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class Findings(msgspec.Struct):
    """What the check has found, as :func:`airflow_bulk.runs.upload.shown.keep_findings` writes it."""

    first: list[tuple[str, int, list[str]]] = []
    reasons: dict[str, int] = {}
    hints: dict[str, int] = {}


class TriesBegun(msgspec.Struct):
    """The newest execution that was there when each try began, as :meth:`airflow_bulk.runs.record.Record.begin_try` writes it."""

    number: int
    begun_before: str | None = None
    earlier: list[tuple[int, str | None]] = []


class ShownJob(NamedTuple):
    """A task of an extract/load group.

    :param before: places in the list of jobs of those that come before it.
    :param counts: what it did, by name; of an apply that runs: what it has done so far.
    :param now: how far an apply is that runs, in words.
    """

    node: str
    task_id: str
    before: list[int]
    state: str
    counts: dict[str, int]
    now: str = ""


def read_detail(session: Session, ti: Mapping[str, Any], *, part_page: int) -> Detail:
    """Read what the record of a task instance tells; a piece that cannot be read is named, and the others are shown.

    :param ti: its ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    :param part_page: which page of parts, from 0.
    """
    row = _xcom(session, ti, ROW_KEYS.values())
    generation = f"g{count(row.get('generation')) or 1}."
    total = count(row.get("parts")) or 0
    pages = range(min(-(-total // PAGE), PAGES_READ)) if total else range(1)
    wanted = {*pages, part_page}
    keys = ["plan", "try", FOUND, *(f"parts.{page}" for page in wanted)]
    keys += [EXECUTIONS.format(page) for page in {*wanted, max(part_page - 1, 0)}]
    state = _task_state(session, ti, [generation + key for key in keys], len(generation))
    each = _xcom(session, ti, [NOW_KEY]).get("each")
    detail = Detail(part_pages=-(-total // PAGE))
    entries: list[RecordedPart] = []
    executions: dict[str, ShownExecution] = {}
    with _legible(detail, "the executions"):
        executions = _executions(state, each)
        kinds = Counter(one.message for one in executions.values() if one.message)
        detail.kinds = dict(kinds.most_common(20))
    with _legible(detail, "the parts"):
        files = msgspec.convert((state.get("plan") or {}).get("files") or [], list[tuple[str, str]])
        entries = [one for page in pages for one in _entries(state.get(f"parts.{page}"))]
        shown = _entries(state.get(f"parts.{part_page}"))
        detail.parts = [_part(one, executions, files) for one in shown if one.part.lines]
    with _legible(detail, "what the check has found"):
        found = msgspec.convert(state.get(FOUND) or {}, Findings)
        detail.first, detail.reasons, detail.hints = found.first, found.reasons, found.hints
    sent: dict[int, int] = {}
    with _legible(detail, "what each try has sent"):
        if total <= PAGES_READ * PAGE and "try" in state:
            sent = _sent_by(msgspec.convert(state["try"], TriesBegun), entries)
    detail.tries = _tries(session, ti, sent)
    return detail


@contextmanager
def _legible(detail: Detail, piece: str) -> Iterator[None]:
    """Name a piece that cannot be read: another version of this package, or a person, may have written it."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        detail.unread.append(piece)


def _entries(page: Any) -> list[RecordedPart]:
    read = [RecordedPart.read(plain) for plain in page or ()]
    return msgspec.convert(msgspec.to_builtins(read), list[RecordedPart])


def read_jobs(session: Session, ti: Mapping[str, Any]) -> list[ShownJob]:
    """The jobs of a group, in an order in which each comes after those that it needs.

    :param ti: the group's first task.
    """
    row = _xcom(session, ti, [GROUP_KEY])
    told = row.get("jobs")
    jobs = [
        one
        for one in (told if isinstance(told, list) else ())
        if isinstance(one, list) and len(one) == 3 and isinstance(one[2], list)
    ]
    task_ids = [str(task_id) for _, task_id, _ in jobs]
    of_jobs = [*at({name: ti[name] for name in ("dag_id", "run_id")}), of_ti("task_id").in_(task_ids)]
    found = session.execute(select(of_ti("task_id"), of_ti("state")).where(*of_jobs, *is_current()))
    states: dict[str, Any] = dict(tuple(one) for one in found)
    returned = session.execute(
        xcoms(of_ti("task_id"), XCOM_VALUE).where(*of_jobs, XCOM_KEY == "return_value")
    )
    results = {task_id: value for task_id, value in returned if isinstance(value, Mapping)}
    running = [task_id for task_id in task_ids if states.get(task_id) == "running"]
    of_running = [*of_jobs[:-1], of_ti("task_id").in_(running), XCOM_KEY == NOW_KEY]
    told_now = session.execute(xcoms(of_ti("task_id"), XCOM_VALUE).where(*of_running)) if running else ()
    writing = {
        task_id: value
        for task_id, value in told_now
        if isinstance(value, Mapping) and value.get("phase") == "writing"
    }
    return [
        ShownJob(
            text(node),
            task_id,
            [place for place in before if isinstance(place, int) and 0 <= place < len(jobs)],
            states.get(task_id) or "",
            _counts(
                results.get(task_id, {}) if states.get(task_id) == "success" else writing.get(task_id, {})
            ),
            text(writing.get(task_id, {}).get("why")),
        )
        for (node, _, before), task_id in zip(jobs, task_ids, strict=True)
    ]


def _counts(result: Mapping[str, Any]) -> dict[str, int]:
    """What a task of a group did: an apply has four counts, an extract and a snapshot count records."""
    if "created" in result:
        names = {"created": "created", "updated": "updated", "deleted": "deleted", "kept": "unchanged"}
        return {name: count(result.get(key)) or 0 for name, key in names.items() if key in result}
    if "lines_accepted" in result:
        return {name: count(result.get(f"lines_{name}")) or 0 for name in ("accepted", "failed")}
    records = count(result.get("records"))
    return {} if records is None else {"records": records}


def _xcom(session: Session, ti: Mapping[str, Any], keys: Iterable[str]) -> Mapping[str, Any]:
    value = session.scalar(xcoms(XCOM_VALUE).where(*at(ti), XCOM_KEY.in_(list(keys))).limit(1))
    return value if isinstance(value, Mapping) else {}


def _task_state(session: Session, ti: Mapping[str, Any], keys: Sequence[str], prefix: int) -> dict[str, Any]:
    """Values of the task's state, by their keys without the generation."""
    return {key[prefix:]: json.loads(value) for key, value in session.execute(task_state(ti, keys))}


def _executions(state: Mapping[str, Any], each: Any) -> dict[str, ShownExecution]:
    """Executions as last seen, by id: as they ended, else, while the task waits, as the poller saw them."""
    prefix = EXECUTIONS.format("")
    rows = [row[:8] for key, page in state.items() if key.startswith(prefix) for row in page]
    if not rows and isinstance(each, list):
        rows = [[*row[:4], None, None, None, ""] for row in each]
    found = {}
    for one_id, status, accepted, failed, created, started, ended, message in rows:
        found[str(one_id)] = ShownExecution(
            str(one_id),
            text(status),
            count(accepted),
            count(failed),
            moment(created),
            moment(started),
            moment(ended),
            text(message),
        )
    return found


def _part(entry: RecordedPart, executions: Mapping[str, ShownExecution], files: Sequence[Any]) -> ShownPart:
    part = entry.part
    last = entry.executions[-1] if entry.executions else None
    return ShownPart(
        number=part.index + 1,
        file=text(files[part.file][0]) if part.file < len(files) else f"file {part.file + 1}",
        line=part.line,
        lines=part.lines,
        rejected=part.rejected,
        bytes=part.body,
        state=str(entry.state),
        execution=None if last is None else executions.get(last, ShownExecution(last)),
        former=entry.executions[:-1],
    )


def _tries(session: Session, ti: Mapping[str, Any], sent: Mapping[int, int]) -> list[Try]:
    """All tries, the newest first."""
    found = {one[0]: one for query in tries(ti) for one in session.execute(query)}
    return [
        Try(number, state or "", began, ended, sent.get(number))
        for number, (_, state, began, ended) in sorted(found.items(), reverse=True)
        if began
    ]


def _sent_by(tries_begun: TriesBegun, entries: Sequence[RecordedPart]) -> dict[int, int]:
    """How many parts each try has sent: those after the newest execution that was there when it began."""
    began = [*tries_begun.earlier, (tries_begun.number, tries_begun.begun_before)]
    ids = sorted((one for entry in entries for one in entry.executions), key=id_order)
    bounds = [id_order(before) if before is not None else (0, "") for _, before in began]
    ends = [*bounds[1:], (10**6, "")]
    return {
        number: sum(begin < id_order(one) <= end for one in ids)
        for (number, _), begin, end in zip(began, bounds, ends, strict=True)
    }
