"""An Airflow as a fleet runs it: CeleryExecutor, two workers that share no local disk, two triggerers, two schedulers.

PostgreSQL holds Airflow's tables, Redis carries Celery's messages; both are looked for, and started where they are not there and
their programs are. Each worker has a home, a folder for temporary files and a working folder of its own, and a name of its own as
host. What they share is what a fleet shares: the DAG files, and the folder where Airflow collects the tasks' logs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import machine_name
from airflow_api import AirflowApiError
from airflow_stack import AirflowStack, Place, StackError
from postgres_server import NoPostgres, airflow_database, postgres
from redis_server import NoRedis, own_database, redis_server

WORKERS = ("worker 1", "worker 2")
SCHEDULERS = ("scheduler", "scheduler 2")
TRIGGERERS = ("triggerer", "triggerer 2")
ALL = ("api-server", *SCHEDULERS, "dag-processor", *TRIGGERERS, *WORKERS)
#: Tasks at once on one worker; each is a process of Celery's, which forks twice more.
SLOTS = 4
#: Seconds after which a task is lost, a triggerer is late, and a scheduler is missed.
TASK_LOST, TRIGGERER_LATE, SCHEDULER_MISSED = 15, 12, 10


class NotInstalled(Exception):
    """A program that a distributed stack needs is not there; says which."""


def host_of(name: str) -> str:
    """The name of a component's machine; a worker's is also that of a queue which it alone serves."""
    return name.replace(" ", "-")


class DistributedStack(AirflowStack):
    """One Airflow of eight components. A context manager, as :class:`AirflowStack` is.

    :param home: AIRFLOW_HOME of all but the workers, whose folders lie below it.
    :param dags: folders of DAG files, by bundle name.
    :param environment: more variables; they win over the defaults.
    :param database: the SQLAlchemy URL of an empty PostgreSQL database, with the driver psycopg2.
    :param broker: the URL of an empty Redis database.
    :param port: of the API server and pages; 0 takes a free one.
    """

    def __init__(
        self,
        home: Path,
        dags: Mapping[str, Path],
        environment: Mapping[str, str] | None = None,
        *,
        database: str,
        broker: str,
        port: int = 0,
    ) -> None:
        self._broker = broker
        settings: dict[str, Any] = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CELERY__BROKER_URL": broker,
            # With its driver: SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3 (airflow.md section 10).
            "CELERY__RESULT_BACKEND": f"db+{database}",
            "CELERY__WORKER_CONCURRENCY": SLOTS,
            "CELERY__WORKER_PREFETCH_MULTIPLIER": 1,
            "CELERY__SYNC_PARALLELISM": 1,
            # Airflow's 1 s is short where two processors do the work of a fleet.
            "CELERY__OPERATION_TIMEOUT": 10,
            # Longer than any task here: a message that comes twice is no part of what is shown.
            "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": 21_600,
            "LOGGING__BASE_LOG_FOLDER": home.resolve() / "logs",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": TASK_LOST,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": SCHEDULER_MISSED,
            # A message that a dead worker has taken and not begun is sent again.
            "SCHEDULER__TASK_QUEUED_TIMEOUT": 60,
            "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": 10,
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": TRIGGERER_LATE,
            "TRIGGERER__JOB_HEARTBEAT_SEC": 2,
            # Eight components on one machine: looking at files that do not change would be a third of their work.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 600,
        }
        super().__init__(
            home,
            dags,
            {**{f"AIRFLOW__{name}": str(value) for name, value in settings.items()}, **(environment or {})},
            port=port,
            parallelism=2 * len(WORKERS) * SLOTS,
            database=database,
            components=ALL,
        )

    def _place(self, name: str) -> Place:
        modules = (str(Path(__file__).parent), self.environment.get("PYTHONPATH"))
        environment = {
            machine_name.VARIABLE: host_of(name),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "machine_name.machine_name",
            "PYTHONPATH": os.pathsep.join(filter(None, modules)),
        }
        if name not in WORKERS:
            return super()._place(name)._replace(environment=environment)
        folders = {part: self.folder_of(name) / part for part in ("home", "tmp", "cwd")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        own = {"AIRFLOW_HOME": folders["home"], "HOME": folders["home"], "TMPDIR": folders["tmp"]}
        environment.update({variable: str(folder) for variable, folder in own.items()})
        queues = f"default,{host_of(name)}"
        arguments = ("celery", "worker", "--celery-hostname", host_of(name), "--queues", queues)
        # SIGTERM asks a worker to wait for its tasks, and those wait for an Airflow that is gone.
        return Place((*arguments, "--skip-serve-logs"), environment, folders["cwd"], signal.SIGKILL)

    def folder_of(self, worker: str) -> Path:
        """The folder that stands for a worker's disk."""
        return self.home / host_of(worker)

    def wait_healthy(self, timeout: float = 240.0) -> None:
        """Wait until all eight components do their work."""
        super().wait_healthy(timeout)

        def look() -> bool | None:
            jobs = [self.living_jobs(kind) for kind in ("SchedulerJob", "TriggererJob")]
            there = jobs == [len(SCHEDULERS), len(TRIGGERERS)] and self.workers() == set(WORKERS)
            return there or None

        try:
            self.api.wait_for("two of each kind", look, timeout, pause=0.5)
        except AirflowApiError as error:
            tails = "\n".join(self.log_tail(name) for name in ALL)
            raise StackError(f"{error}\n{tails}") from error

    def living_jobs(self, kind: str) -> int:
        """How many components of a kind have a heartbeat.

        :param kind: ``SchedulerJob`` or ``TriggererJob``.
        """
        answer = self.api.call("GET", "/jobs", params={"job_type": kind, "is_alive": True})
        return len(answer["jobs"])

    def workers(self) -> set[str]:
        """The workers that answer Celery."""
        from celery import Celery

        with Celery(broker=self._broker) as app:
            answered = app.control.inspect(timeout=2.0).ping() or {}
        return {name for name in WORKERS if f"celery@{host_of(name)}" in answered}

    def on(self, host: str) -> str:
        """The component of a machine, as :meth:`start_component` calls it.

        :param host: as Airflow shows it of a task, or of a trigger.
        """
        return next(name for name in ALL if host_of(name) == host)


@contextlib.contextmanager
def distributed(
    folder: Path, dags: Mapping[str, Path], environment: Mapping[str, str] | None = None, *, port: int = 0
) -> Iterator[DistributedStack]:
    """Start everything, PostgreSQL and Redis where they are not there; stop all that was started.

    :param folder: for all files.
    :raises NotInstalled: something is not there and cannot be started.
    """
    try:
        import airflow.providers.celery  # noqa: F401
    except ImportError:
        raise NotInstalled(
            "no Celery: the package apache-airflow-providers-celery is not installed"
        ) from None
    with contextlib.ExitStack() as entered:
        try:
            server = entered.enter_context(postgres(folder / "postgres"))
            database = entered.enter_context(airflow_database(server))
        except NoPostgres as error:
            raise NotInstalled(f"no PostgreSQL: {error}") from None
        try:
            broker = entered.enter_context(
                own_database(entered.enter_context(redis_server(folder / "redis")))
            )
        except NoRedis as error:
            raise NotInstalled(f"no Redis: {error}") from None
        yield entered.enter_context(
            DistributedStack(
                folder / "airflow", dags, environment, database=database, broker=broker, port=port
            )
        )
