"""The reject file: NDJSON, one row for each line that was not sent.

What this room promises: the file has its name only when it is complete, the same name at every try, so that a
retry replaces it; a local file can be read by its owner alone, since lines are personal data.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from airflow_bulk.documents.source.parts import SourceError


class RejectFile:
    """An NDJSON file of rejected lines, one row a line.

    A row holds ``source``, ``line`` (from 1, physical), ``part``, ``reasons``, ``offset`` and ``bytes`` (where
    the line stands in the uncompressed file, its line end included), and with content ``"line"`` also ``raw``
    (or ``raw_base64`` if it is not UTF-8; neither for a line of more than 1 MiB).

    :param folder: a folder: local path, ``file://`` URI, or universal path object.
    :param name: file name; the same name at every try, so that a retry replaces the file.
    :param content: ``"line"`` or ``"position"`` (no content at all).
    """

    def __init__(self, folder: Any, name: str, *, content: Literal["line", "position"] = "line") -> None:
        self.content = content
        self._name = name
        self._folder = _local(folder)
        self._remote: Any = folder
        self._file: Any = None
        self._partial = ""
        self._encoder = msgspec.json.Encoder()

    def write(
        self,
        *,
        source: str,
        line: int,
        part: int,
        reasons: Sequence[str],
        offset: int,
        length: int,
        raw: bytes | None,
    ) -> None:
        """Add a row."""
        row: dict[str, Any] = {"source": source, "line": line, "part": part, "reasons": reasons}
        row |= {"offset": offset, "bytes": length}
        if self.content == "line" and raw is not None:
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")
            try:
                row["raw"] = raw.decode()
            except UnicodeDecodeError:
                row["raw_base64"] = base64.b64encode(raw).decode()
        self.write_row(row)

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Add a row of another form, for what a platform says about lines."""
        if self._file is None:
            self._file = self._begin()
        self._file.write(self._encoder.encode(row) + b"\n")

    def _begin(self) -> IO[bytes]:
        try:
            if self._folder is None:
                file: IO[bytes] = (self._remote / self._name).open("wb")
                return file
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_leftovers()
            handle, self._partial = tempfile.mkstemp(".partial", f".{self._name}.", self._folder)  # mode 0600
            return os.fdopen(handle, "wb")
        except OSError as error:
            raise SourceError(
                f"rejects_path {self._folder or 'in the store'}: no file can be written there "
                f"({error.strerror or type(error).__name__}). A retry tries again."
            ) from error

    def _forget_leftovers(self) -> None:
        """Remove what killed tries left: it is personal data that nobody would look for."""
        assert self._folder is not None  # noqa: S101
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name.startswith(f".{self._name}.") and path.name.endswith(".partial"):
                path.unlink(missing_ok=True)

    def finish(self) -> str:
        """Give the file its name.

        :return: its URI; empty when no line was rejected. A file of an earlier try is gone or replaced.
        """
        if self._file is None:
            if self._folder is not None:
                self._forget_leftovers()
                (self._folder / self._name).unlink(missing_ok=True)
            return ""
        self._file.close()
        self._file = None
        if self._folder is None:
            return str(self._remote / self._name)
        target = self._folder / self._name
        Path(self._partial).replace(target)
        return str(target)

    def discard(self) -> None:
        """Leave nothing behind, unless the file was finished."""
        if self._file is None:
            return
        abandon = getattr(self._file, "discard", None)
        if abandon is not None:
            abandon()
            self._file.closed = True  # fsspec: closing would make an object of it
        else:
            self._file.close()
        self._file = None
        if self._partial:
            Path(self._partial).unlink(missing_ok=True)


def _local(folder: Any) -> Path | None:
    if isinstance(folder, Path):
        return folder
    if isinstance(folder, str):
        return Path(folder.removeprefix("file://"))
    if getattr(folder, "protocol", "") in ("file", "local"):
        return Path(folder.path)
    return None
