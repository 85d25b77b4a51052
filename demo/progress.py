"""What the demo shows while it runs, and the table at its end.

On a terminal one block is drawn anew several times a second; anywhere else each change is one line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "success": "green",
    "SUCCEEDED": "green",
    "running": "cyan",
    "RUNNING": "cyan",
    "deferred": "magenta",
    "PENDING": "yellow",
    "failed": "bold red",
    "FAILED": "bold red",
    "skipped": "dim",
}


class Progress:
    """Show a run's tasks and the platform's executions as they change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live: Live | None = None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw no more."""
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def show(self, tasks: Mapping[str, str | None], executions: Iterable[Mapping[str, Any]]) -> None:
        """Show how things stand now.

        :param tasks: state of each task, by its id.
        :param executions: the platform's executions, as its API shows them.
        """
        by_status: Counter[str] = Counter()
        lines = 0
        for execution in executions:
            by_status[str(execution["status"])] += 1
            lines += (execution.get("result") or {}).get("total_success", 0)
        standing = {task: state or "-" for task, state in sorted(tasks.items())}
        if self._live is not None:
            self._live.update(self._block(standing, by_status, lines))
            return
        for task, state in standing.items():
            self._show(task, state)
        platform = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
        self._show("platform", f"{platform}, {lines:,} lines imported" if platform else "-")

    def _show(self, name: str, text: str) -> None:
        if self._shown.get(name, "-") != text:
            self._shown[name] = text
            self._console.print(f"{self._seconds():5.1f} s  {name}: {text}", soft_wrap=True)

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _block(self, tasks: Mapping[str, str], by_status: Counter[str], lines: int) -> Group:
        table = Table(title=f"{self._seconds():.0f} s", title_justify="left", box=None)
        table.add_column("task")
        table.add_column("state")
        for task, state in tasks.items():
            table.add_row(task, Text(state, style=STATE_STYLES.get(state, "")))
        parts = Text("executions on the platform: ")
        for status, count in sorted(by_status.items()):
            parts.append(f"{count} {status}  ", style=STATE_STYLES.get(status, ""))
        return Group(table, parts, Text(f"lines imported: {lines:,}"))


def totals_table(result: Mapping[str, Any], held: int, twice: int) -> Table:
    """The end of the demo as a table.

    :param result: what the import task returned.
    :param held: different lines that the platform holds.
    :param twice: lines that it holds more than once.
    """
    table = Table(title="Store purchases", title_justify="left")
    table.add_column("what")
    table.add_column("how many", justify="right")
    for name, key in (
        ("lines read", "lines_read"),
        ("lines rejected before sending", "lines_rejected"),
        ("lines accepted by the platform", "lines_accepted"),
        ("lines failed on the platform", "lines_failed"),
        ("parts", "parts"),
    ):
        table.add_row(name, f"{result[key]:,}")
    table.add_row("executions", f"{len(result['execution_ids']):,}")
    table.add_row("bytes", f"{result['bytes']:,}")
    table.add_row("seconds", f"{result['seconds']:.1f}")
    table.add_section()
    table.add_row("lines the platform holds", f"{held:,}")
    table.add_row("lines it holds more than once", f"{twice:,}")
    return table
