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
        GroupCommand(name="batch", help="Extract/load batch definitions", subcommands=_BATCH),
    )
    return [GroupCommand(name="bulk", help="Bulk imports and batches", subcommands=commands)]
