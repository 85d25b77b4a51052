"""Build what is shipped, and install it as a user would, without a network."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import site
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

_LEFT = {".git", ".venv", ".demo", "build", "dist", "site", ".hypothesis"}


def left_by_tools(name: str) -> bool:
    """Whether a file or folder of this name is no source but what a tool leaves in a checkout."""
    return (
        name in _LEFT
        or name.startswith(".venv-")
        or name.endswith(("_cache", "__pycache__", ".egg-info", ".pyc"))
    )


def build(repository: Path, folder: Path) -> Path:
    """Build sdist and wheel from a copy of a checkout as it is; return the folder that holds both."""
    copy = folder / "checkout"
    shutil.copytree(
        repository, copy, symlinks=True, ignore=lambda _, names: [n for n in names if left_by_tools(n)]
    )
    return build_here(copy, folder / "dist", epoch=int(time.time()))


def build_here(checkout: Path, into: Path, *, epoch: int) -> Path:
    """Build the sdist, and from it the wheel; return the folder that holds both.

    The bytes follow from the files of the checkout and from ``epoch`` alone: not from who builds, where and when.

    :param epoch: seconds since 1970; the time of every file in them.
    """
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(checkout)],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout.parent,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        umask=0o022,  # a wheel keeps the permissions of its files
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for sdist in into.glob("*.tar.gz"):
        pack_again(sdist, epoch)
    return into


def pack_again(sdist: Path, epoch: int) -> None:
    """Write an sdist anew without owner, clock and permissions of the machine: setuptools leaves them in."""
    packed = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.size, entry.linkname, entry.mtime = (
                member.type,
                member.size,
                member.linkname,
                epoch,
            )
            entry.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(entry, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as out:
        out.write(packed.getvalue())


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
