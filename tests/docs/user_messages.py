"""Every text that a person may meet in an error or in a warning, read from the code without running it.

The rule misses none: each text of the package that has two words counts, wherever it stands and whatever builds a message of
it. Not read are docstrings, reprs, patterns, and what is logged as information. What else no person meets is left out by
name, in ``LEFT_OUT``, and a name there that the code does not have is an error, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: A value within a text.
VALUE = "…"
ROOMS = ("src/airflow_bulk", "operators", "hooks", "sensors", "triggers")

#: Files whose texts are in no error and in no warning, and why.
FILES_LEFT_OUT = {
    "src/airflow_bulk/get_provider_info.py": "forms of connections",
    "src/airflow_bulk/cli/commands.py": "help of the command line",
    "src/airflow_bulk/cli/flags.py": "help of the command line",
    "src/airflow_bulk/cli/progress.py": "bars of the command line, which hold counts alone",
    "src/airflow_bulk/documents/error_tables.py": "statements of a temporary database",
    "src/airflow_bulk/extract_load/record_tables.py": "statements of a temporary database",
    "src/airflow_bulk/plugin/app.py": "texts of the page, which explains itself",
    "src/airflow_bulk/plugin/details.py": "texts of the page",
    "src/airflow_bulk/plugin/rows.py": "texts of the page",
    "src/airflow_bulk/plugin/words.py": "texts of the page",
}

#: Here only these errors are read: all else is said as the platforms say it.
EMULATOR, EMULATOR_ERRORS = "src/airflow_bulk/emulator/", ("EmulatorError", "ValueError")

#: Texts that no person meets in an error or in a warning, by the reason.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "shown on the page Bulk": ("batch of connection", "the log of the task has its text"),
    "a fault of the package's own code, which no argument can cause": (
        "a file has a URL once it was signed",
        "a part's blocks must be followed by the part",
        "a pool works only inside its with block",
        "aim the pool at a target before the first run that sends",
        "an order out of turn: …",
        "a URL that an answer has named is followed by send only",
        "came out of turn",
        "module … has no attribute",
        "no outcome",
        "only the beginning can be sought",
        "the body's id and the …'s id differ",
        "this transport was built for asend only",
    ),
    "caught within the package, which says that an answer or a line cannot be read": (
        "a batch without an id",
        "no number",
        "no whole number from 0 up",
        "not allowed",
        "the JSON is nested too deeply",
        "the answer is no batch: it has no id",
    ),
    "caught within the package: the task ends as stopped": (
        "cut by request",
        "the check was stopped on request",
    ),
    "a meaning or a type in words that is never written": (
        "Record | None",
        "exactly one identifier is needed",
        "at least one is needed",
        "not together",
        "not both true",
        "none was recorded: begin, or go on",
        "the recorded result is this try's, too",
        "a person cleared a failed judgement: judge what is there by today's limit",
        "do the work again, as the next generation",
    ),
    "logged as information": (
        "A later try",
        "Other runs may be active (the DAG's max_active_runs is not 1)",
        "Other runs may be active (a backfill)",
        "Another run is active",
        "Another run has ended since the snapshot",
        "The triggerer could not wait on: …. The task itself asks now.",
        "The triggerer calls the task back. The task itself asks now.",
        "accepted, … failed",
        "The triggerer saw the deadline pass while … was not over: … of …. The task looks a last time.",
        "is over",
        "has failed",
        "The triggerer saw that … …: …. The task looks itself and judges.",
        "the remote work",
        "of … not over",
        "of at least … there",
        "batch … has no finished_at",
        "no new execution must come for … s",
        "no executions",
        "Its server does not tell success from failure.",
        "Its status is",
        "the platform could not be asked",
        "the platform cannot be asked",
        "coming execution",
        "Over all rounds: … read",
    ),
    "a hint at a line that is sent all the same, logged as information": (
        "unknown property",
        "unknown activity type",
        "activity without events",
        "association of a single identifier",
        "segment_id and segment_technical_name on one line",
        "a property is named twice on one line: which of the two counts is not known",
        "merge_objects has no effect without force_replace false",
        "contacts is an empty array: it removes all contacts, and the balance cannot be spent then",
        "contacts is null: it counts as left out here, but the documentation does not say so",
        "cards is an empty array: it removes all cards of the contact",
        "availableBalance is left out: the documentation says that it becomes 0, and that it stays as it is",
        "a BigNumber stands there as a bare number: the documentation asks for a string",
        "accountNumber is left out",
        "quantity is quoted: the documentation quotes it in its prose, and not in its example",
        "merchantState is left out on a physical merchant: the documentation asks for it, and its own example lacks it",
        "deviceSerialNumber is left out: the documentation takes deviceId instead, and flags the serial as required",
        "a column that is not documented",
    ),
    "asked of a platform, or compared with what a library or a platform says": (
        "select count(*) from",
        "startposition … maxresults",
        "select *, MetaData.CreateTime from",
        "SELECT * FROM",
        "SET TIME ZONE 'UTC'",
        "SET time_zone = '+00:00",
        "REPEATABLE READ",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        "SAVEPOINT bulk_asks",
        "ROLLBACK TO SAVEPOINT bulk_asks",
        (
            "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'"
            " AND c.relkind IN ('r', 'm') AND c.relfilenode <> 0 AND c.relfilenode <> pg_relation_filenode(c.oid) LIMIT 1"
        ),
        "Response error",
        "trailing characters",
        "JSON is malformed",
        "othing was sent",
    ),
    "a word for a value, which stands within another text": (
        "bad line",
        "of document import …",
        "The resend…, after",
        "the batch",
        "the job",
        "the … job",
        "the nested job",
        "the text",
        "the list",
        "an object",
        "an array",
        "an empty string",
        "an extract",
        "with grain",
        "load or load_result",
        "cell at position",
        "cells at positions",
        "plain byte",
        "a whole number",
        "true or false",
        "day of the month",
        "day of the week",
        "error id",
        "no content type",
        "batch instance",
        "Batch instance",
        "Execution … of batch instance",
        "execution … of batch instance",
        "execution … of … (part",
        "batch … is",
        "from … until",
        "from line",
        "Could not",
    ),
    "the emulator's reason against a line, in an error file as the platform writes one": (
        "a quote inside a cell without quotes",
        "a line break inside a cell",
        "not one row",
        "is not JSON",
    ),
    "a key, not a text": ("centrapay … account",),
    "what `airflow bulk batch` writes": (
        "nodes, … edges",
        "digraph batch {",
    ),
    "printed as the answer of a command, and explained in docs/command_line.md": (
        # check, plan
        "in …: … good (… in …), … rejected (…)…. Checked in … s",
        "Rejected, by reason",
        "Hints (such lines are sent",
        "and … more rejected lines; --all prints them all",
        "first line",
        # import
        "Import of … into",
        "datamart …, connection",
        "Every line is accounted for, or the command fails. Ctrl-C cancels what is still PENDING and names what goes on",
        "A killed process does not go on, and nobody cancels what it has sent: use --record FILE, or a DAG",
        "The same command with the same record goes on where this one stops, also after a kill",
        "Send … in … (…), … rejected, to datamart … over connection …?",
        "Sending into document import",
        "Nothing to send: … lines read, … rejected",
        "Document import …: … lines read = … rejected + …. …, …, … s",
        "accepted + … failed",
        "sent, not waited for",
        "Rejected lines",
        "Looking for what can be cancelled",
        "Cancelling … PENDING",
        # executions, batches
        "created (UTC",
        "imported (UTC",
        "No import has left word of a file. It does with on_seen='skip' or 'fail",
        "Forget …, so that the next run imports … again?",
        "Forgotten in",
        "Cancel … PENDING … of document import …?",
        "Document import …: … cancelled",
        "cron status",
        "to start",
        "nothing there yet",
        # emulator
        "The emulator listens at …; its log is …. Ctrl-C ends it",
        "In another shell",
        'export …="$(cat',
        "The emulator has ended",
    ),
    "what the command line finds in a message of the package, to say it for a shell": (
        "the worker's folder",
        "the current folder",
    ),
    "SQL and a name within the file of --record": (
        "CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT NOT NULL",
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL",
        "SELECT value FROM record WHERE key = ?",
        "INSERT INTO record VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA synchronous = FULL",
        "BEGIN EXCLUSIVE",
        "airflow bulk import",
    ),
    "a form, a title or a link in Airflow's pages": (
        "API token",
        "API key or token",
        "of tenant `…`",
        "Extract/load batches",
        "Document import",
        "Integration batch",
        "document import",
        "centrapay batch",
        "extract_load batch",
    ),
}


class Message(NamedTuple):
    """A text, with ``…`` for each value in it.

    :param path: the file, from the root of the repository.
    """

    path: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """The file and line."""
        return f"{self.path}:{self.line}"


def normal(text: str) -> str:
    """Take from a text what tells nothing: values and signs at its ends, and how its blanks are written."""
    text = re.sub(r"%(?:\.\d+)?[sdrgfx]", VALUE, text)
    text = re.sub(rf"{VALUE}(?:\s*{VALUE})+", VALUE, " ".join(text.split()))
    return re.sub(r"^[\s…:;,.()\[\]\"'=/]+|[\s…:;,.()\[\]\"'=/]+$", "", text)


def is_prose(text: str) -> bool:
    """Whether a text has two words, and a blank between words: a name, an address or a pattern has none."""
    return " " in text and len(re.findall(r"[^\W\d]{2,}", text)) > 1


def template(node: ast.AST) -> str | None:
    """The text of an expression that builds one; None where it builds none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(VALUE if (text := template(one)) is None else text for one in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            sides = template(left), template(right)
            return None if sides == (None, None) else "".join(VALUE if one is None else one for one in sides)
    return None


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text below a node that may be in a message, with its line; longest first."""
    if _is_left_out(node):
        return
    text = template(node)
    if text is None:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)
        return
    yield node.lineno, text  # type: ignore[attr-defined]
    for value in _values(node):
        yield from texts(value)


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.FunctionDef(name="__repr__"):
            return True
        case ast.Call(func=ast.Attribute(attr="info" | "debug")):
            return True
        case ast.Call(func=ast.Name(id="TypeVar" | "cast")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile")):
            return True  # a pattern
    return False


def _values(node: ast.AST) -> Iterator[ast.AST]:
    """The values within a text: each may be made of texts, too."""
    match node:
        case ast.JoinedStr(values=values):
            yield from (one.value for one in values if isinstance(one, ast.FormattedValue))
        case ast.BinOp(left=left, right=right):
            for side in (left, right):
                yield from [side] if template(side) is None else _values(side)


def _trees(repository: Path) -> Iterator[tuple[str, ast.Module]]:
    """Each file of the package that is not left out."""
    for room in ROOMS:
        for path in sorted((repository / room).rglob("*.py")):
            name = path.relative_to(repository).as_posix()
            if not name.startswith(tuple(FILES_LEFT_OUT)):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def _emulator_errors(tree: ast.Module) -> Iterator[ast.AST]:
    """What the emulator raises for those who use it in their tests, and what ends its command."""
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) as call) if name in EMULATOR_ERRORS:
                yield call
            case ast.Call(func=ast.Attribute(value=ast.Name(id="made"), attr="error")) as call:
                yield call


def messages(repository: Path) -> list[Message]:
    """All texts of the package with two words, but for the files that are left out."""
    return [
        Message(name, line, normal(text))
        for name, tree in _trees(repository)
        for node in (_emulator_errors(tree) if name.startswith(EMULATOR) else [tree])
        for line, text in texts(node)
        if is_prose(normal(text))
    ]


def short_messages(repository: Path) -> list[str]:
    """Where something is raised or logged as a warning whose whole text is a word: :func:`messages` does not see it."""
    found = []
    for name, tree in _trees(repository):
        for node in ast.walk(tree) if not name.startswith(EMULATOR) else ():
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
                    continue  # what cannot be reached
                case ast.Raise(exc=ast.Call() as call):
                    pass
                case ast.Call(func=ast.Attribute(attr="warning" | "error" | "exception")) as call:
                    pass
                case _:
                    continue
            told = [template(one) for one in call.args]
            if told and all(one and VALUE not in one and not is_prose(normal(one)) for one in told):
                found.append(f"{name}:{call.lineno}: {told}")
    return found
