"""How a command ends that did not do what was asked: one sentence for a person at a shell, and an exit code.

The errors of the package speak to a person who looks at a task: of retries, clears and DAGs. Here there are none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: What only a task has; a clause that speaks of it is left out. The second line has what stands behind such a clause.
_OF_TASKS = re.compile(
    r"\b(a )?retry\b|\bretries\b|\bclear(s|ed|ing)?\b.*\btask\b|\bclearing\b|\ba clear\b|\bDAGs?\b|\bthe task\b|\bon_clear\b"
    r"|^nothing that was recorded is repeated|^It cannot help before that|^it sends the same|^it finds the same",
    re.IGNORECASE,
)
#: What a person can do stays, also where a retry is told first.
_ADVICE = (
    (re.compile(r"\bA retry cannot help until\b"), "Running this again cannot help until"),
    (re.compile(r"\ba retry cannot help until\b"), "running this again cannot help until"),
    (re.compile(r"\bA retry cannot help: (?!it )"), ""),
    (re.compile(r", for a new DAG run\b"), ""),
)
_CLAUSE = re.compile(r"(?<=[.!?]) (?=[A-Z0-9(])|(?<=;) ")
#: Options of an operator as options of a command.
_OPTION = re.compile(r"SendingOptions\((\w+)(?:=(\w+))?\)")
_NAME = re.compile(
    r"\b(rejects_path|spool_dir|max_part_bytes)\b|(?<=\bgive )(datamart_id|organisation_id)\b|^datamart_id\b"
    r"|(?<=the source or )(max_failures|max_deletions)\b|(?<=\blonger )timeout\b"
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
    return _as_options(_without_tasks(text) or text)


def _without_tasks(text: str) -> str:
    """A message without its clauses on tasks; empty where it has no others."""
    for pattern, instead in _ADVICE:
        text = pattern.sub(instead, text)
    said = ""
    for clause in _CLAUSE.split(text):
        if not _OF_TASKS.search(clause):
            # A clause behind a semicolon may be the first of its sentence that is left.
            said += f" {_capital(clause) if said.endswith(('.', '!', '?')) else clause}"
        elif clause.endswith((".", "!", "?")) and said.endswith(";"):
            said = f"{said[:-1]}."
    return re.sub(r"[;,:]$", ".", said.strip())


def _capital(clause: str) -> str:
    """A clause as a sentence begins; a name of an option stays as it is."""
    return clause[:1].upper() + clause[1:] if re.match(r"[a-z]+ ", clause) else clause


def _as_options(said: str) -> str:
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
        advice = _as_options(_capital(_without_tasks(error.retry)))
        return Ended(f"Could not {error.what}: {error.why}. {advice}".rstrip())
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
