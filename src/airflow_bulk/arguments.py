"""Read the arguments of operators and sensors, from code or from a template; an error names the argument.

A template always renders to text: ``"true"``, ``"5000000"``, ``"None"``. So every function here reads a value, and the
text of such a value. Arguments are read before anything is sent. What every upload is asked for stands at the end
(:class:`UploadArguments`).
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_bulk.documents.source.spreading import FileStretch
    from airflow_bulk.judging import Tolerance

ABSENT = ("", "none", "null")


class _ByDefault(str):
    """A default; the same text that a user gives is another object."""

    __slots__ = ()


#: The default of ``rejects_content``: the line; for deletions only the position.
LINE_BY_DEFAULT = _ByDefault("line")
#: The default of ``expect_fingerprint``: nothing is expected. None is a value that says nothing, as a template's may be.
NOTHING_EXPECTED = _ByDefault("")


def unless_default(value: str) -> str | None:
    """Return a value that the user gave; None for the default."""
    return None if isinstance(value, _ByDefault) else value


class ArgumentError(ValueError):
    """An argument of an operator cannot be used. Nothing was sent; a retry would find the same value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"{field} {problem}. Nothing was sent; a retry cannot help until the DAG is changed."
        )
        self.field = field
        self.problem = problem


def is_template(value: object) -> bool:
    """Whether a value is a template that was not rendered."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def never_a_template(field: str, value: Any) -> Any:
    """Refuse a template, so that no trigger form can set the argument."""
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
    """Read text; empty text and None become None."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ABSENT):
        return None
    return text(field, value)


def listed(value: object) -> list[Any] | None:
    """Return a list, also from the text that a template makes of it: ``"['a', 'b']"``; None for anything else.

    A set is sorted: its own order differs between processes, so that a retry would find another order of the sources.
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
        ):  # for any text, this names the errors that it may raise
            return None
        if not isinstance(value, list | tuple | set) or not all(isinstance(one, str) for one in value):
            return None
    if isinstance(value, set):
        return sorted(value, key=str)
    return list(value) if isinstance(value, list | tuple) else None


def optional_texts(field: str, value: object) -> list[str] | None:
    """Read a list of texts, or its text: ``"1,2"`` or ``"['1', '2']"``, as a template renders a list.

    Empty text and None become None. An empty list stays an empty list: it means nothing, and None may mean everything.
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
    """Read a boolean; empty text and None become None, which is not sent."""
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


def fingerprint(field: str, value: object) -> str:
    """Read a fingerprint; only None is none. A template that finds nothing names nothing that was approved."""
    if value is None:
        return ""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value.strip()):
        raise ArgumentError(
            field, "must be the fingerprint that a dry run has returned, 32 hexadecimal digits"
        )
    return value.strip()


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


def marker(field: str, value: object) -> bool | str:
    """Read whether a name ends in a marker, or words that errors have named: 12 hexadecimal digits each."""
    words = value.lower().replace(",", " ").split() if isinstance(value, str) else []
    if words and all(re.fullmatch("[0-9a-f]{12}", word) for word in words):
        return " ".join(words)
    return flag(field, value)


def optional_choice(field: str, value: object, allowed: Sequence[str]) -> str | None:
    """Read one of a few texts; empty text and None become None."""
    return None if optional_text(field, value) is None else choice(field, value, allowed)


@dataclasses.dataclass(frozen=True)
class SendingOptions:
    """How a source is cut and sent; the defaults fit most imports.

    Every field may hold a template; the rendered text is read when the task runs.

    :param max_part_bytes: the most bytes of one upload. The vendor's guidance is 100M (mediarithmics.md section 3
        [documented]), read here as 100,000,000. A plain object of a store is fetched part by part, and each part is
        held in memory; local files and compressed files are not.
    :param workers: with 1 the task's own process checks and sends; with more so many child processes do. A remote
        source without ``spool_dir`` is read by one worker, and a larger number is ignored with a warning.
    :param overlap: send each part as soon as it is checked. The file may then be refused after its first parts were
        sent. One worker checks a part, sends it, and checks the next part; of several workers some check while others
        send.
    :param spool_dir: folder for a local copy of a remote source, so that it is fetched only once. The copy is as the
        source is stored, and has no name in the folder.
    :param one_part_per_file: never put lines of two files into one part.
    :param csv_delimiter: the character between the cells of a CSV row.
    :param check: check every line; with False bytes are sent unchanged, and lines are only counted.
    :param check_extension: refuse a file whose extension does not fit the mime type.
    :param name_marker: end the import's name in two words in brackets: the beginning of the source's fingerprint, and the
        marker, by which a later try finds the import; it follows from dag, task, run and map index. Where an error names words to choose from (the task was renamed in mid-run, or all
        its records were lost), the chosen one stands here, or several with spaces between them; a word counts only for the
        task and the run whose error has named it, and may stay. With
        False an import whose creation got no answer is not looked up: the task fails, and a person looks at the
        platform and clears the task. Once the import's id is recorded, its executions are found by their lines.
    :param resend_failed_parts: send a part again when its execution FAILED or was LOST, although it is not
        documented whether the platform took lines of it.
    :param settle: seconds to wait until the platform lists an execution whose upload got no answer. Less than 3 s is
        safe only where no upload can be under way: the last block of a killed sender may leave 2 s after its commit.
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

    @classmethod
    def of(cls, given: object) -> SendingOptions:
        """Take options as they are, or the same options as a dict, as a DAG author may write them.

        :raises ArgumentError: it is neither, or a key of the dict is no option; the error names it.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ArgumentError(
                "sending", f"must be SendingOptions or a dict of its fields, not {type(given).__name__}"
            )
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [str(name) for name in given if name not in known]:
            raise ArgumentError(
                f"sending.{unknown[0]}",
                f"is not an option of SendingOptions (not known: {', '.join(unknown)}). Options are: {', '.join(known)}",
            )
        return cls(**given)

    def rendered(self, render: Callable[[str], Any]) -> SendingOptions:
        """Return the options with templates rendered and every field read.

        :raises ArgumentError: a field cannot be used; the error names it.
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
            "resend_failed_parts",
        )
        return SendingOptions(
            max_part_bytes=integer("sending.max_part_bytes", values["max_part_bytes"], least=1000),
            workers=integer("sending.workers", values["workers"], least=1),
            spool_dir=optional_text("sending.spool_dir", values["spool_dir"]),
            csv_delimiter=delimiter,
            settle=number("sending.settle", values["settle"]),
            name_marker=marker("sending.name_marker", values["name_marker"]),
            **{name: flag(f"sending.{name}", values[name]) for name in flags},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenOptions:
    """What an import does with files that are known across runs.

    :param on_seen: ``skip`` or ``fail``.
    :param seen_as: the name that stays the same over all runs.
    :param days: how long a file is known that the source does not hold any more.
    :param files: how many such files are known at most.
    """

    on_seen: str
    seen_as: str
    days: float
    files: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class UploadArguments:
    """What a task was asked to bring to a platform, every value proper.

    A subclass of :class:`~airflow_bulk.operators.base.UploadOperator` makes one of them: its own fields come first,
    :func:`read_upload` reads the others.

    :param name: of the import that is created, before its marker.
    :param line_check: ``package.module:function`` that says what is wrong with a line of a platform of your own; see
        :mod:`airflow_bulk.documents.lines.own_check`.
    :param fields: what else the import is created with; the port's ``create`` gets them as they are.
    :param document_type: what a line is, of the types whose rules this package knows; it is not asked where there is a
        ``line_check``.
    :param mime_type: ``APPLICATION_X_NDJSON``, or ``TEXT_CSV``: a header line, which every part repeats.
    :param lines_worth_a_part: the log has a hint when a part has fewer lines; 0 for no hint.
    :param import_again_warning: what a person must know when a cleared success imports again; empty for nothing.
    :param max_deletions: for types that delete: so many lines at most; None elsewhere.
    :param source: files, patterns or URIs.
    :param tolerance: how many bad lines are good enough.
    :param rejects_path: folder of the reject file; None keeps counts alone.
    :param rejects_content: ``line`` or ``position``.
    :param on_empty: ``fail``, ``skip`` or ``ok``.
    :param on_clear: ``import_again`` or ``keep``.
    :param on_source_change: ``fail`` or ``restart``.
    :param timeout: seconds from the first submission to the deadline.
    :param poll_interval: seconds between two polls once the work has aged.
    :param expect_fingerprint: of a dry run: nothing else is sent; empty for no restriction.
    :param sample: so many lines of a dry run are told by a hash.
    :param verify: ``input_file``: read back the platform's copy of each part at the end; empty for nothing.
    :param seen: what to do with files that are known across runs; None imports every file.
    :param stretches: of the source, where it is spread over several tasks: what this one sends; empty for all of it.
    :raises ArgumentError: lines are to be checked, and nothing says by which rules.
    """

    name: str
    line_check: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    document_type: str = ""
    mime_type: str = "APPLICATION_X_NDJSON"
    lines_worth_a_part: int = 0
    import_again_warning: str = ""
    max_deletions: int | None = None
    source: tuple[str, ...]
    tolerance: Tolerance
    rejects_path: str | None
    rejects_content: str
    on_empty: str
    on_clear: str
    on_source_change: str
    dry_run: bool
    sending: SendingOptions
    wait_for_completion: bool
    poll_interval: float
    timeout: float
    cancel_on_kill: bool
    expect_fingerprint: str = ""
    sample: int = 0
    verify: str = ""
    seen: SeenOptions | None = None
    stretches: tuple[FileStretch, ...] = ()

    def __post_init__(self) -> None:
        if self.sending.check and not (self.line_check or self.document_type):
            raise ArgumentError(
                "line_check",
                "must name the function that says what is wrong with a line; only SendingOptions(check=False) does "
                "without one",
            )


def read_sources(value: object) -> tuple[str, ...]:
    """Read the source: one text, a list of them, or a list's text as a template renders it."""
    several = listed(value)
    entries = [value] if several is None else several
    return tuple(text("source", str(entry) if entry is not None else "") for entry in entries)


def read_tolerance(value: object) -> Tolerance:
    """Read ``max_failures``."""
    from airflow_bulk.judging import Tolerance

    try:
        return Tolerance.parse(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentError("max_failures", str(error)) from None


def before_template(value: object) -> str:
    """What stays of a text over all runs: what stands before its first template; empty where nothing does."""
    text = value if isinstance(value, str) else ""
    return re.split(r"\{[{%#]", text, maxsplit=1)[0].strip(" -_:,.(/[")


def read_seen(given: Mapping[str, Any]) -> SeenOptions | None:
    """Read what is done with files that are known across runs; None where every file is imported.

    :raises ArgumentError: naming the field.
    """
    on_seen = choice("on_seen", given.get("on_seen", "import_again"), ("import_again", "skip", "fail"))
    if on_seen == "import_again":
        return None
    if not flag("wait_for_completion", given["wait_for_completion"]):
        raise ArgumentError(
            "on_seen",
            "needs wait_for_completion=True: a file is known once the platform has accepted its lines, and nobody would see that",
        )
    seen_as = optional_text("seen_as", given.get("seen_as"))
    if seen_as is None:
        raise ArgumentError(
            "seen_as",
            "must be given with on_seen: it is the name that stays the same in every run, and nothing stands before the first "
            "template of the import's name",
        )
    return SeenOptions(
        on_seen=on_seen,
        seen_as=seen_as,
        days=number("seen_days", given.get("seen_days", 90)),
        files=integer("seen_files", given.get("seen_files", 10_000)),
    )


def read_upload(given: Mapping[str, Any], sending: SendingOptions) -> dict[str, Any]:
    """Read what does not depend on the platform.

    :param given: what ``UploadOperator.upload_arguments`` was given: rendered values by the operator's own argument names.
    :param sending: likewise, already rendered.
    :returns: those fields of :class:`UploadArguments` that have no default, but for ``name``; and ``seen``.
    :raises ArgumentError: naming the field.
    """
    expected = fingerprint("expect_fingerprint", given.get("expect_fingerprint"))
    if expected and sending.overlap:
        raise ArgumentError(
            "sending.overlap", "must be false with expect_fingerprint: all lines are read before one is sent"
        )
    return {
        "expect_fingerprint": expected,
        "sample": integer("sample", given.get("sample", 0)),
        "source": read_sources(given["source"]),
        "tolerance": read_tolerance(given["max_failures"]),
        "rejects_path": optional_text("rejects_path", given["rejects_path"]),
        "rejects_content": optional_choice("rejects_content", given["rejects_content"], ("line", "position"))
        or "line",
        "on_empty": choice("on_empty", given["on_empty"], ("fail", "skip", "ok")),
        "on_clear": choice("on_clear", given["on_clear"], ("import_again", "keep")),
        "on_source_change": choice("on_source_change", given["on_source_change"], ("fail", "restart")),
        "dry_run": flag("dry_run", given["dry_run"]),
        "sending": sending,
        "wait_for_completion": flag("wait_for_completion", given["wait_for_completion"]),
        "poll_interval": duration("poll_interval", given["poll_interval"]),
        "timeout": duration("timeout", given["timeout"]),
        "cancel_on_kill": flag("cancel_on_kill", given["cancel_on_kill"]),
        "seen": read_seen(given),
    }
