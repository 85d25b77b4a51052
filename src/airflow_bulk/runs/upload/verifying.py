"""The platform's own copy of what was sent, read back and compared: length and digest of each part.

The copy goes through this process block by block and is kept nowhere. That it holds the bytes of the upload as they came is
assumed (mediarithmics.md section 4.5). What may not be read is said and fails nothing; what is read and differs does.
"""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import xxhash

from airflow_bulk.judging import NAMED, how_many
from airflow_bulk.platforms.errors import PlatformError, TooLarge, TryLater

if TYPE_CHECKING:
    from airflow_bulk.documents.source.parts import Part
    from airflow_bulk.platforms.status import RemoteSnapshot
    from airflow_bulk.runs.recorded_parts import RecordedPart
    from airflow_bulk.runs.upload.result import Pairs
    from airflow_bulk.runs.upload.submission import UploadSubmission

log = logging.getLogger(__name__)

#: The value of the argument ``verify``: the only way that a platform offers.
INPUT_FILE = "input_file"
#: Parts that a result names.
PARTS_NAMED = 100


class HashedFile(io.RawIOBase):
    """A file that is only measured: what is written is counted and hashed.

    It can be begun anew, as a download does that was cut short, and nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._hash = xxhash.xxh3_128()

    @property
    def digest(self) -> str:
        """xxh3-128, hexadecimal."""
        return str(self._hash.hexdigest())

    def writable(self) -> bool:
        """It can be written."""
        return True

    def seekable(self) -> bool:
        """It can go back to its beginning."""
        return True

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to the beginning."""
        if offset or whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only the beginning can be sought")
        self._begin()
        return 0

    def truncate(self, size: int | None = None) -> int:
        """Cut off what stands behind the position: nothing does."""
        return self.size

    def write(self, data: Any) -> int:
        """Take bytes."""
        self._hash.update(data)
        self.size += len(data)
        return len(data)


class Compared(NamedTuple):
    """What came of one part: nothing in both fields where the copy is what was sent.

    :param different: how it differs.
    :param unread: why it cannot be read.
    """

    different: str = ""
    unread: str = ""


class Verification:
    """Compares the copies of an import that is over; asks again only for what this try has not compared.

    :param work: the import.
    """

    def __init__(self, work: UploadSubmission) -> None:
        self._work = work
        self._done: dict[str, Compared] = {}

    def run(self, pairs: Pairs) -> dict[str, Any]:
        """Compare all parts; return what the result says of it.

        :raises TryLater: the platform cannot be asked for the moment, and there is time left to wait.
        """
        log.info("Reading back what the platform has kept of %s.", how_many(len(pairs), "part"))
        for entry, one in pairs:
            if one.id not in self._done:
                self._done[one.id] = self._compare(entry, one)
        found = [(entry, one, self._done[one.id]) for entry, one in pairs]
        different = [entry.part.index + 1 for entry, _, said in found if said.different]
        unread = sorted({said.unread for *_, said in found if said.unread})
        count = sum(bool(said.unread) for *_, said in found)
        verified: dict[str, Any] = {
            "parts": len(found),
            "verified": len(found) - len(different) - count,
            "different": different[:PARTS_NAMED],
            "not_readable": count,
            "why": "; ".join(unread[:3]) or None,
        }
        if count:
            log.warning(
                "%d of %s could not be read back, so it is not proved that the platform has what was sent: %s. "
                "Nothing fails because of that.",
                count,
                how_many(len(found), "part"),
                verified["why"],
            )
        log.info("%d of %s read back as it was sent.", verified["verified"], how_many(len(found), "part"))
        return verified

    def reason(self, pairs: Pairs) -> str:
        """Why the import is not good: a copy differs from what was sent; empty where none does."""
        told = [
            f"part {entry.part.index + 1} (execution {one.id}): {self._done[one.id].different}"
            for entry, one in pairs
            if one.id in self._done and self._done[one.id].different
        ]
        if not told:
            return ""
        more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
        return (
            f"The platform's copy of {how_many(len(told), 'part')} of the {self._work.what} is not what was sent: "
            f"{'; '.join(told[:NAMED])}{more}. The accepted lines stay imported, and nothing is sent again: a retry ends in the "
            "same way, and clearing the task reads the copies once more."
        )

    def _compare(self, entry: RecordedPart, one: RemoteSnapshot) -> Compared:
        call = getattr(self._work.port, "data_file", None)
        if call is None:
            return Compared(unread="nothing says how a file of this platform is fetched")
        if not one.input_file:
            return Compared(unread="the platform names no input file")
        if self._is_late():
            return Compared(unread="the task's own deadline has passed")
        part, copy = entry.part, HashedFile()
        try:
            self._work.hook.download(call(one.input_file), cast("BinaryIO", copy), part.body + 1)
        except TooLarge:
            return Compared(different=f"more than {_told(part)} sent")
        except TryLater as error:
            if error.passing and not self._is_late():
                raise
            return Compared(unread=error.why)
        except PlatformError as error:
            return Compared(unread=error.why)
        if (copy.size, copy.digest) == (part.body, part.digest):
            return Compared()
        return Compared(
            different=f"{_told(part)} sent, digest {part.digest}; {how_many(copy.size, 'byte')} there, digest {copy.digest}"
        )

    def _is_late(self) -> bool:
        return time.time() >= self._work.started + self._work.args.timeout


def _told(part: Part) -> str:
    return how_many(part.body, "byte")
