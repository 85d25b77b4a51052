"""Watch something until it is over: a live table for a person, lines for a log, one JSON document a look for a program."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_bulk.cli.errors import Ended, for_a_shell
from airflow_bulk.cli.output import INTERRUPTED, NOT_GOOD, Output, make_table
from airflow_bulk.judging import FailedBecause, Finished, KeepWaiting, PastDeadline, Verdict
from airflow_bulk.platforms.errors import TryLater
from airflow_bulk.runs.watching import Watch

if TYPE_CHECKING:
    from rich.live import Live

#: Rows of a terminal that are not for the table's rows.
AROUND = 6
#: Seconds that a watch lasts where nobody says another time: a person ends it.
FOR_EVER = 10 * 365 * 24 * 3600.0


class View:
    """What a look shows.

    :param titles: titles of the table's columns -> ``left`` or ``right``.
    :param rows: its rows, the most interesting ones first.
    """

    def __init__(self, titles: dict[str, str], rows: Callable[[], Sequence[Sequence[object]]]) -> None:
        self.titles = titles
        self.rows = rows


def times(args: Any) -> dict[str, float]:
    """Since when, how long and how often to look, as :class:`~airflow_bulk.runs.watching.Watch` takes it."""
    from airflow_bulk import arguments as read

    timeout = FOR_EVER if args.timeout is None else read.duration("timeout", args.timeout)
    return {
        "started": time.time(),
        "timeout": timeout,
        "poll_interval": read.duration("poll_interval", args.poll_interval),
    }


def watch_until_over(watch: Watch, view: View, output: Output, what: str) -> int:
    """Look until everything is over; return the exit code.

    :param watch: what is watched, judged as a sensor judges it.
    :param what: it in words, for a line.
    """
    try:
        with _screen(output) as screen:
            verdict = _watch(watch, view, output, what, screen)
    except KeyboardInterrupt:
        raise Ended("The watch was ended; nothing was cancelled.", INTERRUPTED) from None
    return _end(watch, verdict, output)


def _watch(watch: Watch, view: View, output: Output, what: str, screen: Live | None) -> Verdict:
    told = ""
    while True:
        verdict = _look(watch, output)
        line = _say(what, verdict)
        if screen is not None:
            screen.update(_picture(output, view, line), refresh=True)
        elif line != told:
            told = line
            output.line(line)
        if not isinstance(verdict, KeepWaiting):
            return verdict
        output.document({**_state(verdict), "over": False})
        time.sleep(verdict.seconds)


def _look(watch: Watch, output: Output) -> Verdict:
    try:
        return watch.poll()
    except TryLater as error:
        output.tell(f"Could not {error.what}: {error.why}. Waiting on.")
        return watch.unanswered(error)


def _end(watch: Watch, verdict: Verdict, output: Output) -> int:
    reason = ""
    if isinstance(verdict, PastDeadline):
        reason = for_a_shell(watch.say_late())
    elif isinstance(verdict, (Finished, FailedBecause)):
        reason = for_a_shell(watch.why_not_good(verdict))
    result = {} if isinstance(verdict, PastDeadline) else watch.result(verdict)
    output.document(
        {
            **_state(verdict),
            "over": not isinstance(verdict, PastDeadline),
            "ok": not reason,
            **({"error": reason} if reason else {}),
            **result,
        }
    )
    if reason:
        output.tell(reason)
    return NOT_GOOD if reason else 0


def _state(verdict: Verdict) -> dict[str, Any]:
    totals = verdict.totals
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "executions": dict(totals.executions),
        "accepted": totals.accepted,
        "failed": totals.failed,
    }


def _say(what: str, verdict: Verdict) -> str:
    totals = verdict.totals
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(totals.executions.items()))
    counted = (
        f"; {totals.accepted:,} accepted, {totals.failed:,} failed"
        if totals.accepted or totals.failed
        else ""
    )
    return f"{what}: {states or 'nothing there yet'}{counted}"


def _picture(output: Output, view: View, line: str) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = list(view.rows())
    room = max(1, output.console.height - AROUND)
    more = [Text(f"... and {len(rows) - room:,} more")] if len(rows) > room else []
    return Group(make_table(view.titles, rows[:room]), *more, Text(line))


@contextlib.contextmanager
def _screen(output: Output) -> Iterator[Live | None]:
    if not output.live:
        yield None
        return
    from rich.live import Live

    output.bar = output.console
    try:
        with Live(
            console=output.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            yield live
    finally:
        output.bar = None
