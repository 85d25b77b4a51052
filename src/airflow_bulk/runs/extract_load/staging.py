"""Records between tasks: files under a staging folder that every worker reaches. XCom carries their names alone.

Each writing makes a file of its own: what an older try still writes is never what a newer one refers to. Records are
personal data: local files are readable by their owner only, and nothing here logs them. Each run of a task group removes the
files of its older runs, so that they have an end.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import msgspec

from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.runs.own_files import own_name, owner_of, remove_old, without_failing

_BLOCK = 1 << 20
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class StagedFileGone(Exception):
    """The records that another task has written are not there any more."""

    def __init__(self, what: str, uri: str) -> None:
        super().__init__(
            f"The records of {what} are gone: there is no file {uri}. Files of a run that is over are removed after "
            "keep_staged, or the store has removed this one. Nothing was written, and a retry cannot help: clear the task "
            "that has made the file together with all that is downstream of it, so that it reads again."
        )


def staged_name(task: Any, context: Any, kind: str = "") -> str:
    """Return a new name for a file of a task: it says to which group and to which run of the DAG it belongs.

    :param kind: what the file holds, where a task writes several kinds.
    """
    group = getattr(getattr(task, "task_group", None), "group_id", None)
    ti = context["ti"]
    return own_name(f"{task.task_id}{kind}", owner_of(ti.dag_id, group or ""), ti.run_id)


def write_records(staging: str, name: str, records: Iterable[Record]) -> tuple[str, int]:
    """Write records as NDJSON, one a line, as they come; nothing is gathered in memory.

    :param staging: folder: a path, or the URL of an object store as ``ObjectStoragePath`` takes it.
    :param name: of the file, as :func:`staged_name` makes one.
    :return: where they are, and how many.
    :raises BaseException: what reading the records raises; the file is then removed.
    """
    from airflow.sdk import ObjectStoragePath

    folder = ObjectStoragePath(staging)
    path = folder / f"{name}.ndjson"
    if _is_local(folder):  # a folder of an object store is no thing of its own
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with _open(path) as file:
            return str(path), _write(file, records)
    except BaseException:  # also Airflow's own timeout of the task
        # Half a reading is of no use, and it holds personal data.
        with suppress(OSError):
            path.unlink()
        raise


def _write(file: IO[bytes], records: Iterable[Record]) -> int:
    count = 0
    encode = msgspec.json.Encoder().encode
    block = bytearray()
    for record in records:
        block += encode(record)
        block += b"\n"
        count += 1
        if len(block) >= _BLOCK:
            file.write(bytes(block))
            block.clear()
    file.write(bytes(block))
    return count


def read_records(uri: str, what: str) -> Iterator[Record]:
    """Read records back, one at a time.

    :param what: whose records they are, for errors.
    :raises StagedFileGone: there is no such file any more.
    """
    from airflow.sdk import ObjectStoragePath

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    try:
        file = ObjectStoragePath(uri).open("rb")
    except FileNotFoundError:
        raise StagedFileGone(what, uri) from None
    with file:
        for line in file:
            yield decode(line)


def is_there(uri: str) -> bool:
    """Whether a file is still there."""
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(uri)
    path.fs.invalidate_cache()
    return bool(path.exists())


def old_files_removed(staging: str, keep: timedelta, group_id: str) -> Callable[[Any], None]:
    """Return the callback that removes what older runs of a group have staged, before the group's first task executes.

    :param staging: the folder, with its templates.
    :param keep: how long the files of a run stay after its last one was written.
    """

    def remove(context: Any) -> None:
        ti, task = context["ti"], context["task"]

        def remove_all() -> None:
            folders = folders_of_all_runs(staging, lambda text: str(task.render_template(text, context)))
            owner = owner_of(ti.dag_id, group_id)
            remove_old(folders, owner, keep.total_seconds(), ti, "staged files of this group")

        without_failing(remove_all, "old staged files of this group")

    return remove


def folders_of_all_runs(staging: str, render: Callable[[str], str]) -> str:
    """Return the pattern of the folders that a staging folder with templates stands for.

    A template in the path stands for one name there. What stands before the first slash is the same for all runs, and
    is rendered: a bucket, a parameter.

    :param render: renders a template.
    """
    scheme, mark, rest = (
        staging.partition("://") if "://" in _TEMPLATE.sub("", staging) else ("", "", staging)
    )
    place = next((one.start() for one in re.finditer("/", _blanked(rest))), len(rest))
    head, tail = rest[:place], rest[place:]
    pieces = [glob.escape(piece) for piece in _TEMPLATE.split(tail)]
    return f"{scheme}{mark}{glob.escape(render(head)) if head else ''}{'*'.join(pieces)}"


def _blanked(text: str) -> str:
    """The text with blanks in place of its templates, so that no sign of theirs is found."""
    return _TEMPLATE.sub(lambda found: " " * len(found[0]), text)


def _open(path: Any) -> IO[bytes]:
    if _is_local(path):
        descriptor = os.open(Path(path.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return os.fdopen(descriptor, "wb")
    opened: IO[bytes] = path.open("wb")
    return opened


def _is_local(path: Any) -> bool:
    return path.protocol in ("", "file", "local")
