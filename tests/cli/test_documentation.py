"""docs/command_line.md: every command in it is taken by the parser, and every command is in it."""

import re
import shlex

from airflow.cli.cli_config import GroupCommand
from airflow.cli.cli_parser import get_parser

from airflow_bulk.cli.commands import get_cli_commands


def page(repository):
    return (repository / "docs" / "command_line.md").read_text(encoding="utf-8")


def test_the_examples_are_taken(repository):
    examples = re.findall(r"^\$ (airflow bulk .+)$", page(repository), re.MULTILINE)
    examples = [one for one in examples if "<TAB>" not in one]
    assert len(examples) > 8
    for example in examples:
        assert callable(get_parser().parse_args(shlex.split(example)[1:]).func)


def test_every_command_is_named(repository):
    (bulk,) = get_cli_commands()
    rows = page(repository).partition("| command |")[2].partition("\n\n")[0]
    for command in bulk.subcommands:
        assert f"`{command.name}" in rows
        if isinstance(command, GroupCommand):
            (row,) = [one for one in rows.splitlines() if one.startswith(f"| `{command.name} ")]
            assert all(one.name in row for one in command.subcommands)


def test_every_option_of_the_page_exists(repository):
    (bulk,) = get_cli_commands()

    def options(commands):
        for command in commands:
            if isinstance(command, GroupCommand):
                yield from options(command.subcommands)
            else:
                yield from (
                    flag for argument in command.args for flag in argument.flags if flag.startswith("--")
                )

    assert set(re.findall(r"--[a-z][a-z-]+", page(repository))) - {"--help"} <= set(options(bulk.subcommands))
