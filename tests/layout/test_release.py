"""``make release`` in short: what is built, from what, and what it refuses. The slow test is the whole of it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from distributions import left_by_tools
from run_release import ReleaseError, build_twice, last_commit, main, sha256


def commit(root: Path) -> None:
    """Make a repository of a folder, all of it committed."""
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "--quiet"), ("add", "--all"), (*person, "commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def committed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it is, committed in a repository of its own."""
    copy = tmp_path_factory.mktemp("release") / "repository"
    shutil.copytree(
        repository, copy, symlinks=True, ignore=lambda _, names: [n for n in names if left_by_tools(n)]
    )
    commit(copy)
    return copy


def test_a_release_is_the_commit_alone(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = committed / "src" / "airflow_bulk" / "stray.py"
    stray.touch()
    try:
        assert main(["--root", str(committed), "--only-build"]) == 0
    finally:
        stray.unlink()
    said = capsys.readouterr().out
    assert "git does not know them: src/airflow_bulk/stray.py" in said
    sdist, wheel = sorted((committed / "dist").iterdir(), key=lambda path: path.suffix)
    assert f"{sha256(sdist)}  {sdist.name}\n" in said
    assert f"{sha256(wheel)}  {wheel.name}\n" in said
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    with zipfile.ZipFile(wheel) as archive:
        files = archive.infolist()
    names = {member.name for member in members} | {file.filename for file in files}
    assert "airflow_bulk/judging.py" in names
    assert [name for name in names if "stray" in name] == []
    # Nothing of the machine, nor of the moment.
    _, epoch = last_commit(committed)
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(epoch, 0, 0, "")}
    assert {member.mode for member in members if member.isfile()} == {0o644}
    assert len({file.date_time for file in files}) == 1


def test_what_is_not_committed_is_an_error(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = committed / "README.md"
    before = readme.read_bytes()
    shutil.rmtree(committed / "dist", ignore_errors=True)
    readme.write_bytes(before + b"More.\n")
    try:
        assert main(["--root", str(committed), "--only-build"]) == 1
    finally:
        readme.write_bytes(before)
    assert "Not committed: README.md." in capsys.readouterr().err
    assert not (committed / "dist").exists()


def test_a_build_that_differs_is_an_error(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "differs"\nversion = "1"\n'
    )
    (project / "setup.py").write_text(
        "import pathlib, uuid, setuptools\n"
        "pathlib.Path('differs.py').write_text(f'MADE = {uuid.uuid4().hex!r}')\n"
        "setuptools.setup(py_modules=['differs'])\n"
    )
    commit(project)
    with pytest.raises(ReleaseError, match=r"differ: differs-1-py3-none-any\.whl, differs-1\.tar\.gz\."):
        build_twice(project, *last_commit(project), tmp_path / "builds")


@pytest.mark.slow
def test_a_release_is_checked_and_installs_alone(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(committed)]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "twine check --strict: passed" in said
    assert said.count("installed alone") == 2
