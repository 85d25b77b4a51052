"""Read the plain bytes of one file, whatever it is: local, compressed, an object of a store.

What this room promises: every reader answers the one question "the bytes from this offset on" in flat memory,
and says so when the file is not the one that was found (:class:`SourceChanged`) or cannot be read.
"""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from airflow_bulk.documents.source.files import MAGIC, FoundFile, version_of
from airflow_bulk.documents.source.parts import (
    CHANGED_MEANWHILE,
    SourceChanged,
    SourceError,
    SourceFile,
    SourceUnusable,
    counted,
)

FIRST_LOOK = (
    64 << 10
)  # bytes at the beginning of a file that tell what it is: a header longer than this is none
SKIP = 1 << 20  # bytes read and dropped at a time when a compressed file is wound forward
PACKED_WINDOW = 8 << 20  # bytes a GET of a compressed object fetches: read once, front to back
GZIP_BITE, GZIP_PIECE = 128 << 10, 256 << 10  # compressed bytes read, and plain bytes unpacked, at a time
ZSTD_BITE = 2 << 10  # most compressed bytes given to zstd at a time: 64 MB come out at the very worst
ZSTD_FIRST_SIP, ZSTD_PIECE = (
    256,
    1 << 20,
)  # compressed bytes it is given first, and plain bytes that it is to make of them


class Contents(Protocol):
    """The plain bytes of a file."""

    def readinto(self, view: memoryview, offset: int) -> int:
        """Fill the view with the bytes from an offset on; less than the view only at the end; 0 at the end."""

    def close(self) -> None:
        """Give back what is open."""


class Spooled(NamedTuple):
    """The copy of a remote file in the spool file, which has no name: its descriptor, and where it begins."""

    handle: int
    start: int


def open_contents(found: FoundFile, window: int) -> Contents:
    """Open a found file for reading, checking that it is still the one that was found.

    :param found: ``path`` is a path, a stored object, or a spooled copy.
    :param window: bytes fetched at a time from a plain object: a part's size.
    :raises SourceChanged: size or version differ from the record.
    """
    record = found.record
    if isinstance(found.path, Spooled):
        spooled = PlainContents(record, found.path.handle, found.path.start)
        return PackedContents(record, spooled.read_at) if record.compression else spooled
    if isinstance(found.path, str | Path):
        handle = _open_local(record, found.path)
        local = PlainContents(record, handle, owned=True)
        return PackedContents(record, local.read_at, local.close) if record.compression else local
    remote = RemoteContents(record, found.path, PACKED_WINDOW if record.compression else window)
    return PackedContents(record, remote.read_at) if record.compression else remote


def changed(record: SourceFile, what: str) -> SourceChanged:
    """Make the refusal of a file that is not what it was."""
    return SourceChanged(f"{record.uri}: {what} since it was first read. {CHANGED_MEANWHILE}")


def broken(record: SourceFile, error: BaseException, offset: int) -> SourceError:
    """Make the error for a file that cannot be read further."""
    why = getattr(error, "strerror", None) or type(error).__name__
    return SourceError(f"{record.uri}: cannot be read at byte {offset} ({why}). A retry reads it again.")


def _open_local(record: SourceFile, path: str | Path) -> int:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise changed(record, "has gone") from error
    except OSError as error:
        raise broken(record, error, 0) from error
    state = os.fstat(handle)
    if (state.st_size, str(state.st_mtime_ns)) != (record.size, record.version):
        os.close(handle)
        raise changed(record, f"has changed (it had {counted(record.size, 'byte')}, now {state.st_size})")
    return handle


def open_stored(record: SourceFile, path: str | Path) -> PlainContents:
    """Open a local file for its bytes as they are stored, compressed or not.

    :raises SourceChanged: size or version differ from the record.
    """
    return PlainContents(record, _open_local(record, path), owned=True)


class PlainContents:
    """A plain file of this machine, read in place."""

    def __init__(self, record: SourceFile, handle: int, start: int = 0, owned: bool = False) -> None:
        self._record, self._handle, self._start, self._owned = record, handle, start, owned

    def readinto(self, view: memoryview, offset: int) -> int:
        """See :class:`Contents`."""
        done, size = 0, min(len(view), self._record.stop - offset)
        try:
            while done < size:
                count = os.preadv(self._handle, [view[done:size]], self._start + offset + done)
                if not count:
                    raise changed(self._record, "has become shorter")
                done += count
        except OSError as error:
            raise broken(self._record, error, offset) from error
        return done

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to so many stored bytes from an offset on."""
        try:
            return os.pread(self._handle, min(size, self._record.stop - offset), self._start + offset)
        except OSError as error:
            raise broken(self._record, error, offset) from error

    def close(self) -> None:
        """See :class:`Contents`."""
        if self._owned:
            os.close(self._handle)


class PackedContents:
    """A compressed file, unpacked front to back. Going back starts again at its first byte."""

    def __init__(
        self,
        record: SourceFile,
        read_at: Callable[[int, int], bytes],
        close: Callable[[], None] | None = None,
    ) -> None:
        self._record, self._read_at, self._close = record, read_at, close
        self._offset = 0
        self._frames = self._unpack()

    def _unpack(self) -> _Frames:
        frames = _ZstdFrames if self._record.compression == "zstd" else _GzipFrames
        return frames(self._read_at)

    def readinto(self, view: memoryview, offset: int) -> int:
        """See :class:`Contents`."""
        if offset < self._offset:
            self._frames, self._offset = self._unpack(), 0
        if offset > self._offset:
            scratch = memoryview(bytearray(min(SKIP, offset - self._offset)))
            while offset > self._offset:
                if not self._fill(scratch[: offset - self._offset]):
                    return 0
        return self._fill(view)

    def _fill(self, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view) and (got := self._frames.readinto(view[done:])):
                done += got
        except EOFError as error:
            raise SourceError(
                f"{self._record.uri}: is a truncated {self._record.compression} file. "
                "Put the whole file in its place; a retry reads it again."
            ) from error
        except _NoFrame as error:
            raise self._not_packed() from error
        except Exception as error:
            # The libraries that unpack have no error in common, and are imported where they are used.
            if type(error).__name__ not in ("ZstdError", "IsalError"):
                raise
            raise SourceError(
                f"{self._record.uri}: is not a sound {self._record.compression} file (unpacking failed after "
                f"{counted(self._offset + done, 'plain byte')} or a little later). Put a good file in its place; a retry "
                "reads it again."
            ) from error
        self._offset += done
        return done

    def _not_packed(self) -> SourceError:
        kind, sound = self._record.compression, self._frames.sound
        if not sound:
            return SourceError(
                f"{self._record.uri}: is not {kind} data, though its name says {kind}. Put a good file in its place; a "
                "retry reads it again."
            )
        return SourceError(
            f"{self._record.uri}: its first {counted(sound, 'byte')} are sound {kind} data, but "
            f"what stands behind them ({counted(self._record.size - sound, 'byte')}) is not: padding, or files that were "
            f"put together wrongly. If it is padding, `head -c {sound} FILE > NEW_FILE` leaves it out; a retry reads the "
            "file again."
        )

    def close(self) -> None:
        """See :class:`Contents`."""
        if self._close:
            self._close()


class _NoFrame(Exception):
    """What stands where a frame has to begin is none."""


class _Frames(ABC):
    """Unpacks the frames of a compressed file one behind the other (those of gzip are called members).

    The readers of the libraries do not tell where the last sound frame ended, and that of zstd takes a truncated file for
    a whole one.

    :param read_at: returns up to so many compressed bytes from an offset on.
    :ivar sound: compressed bytes up to the end of the last frame that was whole.
    """

    BEGINS: re.Pattern[bytes]
    BITE: int
    # gzip passes over zeros behind a member, as tapes and block devices leave them, and so does Python's gzip. zstd and
    # its libraries refuse them.
    PADDED: bool

    def __init__(self, read_at: Callable[[int, int], bytes]) -> None:
        self._read_at, self._offset = read_at, 0
        self._frame: Any = None
        self._packed = b""
        self._plain = memoryview(b"")
        self.sound = 0

    @abstractmethod
    def _new_frame(self) -> Any:
        """Return the library's object that unpacks one frame."""

    @abstractmethod
    def _step(self) -> bytes:
        """Unpack some of what was read; the rest of it stays in ``_packed`` or is kept by the frame."""

    def _fetch(self) -> bool:
        more = self._read_at(self.BITE, self._offset)
        self._offset += len(more)
        self._packed += more
        return bool(more)

    def readinto(self, view: memoryview) -> int:
        """Fill a view, or some of it; 0 only at the end of the file.

        :raises EOFError: the file ends within a frame.
        """
        while not self._plain:
            if self._frame is None and not self._begin():
                return 0
            self._plain = memoryview(self._step())
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data + self._packed, None
                self.sound = self._offset - len(self._packed)
        count = min(len(view), len(self._plain))
        view[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _begin(self) -> bool:
        while True:
            if self.PADDED and self.sound:
                self._packed = self._packed.lstrip(b"\0")
            if len(self._packed) >= 4 or not self._fetch():
                break
        if not self._packed:
            return False
        if not self.BEGINS.match(self._packed):
            raise _NoFrame
        self._frame = self._new_frame()
        return True


class _GzipFrames(_Frames):
    BEGINS = re.compile(rb"\x1f\x8b")
    BITE = GZIP_BITE
    PADDED = True

    def _new_frame(self) -> Any:
        from isal import igzip_lib  # 2 to 3 times the speed of the standard library's gzip

        return igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)

    def _step(self) -> bytes:
        if self._frame.needs_input and not self._packed and not self._fetch():
            raise EOFError
        packed, self._packed = self._packed, b""
        return bytes(self._frame.decompress(packed, GZIP_PIECE))


class _ZstdFrames(_Frames):
    # The library unpacks all that it is given, and four bytes may stand for 128 kB: how much it is given follows what the
    # last sip became.
    _sip = ZSTD_FIRST_SIP
    BEGINS = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # the second: a frame to be skipped
    BITE = ZSTD_BITE
    PADDED = False

    def _new_frame(self) -> Any:
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    def _step(self) -> bytes:
        if not self._packed and not self._fetch():
            raise EOFError
        packed, self._packed = self._packed[: self._sip], self._packed[self._sip :]
        plain = bytes(self._frame.decompress(packed))
        if len(plain) > ZSTD_PIECE:
            self._sip = max(1, self._sip * ZSTD_PIECE // len(plain))
        elif self._sip < self.BITE and len(plain) < ZSTD_PIECE // 2:
            self._sip *= 2
        return plain


class RemoteContents:
    """An object of a store, fetched by ranged GETs of one window each."""

    def __init__(self, record: SourceFile, path: Any, window: int) -> None:
        self._record, self._path, self._window = record, path, window
        self._start, self._held = 0, b""
        try:
            path.fs.invalidate_cache(path.path)  # a listing that the library kept would hide a change
            info = path.fs.info(path.path)
        except FileNotFoundError as error:
            raise changed(record, "has gone") from error
        except OSError as error:
            raise broken(record, error, 0) from error
        if (info["size"] or 0, version_of(info)) != (record.size, record.version):
            raise changed(record, "has changed")

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to so many bytes; fewer at the end of the object or of the window."""
        if offset >= self._record.stop:
            return b""
        if not self._start <= offset < self._start + len(self._held):
            self._held = b""  # let the old window go before the next one comes
            self._held, self._start = self._fetch(offset), offset
            if not offset and self._record.compression == "" and self._held.startswith(tuple(MAGIC)):
                raise SourceUnusable(
                    f"{self._record.uri}: is compressed, though its name does not end in .gz or .zst. "
                    "Rename the object. Nothing of it was sent."
                )
        return self._held[offset - self._start : offset - self._start + size]

    def _fetch(self, offset: int) -> bytes:
        # Before a stretch only the beginning of its file is asked for.
        window = FIRST_LOOK if offset < self._record.begin else self._window
        stop = min(offset + window, self._record.stop)
        try:
            data: bytes = self._path.fs.cat_file(self._path.path, start=offset, end=stop)
        except FileNotFoundError as error:
            raise changed(self._record, "has gone") from error
        except OSError as error:
            raise broken(self._record, error, offset) from error
        if len(data) != stop - offset:
            raise changed(self._record, "has become shorter")
        return data

    def readinto(self, view: memoryview, offset: int) -> int:
        """See :class:`Contents`."""
        done = 0
        while done < len(view) and (data := self.read_at(len(view) - done, offset + done)):
            view[done : done + len(data)] = data
            done += len(data)
        return done

    def close(self) -> None:
        """See :class:`Contents`."""
        self._held = b""


def spool(files: Sequence[FoundFile], folder: str) -> tuple[list[FoundFile], IO[bytes]]:
    """Copy the remote files of a source, as they are stored, into one unlinked temporary file.

    Of a stretch only its bytes and the beginning of its file are copied: the rest of that file is a gap in the copy.

    :param folder: where the temporary file lives; it needs room for all of them.
    :return: the files, the remote ones now at their copies, and the temporary file, to be closed at the end.
    """
    place = os.path.expanduser(folder)  # noqa: PTH111
    copies = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115 (the caller closes it)
    result, end = [], 0
    for found in files:
        if found.record.local:
            result.append(found)
            continue
        remote = RemoteContents(found.record, found.path, PACKED_WINDOW)
        result.append(found._replace(path=Spooled(copies.fileno(), end)))
        for offset, stop in _stretches_to_copy(found.record):
            while offset < stop and (data := remote.read_at(min(PACKED_WINDOW, stop - offset), offset)):
                rest = memoryview(data)
                while rest:  # a disk that is nearly full takes a piece only
                    rest = rest[os.pwrite(copies.fileno(), rest, end + offset + len(data) - len(rest)) :]
                offset += len(data)
        end += found.record.stop
    return result, copies


def _stretches_to_copy(record: SourceFile) -> list[tuple[int, int]]:
    """Where what is read of a file begins and ends."""
    if record.begin <= FIRST_LOOK:
        return [(0, record.stop)]
    return [(0, FIRST_LOOK), (record.begin, record.stop)]
