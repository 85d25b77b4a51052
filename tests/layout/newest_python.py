"""Find the newest Python of this machine that is newer than this one and that Airflow supports: ``make test-newest-python``.

Prints its path; nothing where there is none, and then why, on standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

#: Minor versions of Python 3 that may come up, the newest first.
MINORS = range(30, 0, -1)
#: What the interpreter needs for an environment. A shim of pyenv may be on PATH and start nothing.
_ASKED = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))"


def places(minor: int, environment: Mapping[str, str]) -> Iterable[Path]:
    """Where Python 3.*minor* may be: on PATH, and where pyenv keeps what it has built."""
    name = f"python3.{minor}"
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        yield Path(folder) / name
    root = environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/nowhere")) / ".pyenv"
    yield from sorted(Path(root).glob(f"versions/3.{minor}*/bin/{name}"), reverse=True)


def version(python: Path) -> str | None:
    """The version of an interpreter that starts and can make an environment; ``None`` of one that does not."""
    if not python.is_file() or not os.access(python, os.X_OK):
        return None
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _ASKED], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def newest(
    environment: Mapping[str, str], supported: SpecifierSet, than: tuple[int, int] = sys.version_info[:2]
) -> Path | None:
    """Return the newest Python that is newer than *than* and supported.

    :param supported: Airflow's ``Requires-Python``.
    """
    for minor in MINORS:
        if (3, minor) <= than:
            return None
        for python in places(minor, environment):
            found = version(python)
            if found and found.startswith(f"3.{minor}.") and found in supported:
                return python
    return None


def main() -> int:
    """Print the path, or why there is none."""
    supported = metadata("apache-airflow")["Requires-Python"]
    python = newest(os.environ, SpecifierSet(supported))
    if python is None:
        print(
            f"No newer Python here: skipped. This one is {sys.version_info[0]}.{sys.version_info[1]}, Airflow supports {supported};"
            " looked for on PATH and among pyenv's versions, with venv and ensurepip.",
            file=sys.stderr,
        )
        return 0
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
