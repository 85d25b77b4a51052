"""Arguments as they come, from code or rendered from a template, coerced or refused with the field's name.

A template always renders to text: ``"true"``, ``"5000000"``, ``"None"``. Every reader here takes the
value proper and its text, and says which field is wrong. Nothing was sent when these errors come.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

ABSENT = ("", "none", "null")


class _ByDefault(str):
    """A default that can be told from the same text given on purpose."""

    __slots__ = ()


#: The default of ``rejects_content``: the line, but the position alone for deletions.
LINE_BY_DEFAULT = _ByDefault("line")


def unless_default(value: str) -> str | None:
    """Return a value given on purpose, else None."""
    return None if isinstance(value, _ByDefault) else value


class ArgumentError(ValueError):
    """An argument of an operator cannot be used; nothing was sent, and a retry meets the same value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"{field} {problem}. Nothing was sent; a retry cannot help until the DAG is changed."
        )
        self.field = field


def is_template(value: object) -> bool:
    """Whether a value still has to be rendered."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def never_a_template(field: str, value: Any) -> Any:
    """Refuse a template where no run may decide: no trigger form can reach such a field."""
    if is_template(value):
        raise ArgumentError(field, "must not be a template, so that nobody can set it from a trigger form")
    return value


def text(field: str, value: object) -> str:
    """Read text that must not be empty."""
    result = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not result:
        raise ArgumentError(field, "must be a text that is not empty")
    return result


def optional_text(field: str, value: object) -> str | None:
    """Read text; empty text and None are None."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ABSENT):
        return None
    return text(field, value)


def listed(value: object) -> list[Any] | None:
    """Return a list, also from its text as a template renders it: ``"['a', 'b']"``; None for anything else.

    A set is sorted: its own order differs between processes, and a retry would take a source of files for a changed one.
    """
    if isinstance(value, str) and value.strip()[:1] in ("[", "(", "{"):
        try:
            value = ast.literal_eval(value.strip())
        except (
            ValueError,
            SyntaxError,
            TypeError,
            RecursionError,
            MemoryError,
        ):  # what it names for any text
            return None
        if not isinstance(value, list | tuple | set) or not all(isinstance(one, str) for one in value):
            return None
    if isinstance(value, set):
        return sorted(value, key=str)
    return list(value) if isinstance(value, list | tuple) else None


def optional_texts(field: str, value: object) -> list[str] | None:
    """Read a list of texts, or its text: ``"1,2"`` or ``"['1', '2']"``, as a template renders a list.

    Empty text and None are None. An empty list stays one: whoever names nothing does not mean everything.
    """
    several = listed(value)
    if several is not None:
        return [text(field, one) for one in several]
    given = optional_text(field, value)
    if given is None:
        return None
    return [one for piece in given.strip("[]()").split(",") if (one := piece.strip().strip("'\"").strip())]


def flag(field: str, value: object) -> bool:
    """Read a boolean, or the text of one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "1", "yes", "on"):
        return True
    if isinstance(value, str) and value.strip().lower() in ("false", "0", "no", "off"):
        return False
    raise ArgumentError(field, f"must be true or false, not {value!r}")


def optional_flag(field: str, value: object) -> bool | None:
    """Read a boolean; empty text and None are None, which means not sent."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ABSENT):
        return None
    return flag(field, value)


def number(field: str, value: object, *, least: float = 0.0) -> float:
    """Read a number from ``least`` up."""
    try:
        result = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        )
    except ValueError:
        result = None
    if result is None or not least <= result < float("inf"):
        raise ArgumentError(field, f"must be a number from {least:g} up, not {value!r}")
    return result


def integer(field: str, value: object, *, least: int = 0) -> int:
    """Read a whole number from ``least`` up; underscores in text are allowed, as in Python."""
    try:
        result = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        result = None
    if isinstance(value, float) and value.is_integer():
        result = int(value)
    if result is None or result < least:
        raise ArgumentError(field, f"must be a whole number from {least} up, not {value!r}")
    return result


def duration(field: str, value: object) -> float:
    """Read a timedelta, or a number of seconds, as seconds above 0."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else number(field, value)
    if seconds <= 0:
        raise ArgumentError(field, "must be longer than 0 seconds")
    return seconds


def choice(field: str, value: object, allowed: Sequence[str]) -> str:
    """Read one of a few texts."""
    if not isinstance(value, str) or value.strip() not in allowed:
        raise ArgumentError(field, f"must be one of {', '.join(allowed)}, not {value!r}")
    return value.strip()


def optional_choice(field: str, value: object, allowed: Sequence[str]) -> str | None:
    """Read one of a few texts; empty text and None are None."""
    return None if optional_text(field, value) is None else choice(field, value, allowed)


@dataclasses.dataclass(frozen=True)
class SendingOptions:
    """How a source is cut and sent: what few people touch.

    Every field may hold a template; its text is coerced when the task runs.

    :param max_part_bytes: bytes of one upload at most; the vendor's guidance is 100M
        (mediarithmics.md section 3 [documented]), read as its smaller meaning. A plain object of a store is
        fetched part by part, and a part is held in memory; local and compressed files are not.
    :param workers: 1 checks and sends in the task's own process; more use so many child processes. A remote source
        without ``spool_dir`` is read by one alone: more fall back to it, with a warning.
    :param overlap: let parts leave as soon as they are checked. A refusal may then come after the first parts. One
        worker checks a part, sends it, and checks the next one; of several, some check while others send.
    :param spool_dir: folder for an unlinked local copy of a remote source, as it is stored, to fetch it once only.
    :param one_part_per_file: never let a part span files.
    :param csv_delimiter: the separator of CSV cells.
    :param check: check every line; False sends bytes untouched and counts lines.
    :param check_extension: refuse a file whose extension does not fit the mime type.
    :param name_marker: end the import's name in a random word, by which a later try finds it again. False: an
        import whose creation got no answer is not looked up; the task fails, and a person looks and clears it.
        Executions of an import whose id is recorded are adopted all the same: they are told by their lines.
    :param resend_failed_parts: send a part again whose execution FAILED or was LOST, though nobody
        documents whether lines were taken.
    :param settle: seconds to wait for an execution to show after its answer was lost. Under 3 s only where
        nothing can be in flight any more: the last block of a killed sender may leave 2 s after its commit.
    """

    max_part_bytes: int | str = 100_000_000
    workers: int | str = 1
    overlap: bool | str = False
    spool_dir: str | None = None
    one_part_per_file: bool | str = False
    csv_delimiter: str = ","
    check: bool | str = True
    check_extension: bool | str = True
    name_marker: bool | str = True
    resend_failed_parts: bool | str = False
    settle: float | str = 5.0

    def rendered(self, render: Callable[[str], Any]) -> SendingOptions:
        """Return the options with templates rendered and every field coerced.

        :raises ArgumentError: naming the field.
        """
        values = {
            field.name: render(value) if is_template(value := getattr(self, field.name)) else value
            for field in dataclasses.fields(self)
        }
        delimiter = values["csv_delimiter"]
        if (
            not isinstance(delimiter, str)
            or len(delimiter) != 1
            or not delimiter.isascii()
            or delimiter in '\r\n"'
        ):
            raise ArgumentError("sending.csv_delimiter", "must be one ASCII character")
        flags = (
            "overlap",
            "one_part_per_file",
            "check",
            "check_extension",
            "name_marker",
            "resend_failed_parts",
        )
        return SendingOptions(
            max_part_bytes=integer("sending.max_part_bytes", values["max_part_bytes"], least=1000),
            workers=integer("sending.workers", values["workers"], least=1),
            spool_dir=optional_text("sending.spool_dir", values["spool_dir"]),
            csv_delimiter=delimiter,
            settle=number("sending.settle", values["settle"]),
            **{name: flag(f"sending.{name}", values[name]) for name in flags},
        )
