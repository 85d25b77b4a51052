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
exit code: 0 an import would send the rest, 1 it would send nothing, 2 wrong use

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
  yes  Everything is accounted for, or the command fails and says by how much.
  yes  Ctrl-C and SIGTERM cancel what is PENDING; what has begun goes on, and is named.
  yes  A lost answer is looked up first: one run of the command imports no part twice.
  with --record FILE: a killed process goes on when the same command runs again.
  no   What a killed process has sent is not cancelled.
  no   Nothing is retried, and waiting takes this process. A DAG retries, and waits for free.""",
    epilog="""\
exit code: 0 all is well, 1 not (said in one sentence), 2 wrong use, 130 stopped by Ctrl-C

examples:
  airflow bulk import profiles.ndjson --document-type USER_PROFILE --name 'Profiles of May'
  airflow bulk import 'export/*.gz' --document-type USER_PROFILE --name May --max-failures 0.1% --yes
  airflow bulk import big.ndjson --document-type USER_PROFILE --name Big --record big.record
  airflow bulk import gone.ndjson --document-type USER_POINTS_DELETION --name Gone \\
    --allow-deletion USER_POINTS_DELETION --max-deletions 500""",
)

_EXECUTIONS = (
    ActionCommand(
        name="list",
        help="list the executions of an import",
        func=lazy_load_command("airflow_bulk.cli.executions.list_executions"),
        args=(*flags.EXECUTIONS, flags.JSON),
        epilog="""\
examples:
  airflow bulk executions list 70811
  airflow bulk executions list 70811 --json | jq '.executions[] | select(.failed > 0)'""",
    ),
    ActionCommand(
        name="watch",
        help="look until all executions are over",
        func=lazy_load_command("airflow_bulk.cli.executions.watch"),
        args=(
            *flags.EXECUTIONS,
            flags.EXECUTION_IDS,
            flags.MAX_FAILURES,
            flags.POLL_INTERVAL,
            flags.WATCH_TIMEOUT,
            flags.NDJSON,
        ),
        description="Look until all executions of an import are over. Ctrl-C ends the watch, and cancels nothing.",
        epilog="""\
exit code: 0 all succeeded, and no more lines failed than --max-failures; 1 not, or too late; 130 Ctrl-C

examples:
  airflow bulk executions watch 70811
  airflow bulk executions watch 70811 51000123 51000124 --max-failures 1% --json""",
    ),
    ActionCommand(
        name="cancel",
        help="cancel executions that have not begun",
        func=lazy_load_command("airflow_bulk.cli.executions.cancel"),
        args=(*flags.EXECUTIONS, flags.EXECUTION_IDS, flags.YES, flags.JSON),
        description="Cancel executions that are PENDING: all of an import, or those that are named. What has begun cannot be\n"
        "cancelled, and is named.",
        epilog="""\
exit code: 0 nothing goes on, 1 something does (or a named execution was over before), 2 no such execution

examples:
  airflow bulk executions cancel 70811
  airflow bulk executions cancel 70811 51000123 51000124 --yes""",
    ),
)

_FILES = (
    ActionCommand(
        name="list",
        help="list the files that imports know",
        func=lazy_load_command("airflow_bulk.cli.files.list_files"),
        args=(*flags.LEDGER, flags.JSON),
        description="List the files that imports with on_seen='skip' or 'fail' know across runs. Reads Airflow's database.",
        epilog="""\
examples:
  airflow bulk files list
  airflow bulk files list --as 'Profiles of' --json | jq '.ledgers[].files[].name'""",
    ),
    ActionCommand(
        name="forget",
        help="forget files, so that the next run imports them again",
        func=lazy_load_command("airflow_bulk.cli.files.forget"),
        args=(flags.KNOWN_FILES, *flags.LEDGER, flags.YES, flags.JSON),
        description="Delete what is known of files, in every ledger that the options leave. Nothing on the platform changes.",
        epilog="""\
exit code: 0 all are forgotten, 1 you said no, 2 one of them is not known

examples:
  airflow bulk files forget /exports/monday.ndjson
  airflow bulk files forget s3://aws_crm@crm/export/monday.ndjson.gz --as 'Profiles of' --yes""",
    ),
)

_BATCHES = (
    ActionCommand(
        name="list",
        help="list batches",
        func=lazy_load_command("airflow_bulk.cli.batches.list_batches"),
        args=(flags.PLATFORM, flags.BATCHES_CONN_ID, flags.ORGANISATION_ID, flags.JSON),
        description="List the batch instances of an organisation, or the batches that an extract/load server holds.\n"
        "Centrapay's API has no call that lists batches.",
        epilog="""\
examples:
  airflow bulk batches list --platform integration
  airflow bulk batches list --platform extract-load --json""",
    ),
    ActionCommand(
        name="get",
        help="show one batch",
        func=lazy_load_command("airflow_bulk.cli.batches.get"),
        args=(flags.PLATFORM, flags.BATCH_ID, flags.BATCHES_CONN_ID, flags.JSON),
        description="Show one batch, and of an integration batch instance its newest runs.",
        epilog="""\
examples:
  airflow bulk batches get --platform integration 1201
  airflow bulk batches get --platform centrapay 9sdBvJ4rkxBWNUPQWdmHbJ""",
    ),
    ActionCommand(
        name="watch",
        help="look until a batch is over",
        func=lazy_load_command("airflow_bulk.cli.batches.watch"),
        args=(
            flags.PLATFORM,
            flags.BATCH_ID,
            flags.BATCHES_CONN_ID,
            flags.RUN_ID,
            flags.MAX_FAILURES,
            flags.POLL_INTERVAL,
            flags.WATCH_TIMEOUT,
            flags.NDJSON,
        ),
        description="Look until a batch, or one run of an integration batch instance, is over. Ctrl-C cancels nothing.\n"
        "The documented extract/load server does not tell success from failure: its 0 means that the batch is finished.",
        epilog="""\
exit code: 0 it is good, 1 not, or too late; 130 Ctrl-C

examples:
  airflow bulk batches watch --platform integration 1201 --execution-id 88001
  airflow bulk batches watch --platform centrapay 9sdBvJ4rkxBWNUPQWdmHbJ --max-failures 1% --json""",
    ),
)

EMULATOR = ActionCommand(
    name="emulator",
    help="run the platforms' emulator on this machine",
    func=lazy_load_command("airflow_bulk.cli.emulator.start"),
    args=flags.EMULATOR,
    description="Run the emulator until Ctrl-C, and print the lines that give another shell its connections. The lines hold\n"
    "no token: they read files that you alone can read. It needs the extra emulator, and binds loopback only.",
    epilog="""\
More options, such as TLS: python -m airflow_bulk.emulator --help

examples:
  airflow bulk emulator
  airflow bulk emulator --port 8765 --state ./emulator --start-delay 5 --fault lost_answer:0.1""",
)

_BATCH = (
    ActionCommand(
        name="compile",
        help="print the nodes, edges and problems of a batch definition",
        func=lazy_load_command("airflow_bulk.cli.batch.compile_file"),
        args=(_FILE, _DOT, _STRICT, flags.JSON),
        epilog="Ends with 1 if there are problems. Reads the file alone: no connection, no network.\n\n"
        "examples:\n"
        "  airflow bulk batch compile dags/batches/accounting.yaml\n"
        "  airflow bulk batch compile accounting.yaml --dot | dot -Tsvg -o accounting.svg",
    ),
    ActionCommand(
        name="snapshot",
        help="write a definition that the server holds to a file, for DAGs to read",
        func=lazy_load_command("airflow_bulk.cli.batch.snapshot"),
        args=(_BATCH_ID, _CONN_ID, _OUTPUT, flags.JSON),
        epilog="examples:\n  airflow bulk batch snapshot 5f2b8c0e9d1a4b7c8e3f6a21 -o dags/batches/accounting.yaml",
    ),
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands of the package."""
    commands: tuple[CLICommand, ...] = (
        CHECK,
        PLAN,
        IMPORT,
        GroupCommand(name="executions", help="Executions of a document import", subcommands=_EXECUTIONS),
        GroupCommand(name="files", help="Files that imports know across runs", subcommands=_FILES),
        GroupCommand(
            name="batches",
            help="Batches of mediarithmics (integration), Centrapay and extract/load servers",
            subcommands=_BATCHES,
        ),
        EMULATOR,
        GroupCommand(name="batch", help="Extract/load batch definitions", subcommands=_BATCH),
    )
    return [GroupCommand(name="bulk", help="Bulk imports and batches", subcommands=commands)]
