"""Build what is shipped, and install it as a user would, without a network."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

_LEFT = {".git", ".venv", ".venv-next", ".venv-docs", ".demo", "build", "dist", "site", ".hypothesis"}


def left_by_tools(name: str) -> bool:
    """Whether a file or folder of this name is no source but what a tool leaves in a checkout."""
    return name in _LEFT or name.endswith(("_cache", "__pycache__", ".egg-info", ".pyc"))


def build(repository: Path, folder: Path) -> Path:
    """Build the sdist, and from it the wheel; return the folder that holds both."""
    copy = folder / "checkout"
    shutil.copytree(
        repository, copy, symlinks=True, ignore=lambda _, names: [n for n in names if left_by_tools(n)]
    )
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "dist"


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment that holds the wheel, and its dependencies from this one; return its interpreter.

    The wheel is pure Python without scripts: installing it is unpacking it. This environment's packages follow
    behind it by a plain path, which does not run its ``.pth`` files: the editable checkout is out of sight.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    asked = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = Path(asked.stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text(site.getsitepackages()[0] + "\n")
    return python
