"""Records of Python become lines of a document import: one record, one line; never its content in an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_bulk.documents.source.parts import SourceUnusable

KINDS = "a dict, a msgspec Struct, a pydantic, dataclass or attrs object, or a line (str or bytes)"


class RecordUnusable(SourceUnusable):
    """What a function made cannot become lines. The message says which record and why; never its content."""


class _Unknown(Exception):
    """A value within a record is of a type that JSON does not have."""


class LineWriter:
    """Makes the line of each record.

    A dict, a msgspec Struct, a dataclass and an attrs object are written by msgspec: dates and times as ISO text, a
    ``Decimal`` and a ``UUID`` as text, ``NaN`` as null. A pydantic object is written by itself, with its aliases. A line
    is taken as it is, with or without its line end.

    :param mime_type: of the import: a record of CSV is a line, and the first one is the header.
    :param encoding: of the import: where it is not UTF-8, a record is a line of bytes.
    """

    def __init__(self, *, mime_type: str = "APPLICATION_X_NDJSON", encoding: str = "utf-8") -> None:
        self._only: tuple[type, ...] = ()
        self._only_in_words = ""
        if not is_utf8(encoding):
            self._only, self._only_in_words = (
                (bytes, bytearray),
                "a line of bytes, since the encoding is not utf-8",
            )
        elif mime_type == "TEXT_CSV":
            self._only, self._only_in_words = (
                (str, bytes, bytearray),
                "a line (str or bytes), since the import is CSV",
            )
        self._encode = msgspec.json.Encoder(enc_hook=_plain).encode

    def line(self, record: Any, number: int) -> bytes:
        """Return the line of a record, with its line end.

        :param number: of the record, from 1, for errors.
        :raises RecordUnusable: it cannot be one line.
        """
        if self._only and not isinstance(record, self._only):
            raise _refusal(number, f"is of type {_name(record)}: a record here is {self._only_in_words}")
        if not is_record(record):
            raise _refusal(number, f"is of type {_name(record)}: a record is {KINDS}")
        try:
            line = self._written(record)
        except _Unknown as error:
            raise _refusal(number, f"holds a value of type {error}, which JSON does not have") from None
        except UnicodeEncodeError:
            raise _refusal(number, "holds text that is not UTF-8") from None
        except Exception as error:  # noqa: BLE001  (an object writes itself; the text of its error may quote it)
            raise _refusal(number, f"cannot be written as JSON ({type(error).__name__})") from None
        if b"\n" in line:
            raise _refusal(number, "holds a line break: one record is one line")
        return line + b"\n"

    def _written(self, record: Any) -> bytes:
        if isinstance(record, str):
            record = record.encode()
        if isinstance(record, bytes | bytearray):
            return bytes(record).removesuffix(b"\n").removesuffix(b"\r")
        if _is_pydantic(record):
            return str(record.model_dump_json(by_alias=True)).encode()
        return self._encode(
            record if isinstance(record, dict) or not isinstance(record, Mapping) else dict(record)
        )


def is_utf8(encoding: str) -> bool:
    """Whether text is written as UTF-8, by the name of the encoding of an import."""
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def is_record(value: Any) -> bool:
    """Whether a value can be one record."""
    return (
        isinstance(value, str | bytes | bytearray | Mapping | msgspec.Struct)
        or (
            not isinstance(value, type)
            and (dataclasses.is_dataclass(value) or hasattr(value, "__attrs_attrs__"))
        )
        or _is_pydantic(value)
    )


def refuse_no_records(returned: Any) -> None:
    """Refuse what a function returned instead of records.

    :raises RecordUnusable: it is one record, or nothing that can be iterated over.
    """
    if hasattr(returned, "itertuples"):
        problem = "a DataFrame, and iterating over it gives the names of its columns: return frame.to_dict('records')"
    elif is_record(returned):
        problem = f"one {_name(returned)}: return a list of records, or yield them"
    elif not hasattr(returned, "__iter__"):
        problem = f"{_name(returned)}: return a list of records, or yield them"
    else:
        return
    raise RecordUnusable(
        f"The function returned {problem}. Nothing was sent; a retry calls the function again."
    )


def _refusal(number: int, problem: str) -> RecordUnusable:
    return RecordUnusable(f"Record {number} {problem}. Nothing was sent; a retry calls the function again.")


def _is_pydantic(value: Any) -> bool:
    return callable(getattr(type(value), "model_dump_json", None))


def _plain(value: Any) -> Any:
    """Return what msgspec can write: a pydantic object or another mapping within a record."""
    if callable(getattr(type(value), "model_dump", None)):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise _Unknown(_name(value))


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
