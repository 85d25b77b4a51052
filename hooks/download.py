"""The body of an answer as a file: taken block by block, with a bound, so that memory stays flat.

The transport carries the call out as any other (:meth:`airflow_bulk.hooks.transport.Transport.send`); here stands only where the
body goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_bulk.judging import how_many
from airflow_bulk.platforms.errors import TooLarge

if TYPE_CHECKING:
    import requests

    from airflow_bulk.platforms.call import Call

BLOCK = 256 << 10
#: Bytes of a bad answer that are read: its message stands at the beginning.
MOST_OF_A_PROBLEM = 64 << 10


class Download:
    """Where the body of a good answer goes.

    :param into: an open file; the body stands behind what it holds already. It must seek, for a body that was cut short is
        asked for again.
    :param most_bytes: a longer body is refused.
    """

    #: A packed body may be small on the way and huge once unpacked.
    headers: Mapping[str, str] = {"Accept-Encoding": "identity"}

    def __init__(self, into: BinaryIO, most_bytes: int) -> None:
        self._into, self._most_bytes = into, most_bytes
        self._start = into.tell()
        self.size = 0

    def take(self, call: Call[Any], answer: requests.Response) -> bytes:
        """Write the body of a good answer; return the beginning of the body of a bad one.

        :raises TooLarge: it has more bytes than allowed.
        :raises requests.RequestException: it was cut short.
        """
        with answer:
            if answer.status_code >= 300:
                return next(answer.iter_content(MOST_OF_A_PROBLEM), b"")
            told = answer.headers.get("content-length", "")
            if told.isdecimal() and int(told) > self._most_bytes:
                raise self._too_large(call, how_many(int(told), "byte"))
            self._into.seek(self._start)
            self._into.truncate()
            self.size = 0
            for block in answer.iter_content(BLOCK):
                self.size += len(block)
                if self.size > self._most_bytes:
                    raise self._too_large(call, "more")
                self._into.write(block)
            return b""

    def _too_large(self, call: Call[Any], size: str) -> TooLarge:
        return TooLarge(
            call.what,
            f"the file has {size}, and at most {how_many(self._most_bytes, 'byte')} are read",
            retry="A retry cannot help: it reads no more.",
        )
