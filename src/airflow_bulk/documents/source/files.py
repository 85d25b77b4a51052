"""Find the files of a source, before anything is read: what exists, how big, which version, how compressed.

What this room promises: the same files in the same order at every try; every refusal names the file, says
why, and comes before a byte was sent; credentials that travel in a URI are never shown.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from airflow_bulk.documents.source.parts import (
    NothingFound,
    SourceError,
    SourceFile,
    SourceMissing,
    SourceUnusable,
)

UNSENT = "Nothing was sent; a retry looks again."
UNSENT_UNTIL_CHANGED = "Nothing was sent; a retry helps only once this is changed."
COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

# What a name may not end in. Other endings (.txt, .part-0001, none) say nothing against a format.
NEITHER = frozenset(
    [".parquet", ".avro", ".orc", ".xls", ".xlsx", ".xml", ".zip", ".tar", ".bz2", ".xz", ".7z", ".pdf"]
)
FOREIGN_ENDINGS = {
    "APPLICATION_X_NDJSON": NEITHER | {".csv", ".tsv"},
    "TEXT_CSV": NEITHER | {".ndjson", ".jsonl", ".json"},
}

# What storage systems call the version of an object, the most telling first. Listings and single objects agree on
# the strong ones; times may be written differently.
STRONG_KEYS = ("ETag", "etag", "md5Hash", "generation", "version_id", "content_md5")
VERSION_KEYS = (*STRONG_KEYS, "LastModified", "mtime", "created")


WEB = ("http", "https")  # schemes of addresses, whose query is no part of a name
# What looks like a placeholder in the name of a file that is missing: a shell's, Python's, a date's.
NOT_FILLED = re.compile(
    r"\$\{\w+\}|\$[A-Z][A-Z0-9_]+|\{\s*[A-Za-z_][\w.]*\s*\}|%[YmHMSjy]|%[dF](?![0-9A-Fa-f])"
)
NOT_RENDERED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")


class StoredObject(NamedTuple):
    """An object of a store, as its library (fsspec) opens it."""

    fs: Any
    path: str


class FoundFile(NamedTuple):
    """A file of the source: what is recorded about it, and what opens it (a Path, or a stored object)."""

    record: SourceFile
    path: Any


def find_files(
    source: str | Sequence[str],
    open_path: Callable[[str], Any] | None = None,
    *,
    mime_type: str = "APPLICATION_X_NDJSON",
    check_extension: bool = True,
    local_hint: str = "",
) -> list[FoundFile]:
    """Resolve a source into its files: entries in the order given, matches of a pattern in sorted order.

    A file that two entries name is taken once.

    :param source: local paths (``~`` is the home of the worker's user), ``file://`` and storage URIs
        (``s3://conn_id@bucket/key``); each may be a pattern (``*``, ``?``, ``[...]``, ``**``). A file or an object of
        exactly that name wins over the pattern.
    :param open_path: turns a storage URI into a universal path (``ObjectStoragePath``), of which ``fs`` (fsspec) and
        ``path`` are used.
    :param mime_type: the import's; a name that ends in another format's extension is refused.
    :param check_extension: False lets any name pass.
    :param local_hint: a sentence for a local file that is missing: what the caller knows of where it looked.
    :raises NothingFound: a pattern matches no file.
    :raises SourceError: missing, a directory, not a regular file, unreadable, not compressed as its name says.
    """
    found: dict[Any, FoundFile] = {}
    for entry in [source] if isinstance(source, str) else source:
        if not entry:
            raise SourceUnusable(f"An empty text is not a source. {UNSENT_UNTIL_CHANGED}")
        for file in _resolve(entry, open_path, local_hint):
            if check_extension:
                _refuse_foreign_ending(file.record, mime_type)
            found.setdefault(file.path if file.record.local else (file.record.uri, file.path.path), file)
    return list(found.values())


def shown(uri: str) -> str:
    """Take what may be secret out of a URI: a password (a lone user is a connection id), and a query.

    A key of a store may hold ``?`` and ``#``. There only names with values are a query, as those of a signed URL are.
    """
    scheme, mark, _ = uri.partition("://")
    if mark:
        query = r"[?#].*" if _is_web(scheme) else r"[?#][^/=]*=.*"
        uri = re.sub(query, "", uri, flags=re.DOTALL)
    return _without_password(uri)


def _is_web(scheme: str) -> bool:
    return scheme.lower().rpartition("::")[2] in WEB  # fsspec chains schemes with two colons


def _without_password(uri: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def unreadable(uri: str, error: OSError, hint: str = "") -> SourceError:
    """Make a refusal of what the system said about a file.

    :param hint: sentences for a file that is missing, each behind a space.
    """
    if error.errno == errno.ENOENT:
        return SourceMissing(f"{uri}: no such file.{hint} {UNSENT}")
    if error.errno == errno.EISDIR:
        return SourceUnusable(
            f"{uri}: is a directory. Name its files, for example {uri.rstrip('/')}/*. {UNSENT_UNTIL_CHANGED}"
        )
    return SourceError(f"{uri}: cannot be read ({error.strerror or type(error).__name__}). {UNSENT}")


def _hint(name: str) -> str:
    """Say what in the name of a missing file may be the reason."""
    if found := NOT_RENDERED.search(name):
        return (
            f" {found[0]} was not rendered: Airflow renders the templates in an operator's argument, but not those in "
            "a value that comes out of a template, nor in an argument that is no template field."
        )
    if found := NOT_FILLED.search(name):
        return (
            f" {found[0]} looks like a placeholder that nobody filled: Airflow fills templates, and those have two "
            "braces, as in {{ ds }}."
        )
    return ""


def _local_hint(name: str, more: str) -> str:
    """Say what may be the reason that a local file is missing.

    :param more: a sentence of the caller's.
    """
    where = f" {more}" if more else ""
    if not Path(name).is_absolute():
        where += f" A relative path counts from the worker's folder, {Path.cwd()}."
    return where + _hint(name)


def _must_be_utf8(name: str) -> None:
    """Refuse a name that no record and no message could hold: JSON is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise SourceUnusable(
            f"{shown(name)!r}: this name is not UTF-8. Rename the file, or make a link to it whose name is. "
            f"{UNSENT_UNTIL_CHANGED}"
        ) from None


def _resolve(entry: str, open_path: Callable[[str], Any] | None, local_hint: str) -> Iterator[FoundFile]:
    _must_be_utf8(entry)
    if "://" in entry and not entry.startswith("file://"):
        if open_path is None:
            raise SourceUnusable(
                f"{shown(entry)}: no storage is set up for this kind of URI. {UNSENT_UNTIL_CHANGED}"
            )
        yield from _resolve_remote(entry, open_path)
        return
    local = entry.removeprefix("file://")
    if not os.path.lexists(local):
        local = os.path.expanduser(local)  # noqa: PTH111 (a Path would lose the slash at the end, and ./)
    if not glob.has_magic(local) or os.path.lexists(local):
        yield _look_at(local, local_hint)
        return
    # A pattern is about files: folders that match it are not meant.
    names = glob.glob(local, recursive=True)  # noqa: PTH207 (a pattern may be absolute)
    matches = sorted(name for name in names if not Path(name).is_dir())
    if not matches:
        raise NothingFound(f"{local}: no file matches this pattern.{_local_hint(local, local_hint)}")
    for match in matches:
        yield _look_at(match, local_hint)


def _look_at(name: str, local_hint: str) -> FoundFile:
    path = Path(name).absolute()
    uri = str(path)
    _must_be_utf8(uri)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not make us wait
        try:
            state = os.fstat(handle)
            if stat.S_ISDIR(state.st_mode):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if not stat.S_ISREG(state.st_mode):
                raise SourceUnusable(f"{uri}: is not a regular file. {UNSENT_UNTIL_CHANGED}")
            magic = os.pread(handle, 4, 0)
        finally:
            os.close(handle)
    except OSError as error:
        raise unreadable(uri, error, _local_hint(name, local_hint)) from error
    compression = next((kind for start, kind in MAGIC.items() if magic.startswith(start)), "")
    claimed = COMPRESSIONS.get(path.suffix.lower(), "")
    if claimed and claimed != compression:
        kind = f"{compression} data" if compression else f"not {claimed} data"
        raise SourceError(f"{uri}: is {kind}, though its name says {claimed}. {UNSENT_UNTIL_CHANGED}")
    record = SourceFile(uri=uri, size=state.st_size, version=str(state.st_mtime_ns), compression=compression)
    return FoundFile(record, path)


def _resolve_remote(entry: str, open_path: Callable[[str], Any]) -> Iterator[FoundFile]:
    opened = open_path(entry)
    scheme, rest = entry.split("://", 1)
    try:
        named = StoredObject(opened.fs, _key(entry, opened.path))
        # A worker process may have listed the same folder before: what it remembers is not what is there now.
        named.fs.invalidate_cache()
        info = _exact_info(named) if glob.has_magic(entry) else named.fs.info(named.path)
        if info is not None:
            # What a store calls an object by is its key to the last sign, and no query.
            whole = info.get("name") == named.path and not _is_web(scheme)
            yield _look_at_remote(_without_password(entry) if whole else shown(entry), named, info)
            return
        matches = named.fs.glob(named.path, detail=True)
    except FileNotFoundError as error:
        raise SourceMissing(f"{shown(entry)}: no such object.{_hint(shown(entry))} {UNSENT}") from error
    except OSError as error:
        raise unreadable(shown(entry), error) from error
    except SourceError:
        raise
    except Exception as error:
        # A store's library has errors of its own; their text may hold more than a log should.
        raise SourceError(
            f"{shown(entry)}: the store cannot be asked ({type(error).__name__}). Look at the connection that the "
            f"path names. {UNSENT}"
        ) from error
    # fsspec names objects without scheme and connection: both come back from the entry.
    login = rest.split("/", 1)[0].rpartition("@")
    prefix = _without_password(f"{scheme}://{login[0]}{login[1]}")
    files = {key: info for key, info in sorted(matches.items()) if info["type"] == "file"}
    if not files:
        raise NothingFound(
            f"{shown(entry)}: no object matches this pattern, and none has it as its name.{_hint(shown(entry))}"
        )
    for key, info in files.items():
        match = StoredObject(named.fs, key)
        if not any(info.get(name) for name in STRONG_KEYS):
            info = match.fs.info(key)
        yield _look_at_remote(prefix + key, match, info)


def _key(entry: str, path: str) -> str:
    """Return the key of an entry. Airflow's path takes it for a URL, and loses a ``?`` or ``#`` at its end."""
    kept = entry.rstrip("?#")
    return path.rstrip("?#") + entry[len(kept) :]


def _exact_info(named: StoredObject) -> dict[str, Any] | None:
    """Look for an object whose key is the pattern itself; whatever else is wrong, the pattern's listing tells."""
    try:
        info: dict[str, Any] = named.fs.info(named.path)
    except Exception:  # noqa: BLE001 (each store's library has errors of its own)
        return None
    return info if info["type"] == "file" else None


def _look_at_remote(uri: str, path: StoredObject, info: dict[str, Any]) -> FoundFile:
    if info["type"] != "file":
        raise unreadable(uri, IsADirectoryError(errno.EISDIR, "is a directory"))
    # By name only: looking at the content would cost one request an object. Reading finds out a wrong name.
    compression = COMPRESSIONS.get(PurePosixPath(uri).suffix.lower(), "")
    record = SourceFile(
        uri=uri, size=info["size"] or 0, version=version_of(info), compression=compression, local=False
    )
    return FoundFile(record, path)


def version_of(info: dict[str, Any]) -> str:
    """Take from a storage's description of an object what changes when the object does; else empty."""
    return next((str(info[key]).strip('"') for key in VERSION_KEYS if info.get(key)), "")


def _refuse_foreign_ending(record: SourceFile, mime_type: str) -> None:
    name = PurePosixPath(record.uri)
    if name.suffix.lower() in COMPRESSIONS:
        name = name.with_suffix("")
    if name.suffix.lower() in FOREIGN_ENDINGS.get(mime_type, ()):
        raise SourceUnusable(
            f"{record.uri}: its name ends in {name.suffix}, but the import takes {mime_type}. {UNSENT_UNTIL_CHANGED} "
            "If only the name is wrong, say SendingOptions(check_extension=False)."
        )
