"""How a command speaks: results on standard output, everything else on standard error, and an exit code.

With ``--json`` there is one JSON document on standard output and nothing else (``watch``: one a line). Airflow's console
logs go to standard output (airflow.md section 8.6), and so may any library's; so while a command runs, whatever is written
there by others goes to standard error.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from airflow_bulk.cli.errors import Ended, ended_by
from airflow_bulk.cli.stopping import Stopped

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

#: Exit codes, besides 0.
NOT_GOOD, WRONG_USE, INTERRUPTED = 1, 2, 130
#: Its warnings name records of Centrapay by ids that stand in lines: right in a task's log, too much for a shell's output.
NAMES_RECORDS = "airflow_bulk.runs.centrapay_batch.judgement"
CLOSED = "Standard output is closed, and nothing was done. To throw results away, say >/dev/null."
#: Columns of a table where nobody looks at a terminal.
WIDE = 200


class Output:
    """What a command says.

    :param stdout: where results go.
    :param as_json: results are JSON.
    """

    def __init__(self, stdout: TextIO, *, as_json: bool = False) -> None:
        self._stdout = stdout
        self.as_json = as_json
        #: Whether a person sees standard output, so that bars and live tables make sense.
        self.live = not as_json and stdout.isatty()
        #: The console of a bar that is on the screen: all text has to pass through it.
        self.bar: Console | None = None

    @functools.cached_property
    def console(self) -> Console:
        """A console of ``rich`` on standard output."""
        from rich.console import Console

        return Console(
            file=self._stdout, highlight=False, markup=False, width=None if self.live else WIDE, emoji=False
        )

    def line(self, text: str = "") -> None:
        """Print a line of the result for a person; nothing with ``--json``."""
        if self.as_json:
            return
        with _writing():
            if self.bar is not None:
                self.bar.print(text, soft_wrap=True)
            else:
                print(text, file=self._stdout, flush=True)

    def sentence(self, text: str) -> None:
        """Print a sentence of the result, broken between words where a person reads it."""
        self.line(_fold(text, shutil.get_terminal_size().columns) if self.live else text)

    def document(self, content: Mapping[str, Any]) -> None:
        """Print a JSON document in one line; nothing without ``--json``."""
        if self.as_json:
            with _writing():
                print(json.dumps(content, ensure_ascii=False, default=str), file=self._stdout, flush=True)

    def tell(self, text: str) -> None:
        """Print a message on standard error."""
        with contextlib.suppress(OSError):  # the terminal may be gone, and what is to be done goes on
            if not sys.stderr.isatty():
                print(text, file=sys.stderr, flush=True)
                return
            folded = "\n".join(_fold(line, shutil.get_terminal_size().columns) for line in text.splitlines())
            if self.bar is not None:
                self.bar.print(folded, soft_wrap=True)
            else:
                print(folded, file=sys.stderr, flush=True)

    def table(self, titles: Mapping[str, str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for a person.

        :param titles: title of each column -> ``left`` or ``right``.
        """
        if not self.as_json:
            with _writing():
                self.console.print(make_table(titles, rows), soft_wrap=False)

    def must_be_able_to_ask(self) -> None:
        """Refuse to go on where a question would come that nobody can answer.

        :raises Ended: standard input is no terminal.
        """
        if not sys.stdin.isatty():
            raise Ended("Nobody can be asked here, for standard input is no terminal: say --yes.", WRONG_USE)

    def asks(self, question: str) -> bool:
        """Ask a person, on standard error, and return whether the answer was yes.

        :raises Ended: there is nobody to ask.
        """
        self.must_be_able_to_ask()
        print(
            _fold(f"{question} [y/N]", shutil.get_terminal_size().columns),
            end=" ",
            file=sys.stderr,
            flush=True,
        )
        return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Write to standard output.

    :raises BrokenPipeError: whoever read it has gone.
    :raises Ended: it cannot be written: a disk is full, mostly.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Ended(f"Standard output cannot be written ({error.strerror}).", NOT_GOOD) from None


def _fold(line: str, columns: int) -> str:
    """Break a sentence between words, and never a path or an address."""
    return textwrap.fill(line, columns, break_long_words=False, break_on_hyphens=False)


def make_table(titles: Mapping[str, str], rows: Sequence[Sequence[object]]) -> Any:
    """A table of ``rich``; numbers get thousands separators.

    :param titles: title of each column -> ``left`` or ``right``.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in titles.items():
        table.add_column(Text(title), justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(say_value(one)) for one in row))
    return table


def say_value(value: object) -> str:
    """A cell's text: a dash for what is not known."""
    if value is None or value == "":
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class _Telling(logging.Handler):
    """Logs of the package as messages."""

    def __init__(self, output: Output) -> None:
        # Who sees a bar sees what goes on; the log's own account would only scroll it away.
        super().__init__(logging.WARNING if output.live else logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == NAMES_RECORDS:
            return
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self._output.tell(prefix + record.getMessage())


def command(
    run: Callable[[argparse.Namespace, Output], int | None],
) -> Callable[[argparse.Namespace], None]:
    """Make a command of Airflow's parser: results, messages, errors and the exit code in one way for all."""

    @functools.wraps(run)
    def call(args: argparse.Namespace) -> None:
        as_json = bool(getattr(args, "json", False))
        if sys.stdout is None:  # Python's sign that it is closed
            raise SystemExit(CLOSED)
        with _own_stdout() as stdout, _metastore():
            output = Output(stdout, as_json=as_json)
            with _logs_as_messages(output):
                code = _run(run, args, output)
        if code:
            raise SystemExit(code)

    return call


def _run(
    run: Callable[[argparse.Namespace, Output], int | None], args: argparse.Namespace, output: Output
) -> int:
    try:
        return run(args, output) or 0
    except KeyboardInterrupt:
        ended = Ended("Stopped.", INTERRUPTED)
    except Stopped as stopped:  # in a moment in which the command itself could not answer it
        ended = Ended("Stopped.", stopped.code, stopped=True)
    except BrokenPipeError:
        return NOT_GOOD  # whoever read the output has seen enough, as `head` does
    except Exception as error:  # noqa: BLE001  (a person at a terminal gets a sentence, whatever it is)
        ended = ended_by(error)
    if ended.text:
        output.tell(ended.text)
    with contextlib.suppress(BrokenPipeError, Ended):  # the end is told on standard error, and stays the same
        output.document({"ok": False, "error": ended.text, **ended.details})
    return ended.code


@contextlib.contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """Give standard output to the command alone; what others write there goes to standard error."""
    given = sys.stdout
    with contextlib.suppress(OSError):  # what others wrote before
        given.flush()
    try:
        ours = os.dup(given.fileno()) if given.fileno() == 1 else None
    except (OSError, io.UnsupportedOperation):
        ours = None
    moved = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is given
    ]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if ours is None:
                yield given
                return
            os.dup2(2, 1)
            stdout = os.fdopen(os.dup(ours), "w", encoding=given.encoding, errors="backslashreplace")
            try:
                yield stdout
            finally:
                # Each write is flushed at once, so what cannot be written is known by now.
                with contextlib.suppress(OSError):
                    stdout.close()
    finally:
        if ours is not None:
            os.dup2(ours, 1)
            os.close(ours)
        for handler in moved:
            handler.setStream(given)


@contextlib.contextmanager
def _metastore() -> Iterator[None]:
    """Let connections come from Airflow's database, too, as Airflow's own command `airflow connections get` does.

    Outside of a task, Airflow looks for them in the environment and in secrets backends alone (airflow.md section 8.6).
    """
    name = "_AIRFLOW_PROCESS_CONTEXT"
    before = os.environ.get(name)
    os.environ[name] = before or "server"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextlib.contextmanager
def _logs_as_messages(output: Output) -> Iterator[None]:
    logger, handler = logging.getLogger("airflow_bulk"), _Telling(output)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
