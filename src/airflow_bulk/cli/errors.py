"""How a command ends that did not do what was asked: one sentence for a person at a shell, and an exit code.

The errors of the package speak to a person who looks at a task: of retries, clears and DAGs. Here there are none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: What only a task has; a clause that speaks of it is left out.
_OF_TASKS = re.compile(
    r"\b(a )?retry\b|\bretries\b|\bclear(s|ed|ing)?\b.*\btask\b|\bclearing\b|\ba clear\b|\bDAGs?\b|\bthe task\b|\bon_clear\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"(?<=[.!?]) (?=[A-Z0-9(])|(?<=;) ")
#: Options of an operator as options of a command.
_OPTION = re.compile(r"SendingOptions\((\w+)(?:=(\w+))?\)")
_NAME = re.compile(
    r"\b(rejects_path|spool_dir|max_part_bytes)\b|(?<=\bgive )(datamart_id|organisation_id)\b|^datamart_id\b"
)
_ARGUMENT = re.compile(r"\b(on_empty|on_source_change|max_failures|max_deletions)=('?)([\w.%]+)\2")


class Ended(Exception):
    """The command ends here.

    :param text: why, for a person.
    :param code: the exit code.
    :param details: further keys of the JSON document.
    """

    def __init__(self, text: str, code: int = 1, **details: Any) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.details = details


def flag_of(field: str) -> str:
    """The option that an argument of an operator is at a shell."""
    name = field.removeprefix("sending.")
    if name == "source":
        return "FILE"
    return "--" + {"import_id": "IMPORT_ID"}.get(name, name.replace("_", "-"))


def for_a_shell(text: str) -> str:
    """A message of the package without what it says of retries, clears and DAGs, and with options as a shell has them."""
    kept = [clause for clause in _CLAUSE.split(text) if not _OF_TASKS.search(clause)]
    said = " ".join(kept) or text
    said = re.sub(r"[;,:]$", ".", said)
    said = _OPTION.sub(_option, said)
    said = _NAME.sub(lambda found: flag_of(found[0]), said)
    said = said.replace("the worker's folder", "the current folder")
    return _ARGUMENT.sub(lambda found: f"{flag_of(found[1])} {found[3]}", said)


def _option(found: re.Match[str]) -> str:
    name, value = found[1].replace("_", "-"), found[2]
    return f"--no-{name}" if value == "False" else f"--{name}"


def ended_by(error: Exception) -> Ended:
    """What an error means for the command: a sentence and an exit code, never a traceback or a line's content."""
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException

    from airflow_bulk.arguments import ArgumentError
    from airflow_bulk.platforms.errors import PlatformError

    if isinstance(error, Ended):
        return error
    if isinstance(error, ArgumentError):
        return Ended(f"{flag_of(error.field)} {error.problem}.", 2)
    if isinstance(error, PlatformError):
        return Ended(f"Could not {error.what}: {error.why}.")
    if isinstance(error, AirflowSkipException):
        return Ended(for_a_shell(str(error)), 0)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Ended(f"{place}{error.strerror}.")
    if isinstance(error, (AirflowException, ValueError)) or _is_ours(error):
        return Ended(for_a_shell(str(error)))
    return Ended(f"This is a fault of the program: {type(error).__name__} {_place(error)}. Please report it.")


def _is_ours(error: Exception) -> bool:
    return type(error).__module__.startswith("airflow_bulk.")


def _place(error: Exception) -> str:
    """Where it happened: the message of an unknown error may hold anything, so it is not told."""
    trace, place = error.__traceback__, "at an unknown place"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "airflow_bulk" in code.co_filename:
            place = f"in {Path(code.co_filename).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place
