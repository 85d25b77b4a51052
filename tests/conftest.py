"""The ground for all tests: an Airflow home of this run alone, set before anything imports Airflow.

A test that needs Airflow's database asks for ``airflow_db``; one that runs a DAG in this process asks for
``run_dag``; one that needs a whole Airflow (scheduler, triggerer, API server) asks for ``airflow_stack``.
All others never touch a database.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_stack import AirflowStack

# Beside each other, also those of the processes that share the tests: a browser's socket bears no long path.
_TEMP_ROOT = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
_HOME = Path(tempfile.mkdtemp(prefix="airflow-bulk-tests-", dir=_TEMP_ROOT))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

# The limits that tasks share lie in the folder for temporary files: this run's own. What tests leave stays where pytest puts it.
(_HOME / "tmp").mkdir()
os.environ["TMPDIR"] = tempfile.tempdir = str(_HOME / "tmp")

# dag.test() parses the DAG folder anew on each call, so it stays empty.
(_HOME / "dags").mkdir()
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "AWS_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__CORE__DAGS_FOLDER=str(_HOME / "dags"),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
)
# Airflow starts are three times as fast from compiled code, also in the processes that tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@functools.cache
def needs_whole_airflow(file: Path) -> bool:
    """Whether a test file asks for ``airflow_stack``, itself or through the ``conftest.py`` beside it."""
    texts = [
        path.read_text(encoding="utf-8") for path in (file, file.parent / "conftest.py") if path.exists()
    ]
    return file.parent.name != "tests" and any("airflow_stack" in text for text in texts)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole Airflow come first: they take longest, mostly waiting for a scheduler."""
    items.sort(key=lambda item: not needs_whole_airflow(item.path))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, by name and by address, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share files out among processes, those that need ``airflow_stack`` to two of them: it is started twice.

    The crash tests are about half of what an Airflow does here, but for those that strike the Airflow itself: they wait for all that
    is under way there, and less is on the other one. Files that start an Airflow of their own go to a third process,
    one after the other: with a fourth Airflow two processors are so busy that heartbeats come a minute late.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneAirflow(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            path = config.rootpath / file
            if not needs_whole_airflow(path):
                return file
            text = path.read_text(encoding="utf-8")
            crash = path.parent.name == "crash" and "alone_on_stage" not in text
            return "airflow of its own" if "AirflowStack(" in text else f"airflow, crash: {crash}"

    return OneAirflow(config, log)


# A busy machine makes inputs slowly; that says nothing about the code.
hypothesis.settings.register_profile(
    "here", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def distributions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel built from it."""
    from distributions import build

    return build(repository, tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="session")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment in which the wheel is installed, not the checkout."""
    from distributions import install

    return str(install(next(distributions.glob("*.whl")), tmp_path_factory.mktemp("installed")))


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's database, created once for the whole run; it lies in a temporary folder."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., Any]:
    """``run_dag(dag, **arguments of DAG.test)``: run a DAG in this process, return its DagRun."""
    from inline_dag import run_dag as run

    def run_in_process(dag: DAG, **options: Any) -> Any:
        return run(dag, **options)

    return run_in_process


@pytest.fixture(autouse=True)
def _limits_of_each_test() -> Iterator[None]:
    """What a platform has asked for in one test holds nobody back in the next one, which may have the same platform."""
    yield
    if rate := sys.modules.get("airflow_bulk.hooks.limits.rate"):
        rate._budgets.clear()
    for folder in (_HOME / "tmp").glob("airflow-bulk-limits-*"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, or a skip that says why there is none."""
    from postgres_server import NoPostgres, postgres

    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres(tmp_path_factory.mktemp("postgres")))
        except NoPostgres as error:
            if os.environ.get("POSTGRES_REQUIRED"):
                pytest.fail(f"no PostgreSQL: {error}")
            pytest.skip(f"no PostgreSQL: {error}")
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis, or a skip that says why there is none."""
    from redis_server import NoRedis, redis_server

    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(redis_server(tmp_path_factory.mktemp("redis")))
        except NoRedis as error:
            if os.environ.get("REDIS_REQUIRED"):
                pytest.fail(f"no Redis: {error}")
            pytest.skip(f"no Redis: {error}")
        yield url


@pytest.fixture(scope="session")
def new_airflow_database(request: pytest.FixtureRequest) -> Iterator[Callable[[], str | None]]:
    """``new_airflow_database()``: the URL of an empty database for one whole Airflow, dropped when the tests are over.

    None, which is SQLite, where no PostgreSQL can be had. SQLite has one writer at a time (airflow.md section 8.5).
    """
    from postgres_server import NoPostgres, airflow_database

    with contextlib.ExitStack() as made:

        def make() -> str | None:
            try:
                return made.enter_context(airflow_database(request.getfixturevalue("postgres_url")))
            except pytest.skip.Exception:
                return None
            except NoPostgres as error:
                if os.environ.get("POSTGRES_REQUIRED"):
                    pytest.fail(f"no database for Airflow: {error}")
                return None

        yield make


@pytest.fixture(scope="session")
def scratch_dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``airflow_stack``'s DAG files that a test may write into while the stack runs."""
    return tmp_path_factory.mktemp("scratch-dags")


@pytest.fixture(scope="session")
def airflow_stack(
    repository: Path,
    installed: str,
    scratch_dags: Path,
    new_airflow_database: Callable[[], str | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    """A whole Airflow, started once for all tests that need one: see ``demo/airflow_stack.py``.

    It has the wheel installed, not the checkout. Its DAGs are those of ``dags/``, of every ``tests/*/dag_files``,
    and of ``scratch_dags``. What DAG files import besides stands in ``tests/own_platform`` (a platform of a user's own) and
    in ``tests/crash``: on the path of every component, as an installed package would be. A lost task shows after 15 s, not
    after Airflow's 300. Give a test's own server its connection with ``airflow_stack.api.add_connection``.
    """
    from airflow_stack import AirflowStack

    folders = {"examples": repository / "dags", "scratch": scratch_dags}
    for folder in sorted((repository / "tests").glob("*/dag_files")):
        folders[f"tests-{folder.parent.name}"] = folder
    modules = [str(repository / "tests" / name) for name in ("own_platform", "crash")]
    settings = {
        "PYTHONPATH": os.pathsep.join(modules),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        # A file that a test has changed counts at once, not after 30 s.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_FETCH_INTERVAL": "0",
        # Two Airflows run side by side here: what they do while nothing happens would be a third of their work.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.6",
        # Where two triggerers run, one that stands still for so long loses its triggers. A busy machine can keep one
        # from its heartbeat for 12 s.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "16",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    }
    home = tmp_path_factory.mktemp("airflow")
    with AirflowStack(home, folders, settings, database=new_airflow_database(), python=installed) as stack:
        yield stack
