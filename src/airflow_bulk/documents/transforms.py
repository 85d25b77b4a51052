"""What a function of the user makes of a bad line, before it is sent again. No error says what the line holds."""

from __future__ import annotations

import csv
import io
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from airflow_bulk.documents.source.parts import SourceUnusable, counted


@dataclass(frozen=True)
class BadLine:
    """A line that was rejected or failed, as a transform gets it.

    :param text: the line, without its line end; where the import is not in UTF-8 take ``raw``.
    :param state: ``rejected`` or ``failed``; ``unknown`` for a line of a part of which some unknown lines have failed.
    :param reasons: why, in the words of the check or of the platform.
    :param source: the file.
    :param line: its number in the file, from 1; None where it is not known.
    :param columns: what the platform's error file says beside the message.
    :param header: the columns of a CSV file; empty for NDJSON.
    :param delimiter: what separates the cells of CSV.
    :param raw: the line in bytes, as it stands in its file, without its line end.
    """

    text: str = field(repr=False)
    state: str
    reasons: tuple[str, ...] = field(repr=False)  # the platform may quote the line
    source: str | None
    line: int | None
    columns: dict[str, Any] = field(default_factory=dict, repr=False)
    header: tuple[str, ...] = ()
    delimiter: str = ","
    raw: bytes = field(default=b"", repr=False)

    @property
    def record(self) -> dict[str, Any]:
        """The line as a dictionary.

        :raises ValueError: it is none.
        """
        if self.header:
            cells = next(csv.reader([self.text], delimiter=self.delimiter), [])
            return dict(zip(self.header, cells, strict=False))
        found = msgspec.json.decode(self.text)
        if not isinstance(found, dict):
            raise ValueError("the line is no JSON object")  # noqa: TRY004 (a bad value, of the right type)
        return found


#: Returns the line to send: a text, or a dictionary; bytes where the import is not in UTF-8; None leaves the line out.
Transform = Callable[[BadLine], str | bytes | dict[str, Any] | None]


@lru_cache(maxsize=32)
def header_names(header: bytes, delimiter: str) -> tuple[str, ...]:
    """The columns of a CSV header; none of an empty one."""
    text = header.decode(errors="surrogateescape")
    return tuple(next(csv.reader([text], delimiter=delimiter), []))


def transformed(
    transform: Transform, bad: BadLine, where: str, *, passing: tuple[type[Exception], ...], only_bytes: bool
) -> bytes | None:
    """The line that a transform makes; None where it leaves it out.

    :param where: the line's place, in words.
    :param passing: errors of the transform that are raised as they are.
    :param only_bytes: the import is not in UTF-8, and how a text is written there is not known.
    :raises SourceUnusable: it fails, or returns what is no line.
    """
    try:
        made = transform(bad)
    except passing:
        raise
    except Exception as error:  # noqa: BLE001 (it is not our function)
        # What it says may hold the line, and so may what it was raised from.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise SourceUnusable(
            f"transform failed with {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}, at {where}. "
            "Nothing of this round was sent; a retry helps only once it is corrected."
        ) from None
    if made is None:
        return None
    if only_bytes and not isinstance(made, bytes):
        raise SourceUnusable(
            f"transform returned {type(made).__name__} at {where}: it must return bytes, since the encoding of the import is not "
            "utf-8, or None to leave the line out. Nothing of this round was sent; a retry helps only once it is corrected."
        )
    return _one_line(_encoded(made, bad, where), where)


def _encoded(made: object, bad: BadLine, where: str) -> bytes:
    if isinstance(made, dict):
        made = _written(made, bad, where)
    if isinstance(made, str):
        try:
            return made.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise SourceUnusable(
                f"transform returned half a surrogate pair at {where}, and no file can hold that. Nothing of this round was "
                "sent; a retry helps only once it is corrected."
            ) from None
    if not isinstance(made, bytes):
        raise SourceUnusable(
            f"transform returned {type(made).__name__} at {where}: it must return a text, a dictionary, or None to leave the line "
            "out. Nothing of this round was sent; a retry helps only once it is corrected."
        )
    return made


def _written(record: dict[Any, Any], bad: BadLine, where: str) -> str | bytes:
    if bad.header and (more := len(record.keys() - set(bad.header))):
        raise SourceUnusable(
            f"transform returned a dictionary with {counted(more, 'key')} beside the columns of the header, at {where}. Nothing of "
            "this round was sent; a retry helps only once it is corrected."
        )
    try:
        return _row_of(record, bad) if bad.header else msgspec.json.encode(record)
    except Exception as error:  # noqa: BLE001 (what an object of the user says of itself may hold the line)
        raise SourceUnusable(
            f"transform returned a dictionary that cannot be written ({type(error).__name__}) at {where}. Nothing of this round "
            "was sent; a retry helps only once it is corrected."
        ) from None


def _row_of(record: dict[str, Any], bad: BadLine) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=bad.delimiter, lineterminator="").writerow(
        ["" if record.get(name) is None else record[name] for name in bad.header]
    )
    return text.getvalue()


def _one_line(data: bytes, where: str) -> bytes:
    data = data.rstrip(b"\r\n")
    if not data.strip() or b"\n" in data:
        raise SourceUnusable(
            f"transform returned {'more than one line' if data.strip() else 'an empty line'} at {where}: it must return one "
            "line, or None to leave it out. Nothing of this round was sent; a retry helps only once it is corrected."
        )
    return data
