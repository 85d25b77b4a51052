"""Files that a task leaves for its next try or for another task: names that say whose they are, and their end.

A name ends in ``<owner>.<run>.<32 hexadecimal digits>`` and an extension. The owner follows from what may remove the file
(a task, a task group), the run is the DAG run's id. So a later run can tell its own old files from all others, and ask Airflow
whether their run is over. Each writing makes a file of its own: what an older try still writes is never what a newer
one refers to.
"""

from __future__ import annotations

import glob
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote, unquote

import xxhash

from airflow_bulk.judging import how_many
from airflow_bulk.runs.failures import TaskStopped

log = logging.getLogger(__name__)

#: Signs of the readable beginning, and of a run id in a name: a name has at most 255.
LONGEST_START, LONGEST_RUN = 80, 100
#: What a store calls the time of an object's last change.
CHANGED_KEYS = ("LastModified", "last_modified", "mtime", "updated", "created")
#: Runs whose state is asked for at once; the others wait for the next time.
RUNS_ASKED = 100


def owner_of(*ids: str) -> str:
    """Return the word in a name that says whose a file is.

    :param ids: what may remove it, such as the DAG's and the task's id.
    """
    return xxhash.xxh3_64_hexdigest("\0".join(ids).encode())


def own_name(start: str, owner: str, run_id: str) -> str:
    """Return a new name, without its extension.

    :param start: for people.
    """
    readable = re.sub(r"[^A-Za-z0-9_+-]", "_", start)[-LONGEST_START:]
    return f"{readable}.{owner}.{_run_word(run_id)}.{uuid.uuid4().hex}"


def _run_word(run_id: str) -> str:
    word = quote(run_id, safe="").replace("%", "=")
    # Two signs that no quoted id has: the run of such a file cannot be asked for.
    return word if len(word) <= LONGEST_RUN else f"=={xxhash.xxh3_64_hexdigest(run_id.encode())}"


class OwnFile(NamedTuple):
    """A file of one owner.

    :param name: without its folder, and without the dot of a file that is not finished.
    :param word: of its run.
    :param changed: seconds since 1970.
    :param remove: removes it.
    """

    name: str
    word: str
    changed: float
    remove: Callable[[], None]

    @property
    def run_id(self) -> str | None:
        """The id of its run; None where the id was too long for a name."""
        return None if self.word.startswith("==") else unquote(self.word.replace("=", "%"))

    def begins(self, name: str) -> bool:
        """Whether the name is this one but for the digits of each writing."""
        return self.name.startswith(f"{name}.")


def open_folder(folder: str) -> Any:
    """Return a local folder's path, or what opens objects below a URI."""
    if "://" not in folder or folder.startswith("file://"):
        return Path(os.path.expanduser(folder.removeprefix("file://")))  # noqa: PTH111
    from airflow_bulk.runs.upload.planning import open_path

    return open_path(folder)


@contextmanager
def writing(folder: Any, name: str) -> Iterator[IO[bytes]]:
    """Write a file that has its name only when it is complete; an error leaves nothing behind.

    :param folder: what :func:`open_folder` returned; a local one is made, and only the owner of the file can read it.
    """
    if not isinstance(folder, Path):
        yield from _writing_object(folder.fs, f"{folder.path.rstrip('/')}/{name}")
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        partial.replace(folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _writing_object(store: Any, key: str) -> Iterator[IO[bytes]]:
    file = store.open(key, "wb")
    try:
        yield file
    except BaseException:
        with suppress(Exception):
            file.discard()
            file.closed = True  # closing would make an object of it
        raise
    file.close()


def own_files(folders: str, owner: str) -> Iterator[OwnFile]:
    """Find the files of an owner, also those that a killed try has not finished.

    :param folders: a folder, or a pattern for folders (``*``, ``[...]``).
    """
    names = re.compile(
        rf"\.?[A-Za-z0-9_+-]{{1,{LONGEST_START}}}\.{owner}\.([A-Za-z0-9_.~=-]+)\.[0-9a-f]{{32}}\.(?:ndjson|csv)(?:\.partial)?"
    )
    opened = open_folder(folders)
    if isinstance(opened, Path):
        for folder in glob.glob(str(opened)):  # noqa: PTH207 (a pattern may be absolute)
            for path in Path(folder).iterdir() if Path(folder).is_dir() else ():
                if (found := names.fullmatch(path.name)) and path.is_file():
                    remove = _unlinking(path)
                    yield OwnFile(path.name.removeprefix("."), found[1], path.stat().st_mtime, remove)
        return
    store = opened.fs
    store.invalidate_cache()
    for key, info in store.glob(f"{opened.path.rstrip('/')}/*", detail=True).items():
        name = key.rpartition("/")[2]
        if (found := names.fullmatch(name)) and info["type"] == "file":
            yield OwnFile(name, found[1], _changed(store, key, info), _removing(store, key))


def _unlinking(path: Path) -> Callable[[], None]:
    return lambda: path.unlink(missing_ok=True)


def _removing(store: Any, key: str) -> Callable[[], None]:
    def remove() -> None:
        with suppress(FileNotFoundError):
            store.rm_file(key)

    return remove


def _changed(store: Any, key: str, info: dict[str, Any]) -> float:
    value = next((info[name] for name in CHANGED_KEYS if info.get(name)), None) or store.modified(key)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)


def remove_file(uri: str) -> None:
    """Remove a file; one that is gone already is no error."""
    opened = open_folder(uri)
    if isinstance(opened, Path):
        opened.unlink(missing_ok=True)
    else:
        _removing(opened.fs, opened.path)()


def without_failing(remove: Callable[[], object], what: str) -> None:
    """Remove files, or warn: an import must not fail since something could not be tidied up.

    :param what: what is removed, for the log.
    """
    try:
        remove()
    except TaskStopped:
        raise
    except Exception as error:  # noqa: BLE001  (each store's library has errors of its own)
        log.warning(
            "Could not remove %s (%s). It holds records: look at the rights of the folder. The task goes on.",
            what,
            type(error).__name__,
        )


def remove_old(folders: str, owner: str, keep: float, ti: Any, what: str) -> None:
    """Remove the files of all runs that are over and have written nothing for some time. It never fails: it warns.

    :param folders: as for :func:`own_files`.
    :param keep: seconds from the last file that a run has written there.
    :param ti: the task instance; by it Airflow is asked which runs are over.
    :param what: what the files are, for the log.
    """
    without_failing(lambda: _remove_old(folders, owner, keep, ti, what), f"old {what}")


def _remove_old(folders: str, owner: str, keep: float, ti: Any, what: str) -> None:
    runs: dict[str, list[OwnFile]] = {}
    for file in own_files(folders, owner):
        runs.setdefault(file.word, []).append(file)
    before = time.time() - keep
    old = [files for files in runs.values() if max(one.changed for one in files) < before]
    removed = 0
    for files in old[:RUNS_ASKED]:
        if not _is_active(files[0], ti):
            for file in files:
                file.remove()
                removed += 1
    if removed:
        log.info("Removed %s: %s of runs that are over.", how_many(removed, "old file"), what)


def _is_active(file: OwnFile, ti: Any) -> bool:
    if file.word == _run_word(ti.run_id):
        return True  # compared as words: of a long id the name does not hold more
    run_id = file.run_id
    if run_id is None:
        return False  # its age alone says that it is over
    return bool(ti.get_dr_count(dag_id=ti.dag_id, run_ids=[run_id], states=["queued", "running"]))
