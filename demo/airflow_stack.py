"""A whole Airflow on this machine: API server, scheduler, DAG processor and triggerer, each a process of its own.

It promises to leave nothing behind: every component is the leader of a session of its own, and ``stop`` ends
exactly the processes of these sessions; on Linux the components also end when the process that started them dies.
The local executor; logs are files in one home folder, and so is the database, SQLite, unless another is named.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from airflow_api import AirflowApi, AirflowApiError

#: What a component says last when something brought it down that a deployment would start it again after: SQLite's lock, and in
#: Airflow 3.4.0b2 a task that the API server clears while the scheduler tries it again.
PASSING_ENDS = ("database is locked", "task_instance_current_key", "deadlock detected")
MOST_RESTARTS = 10
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Logs are read from the files; nobody has to serve them over a port.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


class StackError(RuntimeError):
    """The stack did not start, or a component died."""


class Place(NamedTuple):
    """How and where a component is started.

    :param arguments: of ``airflow``.
    :param environment: more variables.
    :param folder: its working folder.
    :param left_alone: the signal that it gets when the process that started it dies.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    left_alone: int = signal.SIGTERM


class TaskProcesses(NamedTuple):
    """The two processes of a running task: ``child`` runs ``execute``, ``supervisor`` talks to the API server."""

    child: int
    supervisor: int


def free_port() -> int:
    """A port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change an Airflow that is started from it."""
    bites = ("AIRFLOW_", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(bites)}
    kept["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
    # Loopback never goes through a proxy of the shell's.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (kept.get(name), "127.0.0.1,localhost")))
    return kept


def _end_with_parent(number: int) -> Callable[[], None] | None:
    """What a child runs so that it gets a signal when the thread that started it ends; None where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    pr_set_pdeathsig = 1

    def ask() -> None:
        prctl(pr_set_pdeathsig, number)

    return ask


class AirflowStack:
    """Start, watch and stop one Airflow. A context manager: entered means healthy, left means stopped.

    :param home: AIRFLOW_HOME, made if missing; nothing in it is deleted.
    :param dags: folders of DAG files, by bundle name.
    :param environment: more variables, e.g. ``AIRFLOW_CONN_...`` or other settings; they win over the defaults.
    :param port: of the API server and pages; 0 takes a free one.
    :param parallelism: how many tasks run at once; each slot is a process.
    :param database: the SQLAlchemy URL of an empty database; ``None`` for SQLite in ``home``. SQLite has one writer
        at a time: with more than a few tasks at once the API server and the scheduler stand still for seconds.
    :param python: the interpreter in whose environment Airflow and this package are installed.
    :param components: those of ``COMPONENTS`` to start; the API server is always one of them.
    :param restarts: how often a component that ``PASSING_ENDS`` knows is started again.
    """

    def __init__(
        self,
        home: Path,
        dags: Mapping[str, Path],
        environment: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        parallelism: int = 4,
        database: str | None = None,
        python: str = sys.executable,
        components: Sequence[str] = tuple(COMPONENTS),
        restarts: int = MOST_RESTARTS,
    ) -> None:
        self.home = home.resolve()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = self.home / "component-logs"
        self.environment = {
            **clean_environment(),
            **self._settings(dags, parallelism, database or f"sqlite:///{self.home / 'airflow.db'}"),
            **(environment or {}),
        }
        self.database = self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        self.api = AirflowApi(self.url, self.check_alive)
        self._looking = threading.Lock()
        # One thread starts all components: Linux ends a component together with the thread that started it.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="starts-airflow")
        self._restarts_left = restarts
        self._python = python
        self._components = components
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: set[int] = set()
        self._began = 0.0
        self.seconds_to_start = 0.0

    def _settings(self, dags: Mapping[str, Path], parallelism: int, database: str) -> dict[str, str]:
        bundles = [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(folder), "refresh_interval": 5},
            }
            for name, folder in dags.items()
        ]
        settings: dict[str, Any] = {
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": parallelism,
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": parallelism,
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "CORE__TEST_CONNECTION": "Enabled",
            # SQLite not with a longer timeout: the API server's event loop waits for locks that its own threads hold.
            "DATABASE__SQL_ALCHEMY_CONN": database,
            "API__HOST": "127.0.0.1",
            "API__PORT": self.port,
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "DAG_PROCESSOR__REFRESH_INTERVAL": 5,
            # Changed files are seen at each refresh; this is for those that did not change.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 60,
            "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": 1,
            # A deferred task whose trigger fires at once would else be failed by the scheduler now and then:
            # it hears of the worker's exit up to 5 s late.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
            # On a busy machine an API server that has just started answers late, and Airflow's 5 s fail a try before it begins.
            "WORKERS__EXECUTION_API_TIMEOUT": 30,
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 1,
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
            "TRIGGERER__JOB_HEARTBEAT_SEC": 1,
            "USAGE_DATA_COLLECTION__ENABLED": False,
        }
        return {
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
        }

    # -- start and stop ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start everything; raise with the logs' ends if it does not become healthy."""
        try:
            self.start()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    def start(self) -> None:
        """Make the database and start all components; returns before they are ready."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._began = time.monotonic()
        # The API server takes longest to load and touches no table before it is asked something, so it loads
        # while the database is made. The others wait for the tables.
        self.start_component("api-server", AIRFLOW__DATABASE__CHECK_MIGRATIONS="False")
        with (self.logs / "db-migrate.log").open("ab") as output:
            done = subprocess.run(
                self._command("db", "migrate"),
                env=self.environment,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise StackError(f"airflow db migrate failed ({done.returncode}):\n{self.log_tail('db-migrate')}")
        if self._on_sqlite:
            with contextlib.closing(sqlite3.connect(self.database.removeprefix("sqlite:///"))) as database:
                # Readers do not hold up writers then; Airflow answers "database is locked" with status 500.
                database.execute("PRAGMA journal_mode=WAL")
        for name in self._components:
            if name not in self._processes:
                self.start_component(name)

    @property
    def _on_sqlite(self) -> bool:
        return self.database.startswith("sqlite:///")

    def wait_healthy(self, timeout: float = 180.0) -> None:
        """Wait until all four parts say healthy; ``seconds_to_start`` then tells how long the start took."""

        def look() -> bool | None:
            with contextlib.suppress(AirflowApiError):
                return set(self.api.health().values()) == {"healthy"} or None
            return None

        try:
            self.api.wait_for("Airflow to be healthy", look, timeout, pause=0.2)
        except AirflowApiError as error:
            tails = "\n".join(self.log_tail(name) for name in COMPONENTS)
            raise StackError(f"{error}\n{tails}") from error
        self.seconds_to_start = time.monotonic() - self._began

    def start_component(self, name: str, **environment: str) -> int:
        """Start one of ``COMPONENTS``, or a further one (``"triggerer 2"``); return its pid, its session's id as well."""
        place = self._place(name)
        if self._on_sqlite and name != "api-server":
            # On a busy machine 5 s are not enough, and a scheduler that does not get the lock ends.
            patient = f"{self.database}?timeout=60"
            environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": patient, **environment}
        with (self.logs / f"{name}.log").open("ab") as output:
            process = self._starter.submit(
                subprocess.Popen,
                self._command(*place.arguments),
                env={**self.environment, **place.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # One prctl call, in a process that has no threads of its own yet.
                preexec_fn=_end_with_parent(place.left_alone),
                cwd=place.folder,
            ).result()
        self._processes[name] = process
        self._sessions.add(process.pid)
        return process.pid

    def _place(self, name: str) -> Place:
        return Place(COMPONENTS[name.partition(" ")[0]], {}, self.home)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> int:
        """Send a signal to one component's own process, not to its children; return the pid it had.

        Waits for the end when the signal is one that ends; ``check_alive`` then does not miss the component.
        """
        process = self._processes[name]
        process.send_signal(signal_number)
        if signal_number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            process.wait(timeout=30)
            del self._processes[name]
        return process.pid

    def runs(self, name: str) -> bool:
        """Whether a component was started, and not killed since."""
        return name in self._processes

    def pause(self, name: str) -> None:
        """Stop a component and all that it started, as a machine that stands still does, until :meth:`resume`."""
        self._signal_session(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused component go on."""
        self._signal_session(name, signal.SIGCONT)

    def _signal_session(self, name: str, signal_number: int) -> None:
        session = self._processes[name].pid
        for process in self.own_processes():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == session:
                    process.send_signal(signal_number)

    def kill_with_children(self, name: str) -> None:
        """End a component and all that it started with SIGKILL at once, as a machine that loses its power does."""
        process = self._processes[name]
        self.pause(name)  # nobody notices the end of another one
        self._signal_session(name, signal.SIGKILL)
        process.wait(timeout=30)
        del self._processes[name]

    def restart(self, name: str, signal_number: int = signal.SIGKILL) -> int:
        """Kill a component and start it again; return the new pid."""
        if name in self._processes:
            self.kill(name, signal_number)
        return self.start_component(name)

    def stop(self, grace: float = 3.0) -> None:
        """End all processes of this stack's sessions: SIGTERM, and SIGKILL to what is left after ``grace`` s."""
        self.api.close()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + grace
        while list(self.own_processes()) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.1)
        for left in self.own_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        self._reap(timeout=5)
        self._processes.clear()
        self._starter.shutdown()

    def own_processes(self) -> Iterator[psutil.Process]:
        """Every living process of this stack: the components, and whatever they started in their sessions."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) in self._sessions and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _reap(self, timeout: float = 0.0) -> None:
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=timeout)

    def _command(self, *arguments: str) -> list[str]:
        return [self._python, "-m", "airflow", *arguments]

    # -- looking -----------------------------------------------------------------------------------------------

    def check_alive(self) -> None:
        """Raise, with the end of its log, if a component has died that nobody killed on purpose.

        One that ``PASSING_ENDS`` knows is started again, as any deployment would do.
        """
        with self._looking:
            for name, process in list(self._processes.items()):
                if process.poll() is None:
                    continue
                tail = self.log_tail(name, lines=60)
                if not any(one in tail for one in PASSING_ENDS) or not self._restarts_left:
                    raise StackError(f"{name} ended with {process.returncode}:\n{tail}")
                self._restarts_left -= 1
                self.start_component(name)

    def log_tail(self, name: str, lines: int = 25) -> str:
        """The end of a component's log, under its name."""
        path = self.logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join((f"--- {path}", *text.splitlines()[-lines:]))

    def task_processes(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> TaskProcesses:
        """The two processes of a running task; waits until both exist."""

        def look() -> TaskProcesses | None:
            ti = self.api.task(dag_id, run_id, task_id, map_index)
            if ti["state"] != "running" or not ti["pid"]:
                return None
            with contextlib.suppress(psutil.NoSuchProcess):
                return TaskProcesses(ti["pid"], psutil.Process(ti["pid"]).ppid())
            return None

        return self.api.wait_for(f"{task_id} to run", look, timeout=60, pause=0.1)
