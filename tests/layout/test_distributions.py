"""What is shipped: every room in wheel and sdist, the links as links, and nothing that belongs to one machine."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest

from airflow_stack import clean_environment
from distributions import left_by_tools
from source_files import LINKED


def project_files(root: Path) -> Iterator[Path]:
    """Every file of the checkout but what tools leave behind; links are not followed."""
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if not left_by_tools(n) and not Path(folder, n).is_symlink()]
        yield from (Path(folder, name) for name in files if not left_by_tools(name))


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> set[str]:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist(distributions: Path) -> set[str]:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        return {PurePosixPath(*PurePosixPath(m.name).parts[1:]).as_posix() for m in archive if m.isfile()}


@pytest.fixture(scope="module")
def package_files(repository: Path) -> set[str]:
    """Every file that belongs to the package, by its name in the wheel."""
    package = repository / "src" / "airflow_bulk"
    found = {path.relative_to(package).as_posix() for path in project_files(package)}
    for link, room in LINKED.items():
        files = project_files(repository / room)
        found |= {f"{link}/{path.relative_to(repository / room).as_posix()}" for path in files}
    return {f"airflow_bulk/{name}" for name in found}


def test_the_rooms_are_links(repository: Path) -> None:
    for name, room in LINKED.items():
        link = repository / "src" / "airflow_bulk" / name
        assert link.is_symlink(), f"{link} must be a link, not a copy"
        assert str(link.readlink()) == f"../../{room}"
        assert (repository / room / "__init__.py").is_file()


def test_wheel_holds_every_file_of_every_room(wheel: set[str], package_files: set[str]) -> None:
    assert {f"airflow_bulk/{room}/__init__.py" for room in LINKED} <= wheel
    assert package_files - wheel == set()


def test_wheel_holds_nothing_else(wheel: set[str], package_files: set[str]) -> None:
    others = {name for name in wheel - package_files if ".dist-info/" not in name}
    assert others == set()


def test_sdist_holds_every_room(sdist: set[str], package_files: set[str]) -> None:
    assert {f"src/{name}" for name in package_files} - sdist == set()


def test_both_hold_the_data_of_the_examples_once(wheel: set[str], sdist: set[str]) -> None:
    for shipped in (wheel, sdist):
        data = sorted(PurePosixPath(name).name for name in shipped if name.endswith((".yaml", ".gz")))
        assert data == ["accounting.yaml", "cdnow_purchases.txt.gz"]


#: Imports the examples that it is given; prints of each its file, the DAGs of its names, and whether its data is there.
IMPORT_EXAMPLES = """
import importlib, json, sys
from airflow.sdk import DAG
found = {}
for name in sys.argv[1:]:
    module = importlib.import_module(f"airflow_bulk.example_dags.{name}")
    purchases = getattr(module, "PURCHASES", None)
    dags = [value.dag_id for value in vars(module).values() if isinstance(value, DAG)]
    found[name] = {"file": module.__file__, "dags": dags, "data": bool(purchases and purchases.is_file())}
print(json.dumps(found))
"""


def test_each_example_imports_from_the_wheel(repository: Path, installed: str, tmp_path: Path) -> None:
    names = [path.stem for path in sorted((repository / "dags").glob("[!_]*.py"))]
    home, empty = tmp_path / "home", tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [installed, "-c", IMPORT_EXAMPLES, *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=empty,
        env={**clean_environment(), "AIRFLOW_HOME": str(home)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == names
    packages = Path(installed).parents[1]
    for name, example in found.items():
        assert Path(example["file"]).is_relative_to(packages), name
        reads = "PURCHASES" in (repository / "dags" / f"{name}.py").read_text(encoding="utf-8")
        assert example["data"] == reads, name
    # An import writes nothing: Airflow's own settings are all that is there.
    assert list(empty.iterdir()) == []
    assert {path.name for path in home.rglob("*")} <= {"airflow.cfg", "dags", "plugins", "logs"}
    ids = [dag for example in found.values() for dag in example["dags"]]
    assert {"accounting_refresh", "batch_around_import", "customer_profiles", "gdpr_deletion"} <= set(ids)


def test_both_hold_the_licence_and_the_notice(wheel: set[str], sdist: set[str]) -> None:
    assert {"LICENSE", "NOTICE"} <= sdist
    assert {"LICENSE", "NOTICE"} <= {PurePosixPath(name).name for name in wheel if ".dist-info/" in name}


def registry_hosts() -> set[str]:
    """Hosts that packages come from: the public ones, and those that this machine is set up with."""
    hosts = {
        "pypi.org",
        "files.pythonhosted.org",
        "registry.npmjs.org",
        "deb.debian.org",
        "security.debian.org",
    }
    values = [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "NPM_CONFIG_"))]
    for file in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        parser = configparser.RawConfigParser()
        parser.read(file)
        values += [value for section in parser.sections() for _, value in parser.items(section)]
    for value in values:
        hosts |= {host for word in value.split() if (host := urlsplit(word).hostname)}
    return hosts - {"localhost", "127.0.0.1"}


def test_nothing_names_a_registry_or_a_machine(repository: Path) -> None:
    hosts = re.compile("|".join(re.escape(host) for host in sorted(registry_hosts())))
    homes = re.compile(r"(^|[^\w./-])/(root|home/\w+|Users/\w+|wo[r]k|tmp/contract)/")
    here = str(repository)
    found = []
    for path in project_files(repository):
        if path == Path(__file__).resolve() or path.is_symlink():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if hosts.search(line) or homes.search(line) or here in line:
                found.append(f"{path.relative_to(repository)}:{number}")
    assert found == []


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-next.txt"])
def test_constraints_hold_names_and_versions_only(repository: Path, name: str) -> None:
    lines = (repository / name).read_text().splitlines()
    assert len(lines) > 100
    pin = re.compile(r"[a-z0-9][a-z0-9.\-]*==[\w.!+]+( ; [\w.<>=!*'\" ()]+)?")
    assert [line for line in lines if not pin.fullmatch(line)] == []
