"""The tree of the commands: what Airflow loads, what help says, what the shell completes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.cli.cli_config import GroupCommand
from airflow.cli.cli_parser import get_parser

from airflow_bulk.cli.commands import get_cli_commands
from airflow_bulk.platforms.mediarithmics import document_imports

AIRFLOW = str(Path(sys.executable).parent / "airflow")


def commands(tree, words=()):
    for one in tree:
        if isinstance(one, GroupCommand):
            yield from commands(one.subcommands, (*words, one.name))
        else:
            yield (*words, one.name), one


ALL = dict(commands(get_cli_commands()))


def test_the_commands():
    assert {" ".join(words) for words in ALL} == {
        "bulk check",
        "bulk plan",
        "bulk import",
        "bulk emulator",
        *(f"bulk executions {name}" for name in ("list", "watch", "cancel")),
        *(f"bulk files {name}" for name in ("list", "forget")),
        *(f"bulk batches {name}" for name in ("list", "get", "watch")),
        *(f"bulk batch {name}" for name in ("compile", "snapshot")),
    }


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_has_examples_that_its_parser_takes_and_json(words, capsys):
    command = ALL[words]
    assert any(argument.flags == ("--json",) for argument in command.args)
    examples = command.epilog.partition("examples:\n")[2].replace("\\\n", " ").splitlines()
    assert examples
    import shlex

    for example in examples:
        program, *given = shlex.split(example.partition("|")[0])
        args = get_parser().parse_args(given)
        assert (program, args.func) == ("airflow", command.func)
    with pytest.raises(SystemExit) as end:
        get_parser().parse_args([*words, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for example in command.epilog.splitlines():
        assert example.strip() in shown


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_fits_a_terminal(words):
    command = ALL[words]
    lines = (command.description or "").splitlines() + command.epilog.splitlines()
    assert [line for line in lines if len(line) > 110] == []
    assert [one.kwargs["help"] for one in command.args if len(one.kwargs["help"]) > 90] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_nothing_that_rich_takes_for_markup(words):
    command = ALL[words]
    texts = [
        command.help,
        command.description or "",
        command.epilog,
        *(one.kwargs["help"] for one in command.args),
    ]
    assert [text for text in texts if re.search(r"\[[a-z#/@]", text)] == []


def test_airflow_loads_nothing_but_the_words():
    code = (
        "import sys, airflow.cli.cli_config\n"
        "before = set(sys.modules)\n"
        "from airflow_bulk.cli.commands import get_cli_commands\n"
        "get_cli_commands()\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Whether the package itself is there before depends on how it is installed.
    assert set(done.stdout.split()) - {"airflow_bulk"} == {
        "airflow_bulk.cli",
        "airflow_bulk.cli.commands",
        "airflow_bulk.cli.flags",
    }


@pytest.fixture
def complete(tmp_path, airflow_db):
    """``complete(line)``: what a shell offers behind a line, asked as argcomplete's shell function asks."""

    def ask(line):
        offered = tmp_path / "offered"
        offered.write_text("")
        environment = {
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\013",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(offered),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        subprocess.run([AIRFLOW], env=environment, cwd=tmp_path, capture_output=True, check=True)
        return [one.strip() for one in offered.read_text().split("\013")]

    return ask


def test_commands_choices_and_files_are_completed(complete, tmp_path):
    (tmp_path / "profiles.ndjson").touch()
    (tmp_path / "products.csv").touch()
    assert {"check", "plan", "import", "executions", "batches", "batch", "emulator"} <= set(
        complete("airflow bulk ")
    )
    assert complete("airflow bulk check --document-type ") == list(document_imports.DOCUMENT_TYPES)
    assert complete("airflow bulk import --document-type USER_PR") == ["USER_PROFILE"]
    assert complete("airflow bulk plan --mime-type T") == ["TEXT_CSV"]
    assert complete("airflow bulk batches list --platform c") == ["centrapay"]
    assert set(complete("airflow bulk check pro")) == {"profiles.ndjson", "products.csv"}


def test_results_alone_are_on_standard_output(begin, emulator, tmp_path, monkeypatch):
    # Airflow's own console log goes there. (At DEBUG it says something before any command has begun.)
    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
    (tmp_path / "profiles.ndjson").write_text('{"operation":"UPSERT","user_account_id":"a"}\n')
    said = begin("check", tmp_path / "profiles.ndjson", "--document-type", "USER_PROFILE", "--json").end()
    assert (said.code, said.document["lines_rejected"]) == (1, 1)
    said = begin("executions", "list", "7", "--json").end()
    assert (said.code, set(said.document)) == (1, {"ok", "error"})


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_whoever_reads_may_stop_reading(begin, tmp_path, how):
    path = tmp_path / "bad.ndjson"
    path.write_text('{"operation":"UPSERT"}\n' * 20_000)
    running = begin("check", path, "--document-type", "USER_PROFILE", "--all", *how)
    assert running.process.stdout.read(10)
    running.process.stdout.close()
    assert running.process.wait(60) == 1
    assert "Traceback" not in running.process.stderr.read()


def test_batch_compile_and_snapshot_as_json(bulk, bulk_emulator, monkeypatch, tmp_path):
    from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
    from airflow_bulk.hooks.extract_load import ExtractLoadHook

    monkeypatch.setenv(
        "AIRFLOW_CONN_EXTRACT_LOAD_DEFAULT", ExtractLoadEmulator(bulk_emulator).connection_json("server")
    )
    definition = {
        "since": "2013-01-01",
        "jobs": [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}],
    }
    path = tmp_path / "batch.json"
    path.write_text(json.dumps(definition))
    said = bulk("batch", "compile", path, "--json")
    assert said.document["nodes"] == ["extract:Vendor", "snapshot:vendors", "apply:vendors"]
    assert said.document["edges"] == [["snapshot:vendors", "apply:vendors"]]
    assert said.document["warnings"] != []
    path.write_text('{"jobs": [{"type": "Load"}]}')
    bad = bulk("batch", "compile", path, "--json")
    assert (bad.code, bad.document["ok"]) == (1, False)
    assert len(bad.document["problems"]) > 0
    made = ExtractLoadHook().create_batch(definition)
    saved = bulk("batch", "snapshot", made.id, "-o", tmp_path / "saved.yaml", "--json")
    assert (saved.code, saved.document["jobs"]) == (0, 2)
    missing = bulk("batch", "snapshot", "0" * 24, "-o", tmp_path / "no.yaml", "--json")
    assert "404" in missing.document["error"]
