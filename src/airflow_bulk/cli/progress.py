"""Bars for a person at a terminal: checking, sending and waiting. Without a terminal, the log's lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.judging import how_many
from airflow_bulk.runs.upload.progress import SendingProgress

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from airflow_bulk.cli.output import Output
    from airflow_bulk.judging import Totals

#: Seconds over which a pace is averaged: parts are few and large, so the last ones alone say little.
PACE_SECONDS = 3600.0
#: Columns of a terminal below which a bar has to be short.
WIDE_ENOUGH = 110


class Bars(SendingProgress):
    """One bar for what is going on now; what is over is told in a line of its own.

    :param output: where the bar is shown; without a person there, the log tells.
    :param ask: told the parts before anything is sent; it raises where nothing is to be sent.
    """

    def __init__(self, output: Output, ask: Callable[[Sequence[Part]], None] | None = None) -> None:
        super().__init__()
        self._output = output
        self._ask = ask
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._parts_all = self._parts_done = self._lines = self._rejected = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar from the screen."""
        bar, self._bar, self._output.bar = self._bar, None, None
        if bar is not None:
            bar.stop()

    # What the submission tells.

    def checking(self, source_bytes: int) -> None:
        """Begin to check."""
        super().checking(source_bytes)
        self._parts_done = self._lines = self._rejected = 0
        self._begin("Checking", source_bytes or None, sized=True)

    def checked(self, part: Part) -> None:
        """Count a checked part."""
        if self._bar is None:
            super().checked(part)
            return
        self._parts_done += 1
        self._lines += part.lines + part.rejected
        self._rejected += part.rejected
        rejected = f", {self._rejected:,} rejected" if self._rejected else ""
        self._move(part.length, f"{how_many(self._parts_done, 'part')}, {_lines(self._lines)}{rejected}")

    def before_sending(self, parts: Sequence[Part]) -> None:
        """Ask, without a bar on the screen."""
        self.close()
        if self._ask is not None:
            self._ask(parts)

    def sending(self, parts: Sequence[Part]) -> None:
        """Begin to send these."""
        super().sending(parts)
        if not parts:
            return
        self._parts_all, self._parts_done, self._lines = len(parts), 0, 0
        self._begin("Sending", sum(part.body for part in parts), sized=True)
        self._move(0, f"0/{how_many(self._parts_all, 'part')}")

    def sent(self, part: Part, execution_id: str) -> None:
        """Count a part that the platform has taken."""
        if self._bar is None:
            super().sent(part, execution_id)
            return
        self._parts_done += 1
        self._lines += part.lines
        self._move(
            part.body,
            f"{self._parts_done}/{how_many(self._parts_all, 'part')}, {_lines(self._lines)}",
        )

    # What the commands tell.

    def waiting(self, totals: Totals) -> None:
        """Show how far the platform has come."""
        if not self._output.live:
            return
        over = totals.total - totals.executions.get("pending", 0) - totals.executions.get("running", 0)
        if self._bar is None or self._bar.tasks[0].description != "Waiting":
            self._begin("Waiting", totals.total, sized=False)
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(totals.executions.items()))
        failed = f", {totals.failed:,} failed" if totals.failed else ""
        self._move(
            0,
            f"{states or 'no execution yet'}; {_lines(totals.accepted)} accepted{failed}",
            total=totals.total,
        )
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=over)

    def counting(self, what: str, total: int) -> None:
        """Begin to count something else."""
        self._begin(what, total, sized=False)

    def count(self, done: int, total: int) -> None:
        """Show how many are done."""
        self._move(0, f"{done:,} of {total:,}", total=total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    # How it is shown.

    def _begin(self, what: str, total: int | None, *, sized: bool) -> None:
        self.close()
        if not self._output.live:
            return
        from rich.progress import Progress

        self._bar = Progress(
            *_columns(sized, bool(total), narrow=self._output.console.width < WIDE_ENOUGH),
            console=self._output.console,
            transient=True,
            speed_estimate_period=PACE_SECONDS,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._output.bar = self._output.console
        self._task = self._bar.add_task(what, total=total, text="")
        self._bar.start()

    def _move(self, by: int, text: str, *, total: int | None = None) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=by, text=text)
            if total is not None:
                self._bar.update(self._task, total=total)


def _columns(sized: bool, known: bool, *, narrow: bool) -> list[Any]:
    """The columns of a bar; none of them wraps, since a bar of two lines cannot be read.

    :param sized: bytes are counted.
    :param known: how much there is.
    """
    from rich import progress
    from rich.table import Column

    def column() -> Column:
        return Column(no_wrap=True)

    bar = [
        progress.SpinnerColumn(table_column=column()),
        progress.TextColumn("{task.description}", table_column=column()),
        progress.BarColumn(bar_width=6 if narrow else 20, table_column=column()),
    ]
    sizes = [
        progress.DownloadColumn(table_column=column()),
        progress.TransferSpeedColumn(table_column=column()),
    ]
    text = progress.TextColumn("{task.fields[text]}", table_column=column())
    elapsed = progress.TimeElapsedColumn(table_column=column())
    left = [
        progress.TimeRemainingColumn(compact=narrow, table_column=column()),
        progress.TextColumn("left", table_column=column()),
    ]
    return [*bar, *(sizes if sized else []), text, *([] if narrow else [elapsed]), *(left if known else [])]


def _lines(count: int) -> str:
    return f"{count:,} line" if count == 1 else f"{count:,} lines"
