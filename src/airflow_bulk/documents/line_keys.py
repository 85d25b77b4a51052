"""By what a line can be told: itself, and the identifiers of the person or record that it is about."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from airflow_bulk.documents.error_files import IDENTIFIERS, normal

#: Where identifiers stand in a line besides its own properties (mediarithmics.md sections 5 and 6).
NESTED = frozenset({"email_hash", "identifiers", "user_identifiers"})
KEY_BYTES = 16


def key_of(value: bytes) -> bytes:
    """A short hash of a value: two values with the same one are not met by chance, and cannot be made on purpose."""
    return hashlib.blake2b(value, digest_size=KEY_BYTES).digest()


def as_bytes(text: str) -> bytes:
    """The bytes of text that was decoded without losing one."""
    return text.encode("utf-8", "surrogateescape")


def line_key(raw: bytes) -> bytes:
    """The key of a line itself, without blanks around it."""
    return key_of(raw.strip())


class IdentifierFinder:
    """Finds the identifiers of lines.

    :param mime_type: ``APPLICATION_X_NDJSON`` or ``TEXT_CSV``.
    :param delimiter: of CSV.
    """

    def __init__(self, mime_type: str, delimiter: str) -> None:
        self._csv = mime_type == "TEXT_CSV"
        self._delimiter = delimiter
        self._names: dict[bytes, list[str]] = {}
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode

    def keys(self, raw: bytes, header: bytes) -> set[bytes]:
        """The keys of a line's identifiers; none where it is no object or row.

        :param header: of its file; empty without one.
        """
        return {key_of(value.encode("utf-8", "replace")) for value in self._values(raw, header) if value}

    def _values(self, raw: bytes, header: bytes) -> Iterator[str]:
        if self._csv:
            if header not in self._names:
                self._names[header] = self._cells(header)
            for name, cell in zip(self._names[header], self._cells(raw), strict=False):
                if normal(name) in IDENTIFIERS:
                    yield cell.strip()
            return
        try:
            document = self._decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        if isinstance(document, dict):
            yield from _identifiers(document)

    def _cells(self, line: bytes) -> list[str]:
        try:
            rows = list(csv.reader([line.decode().rstrip("\r\n")], delimiter=self._delimiter))
        except (csv.Error, UnicodeError):
            return []
        return rows[0] if rows else []


def _identifiers(document: dict[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        known = normal(name)
        if known in NESTED and isinstance(value, dict):
            yield from _identifiers(value)
        elif known in NESTED and isinstance(value, list):
            for one in value:
                if isinstance(one, dict):
                    yield from _identifiers(one)
        elif known in IDENTIFIERS and isinstance(value, str | int) and not isinstance(value, bool):
            yield str(value).strip()
