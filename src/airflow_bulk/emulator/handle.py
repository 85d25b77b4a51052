"""A running emulator, for tests, demos and notebooks. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import IO, Any, Self

# A check of 100 MB of lines may stand before an answer.
CALL_TIMEOUT = 120.0
STOP_TIMEOUT = 10.0
# Options that are not settings: a restart needs them again.
LASTING = ("host", "token", "datamart", "organisation", "seed", "certfile", "keyfile")


class EmulatorError(RuntimeError):
    """The emulator did not start, or refused what a test asked of it."""


class EmulatorClock:
    """The emulator's clock, as a test drives it."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def now(self) -> int:
        """Return its time in ms since 1970."""
        return int(self._emulator.control("GET", "/clock")["now"])

    def advance(self, seconds: float) -> None:
        """Move it forward, frozen or not."""
        self._emulator.control("POST", "/clock", {"do": "advance", "seconds": seconds})

    def freeze(self) -> None:
        """Stop it."""
        self._emulator.control("POST", "/clock", {"do": "freeze"})

    def resume(self) -> None:
        """Let it run again."""
        self._emulator.control("POST", "/clock", {"do": "resume"})


class Emulator:
    """An emulator in a process of its own. Make one with :meth:`start`; use it as a context manager.

    It ends with this process, even when this process is killed.

    :ivar url: base URL.
    :ivar token: API token (a secret; not in the ``repr``).
    :ivar datamart_id: the first datamart on which the token has rights.
    :ivar organisation_id: its organisation.
    :ivar state: the state folder.
    """

    def __init__(self, state: Path, *, owned: bool, options: dict[str, Any]) -> None:
        self.state = state
        self.clock = EmulatorClock(self)
        self._owned = owned
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self.url = ""
        self.token = ""
        self.datamart_id = ""
        self.organisation_id = ""
        self._opener = urllib.request.build_opener()

    def __repr__(self) -> str:
        return f"<Emulator {self.url or 'stopped'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @classmethod
    def start(cls, state: str | os.PathLike[str] | None = None, **options: Any) -> Emulator:
        """Start an emulator and wait until it can be called.

        :param state: folder that keeps its state; ``None`` is a temporary one, removed by :meth:`stop`.
        :param options: those of the command line, with underscores: ``start_delay=1.0``, ``strict=False``,
            ``datamart=["3300", "3301"]``, ``fault=["lost_answer:0.1"]``, ``token=...``, ``seed=7``.
        :raises EmulatorError: it did not start; says why.
        """
        folder = Path(tempfile.mkdtemp(prefix="bulk-emulator-")) if state is None else Path(state)
        emulator = cls(folder, owned=state is None, options=options)
        try:
            emulator._launch(options)
        except BaseException:
            emulator.stop()
            raise
        return emulator

    def stop(self) -> None:
        """End the process; remove the state if it was temporary."""
        self._end()
        if self._owned:
            shutil.rmtree(self.state, ignore_errors=True)

    def restart(self) -> None:
        """End the process and start it again on the same port, state kept."""
        port = urllib.parse.urlsplit(self.url).port
        self._end()
        lasting = {name: value for name, value in self._options.items() if name in LASTING}
        self._launch({**lasting, "port": port, "token": self.token})

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would; :meth:`restart` brings it back."""
        if self._process is not None:
            self._process.kill()
        self._end()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has logged."""
        path = self.state / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def connection_json(self, conn_type: str = "mediarithmics", **extra: Any) -> str:
        """Return the value of an ``AIRFLOW_CONN_...`` variable that leads to this emulator (holds the token).

        :param extra: further fields of the connection's extra.
        """
        connection = json.loads((self.state / "connection.json").read_text(encoding="utf-8"))
        connection["conn_type"] = conn_type
        connection["extra"].update(extra)
        return json.dumps(connection)

    def held(self, import_id: str | int | None = None) -> Counter[str]:
        """Return the lines imported so far, and how often each.

        A line is held from the moment its execution runs; failed lines never are.

        :param import_id: only what this import imported.
        """
        query = "" if import_id is None else f"?import_id={import_id}"
        with self._open("GET", f"/_emulator/held{query}") as answer:
            return Counter(line.rstrip(b"\n").decode() for line in answer)

    def held_totals(self, import_id: str | int | None = None) -> dict[str, int]:
        """Return ``lines``, ``different``, ``more_than_once`` and ``executions``, without moving the lines."""
        query = "" if import_id is None else f"?import_id={import_id}"
        totals: dict[str, int] = self.control("GET", f"/held/totals{query}")
        return totals

    def imports(self, *, deleted: bool = False) -> list[dict[str, Any]]:
        """Return the imports, oldest first.

        :param deleted: also those that were deleted.
        """
        found: list[dict[str, Any]] = self.control("GET", "/imports")
        return [one for one in found if deleted or not one["deleted"]]

    def executions(self, import_id: str | int) -> list[dict[str, Any]]:
        """Return the visible executions of an import, oldest first, as the API shows them."""
        found: list[dict[str, Any]] = self.control("GET", f"/imports/{import_id}/executions")
        return found

    def change_execution(
        self, execution_id: str | int, *, fate: str | None = None, start: bool = False, end: bool = False
    ) -> dict[str, Any]:
        """Change an execution's course.

        :param fate: how it ends: ``succeeded``, ``failed``, ``lost`` or ``stuck``.
        :param start: it starts RUNNING now.
        :param end: it ends now.
        """
        body = {"fate": fate, "start": start, "end": end}
        changed: dict[str, Any] = self.control("POST", f"/executions/{execution_id}", body)
        return changed

    def requests(self) -> list[dict[str, Any]]:
        """Return the calls, oldest first; those under way come last with ``done`` false.

        Keys: method, path, query, status, body_bytes, at (ms), seconds, faults, cut, done.
        """
        calls: list[dict[str, Any]] = self.control("GET", "/requests")
        return calls

    def clear_requests(self) -> None:
        """Forget the finished calls."""
        self.control("DELETE", "/requests")

    def fault(
        self,
        name: str,
        *,
        path: str | None = None,
        method: str | None = None,
        probability: float = 1.0,
        times: int | None = None,
        **params: Any,
    ) -> int:
        """Ask for a fault.

        :param name: see docs/emulator.md.
        :param path: regular expression searched in the path; ``None`` is the fault's own.
        :param method: ``None`` is the fault's own.
        :param probability: of striking each request that it meets.
        :param times: how often it strikes; ``None`` is without end.
        :param params: its own parameters, and ``skip``: how many matching requests pass first.
        :return: its id.
        """
        body = {
            "name": name,
            "path": path,
            "method": method,
            "probability": probability,
            "times": times,
            **params,
        }
        return int(self.control("POST", "/faults", body)["id"])

    def clear_faults(self) -> None:
        """Take back all faults."""
        self.control("DELETE", "/faults")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, and return all of them."""
        settings: dict[str, Any] = self.control("PATCH", "/settings", changes)
        return settings

    def reset(self) -> None:
        """Forget all imports, executions, lines, faults, calls; settings are again those of the start."""
        self.control("POST", "/reset", {})
        known = self.control("GET", "/settings")
        self.settings(**{name: value for name, value in self._options.items() if name in known})

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call a control endpoint.

        :param path: what follows ``/_emulator``.
        :raises EmulatorError: it refused; says why.
        """
        with self._open(method, "/_emulator" + path, body) as answer:
            return json.loads(answer.read())

    def _open(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)  # noqa: S310 - our own URL
        request.add_header("Authorization", self.token)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            return self._opener.open(request, timeout=CALL_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode("utf-8", "replace")
            with contextlib.suppress(ValueError, KeyError):
                text = json.loads(text)["error"]
            raise EmulatorError(f"{method} {path.partition('?')[0]}: {error.code} {text}") from None

    def _launch(self, options: dict[str, Any]) -> None:
        environment = dict(os.environ)
        options = dict(options)
        token = options.pop("token", None)
        if token is not None:
            # Not in argv: everybody on the machine can read that.
            environment["AIRFLOW_BULK_EMULATOR_TOKEN"] = token
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log = (self.state / "server.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "airflow_bulk.emulator", *_arguments(self.state, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            code = self._process.wait()
            raise EmulatorError(f"the emulator did not start (exit code {code}):\n{self.log[-2000:]}")
        self.url = json.loads(line)["url"]
        connection = json.loads((self.state / "connection.json").read_text(encoding="utf-8"))
        self.token = connection["password"]
        self.datamart_id = str(connection["extra"]["datamart_id"])
        self.organisation_id = str(connection["extra"]["organisation_id"])
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if self.url.startswith("https"):
            context = ssl.create_default_context(cafile=connection["extra"]["ca_path"])
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._log is not None:
            self._log.close()
            self._log = None


def _arguments(state: Path, options: dict[str, Any]) -> list[str]:
    arguments = ["--state", str(state), "--until-stdin-closes"]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, (list, tuple)):
            for one in value:
                arguments += [flag, str(one)]
        elif value is not None:
            arguments += [flag, str(value)]
    return arguments
