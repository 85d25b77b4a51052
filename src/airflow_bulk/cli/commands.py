"""``airflow bulk ...``: what Airflow learns from the provider's metadata. What a command does loads when it runs."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from airflow_bulk.cli import flags

_FILE = Arg(("file",), help="the definition: YAML or JSON", metavar="FILE")
_DOT = Arg(("--dot",), help="print the graph in the DOT language", action="store_true")
_STRICT = Arg(("--strict",), help="what the definition says in vain is a fault", action="store_true")
_BATCH_ID = Arg(("batch_id",), help="the batch's id on the server", metavar="ID")
_CONN_ID = Arg(("--conn-id",), help="connection of type extract_load", default="extract_load_default")
_OUTPUT = Arg(("-o", "--output"), help="file to write, .yaml or .json", metavar="FILE", required=True)

CHECK = ActionCommand(
    name="check",
    help="check every line of files; nothing is sent",
    func=lazy_load_command("airflow_bulk.cli.checking.check"),
    args=(*flags.READING, flags.ALL),
    description="Check every line by the rules of its document type, as an import does before it sends anything.\n"
    "Prints where rejected lines are, and why; never what they hold. No connection, no network for local files.",
    epilog="""\
exit code: 0 an import would send the rest, 1 too many rejected lines or the source is refused whole, 2 wrong use

examples:
  airflow bulk check profiles.ndjson --document-type USER_PROFILE
  airflow bulk check 'export/*.ndjson.gz' --document-type USER_ACTIVITY --max-failures 0.1% --all
  airflow bulk check segment.csv --document-type USER_SEGMENT --json""",
)

PLAN = ActionCommand(
    name="plan",
    help="show the parts that an import would send; nothing is sent",
    func=lazy_load_command("airflow_bulk.cli.checking.plan"),
    args=flags.READING,
    description="Check the files and cut them as an import does. One row a part: each is one upload, and one execution.",
    epilog="""\
exit code: as check

examples:
  airflow bulk plan profiles.ndjson --document-type USER_PROFILE
  airflow bulk plan 'export/*.gz' --document-type USER_PROFILE --max-part-bytes 20000000 --json""",
)

IMPORT = ActionCommand(
    name="import",
    help="import files: check, ask, send, wait, judge",
    func=lazy_load_command("airflow_bulk.cli.importing.import_documents"),
    args=(*flags.READING, *flags.IMPORTING),
    description="""\
Import files into a new document import, outside of any DAG, by the code of ImportDocumentsOperator.

Which promises hold:
  yes  Everything is accounted for: read = rejected + accepted + failed, or the command fails and says by how much.
  yes  What Ctrl-C (or SIGTERM) stops is cancelled: no execution stays PENDING. What has begun is named, and goes on.
  yes  A lost answer is looked up before anything is sent again: no part is imported twice by one run of the command.
  only with --record FILE: a killed process goes on, when the same command runs again; no line is lost, none goes twice.
  no   Nothing cancels what a killed process has sent, before the same command runs again.
  no   Nobody retries. Waiting takes this process; a DAG waits for free.""",
    epilog="""\
exit code: 0 all is well, 1 not (said in one sentence), 2 wrong use, 130 stopped by Ctrl-C

examples:
  airflow bulk import profiles.ndjson --document-type USER_PROFILE --name 'Profiles of May'
  airflow bulk import 'export/*.gz' --document-type USER_ACTIVITY --name May --max-failures 0.1% --workers 2 --yes
  airflow bulk import big.ndjson --document-type USER_PROFILE --name Big --record big.record
  airflow bulk import gone.ndjson --document-type USER_POINTS_DELETION --name Gone \\
    --allow-deletion USER_POINTS_DELETION --max-deletions 500""",
)

_BATCH = (
    ActionCommand(
        name="compile",
        help="print the nodes, edges and problems of a batch definition",
        func=lazy_load_command("airflow_bulk.cli.batch.compile_file"),
        args=(_FILE, _DOT, _STRICT),
        epilog="Ends with 1 if there are problems. Reads the file alone: no connection, no network.",
    ),
    ActionCommand(
        name="snapshot",
        help="write a definition that the server holds to a file, for DAGs to read",
        func=lazy_load_command("airflow_bulk.cli.batch.snapshot"),
        args=(_BATCH_ID, _CONN_ID, _OUTPUT),
    ),
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands of the package."""
    commands: tuple[CLICommand, ...] = (
        CHECK,
        PLAN,
        IMPORT,
        GroupCommand(name="batch", help="Extract/load batch definitions", subcommands=_BATCH),
    )
    return [GroupCommand(name="bulk", help="Bulk imports and batches", subcommands=commands)]
