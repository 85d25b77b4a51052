"""Where the pieces of the page's two pictures stand: the chart of the last runs, and the graph of a group's jobs. Pure.

The pictures are SVG with attributes alone: the page allows no style inside of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from airflow_bulk.plugin.details import ShownJob
from airflow_bulk.plugin.rows import WorkRow

CHART_HEIGHT, BAR, GAP = 120, 16, 6
BOX_WIDTH, BOX_HEIGHT, COLUMN, LINE = 220, 46, 280, 62


class Piece(NamedTuple):
    """A rectangle of one kind of lines: ``accepted``, ``rejected`` or ``failed``."""

    kind: str
    y: float
    height: float


class Bar(NamedTuple):
    """One run in the chart.

    :param seconds_y: where the mark of its duration stands; None where that is not known.
    """

    row: WorkRow
    x: float
    pieces: list[Piece]
    seconds_y: float | None


class Chart(NamedTuple):
    """The last runs of one task."""

    bars: list[Bar]
    width: float
    height: float
    most_lines: int
    most_seconds: float


def draw_chart(rows: Sequence[WorkRow]) -> Chart:
    """Place the last runs, the oldest on the left: lines as bars, and durations as marks over them."""
    lines = [_parts_of(row) for row in rows]
    most = max((sum(each.values()) for each in lines), default=0) or 1
    longest = max((row.seconds or 0.0 for row in rows), default=0.0) or 1.0
    bars = []
    for place, (row, each) in enumerate(zip(rows, lines, strict=True)):
        y, pieces = float(CHART_HEIGHT), []
        for kind, number in each.items():
            # What is there is seen, however few it is of however many.
            height = max(2.0, number / most * (CHART_HEIGHT - 6)) if number else 0.0
            y -= height
            pieces += [Piece(kind, y, height)] if height else []
        mark = None if row.seconds is None else CHART_HEIGHT - row.seconds / longest * (CHART_HEIGHT - 6)
        bars.append(Bar(row, place * (BAR + GAP) + GAP, pieces, mark))
    return Chart(bars, max(len(bars) * (BAR + GAP) + GAP, 120), CHART_HEIGHT, most, longest)


def _parts_of(row: WorkRow) -> dict[str, int]:
    total = row.sum
    return {"accepted": total.accepted or 0, "rejected": total.rejected, "failed": total.failed or 0}


class Box(NamedTuple):
    """One job in the graph."""

    job: ShownJob
    x: float
    y: float


class Graph(NamedTuple):
    """The jobs of a group.

    :param lines: paths of the edges.
    """

    boxes: list[Box]
    lines: list[str]
    width: float
    height: float


def draw_graph(jobs: Sequence[ShownJob]) -> Graph:
    """Place the jobs in columns, each to the right of all that come before it."""
    column: list[int] = []
    for place, job in enumerate(jobs):
        column.append(1 + max((column[one] for one in job.before if one < place), default=-1))
    members: dict[int, list[int]] = {}
    height: dict[int, float] = {}
    for place in sorted(range(len(jobs)), key=lambda one: column[one]):
        members.setdefault(column[place], []).append(place)
    for number in sorted(members):
        # A job stands near those that it needs, so that few lines cross.
        near = {
            place: sum(height[one] for one in jobs[place].before if one in height)
            / max(len(jobs[place].before), 1)
            for place in members[number]
        }
        for line, place in enumerate(sorted(members[number], key=lambda one: (near[one], one))):
            height[place] = line * LINE
    boxes = [Box(job, column[place] * COLUMN + 4, height[place] + 4) for place, job in enumerate(jobs)]
    lines = [_line(boxes[one], boxes[place]) for place, job in enumerate(jobs) for one in job.before]
    return Graph(
        boxes,
        lines,
        max((box.x for box in boxes), default=0) + BOX_WIDTH + 8,
        max((box.y for box in boxes), default=0) + BOX_HEIGHT + 8,
    )


def _line(first: Box, then: Box) -> str:
    x, y = first.x + BOX_WIDTH, first.y + BOX_HEIGHT / 2
    to_x, to_y = then.x, then.y + BOX_HEIGHT / 2
    middle = (x + to_x) / 2
    return f"M{x:g},{y:g} C{middle:g},{y:g} {middle:g},{to_y:g} {to_x:g},{to_y:g}"
