"""The arguments of the commands. Airflow loads this at each start, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator

from airflow.cli.cli_config import Arg


class _Types:
    """Choices that are read from the platform's facts when somebody asks for them: at a parse, or at a completion."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Iterator[str]:
        from airflow_bulk.platforms.mediarithmics import document_imports

        return iter(getattr(document_imports, self._name))

    def __contains__(self, value: object) -> bool:
        return value in list(self)


DOCUMENT_TYPES, MIME_TYPES, PRIORITIES = (
    _Types("DOCUMENT_TYPES"),
    _Types("CONTENT_TYPES"),
    _Types("PRIORITIES"),
)
PLATFORMS = ("integration", "centrapay", "extract-load")

JSON = Arg(
    ("--json",), help="one JSON document on standard output, and nothing else there", action="store_true"
)
NDJSON = Arg(
    ("--json",),
    help="one JSON document a line on standard output, the last one is the end",
    action="store_true",
)
YES = Arg(("-y", "--yes"), help="do not ask", action="store_true")

# What reads a source.
FILES = Arg(
    ("file",),
    help="file, pattern, or URI of a store (s3://conn_id@bucket/key); plain, gzip or zstd",
    metavar="FILE",
    nargs="+",
)
DOCUMENT_TYPE = Arg(
    ("--document-type",),
    help="what a line is: USER_PROFILE, USER_ACTIVITY, ... (completion lists them)",
    metavar="TYPE",
    required=True,
    choices=DOCUMENT_TYPES,
)
MIME_TYPE = Arg(
    ("--mime-type",),
    help="APPLICATION_X_NDJSON or TEXT_CSV; else the format of the document type",
    metavar="MIME",
    choices=MIME_TYPES,
)
CSV_DELIMITER = Arg(
    ("--csv-delimiter",), help="between the cells of a CSV row (default: ,)", default=",", metavar="C"
)
MAX_FAILURES = Arg(
    ("--max-failures",),
    help="bad lines that are tolerated: a count, or a share such as 0.1%% (default: 0)",
    default="0",
    metavar="N",
)
MAX_PART_BYTES = Arg(
    ("--max-part-bytes",),
    help="the most bytes of one upload (default: 100000000)",
    default="100000000",
    metavar="N",
)
ONE_PART_PER_FILE = Arg(
    ("--one-part-per-file",), help="never put lines of two files into one part", action="store_true"
)
NO_CHECK_EXTENSION = Arg(
    ("--no-check-extension",), help="take a file whose extension does not fit the format", action="store_true"
)
ON_EMPTY = Arg(
    ("--on-empty",),
    help="when there is nothing to send: fail (default), or skip or ok, which end with 0",
    choices=("fail", "skip", "ok"),
    default="fail",
)
ALL = Arg(("--all",), help="print all rejected lines, not the first 20", action="store_true")
READING = (
    FILES,
    DOCUMENT_TYPE,
    MIME_TYPE,
    CSV_DELIMITER,
    MAX_FAILURES,
    MAX_PART_BYTES,
    ONE_PART_PER_FILE,
    NO_CHECK_EXTENSION,
    ON_EMPTY,
    JSON,
)

# What talks to mediarithmics.
CONN_ID = Arg(
    ("--conn-id",),
    help="connection of type mediarithmics (default: mediarithmics_default)",
    default="mediarithmics_default",
    metavar="ID",
)
DATAMART_ID = Arg(("--datamart-id",), help="else the connection's", metavar="ID")
IMPORT_ID = Arg(("import_id",), help="the document import", metavar="IMPORT_ID")

# The import.
IMPORTING = (
    Arg(("--name",), help="name of the import; two words in brackets are added", metavar="N", required=True),
    CONN_ID,
    DATAMART_ID,
    Arg(("--priority",), help="LOW, MEDIUM or HIGH", metavar="P", choices=PRIORITIES),
    Arg(("--workers",), help="processes that check and send (default: 1)", default="1", metavar="N"),
    Arg(("--spool-dir",), help="folder for one local copy of a remote source", metavar="DIR"),
    Arg(("--rejects-path",), help="folder or URI for an NDJSON file of the rejected lines", metavar="PATH"),
    Arg(
        ("--rejects-content",),
        help="what that file holds of a line; for deletions position unless given",
        choices=("line", "position"),
    ),
    Arg(
        ("--allow-deletion",),
        help="the document type spelled out once more, for types that delete",
        metavar="TYPE",
        choices=DOCUMENT_TYPES,
    ),
    Arg(("--max-deletions",), help="with more lines nothing is sent, for types that delete", metavar="N"),
    Arg(
        ("--record",),
        help="a file: the same command with it goes on, also after a kill",
        metavar="RECORD",
    ),
    Arg(
        ("--on-source-change",),
        help="with --record, when the source has changed since: fail (default), or restart",
        choices=("fail", "restart"),
        default="fail",
    ),
    Arg(
        ("--resend-failed-parts",),
        help="send a part again that FAILED or was LOST; lines of it may go twice",
        action="store_true",
    ),
    Arg(("--no-wait",), help="end when everything is sent; nothing is judged then", action="store_true"),
    Arg(
        ("--poll-interval",),
        help="seconds between two polls at most (default: 30)",
        default="30",
        metavar="S",
    ),
    Arg(
        ("--timeout",),
        help="seconds until what is PENDING is cancelled (default: 21600)",
        default="21600",
        metavar="S",
    ),
    Arg(
        ("--settle",),
        help="seconds until the platform lists an execution whose answer was lost (default: 5)",
        default="5",
        metavar="S",
    ),
    YES,
)

# Watching.
POLL_INTERVAL = Arg(
    ("--poll-interval",), help="seconds between two looks at most (default: 30)", default="30", metavar="S"
)
WATCH_TIMEOUT = Arg(
    ("--timeout",), help="seconds after which the watch ends with 1; else it never does", metavar="S"
)
EXECUTIONS = (IMPORT_ID, CONN_ID, DATAMART_ID)
EXECUTION_IDS = Arg(("execution_id",), help="these executions alone", metavar="EXECUTION_ID", nargs="*")

# Files that are known across runs.
LEDGER = (
    Arg(("--conn-id",), help="of this connection alone", metavar="ID"),
    Arg(("--datamart-id",), help="of this datamart alone", metavar="ID"),
    Arg(("--document-type",), help="of this document type alone", metavar="TYPE", choices=DOCUMENT_TYPES),
    Arg(("--as",), help="known under this name alone (seen_as)", dest="seen_as", metavar="NAME"),
)
KNOWN_FILES = Arg(("file",), help="a name as the list has it", metavar="FILE", nargs="+")

# Batches of the other platforms.
PLATFORM = Arg(
    ("--platform",),
    help="integration (of mediarithmics), centrapay or extract-load",
    choices=PLATFORMS,
    required=True,
)
BATCHES_CONN_ID = Arg(
    ("--conn-id",),
    help="else mediarithmics_default, centrapay_default or extract_load_default",
    metavar="ID",
)
ORGANISATION_ID = Arg(("--organisation-id",), help="for integration; else the connection's", metavar="ID")
BATCH_ID = Arg(("batch_id",), help="the batch; for integration the instance", metavar="BATCH_ID")
RUN_ID = Arg(
    ("--execution-id",),
    help="for integration: this run; else the newest that is to start by now",
    metavar="ID",
)

# The emulator.
EMULATOR = (
    Arg(("--port",), help="0 takes a free one (default)", type=int, default=0, metavar="N"),
    Arg(("--state",), help="keep the state here; else a temporary folder, removed at the end", metavar="DIR"),
    Arg(
        ("--datamart",),
        help="a datamart on which the token has rights (repeatable; default: 3300)",
        action="append",
    ),
    Arg(("--organisation",), help="their organisation (default: 900)", metavar="ID"),
    Arg(("--seed",), help="seed of every random choice", type=int, metavar="N"),
    Arg(
        ("--fault",),
        help="a fault, such as lost_answer:0.1 (repeatable; docs/emulator.md has all)",
        action="append",
        metavar="SPEC",
    ),
    Arg(("--start-delay",), help="seconds from PENDING to RUNNING (default: 0.2)", type=float, metavar="S"),
    Arg(("--run-seconds",), help="seconds from RUNNING to the end (default: 0.2)", type=float, metavar="S"),
    Arg(("--no-strict",), help="tolerate what the documentation leaves open", action="store_true"),
    JSON,
)
