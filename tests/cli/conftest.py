"""``airflow bulk ...`` as a person types it: in this process, in one of its own, or on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator

AIRFLOW = str(Path(sys.executable).parent / "airflow")
PATIENCE = 120.0


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def sentence(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator behind the default connection; executions are over at once."""
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", bulk_emulator.connection_json())
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


@pytest.fixture
def bulk(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """``bulk(*words)``: run ``airflow bulk`` in this process, through Airflow's own parser."""
    from airflow.cli.cli_parser import get_parser

    def call(*words: object) -> Said:
        capsys.readouterr()
        code: Any = 0
        try:
            args = get_parser().parse_args(["bulk", *map(str, words)])
            args.func(args)
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def _as_from_a_terminal() -> None:
    """Ctrl-C ends a program that a person has started; a shell lets what it starts in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """``airflow bulk`` in a process of its own."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [AIRFLOW, "bulk", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_as_from_a_terminal,  # noqa: PLW1509  (it calls one function, and takes no lock)
        )

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def hear(self, text: str) -> str:
        """Read standard error up to a line that holds a text."""
        assert self.process.stderr is not None
        heard = ""
        for line in self.process.stderr:
            heard += line
            if text in line:
                return heard
        raise AssertionError(f"{text!r} was never said: {heard}")

    def end(self) -> Said:
        out, err = self.process.communicate(timeout=PATIENCE)
        return Said(self.process.returncode, out, err)


@pytest.fixture
def airflow(airflow_db: None) -> Callable[..., int]:
    """``airflow(*words)``: a command of Airflow's own; returns its exit code."""

    def call(*words: str) -> int:
        return subprocess.run([AIRFLOW, *words], capture_output=True, check=False).returncode

    return call


@pytest.fixture
def begin(airflow_db: None) -> Iterator[Callable[..., Running]]:
    """``begin(*words)``: start ``airflow bulk`` in a process of its own."""
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> Running:
            running = Running(*words)
            stack.callback(running.process.communicate)
            stack.callback(running.process.kill)
            return running

        yield start


#: A process that leads a session of its own gets the terminal that it opens first: a fork of this process, which has
#: threads, may stand still for ever (Python warns of it from 3.12 on).
ON_TERMINAL = 'exec "$@" <"$0" >"$0" 2>&1'


class Terminal:
    """``airflow bulk`` on a terminal."""

    def __init__(self, *words: object, columns: int = 120) -> None:
        self.shown = ""
        self._handle, other = pty.openpty()
        ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        # Set by whoever runs the tests, these would win over the terminal's size.
        environment = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            ["sh", "-c", ON_TERMINAL, os.ttyname(other), AIRFLOW, "bulk", *map(str, words)],
            env={**environment, "TERM": "xterm"},
            start_new_session=True,
            pass_fds=[other],  # until the shell has opened it, there is no other end
        )
        os.close(other)

    def see(self, text: str) -> str:
        """Read on until a text has been on the screen; returns all that was."""
        until = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < until, self.shown[-1000:]
            if not self._read():
                raise AssertionError(f"{text!r} was never shown: {self.shown[-1000:]}")
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        while self._read():
            pass
        os.close(self._handle)
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        assert select.select([self._handle], [], [], PATIENCE)[0], self.shown[-1000:]
        try:
            found = os.read(self._handle, 65536)
        except OSError:  # how Linux tells the end of a terminal
            return False
        # Colours and movements of the cursor are not what a person reads.
        self.shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", found.decode(errors="replace"))
        return bool(found)


@pytest.fixture
def terminal(airflow_db: None) -> Iterator[Callable[..., Terminal]]:
    """``terminal(*words)``: start ``airflow bulk`` on a terminal."""
    with contextlib.ExitStack() as stack:

        def start(*words: object, **options: int) -> Terminal:
            shown = Terminal(*words, **options)

            stack.callback(shown.process.wait)
            stack.callback(shown.process.kill)
            return shown

        yield start


@pytest.fixture
def states(emulator: Emulator) -> Callable[[], list[str]]:
    """``states()``: the status of every execution that the emulator holds."""

    def look() -> list[str]:
        return [one["status"] for made in emulator.imports() for one in emulator.executions(made["id"])]

    return look


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """``until(condition)``: wait for it."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    return wait
