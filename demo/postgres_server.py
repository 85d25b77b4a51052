"""A real PostgreSQL for tests: ``POSTGRES_URL`` if set, else the one on 127.0.0.1:5432, else one of our own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"


class NoPostgres(Exception):
    """There is none, and none can be started; says why."""


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Give the URL of a server; what was started is stopped.

    :raises NoPostgres: neither found nor startable.
    """
    if url := os.environ.get("POSTGRES_URL"):
        yield url
    elif _answers(LOCAL):
        yield LOCAL
    else:
        with _own_server(folder) as url:
            yield url


@contextlib.contextmanager
def airflow_database(url: str) -> Iterator[str]:
    """Make an empty database for Airflow, give its SQLAlchemy URL, and drop it in the end, whoever is still connected.

    Tests that are killed leave their database behind. Parameters in the URL's query are left out, since Airflow's two
    drivers (psycopg2 and asyncpg) name them differently.

    :param url: of the server; its user must be allowed to create databases.
    :raises NoPostgres: the URL cannot be read, or the database cannot be created.
    """
    import psycopg2
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    name = f"airflow_{uuid.uuid4().hex[:8]}"
    try:
        made = make_url(re.sub("^postgres://", "postgresql://", url)).set(
            drivername="postgresql+psycopg2", database=name, query={}
        )
        _on_server(url, f"CREATE DATABASE {name}")
    except (ArgumentError, psycopg2.Error) as error:
        raise NoPostgres(f"no database can be created: {type(error).__name__}") from None
    try:
        # A scheduler that is killed in mid-transaction leaves its locks behind (airflow.md section 8.5).
        _on_server(url, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '20s'")
        yield made.render_as_string(hide_password=False)
    finally:
        _on_server(url, f"DROP DATABASE {name} WITH (FORCE)")


def _on_server(url: str, statement: str) -> None:
    import psycopg2

    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True  # a database is not made inside a transaction
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _answers(url: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextlib.contextmanager
def _own_server(folder: Path) -> Iterator[str]:
    binaries = _binaries()
    # The server refuses to run as root; its own user then has to own the folder.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user and shutil.which("runuser") is None:
        raise NoPostgres("initdb does not run as root, and there is no runuser")
    folder.mkdir(parents=True, exist_ok=True)
    if as_user:
        shutil.chown(folder, "postgres")
        for parent in folder.parents[:3]:
            with contextlib.suppress(OSError):
                parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"

    def run(*command: str) -> None:
        done = subprocess.run(
            [*as_user, *command], check=False, cwd="/", capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise NoPostgres(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    run(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync")
    settings = (
        f"-c listen_addresses=127.0.0.1 -c port={port} -c fsync=off -c unix_socket_directories={folder}"
    )
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    run(*control, "-o", settings, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "immediate", "stop")


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    raise NoPostgres("POSTGRES_URL is not set, nothing listens on 127.0.0.1:5432, and there is no initdb")
