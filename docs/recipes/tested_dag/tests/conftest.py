"""An Airflow of the tests' own: its home, its database, and the project's DAG folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HOME = tempfile.mkdtemp()
# Before anything imports Airflow.
os.environ.update(
    AIRFLOW_HOME=HOME,
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parents[1] / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
)


@pytest.fixture(scope="session", autouse=True)
def airflow_database() -> None:
    """Make the database, once."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)
