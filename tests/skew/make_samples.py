"""Make the samples of a version: ``python tests/skew/make_samples.py --commit <commit> --name <version>-<commit>``.

Each release adds a folder to ``samples``, and none is ever made anew: the samples are what that version wrote. They are
taken by the code of the commit, in a checkout of its own; of today's checkout come this folder alone, and Python.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).with_name("samples")
#: Where the modules stand that the kinds of run are made of.
TESTS = ("operators", "centrapay", "extract_load")


def check_out(commit: str, folder: Path) -> None:
    """Put the files of a commit into a folder."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="tar")


def told(commit: str, version: str) -> dict[str, str]:
    """Which commit the samples are of, and when that was made."""
    text = subprocess.run(
        ["git", "show", "--no-patch", "--format=%H %ct", commit],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    whole, seconds = text.split()
    committed = datetime.fromtimestamp(int(seconds), UTC).isoformat()
    return {"version": version, "commit": whole, "committed": committed}


def take(folder: Path, samples: Path, only: str) -> None:
    """Run :mod:`taking` beside the package in a folder."""
    here = Path(__file__).resolve().parent
    path = [folder / "src", *(folder / "tests" / name for name in TESTS), here]
    airflow = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    environment = {**kept, **airflow, "PYTHONPATH": os.pathsep.join(map(str, path))}
    subprocess.run(
        [sys.executable, str(here / "taking.py"), str(samples), "--only", only], env=environment, check=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", required=True)
    parser.add_argument("--name", help="of the folder; default: the version and the commit")
    parser.add_argument("--only", default="", help="kinds whose name has this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        check_out(options.commit, folder)
        version = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
        samples = SAMPLES / (options.name or f"{version}-{options.commit[:7]}")
        take(folder, samples, options.only)
    text = json.dumps(told(options.commit, version), indent=2)
    (samples / "taken_from.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
