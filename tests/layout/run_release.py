"""``make release``: build what a release consists of, look at it as an index and a user do, publish nothing.

It takes the last commit and nothing else. Each step that finds a fault ends it, and leaves nothing in ``dist``.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from distributions import build_here

NAME = "airflow-provider-bulk"
#: What only an extra brings, and what only pytest imports: not importable where the package alone is installed.
NEEDS_MORE = ("airflow_bulk.emulator", "airflow_bulk.pytest_plugin")

#: Imports each public module but those below the names that it is given, or those below the first alone (``only``).
IMPORT_MODULES = """
import importlib, importlib.util, pkgutil, sys
import airflow_bulk
how, *names = sys.argv[1:]
assert airflow_bulk.__file__.startswith(sys.prefix), airflow_bulk.__file__
assert importlib.util.find_spec("pytest") is None, "a tool of developers is installed"
def stop(name):
    raise
count = 0
for one in pkgutil.walk_packages(airflow_bulk.__path__, "airflow_bulk.", onerror=stop):
    below = any(one.name == name or one.name.startswith(name + ".") for name in names)
    if below == (how == "only") and "._" not in one.name:
        importlib.import_module(one.name)
        count += 1
assert count, "no module was found"
print(count)
"""

#: Compares a wheel's classifiers with those that an index knows: it refuses a wheel with another one.
CLASSIFIERS = """
import email, sys, zipfile
from trove_classifiers import classifiers
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    declared = email.message_from_bytes(wheel.read(name)).get_all("Classifier")
assert declared, "no classifier"
sys.exit("\\n".join(f"no such classifier: {one}" for one in declared if one not in classifiers) or None)
"""


class ReleaseError(Exception):
    """Why there is no release; a sentence for the person who asked for one."""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command; return what it printed.

    :raises ReleaseError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=900,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise ReleaseError(f"{' '.join(str(word) for word in command)[:200]}: failed\n{said}")
    return done.stdout


def last_commit(root: Path) -> tuple[str, int]:
    """Return the last commit and its time, in seconds since 1970.

    :raises ReleaseError: a file that git knows was changed since; or ``root`` is no repository.
    """
    changed = run("git", "status", "--porcelain", "--untracked-files=no", cwd=root).splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed[:10])
        raise ReleaseError(
            f"Not committed: {names}. A release is made of the last commit: commit, or put away."
        )
    commit, seconds = run("git", "log", "-1", "--format=%H %ct", cwd=root).split()
    return commit, int(seconds)


def build_twice(root: Path, commit: str, epoch: int, folder: Path) -> Path:
    """Build a commit twice, each time from a copy of its own; return the folder that holds sdist and wheel.

    :raises ReleaseError: the two differ in a byte.
    """
    made = []
    for name in ("first", "the-second"):
        checkout = folder / name / "checkout"
        checkout.mkdir(parents=True)
        tree = folder / name / "tree.tar"
        run("git", "-c", "tar.umask=0022", "archive", "--output", tree, commit, cwd=root)
        run("tar", "-xf", tree, "-C", checkout, cwd=folder)
        made.append(build_here(checkout, folder / name / "dist", epoch=epoch))
    first, second = made
    names = sorted({path.name for folder in made for path in folder.iterdir()})
    same, _, _ = filecmp.cmpfiles(first, second, names, shallow=False)
    if differing := sorted(set(names) - set(same)):
        raise ReleaseError(f"Two builds of {commit[:12]} differ: {', '.join(differing)}.")
    return first


def uv_install(python: Path, constraints: Path, *what: str | Path, cwd: Path) -> None:
    """Install into the environment of ``python``, pinned; the second try is for networks with an authority of their own."""
    pins = ("--constraint", constraints, "--build-constraint", constraints)
    uv = Path(sys.executable).with_name("uv")
    command = (uv, "pip", "install", "--python", python, "--quiet", "--compile-bytecode", *pins, *what)
    try:
        run(*command, cwd=cwd)
    except ReleaseError:
        run(*command, "--system-certs", cwd=cwd)


def new_environment(folder: Path) -> Path:
    """Make an empty environment; return its interpreter."""
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def check_metadata(made: Path, checkout: Path, folder: Path) -> None:
    """Read the metadata of sdist and wheel as an index does."""
    python = new_environment(folder / "tools")
    uv_install(
        python, checkout / "constraints.txt", "--group", f"{checkout / 'pyproject.toml'}:release", cwd=folder
    )
    run(python, "-m", "twine", "check", "--strict", *sorted(made.iterdir()), cwd=folder)
    run(python, "-c", CLASSIFIERS, next(made.glob("*.whl")), cwd=folder)


def check_bare(distribution: Path, constraints: Path, folder: Path) -> int:
    """Install one file where nothing else is, and use it; return how many modules were imported.

    :param folder: a new one, for the environment and for Airflow's home.
    """
    python = new_environment(folder / "environment")
    home = {"AIRFLOW_HOME": str(folder / "home")}
    uv_install(python, constraints, distribution, cwd=folder)
    count = int(run(python, "-c", IMPORT_MODULES, "but", *NEEDS_MORE, cwd=folder, **home).split()[-1])
    listed = run(python, "-m", "airflow", "providers", "get", NAME, cwd=folder, **home)
    if NAME not in listed:
        raise ReleaseError(f"{distribution.name}: airflow providers get {NAME} does not show it")
    if "batch" not in run(python, "-m", "airflow", "bulk", "--help", cwd=folder, **home):
        raise ReleaseError(f"{distribution.name}: airflow bulk --help does not name its commands")
    uv_install(python, constraints, f"{NAME}[emulator] @ {distribution.as_uri()}", cwd=folder)
    return count + int(
        run(python, "-c", IMPORT_MODULES, "only", NEEDS_MORE[0], cwd=folder, **home).split()[-1]
    )


def sha256(path: Path) -> str:
    """The checksum of a file, as an index shows it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def release(root: Path, into: Path, *, only_build: bool = False) -> None:
    """Make the release of the last commit of ``root`` and leave it in ``into``.

    :param only_build: leave out what needs the network: metadata, and the bare environments.
    :raises ReleaseError: there is none.
    """
    commit, epoch = last_commit(root)
    if strays := run("git", "ls-files", "--others", "--exclude-standard", cwd=root).splitlines():
        print(f"Not in it, since git does not know them: {', '.join(strays[:10])}")
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        folder = Path(temporary).resolve()
        made = build_twice(root, commit, epoch, folder)
        print(f"Commit {commit[:12]}: two builds, and each byte is the same.")
        checkout = folder / "first" / "checkout"
        if not only_build:
            check_metadata(made, checkout, folder)
            print("twine check --strict: passed. Each classifier is known.")
            for number, distribution in enumerate(sorted(made.iterdir())):
                bare = folder / f"bare-{number}"
                bare.mkdir()
                count = check_bare(distribution, checkout / "constraints.txt", bare)
                print(f"{distribution.name}: installed alone, {count} modules imported, Airflow shows it.")
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(made, into)
    print(f"Nothing was published. In {into.name}/:")
    for path in sorted(into.iterdir()):
        print(f"{sha256(path)}  {path.name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release; 1 where there is none."""
    parser = argparse.ArgumentParser(
        description="Make the files of a release from the last commit; publish nothing."
    )
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).resolve().parents[2], help="the repository"
    )
    parser.add_argument("--only-build", action="store_true", help="leave out what needs the network")
    given = parser.parse_args(arguments)
    try:
        release(given.root, given.root / "dist", only_build=given.only_build)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
