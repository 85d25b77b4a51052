"""``airflow bulk ...``: what Airflow learns from the provider's metadata. What a command does loads when it runs."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

_FILE = Arg(("file",), help="the definition: YAML or JSON", metavar="FILE")
_DOT = Arg(("--dot",), help="print the graph in the DOT language", action="store_true")
_STRICT = Arg(("--strict",), help="what the definition says in vain is a fault", action="store_true")
_BATCH_ID = Arg(("batch_id",), help="the batch's id on the server", metavar="ID")
_CONN_ID = Arg(("--conn-id",), help="connection of type extract_load", default="extract_load_default")
_OUTPUT = Arg(("-o", "--output"), help="file to write, .yaml or .json", metavar="FILE", required=True)

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
    groups = (GroupCommand(name="batch", help="Extract/load batch definitions", subcommands=_BATCH),)
    return [GroupCommand(name="bulk", help="Bulk imports and batches", subcommands=groups)]
